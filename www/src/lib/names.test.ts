import { describe, expect, test } from "vitest";
import { fileName, runFileName, short } from "./names";

const at = new Date(2026, 4, 4, 9, 3);
const run = { model: "SmolLM2-135M reward", dataset: "data/sample.parquet", items: 120, at };

describe("names of a run's files", () => {
  test("they say model, rows, items and time", () => {
    expect(runFileName(run)).toBe("SmolLM2-135M-reward-on-sample-120-items-2026-05-04-0903.run.json");
    expect(runFileName(run, "scores.jsonl")).toMatch(/-0903\.scores\.jsonl$/);
  });

  test("two runs of one model differ by their rows or their time", () => {
    const others = [
      { ...run, dataset: "own.jsonl.gz" },
      { ...run, at: new Date(2026, 4, 4, 9, 4) },
      { ...run, items: 50 },
    ];
    expect(new Set([run, ...others].map((one) => runFileName(one))).size).toBe(4);
  });

  test("a Hub id keeps seven digits of its commit and no slash", () => {
    const model = `owner/name@${"0123456789".repeat(4)}`;
    expect(runFileName({ ...run, model })).toMatch(/^owner-name-0123456-on-/);
  });

  test.each(["../../etc/passwd", "<b onmouseover=alert(1)>", "a\u202eb:c|d?*\\", "...", "\u0000", "x".repeat(5000)])(
    "what others wrote makes a name that every system takes: %j",
    (text) => {
      const name = runFileName({ ...run, model: text, dataset: text });
      expect(name).toMatch(/^[\p{L}\p{N}\p{M}][\p{L}\p{N}\p{M}.-]*\.run\.json$/u);
      expect(name.length).toBeLessThan(200);
    },
  );

  test("other scripts stay", () => {
    expect(runFileName({ ...run, model: "नमूना", dataset: "数据.csv" })).toMatch(/^नमूना-on-数据-120-items/);
  });
});

test("a thing is called by its own name, without owner, commit, folders and ending", () => {
  const commit = "0".repeat(40);
  expect(short(`allenai/reward-bench-2@${commit}:data/test-00000-of-00001.parquet`)).toBe("reward-bench-2");
  expect(short("Skywork/Skywork-Reward-V2-Qwen3-0.6B")).toBe("Skywork-Reward-V2-Qwen3-0.6B");
  expect(short("sample.parquet")).toBe("sample");
  expect(short("https://example.org/data/pairs.jsonl?download=true")).toBe("pairs");
  expect(short("folder/")).toBe("folder");
  expect(short("")).toBe("");
});

test("a file's name says what it holds, and no system refuses it", () => {
  expect(fileName(["SmolLM2-135M reward", "sample"], "json")).toBe("SmolLM2-135M-reward_sample.json");
  expect(fileName(['<img src=x onerror="1">', "../../etc/passwd"], "json")).toBe("img-src-x-onerror-1_etc-passwd.json");
  expect(fileName(["", "..."], "csv")).toBe("file.csv");
  expect(fileName(["nul"], "json")).toBe("nul-.json");
  expect(fileName(["日本語 モデル", "é"], "json")).toBe("日本語-モデル_é.json");
  expect(fileName(["😀".repeat(500), "x".repeat(500)], "json").length).toBeLessThan(130);
});
