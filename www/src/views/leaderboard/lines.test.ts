import { expect, test } from "vitest";
import type { Assessment, BoardRow, PublishedRow } from "../../wasm/rewardscope";
import { hubPage, isPublic, isWhole, ownLine, percent, publicLines, ranked, sizeOf, type OwnRun } from "./lines";

const COMMIT = "0".repeat(40);
const SAMPLE = "6d86c30d0889421decc1585af8f20ad0a6f589dc40fd87c43fa512989ec6cc1b";
const facts = (over: Partial<BoardRow> = {}) =>
  ({
    benchmark: "reward-bench-2",
    dataset: `allenai/reward-bench-2@${COMMIT}:data/test.parquet`,
    dataset_sha256: "ab",
    limit_per_subset: undefined,
    items_total: 1865,
    items_missing: 0,
    ...over,
  }) as BoardRow;
const published = (model: string, overall: number): PublishedRow => ({
  model,
  model_type: "Seq. Classifier",
  overall,
  parts: [],
  under: { dtype: undefined, length_limit: undefined, template: undefined },
  source: "somewhere",
});
const run = (score: number, over: Partial<OwnRun> = {}): OwnRun => ({
  key: "1",
  model: `owner/name@${COMMIT}`,
  name: "run.json",
  dataset: "sample.parquet",
  is_own: true,
  under: { dtype: "f16", length_limit: 4096, template: "tokenizer" },
  assessment: {
    benchmark: "reward-bench-2",
    overall: { score },
    subsets: [],
    sections: [],
    items: 1865,
  } as unknown as Assessment,
  facts: facts(),
  when: "14:05",
  ...over,
});

test("a run has a rank only if it is over all of the official rows", () => {
  const isRanked = (over: Partial<BoardRow>) => isWhole(facts(over), "official.parquet");
  expect(isRanked({})).toBe(true);
  expect(isRanked({ dataset: "official.parquet" })).toBe(true);
  expect(isRanked({ dataset: "sample.parquet", dataset_sha256: SAMPLE, items_total: 140 })).toBe(false);
  expect(isRanked({ dataset: "pairs.jsonl" })).toBe(false);
  expect(isRanked({ dataset: `somebody/reward-bench-2@${COMMIT}:rows.parquet` })).toBe(false);
  expect(isRanked({ items_missing: 1 })).toBe(false);
  expect(isRanked({ limit_per_subset: 400 })).toBe(false);
  expect(isRanked({ items_total: 1864 })).toBe(false);
  expect(isRanked({ benchmark: "rm-bench" })).toBe(false);
  expect(isWhole(facts({ dataset: "" }), "")).toBe(false);
});

test("a sample's mark is never placed between published ones", () => {
  const sample = facts({ dataset: "sample.parquet", dataset_sha256: SAMPLE, items_total: 140 });
  const lines = ranked("reward_bench_2", [
    ...publicLines("reward_bench_2", [published("a/a", 0.9), published("b/b", 0.3)], [], ""),
    ownLine(run(0.6, { key: "whole" }), ""),
    ownLine(run(0.5, { key: "sample", facts: sample }), ""),
    ownLine(run(0.5, { key: "unknown", facts: undefined }), ""),
    ownLine(run(0.5, { key: "running", isRunning: true }), ""),
  ]);
  expect(lines.map(({ place, rank }) => [place, rank])).toEqual([
    ["ranked", 1],
    ["ranked", 2],
    ["own", 2],
    ["own-aside", undefined],
    ["own-aside", undefined],
    ["own-aside", undefined],
  ]);
  expect(lines[3]?.note).toBe("bundled sample, 1,865 items, 14:05");
  expect(lines[5]?.note).toMatch(/so far/);
});

test("equal marks share the better rank", () => {
  const lines = publicLines(
    "reward_bench_2",
    [0.9, 0.8, 0.8, 0.7].map((mark) => published("a/a", mark)),
    [],
    "",
  );
  expect(ranked("reward_bench_2", lines).map(({ rank }) => rank)).toEqual([1, 2, 2, 4]);
});

test("runs of one model are told apart, and what is not known is not made up", () => {
  expect(ownLine(run(0.5), "")).toMatchObject({ model: "owner/name", note: "RewardBench 2, 1,865 items, 14:05" });
  const file = ownLine(run(0.5, { is_own: false, name: "theirs.json", dataset: "", facts: undefined, when: "" }), "");
  expect(file).toMatchObject({ place: "own-aside", note: "unnamed rows, 1,865 items, theirs.json" });
  const partial = { ...run(0).assessment, overall: undefined, partial: { score: 0.5 } } as unknown as Assessment;
  const part = ownLine(run(0, { assessment: partial }), "");
  expect(part.overall).toBeUndefined();
  expect(part.source).toMatch(/mean of the parts that were run is 50\.0/);
});

test("only runs over rows that others can open are offered as a contribution", () => {
  const isOffered = (over: Partial<BoardRow>) => isPublic(facts(over), "");
  expect(isOffered({})).toBe(true);
  expect(isOffered({ dataset: "sample.parquet", dataset_sha256: SAMPLE })).toBe(true);
  expect(isOffered({ dataset: "https://example.org/rows.jsonl" })).toBe(true);
  expect(isOffered({ dataset: "sample.parquet" })).toBe(false);
  expect(isOffered({ dataset: "pairs.jsonl" })).toBe(false);
  expect(isOffered({ dataset: "http://localhost:8000/rows.jsonl" })).toBe(false);
  expect(isOffered({ dataset: `owner/name@${COMMIT}:a.parquet, pairs.jsonl` })).toBe(false);
  expect(isOffered({ benchmark: "preference" })).toBe(false);
});

test("marks are in percent with one decimal, or with all that they have", () => {
  expect([0.8413, 0.58, -0.0098, undefined].map((mark) => percent(mark))).toEqual(["84.1", "58.0", "-1.0", "–"]);
  expect([0.8413, 0.58, 0.42606491].map((mark) => percent(mark, true))).toEqual(["84.13", "58.00", "42.6065"]);
});

test("only names of models on the Hub are links", () => {
  expect(hubPage("Skywork/Skywork-Reward-V2-Qwen3-0.6B")).toBe(
    "https://huggingface.co/Skywork/Skywork-Reward-V2-Qwen3-0.6B",
  );
  const others = [
    "google/gemini-2.5-pro",
    "anthropic/claude-opus-4-20250514",
    "allenai/open_instruct_dev-rm_1e-6_2_rl_skyworkstulufull__1__1743551498",
    "Ray2333/reward-model-Mistral-7B-instruct-Unifie...",
    "Cohere May 2024",
    "../../settings",
    "my_model/",
    "javascript:alert(1)",
  ];
  for (const name of others) expect(hubPage(name), name).toBeUndefined();
});

test("a model's class of size comes from its name, else from its number of parameters", () => {
  expect(["a/x-0.6B", "a/x-8b-instruct", "a/x-72B", "a/x-135M", "a/x"].map((name) => sizeOf(name, undefined))).toEqual([
    "small",
    "medium",
    "large",
    "small",
    "unknown",
  ]);
  expect(sizeOf("a/x", 4e9)).toBe("medium");
});
