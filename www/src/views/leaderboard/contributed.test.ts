import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { CONTRIBUTED } from "./contributed";
import { publicLines } from "./lines";

test("every row of the repository's board folder is on the page", () => {
  const folder = new URL("../../../../board/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
  expect(files.length).toBeGreaterThan(0);
  const rows = files.map((file) => JSON.parse(readFileSync(new URL(file, folder), "utf8")) as unknown);
  expect(CONTRIBUTED).toHaveLength(files.length);
  expect(CONTRIBUTED).toEqual(expect.arrayContaining(rows));
});

test("a contributed run over the bundled sample has no rank", () => {
  const line = publicLines("reward_bench_2", [], CONTRIBUTED, "").find(({ model }) => model === "SmolLM2-135M reward");
  expect(line).toMatchObject({ place: "contributed-aside", note: "bundled sample, 140 items" });
});
