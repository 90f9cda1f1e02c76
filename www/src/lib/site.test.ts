import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { FitReport } from "../wasm/rewardscope";
import { SAMPLE_ITEMS, SITE_MODELS } from "./site";

const path = new URL("../../../heads/smollm2-135m-instruct/report.json", import.meta.url);
const { benchmark } = JSON.parse(readFileSync(path, "utf8")) as FitReport;

test.each([
  ["reward", "the head"],
  ["likelihood", "the backbone's likelihood"],
])("the marks of the site's %s model are those of the report", (name, scorer) => {
  const sample = SITE_MODELS.find((model) => model.name === name)?.sample;
  const found = benchmark?.scorers.find((one) => one.name === scorer);
  expect(benchmark?.items).toBe(SAMPLE_ITEMS);
  expect(found?.mean.toFixed(4)).toBe(sample?.overall.toFixed(4));
  const best = found?.marks.subsets.toSorted((a, b) => b.score - a.score)[0];
  expect([best?.subset, best?.score.toFixed(4)]).toEqual([sample?.best[0], sample?.best[1].toFixed(4)]);
});
