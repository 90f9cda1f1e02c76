import { beforeEach, describe, expect, test } from "vitest";
import { ChoiceState } from "./choice.svelte";

const file = (name: string, path = "") =>
  Object.defineProperty(new File(["x"], name), "webkitRelativePath", { value: path }) as File;

let choice: ChoiceState;
beforeEach(() => (choice = new ChoiceState()));

describe("files", () => {
  test("they are taken where files are chosen", () => {
    choice.take([file("model.gguf")]);
    expect([choice.source, choice.picked.map(({ name }) => name), choice.trouble]).toEqual(["own", ["model.gguf"], ""]);
  });

  test("of several models each is there to be chosen", () => {
    choice.take([file("a.gguf"), file("b.gguf")]);
    expect(choice.picked.map(({ name }) => name)).toEqual(["a.gguf", "b.gguf"]);
  });

  test("none, or two of one name, is trouble, and nothing is left of what was there", () => {
    choice.take([file("model.gguf")]);
    choice.take([]);
    expect([choice.picked, choice.trouble]).toEqual([[], "The folder is empty."]);
    choice.take([file("config.json"), file("config.json")]);
    expect(choice.picked).toEqual([]);
    expect(choice.trouble).toMatch(/Two of the files are called config\.json/);
    choice.take([file("model.gguf")]);
    expect(choice.trouble).toBe("");
  });

  test("what could not be read is said", () => {
    choice.refuse(new Error("The folder a is empty."));
    expect([choice.source, choice.trouble]).toEqual(["own", "The folder a is empty."]);
  });
});

describe("a link", () => {
  const link = (id: string) => new URLSearchParams({ model: id });

  test("it fills in the id", () => {
    choice.follow(link("owner/name"));
    expect([choice.source, choice.id]).toEqual(["hub", "owner/name"]);
  });

  test("it is followed once, and another one after it", () => {
    const first = link("owner/name");
    choice.follow(first);
    [choice.source, choice.id] = ["gallery", "owner/typed"];
    choice.follow(first);
    expect([choice.source, choice.id]).toEqual(["gallery", "owner/typed"]);
    choice.follow(link("owner/name"));
    expect([choice.source, choice.id]).toEqual(["hub", "owner/name"]);
  });

  test("one without a model changes nothing", () => {
    choice.follow(new URLSearchParams("a=b"));
    expect([choice.source, choice.id]).toEqual(["gallery", ""]);
  });

  test("one that is too long is refused with a sentence", () => {
    choice.follow(link("a".repeat(501)));
    expect([choice.id, choice.source]).toEqual(["", "hub"]);
    expect(choice.trouble).toMatch(/longer than 500/);
  });
});
