import { describe, expect, test } from "vitest";
import { doubleName, nameOf, pickedModels } from "./picked";

/** Files of one kB each, by their paths. */
const files = (...paths: string[]) =>
  paths.map((path) => {
    const name = path.split("/").at(-1) ?? "";
    const file = new File(["x".repeat(1000)], name);
    return Object.defineProperty(file, "webkitRelativePath", { value: path === name ? "" : path }) as File;
  });
const models = (...paths: string[]) =>
  pickedModels(files(...paths)).map(({ name, files, bytes }) => [name, files.map(({ name }) => name), bytes]);
const names = (...paths: string[]) => pickedModels(files(...paths)).map(({ name }) => name);
const checkpoint = (folder: string) => ["config.json", "model.safetensors"].map((name) => `${folder}/${name}`);
const TWO = ["config.json", "model.safetensors"];

describe("one model", () => {
  test.each([
    ["a folder is called by its name", checkpoint("my-model"), "my-model"],
    ["a file by its name", ["model.gguf"], "model.gguf"],
    ["loose files by what they are", ["tokenizer.json", ...TWO], "config.json and 2 more files"],
    ["a .gguf file with others by its own", ["README.md", "model.gguf"], "model.gguf and 1 more file"],
    ["a folder that holds it deeper by the top one", checkpoint("top/snapshots/abc"), "top"],
    ["a split .gguf file is one", ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], /^a-00001-of-00002\.gguf and 1/],
    ["a .gguf file may lie beside a config.json", ["m/config.json", "m/q4.gguf"], "m"],
    ["files that are no model are left to the engine", ["notes.txt"], "notes.txt"],
    ["a configuration without weights too", ["m/config.json", "m/tokenizer.json"], "m"],
  ])("%s", (_what, paths, name) => {
    const found = pickedModels(files(...paths));
    expect(found.map(({ name }) => name)).toEqual([expect.stringMatching(name)]);
    expect(found[0]?.files).toHaveLength(paths.length);
  });

  test("what a folder below it has under a name of its own does not take its place", () => {
    const found = pickedModels(files("m/1_Pooling/config.json", ...checkpoint("m"), "m/1_Pooling/notes.txt"));
    expect(found).toHaveLength(1);
    expect(found[0]?.files.map(({ name, webkitRelativePath }) => [name, webkitRelativePath])).toEqual([
      ["config.json", "m/config.json"],
      ["model.safetensors", "m/model.safetensors"],
      ["notes.txt", "m/1_Pooling/notes.txt"],
    ]);
  });

  test("nothing is no model", () => expect(pickedModels([])).toEqual([]));
});

describe("several models", () => {
  test("two folders are two, each with its own files", () => {
    expect(models(...checkpoint("a"), ...checkpoint("b"))).toEqual([
      ["a", TWO, 2000],
      ["b", TWO, 2000],
    ]);
  });

  test("a folder that holds two is two, called by their paths", () => {
    expect(names(...checkpoint("all/a"), ...checkpoint("all/b"), "all/README.md")).toEqual(["all/a", "all/b"]);
  });

  test("checkpoints below a model are models too, and keep their files", () => {
    expect(models(...checkpoint("run"), "run/logs/log.txt", ...checkpoint("run/checkpoint-9"))).toEqual([
      ["run", [...TWO, "log.txt"], 3000],
      ["run/checkpoint-9", TWO, 2000],
    ]);
  });

  test("a folder with a configuration alone counts, unless it is part of a model", () => {
    expect(names(...checkpoint("a"), "b/config.json")).toEqual(["a", "b"]);
    expect(names(...checkpoint("a"), "a/1_Pooling/config.json")).toEqual(["a"]);
    expect(names("a/config.json", "a/1_Pooling/config.json")).toEqual(["a"]);
  });

  test("folders whose names begin alike are two", () => {
    expect(names(...checkpoint("a"), ...checkpoint("ab"))).toEqual(["a", "ab"]);
  });

  test("each .gguf file is one, and its parts are not", () => {
    expect(models("m/q4.gguf", "m/q8-00001-of-00002.gguf", "m/q8-00002-of-00002.gguf", "m/README.md")).toEqual([
      ["m/q4.gguf", ["q4.gguf"], 1000],
      ["m/q8 (00002 parts).gguf", ["q8-00001-of-00002.gguf", "q8-00002-of-00002.gguf"], 2000],
    ]);
    expect(names("q4.gguf", "q8.gguf")).toEqual(["q4.gguf", "q8.gguf"]);
  });

  test("a checkpoint beside a .gguf file is another model", () => {
    expect(models(...checkpoint("m"), "m/q4.gguf")).toEqual([
      ["m", TWO, 2000],
      ["m/q4.gguf", ["q4.gguf"], 1000],
    ]);
    expect(names(...TWO, "q4.gguf")).toEqual(["config.json and 1 more file", "q4.gguf"]);
  });
});

test("files of one name are noticed", () => {
  expect(doubleName(files("config.json", "model.safetensors"))).toBeUndefined();
  expect(doubleName(files("config.json", "config.json"))).toBe("config.json");
});

test("what is called is never the number of files alone", () => {
  expect(nameOf([])).toBe("");
  expect(nameOf(files("a/x", "b/y"))).toBe("x and 1 more file");
});
