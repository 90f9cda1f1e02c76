import { describe, expect, test } from "vitest";
import { seeded } from "../../testing/random";
import { hits, pieces, start, type Part } from "./highlight";

const marked = (text: string, wanted: string) => hits(text, wanted).map(([from, to]) => text.slice(from, to));

describe("what was searched for", () => {
  test("is found wherever it stands, in upper and lower case", () => {
    expect(marked("What? WHAT whatever", " what ")).toEqual(["What", "WHAT", "what"]);
    expect(marked("aaaa", "aa")).toEqual(["aa", "aa"]);
    expect(marked("Grüße", "ÜSS")).toEqual([]);
    expect(marked("abc", "")).toEqual([]);
    expect(marked("abc", "  ")).toEqual([]);
  });

  test("is found where lower case is longer than upper case", () => {
    expect(marked("İİ x İstanbul", "istanbul")).toEqual([]);
    expect(marked("İİ x Paris", "paris")).toEqual(["Paris"]);
    expect(marked("İ.", "i\u0307")).toEqual(["İ"]);
  });

  test("is marked at most 500 times", () => {
    expect(hits("a".repeat(10_000), "a")).toHaveLength(500);
  });
});

describe("pieces", () => {
  test("a hit goes on over what is added", () => {
    const parts: Part[] = [{ value: "the lar" }, { value: "gest mammal", added: true }];
    expect(pieces(parts, hits("the largest mammal", "largest"))).toEqual([
      { value: "the ", added: undefined, hit: false },
      { value: "lar", added: undefined, hit: true },
      { value: "gest", added: true, hit: true },
      { value: " mammal", added: true, hit: false },
    ]);
  });

  test("of any text they make up the text, and what is marked is what was searched for", () => {
    const { text, whole, unit } = seeded(77);
    for (let round = 0; round < 500; round++) {
      const said = text(40) + (unit() < 0.3 ? "İ" : "") + text(10);
      const from = whole(40);
      const wanted = unit() < 0.8 ? [...said].slice(from, from + 1 + whole(3)).join("") : text(2);
      const cut = whole(said.length + 1);
      const parts = [{ value: said.slice(0, cut) }, { value: said.slice(cut), added: true }];
      const found = hits(said, wanted);
      const split = pieces(parts, found);
      expect(split.map(({ value }) => value).join("")).toBe(said);
      expect(split.every(({ value }) => value !== "")).toBe(true);
      const drawn = split.filter(({ hit }) => hit).map(({ value }) => value);
      expect(drawn.join("")).toBe(found.map(([begin, end]) => said.slice(begin, end)).join(""));
      if (wanted.trim() === "") expect(found).toEqual([]);
      for (const [begin, end] of found)
        expect(said.slice(begin, end).toLowerCase()).toContain(wanted.trim().toLowerCase());
    }
  });
});

test("a cut text does not end within a character", () => {
  expect([start("abc", 3), start("abc", 2), start("a🦀", 2), start("a🦀", 3)]).toEqual(["abc", "ab", "a", "a🦀"]);
});
