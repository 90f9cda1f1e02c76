import { describe, expect, test } from "vitest";
import { matching } from "./commands";

describe("searching commands", () => {
  test("all words must occur, in any order", () => {
    expect(matching("Settings Open the last model at a visit", "model last")).toBeGreaterThan(0);
    expect(matching("Models OpenAssistant/reward-model-deberta-v3-large", "last model")).toBe(0);
  });

  test("words that begin one come first", () => {
    expect(matching("Views Explore", "ex")).toBeGreaterThan(matching("Examples Complex", "plex"));
    expect(matching("Views Models", "mod")).toBe(1);
  });

  test("without a search everything matches alike", () => {
    expect(matching("Views Try", " ")).toBe(1);
  });
});
