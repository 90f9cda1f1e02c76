import { describe, expect, test } from "vitest";
import { pasted } from "./pasted";

describe("what is pasted into Try", () => {
  test.each([
    ["lines", "Red\r\nGreen\n\n Blue ", ["Red", "Green", " Blue"]],
    ["one line", "Red", ["Red"]],
    ["a JSON list of texts", '["a\\nb", "c"]', ["a\nb", "c"]],
    ["objects with a text", '[{"text": "a"}, {"content": "b"}, {"completion": "c"}]', ["a", "b", "c"]],
    ["a text that begins with a bracket", "[sic] it is", ["[sic] it is"]],
    ["nothing", "  \n ", []],
  ])("%s", (_what, text, completions) => {
    expect(pasted(text)).toMatchObject({ completions, trouble: "" });
    expect(pasted(text).turns).toBeUndefined();
  });

  test.each([
    [
      "prompt with chosen and rejected",
      { prompt: "Why?", chosen: "a", rejected: ["b", "c"] },
      [{ role: "user", content: "Why?" }],
      ["a", "b", "c"],
    ],
    [
      "a system text beside the prompt",
      { system: "Be kind.", prompt: "Why?", completions: ["a"] },
      [
        { role: "system", content: "Be kind." },
        { role: "user", content: "Why?" },
      ],
      ["a"],
    ],
    [
      "messages with completions",
      { id: "1", messages: [{ role: "user", content: "Hi" }], completions: ["a", "b"] },
      [{ role: "user", content: "Hi" }],
      ["a", "b"],
    ],
    [
      "whole conversations that differ in their last turn",
      {
        chosen: [
          { role: "user", content: "Hi" },
          { role: "assistant", content: "a" },
        ],
        rejected: [
          { role: "user", content: "Hi" },
          { role: "assistant", content: "b" },
        ],
      },
      [{ role: "user", content: "Hi" }],
      ["a", "b"],
    ],
  ])("a row: %s", (_what, row, turns, completions) => {
    expect(pasted(JSON.stringify(row))).toEqual({ turns, completions, trouble: "" });
    expect(pasted(JSON.stringify([row]))).toEqual({ turns, completions, trouble: "" });
  });

  test("what is cut or has nothing says so", () => {
    expect(pasted('{"prompt": "a"').trouble).toMatch(/end missing/);
    expect(pasted('["a", ').trouble).toMatch(/end missing/);
    expect(pasted('{"prompt": "a"}').trouble).toMatch(/no completions/);
    expect(pasted("[1, 2]").trouble).toMatch(/no texts/);
  });

  test("more than fit are cut, and that is said", () => {
    const found = pasted(Array.from({ length: 250 }, (_, i) => `line ${i}`).join("\n"));
    expect(found.completions).toHaveLength(200);
    expect(found.trouble).toMatch(/Of 250 completions the first 200/);
  });
});
