import { expect, test } from "vitest";
import { fileName, short } from "./names";

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
