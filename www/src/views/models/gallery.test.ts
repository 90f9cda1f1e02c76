import { describe, expect, test } from "vitest";
import * as sample from "../../testing/reports";
import type { Catalog, Dtype, ListedModel, PublishedRow, ScoreKind, StoredFile } from "../../wasm/rewardscope";
import { isStored } from "../../lib/stored";
import { cards, deviceName, loadType, plainly, size, type Catalogs } from "./gallery";

const listed = (over: Partial<ListedModel> = {}) =>
  ({ id: "owner/name", architecture: "Qwen3ForSequenceClassification", stored_bytes: 100, ...over }) as ListedModel;
const catalog = (...models: ListedModel[]) => ({ models }) as Catalog;
const row = (model: string, overall: number, parts: [string, number][]) => ({ model, overall, parts }) as PublishedRow;
const ORDER = { chosen: "auto" as Dtype, order: "size" as const, onlyFitting: false };

/** One model that fits only from a type on. */
const from = (first: Dtype | "none"): Catalogs => {
  const types = ["auto", "f16", "q8", "q4"] as const;
  const start = first === "none" ? types.length : types.indexOf(first as (typeof types)[number]);
  const bytes = { auto: 100, f16: 100, q8: 56, q4: 31 };
  return Object.fromEntries(
    types.map((type, i) => [
      type,
      catalog(listed({ memory_bytes: bytes[type], does_not_fit: i < start ? "too large" : undefined })),
    ]),
  );
};

describe("the type that a model is loaded in", () => {
  test.each<[Dtype, Dtype | "none", Dtype | undefined]>([
    ["auto", "auto", "auto"],
    ["auto", "q8", "q8"],
    ["q8", "q4", "q4"],
    ["q4", "auto", "q4"],
    ["auto", "none", undefined],
    ["f32", "none", "f32"],
  ])("%s chosen, fits from %s: %s", (chosen, first, found) => expect(loadType(from(first), 0, chosen)).toBe(found));
});

describe("cards", () => {
  const hub = (catalogs: Catalogs, published: PublishedRow[] = [], over = {}) =>
    cards(catalogs, published, { ...ORDER, ...over }).slice(2);

  test("the site's models come first, and need no engine", () => {
    expect(cards({}, [], ORDER).map(({ name }) => name)).toEqual([
      "SmolLM2-135M reward model",
      "SmolLM2-135M-Instruct",
    ]);
  });

  test("a model says what it is good at", () => {
    const published = [
      row("owner/name", 0.75, [
        ["Math", 0.5],
        ["Focus", 0.9],
        ["Ties", 0.4],
      ]),
    ];
    expect(hub(from("auto"), published)[0]?.marks).toMatchObject({
      overall: 0.75,
      best: ["Focus", 0.9],
      isSample: false,
    });
  });

  test("one without published marks has none, one with an overall mark alone has that", () => {
    expect(hub(from("auto"))[0]?.marks).toBeUndefined();
    const marked = { auto: catalog(listed({ id: "a/b@refs/pr/3", reward_bench_2: 0.32 })) };
    expect(hub(marked)[0]).toMatchObject({
      owner: "a",
      name: "b",
      about: "revision refs/pr/3",
      marks: { overall: 0.32, parts: [] },
    });
  });

  test("bytes by type, where two types take the same once", () => {
    expect(hub(from("q8"))[0]?.sizes.map(({ name, bytes, tooLarge }) => [name, bytes, tooLarge])).toEqual([
      ["as stored (16 bits)", 100, "too large"],
      ["8 bits", 56, undefined],
      ["4 bits", 31, undefined],
    ]);
  });

  test("an owner's name is said once", () => {
    expect(hub({ auto: catalog(listed({ id: "Sky/Sky-Reward-1B" })) })[0]).toMatchObject({
      title: "Sky/Sky-Reward-1B",
      owner: "Sky",
      name: "Reward-1B",
    });
  });

  test("only what fits is shown where that is asked for", () => {
    expect(hub(from("none"), [], { onlyFitting: true })).toEqual([]);
    expect(hub(from("q4"), [], { onlyFitting: true })).toHaveLength(1);
  });

  test("only what has a kind of scores is shown where that is asked for", () => {
    const auto = catalog(listed({ id: "o/prm", kind: "steps" }), listed({ id: "o/rm", kind: "reward" }));
    const names = (kind?: ScoreKind) => cards({ auto }, [], { ...ORDER, kind }).map(({ name }) => name);
    expect(names("steps")).toEqual(["prm"]);
    expect(names("reward")).toEqual(["SmolLM2-135M reward model", "rm"]);
    expect(names("likelihood")).toEqual(["SmolLM2-135M-Instruct"]);
    expect(names()).toHaveLength(4);
  });

  test("the best come first where that is asked for, those without marks last", () => {
    const marks = [0.3, undefined, 0.8];
    const auto = catalog(...marks.map((reward_bench_2, i) => listed({ id: `o/${i}`, reward_bench_2 })));
    expect(hub({ auto }, [], { order: "mark" }).map(({ name }) => name)).toEqual(["2", "0", "1"]);
  });
});

test("the engine's sentences are put in words that people know", () => {
  expect(
    plainly(
      "loading a/b-1234567: its weights need 8044941312 bytes as stored, the CPU path here has at most 3758096384; load it as q4, which needs 2514044160 bytes",
    ),
  ).toBe(
    "loading a/b-1234567: its weights need 8.0 GB as stored, the CPU path here has at most 3.8 GB; load it in 4 bits, which needs 2.5 GB",
  );
});

describe("stored", () => {
  const file = (name: string, is_complete = true) => ({ of: "owner/name", name, is_complete }) as StoredFile;
  test.each([
    ["all of it", [file("config.json"), file("model.safetensors")], true],
    ["a part", [file("config.json"), file("model.safetensors", false)], false],
    ["its configuration alone", [file("config.json")], false],
    ["nothing", [], false],
  ])("%s", (_what, files, stored) => expect(isStored(sample.storage({ files }), "owner/name")).toBe(stored));
});

test("a device is called as people know it", () => {
  expect(deviceName({ kind: "cpu", name: "CPU", software: false })).toBe("CPU");
  expect(deviceName({ kind: "gpu", name: "Apple M2", software: false })).toBe("Apple M2, by WebGPU");
  expect(deviceName({ kind: "gpu", name: "", software: true })).toBe("GPU, by WebGPU, emulated on the CPU");
});

test.each([
  [12, "1 kB"],
  [340_000, "340 kB"],
  [98_362_432, "98 MB"],
  [1_192_101_888, "1.2 GB"],
  [15_009_857_536, "15.0 GB"],
])("%d bytes are %s", (bytes, text) => expect(size(bytes)).toBe(text));
