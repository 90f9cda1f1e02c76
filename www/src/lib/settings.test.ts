import { describe, expect, test } from "vitest";
import { DEFAULT_SETTINGS, readSettings } from "./settings";

describe("settings of a link", () => {
  test("are read as they were written", () => {
    const reference = { model: "owner/name@main", log_ratios: { beta: 0.1, normalise_length: true } };
    const settings = { ...DEFAULT_SETTINGS, is_dpo: true, reference, pair_aggregate: "bradley-terry" };
    expect(readSettings(JSON.parse(JSON.stringify(settings)))).toEqual(settings);
    expect(readSettings({})).toEqual(DEFAULT_SETTINGS);
    expect(readSettings({ pair_aggregate: "borda" })).toEqual(DEFAULT_SETTINGS);
  });

  test("with a damaged reference are none", () => {
    const log_ratios = { beta: 1, normalise_length: false };
    for (const reference of [
      7,
      "owner/name",
      { model: "owner/name" },
      { model: " ", log_ratios },
      { model: "a".repeat(501), log_ratios },
      { model: 7, log_ratios },
      { model: "owner/name", log_ratios: { beta: 0 } },
      { model: "owner/name", log_ratios: { beta: "1" } },
      { model: "owner/name", log_ratios: { beta: Infinity } },
    ])
      expect(readSettings({ reference }), JSON.stringify(reference)).toBeUndefined();
  });
});
