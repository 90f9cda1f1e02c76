import { beforeEach, expect, test, vi } from "vitest";
import type { StoredRun } from "../../wasm/rewardscope";

vi.hoisted(() => vi.stubGlobal("document", { baseURI: "https://site.example/" }));
const { choicesOf, nameOf, read, remember, sourceOf, unfinished } = await import("./unfinished");
const { SITE_MODELS } = await import("../../lib/site");
const { DEFAULT_SETTINGS } = await import("../../lib/settings");
const { readLink } = await import("./link");

let kept: Map<string, string>;
beforeEach(() => {
  kept = new Map();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  });
});

const made = (over: Partial<Parameters<typeof remember>[0]> = {}): Parameters<typeof remember>[0] => ({
  fingerprint: "f1",
  dataset: "sample.parquet",
  selection: { subset: "Safety", limit: 20, seed: 3 },
  total: 20,
  model: SITE_MODELS[0].source,
  origin: undefined,
  settings: { ...DEFAULT_SETTINGS },
  choices: readLink(new URLSearchParams("size=quick&seed=3")),
  columns: { prompt: "" },
  ...over,
});

function stored(key: string, items_done: number, over: object = {}): StoredRun {
  const identity = { model: "m", model_fingerprint: "f1", dataset: "sample.parquet", limit_per_subset: 20, seed: 3 };
  return {
    key,
    summary: { identity: { ...identity, ...over }, items_done, items_total: 20 },
  } as unknown as StoredRun;
}

const found = (runs: StoredRun[], times = new Map<string, number>(), now = 0) => unfinished(runs, times, now, read());

test("a run that was left is known with its model, its rows and its subset", () => {
  remember(made());
  const [run] = found([stored("a", 4)]);
  const [known] = run?.known ?? [];
  expect(known && sourceOf(known)).toEqual(SITE_MODELS[0].source);
  expect(known && choicesOf(known)).toMatchObject({ source: "sample", size: "quick", seed: 3 });
  expect(known?.subset).toBe("Safety");
});

test("it is called as the page calls its model and rows, and else as it is stored", () => {
  const name = () => found([stored("a", 4)]).map(nameOf);
  expect(name()).toEqual(["m on sample.parquet"]);
  remember(made());
  expect(name()).toEqual([`${SITE_MODELS[0].title} on Bundled sample`]);
});

test("finished and unbegun runs are not offered, nor those of long ago", () => {
  const day = 86_400_000;
  const times = new Map([
    ["a", 100 * day],
    ["b", 80 * day],
  ]);
  const runs = [stored("a", 4), stored("b", 4), stored("c", 20), stored("d", 0), { key: "e", summary: undefined }];
  expect(found(runs, times, 101 * day).map(({ key }) => key)).toEqual(["a"]);
});

test("the one that was left last comes first, and few are offered", () => {
  const keys = ["a", "b", "c", "d", "e"];
  const times = new Map(keys.map((key, i) => [key, 1000 + i]));
  expect(
    found(
      keys.map((key) => stored(key, 4)),
      times,
      2000,
    ).map(({ key }) => key),
  ).toEqual(["e", "d", "c"]);
});

test("a run of another model or other rows is another one", () => {
  remember(made());
  const others = [{ model_fingerprint: "f2" }, { dataset: "other.parquet" }, { limit_per_subset: 10 }, { seed: 4 }];
  for (const over of others) expect(found([stored("a", 4, over)])[0]?.known).toEqual([]);
});

test("two subsets of one size are both known", () => {
  remember(made());
  remember(made({ selection: { subset: "Math", limit: 20, seed: 3 } }));
  remember(made());
  expect(found([stored("a", 4)])[0]?.known.map(({ subset }) => subset)).toEqual(["Safety", "Math"]);
});

test("of files and heads of one's own nothing is remembered that could not be opened", () => {
  const files = { kind: "files" as const, files: [] };
  for (const model of [files, { kind: "hub" as const, id: "a/b", head: new Uint8Array() }]) {
    remember(made({ model }));
    const [known] = found([stored("a", 4)])[0]?.known ?? [];
    expect(known && sourceOf(known)).toBeUndefined();
  }
  remember(made({ model: { kind: "hub", id: "a/b" }, origin: "a/b@0123" }));
  expect(read()[0]?.model).toEqual({ hub: "a/b@0123" });
});

test.each([
  "",
  "{",
  "7",
  "[7,null,{}]",
  '[{"run":1}]',
  '[{"run":"x","link":"","subset":"","columns":7,"settings":{}}]',
])("what is no memory of runs is none: %j", (text) => {
  kept.set("rewardscope.runs", text);
  expect(read()).toEqual([]);
});

test("where the browser blocks its storage nothing is remembered and nothing fails", () => {
  vi.stubGlobal("localStorage", undefined);
  remember(made());
  expect(read()).toEqual([]);
});
