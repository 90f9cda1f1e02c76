import { describe, expect, test } from "vitest";
import { MOST_LINK_CHARACTERS, linkParams, linked, type Demonstration } from "./link";
import { DEFAULT_SETTINGS } from "./settings";
import { seeded } from "../testing/random";

const DEMO: Demonstration = {
  turns: [
    { role: "system", content: "Be kind." },
    { role: "user", content: "Why? 👩‍👩‍👧 \u0000 مرحبا" },
  ],
  completions: ["Because.", "", "<img src=x onerror=alert(1)>"],
  model: { hub: "owner/name@0123456789012345678901234567890123456789:q4.gguf" },
  head: { name: "Kindness", bytes: new Uint8Array([0, 1, 254, 255]) },
  settings: { ...DEFAULT_SETTINGS, dtype: "q8", label: 2 },
  sent: { by: "Kindness", fingerprint: "f00d", dtype: "q8", is_reward: true, scores: [1.25, NaN, undefined] },
};

const params = (entries: Record<string, string>) => new URLSearchParams(entries);
const read = async (demonstration: unknown) => linked(params(await linkParams(demonstration as Demonstration)));

describe("a link", () => {
  test("brings back what was put into it", async () => {
    expect(await read(DEMO)).toEqual(DEMO);
    const bare = { turns: [{ role: "user" as const, content: "Hi" }], completions: [] };
    expect(await read(bare)).toEqual(bare);
  });

  test("survives an address: only letters that need no escape", async () => {
    const { demo = "" } = await linkParams(DEMO);
    expect(demo).toMatch(/^1\.[\w-]+$/);
    expect(new URLSearchParams(new URLSearchParams({ demo }).toString()).get("demo")).toBe(demo);
  });

  test("infinite scores come back", async () => {
    const sent = { ...DEMO.sent!, scores: [Infinity, -Infinity, 0] };
    expect((await read({ ...DEMO, sent }))?.sent?.scores).toEqual([Infinity, -Infinity, 0]);
  });

  test("the first form, text alone, is still read", async () => {
    const text = JSON.stringify({ turns: [{ role: "user", content: "Hi" }], completions: ["a"] });
    expect(await linked(params({ text }))).toMatchObject({ completions: ["a"] });
  });

  test("no link is none", async () => {
    expect(await linked(params({}))).toBeUndefined();
  });
});

describe("a bad link has one sentence, and nothing of it is shown", () => {
  const sentence = /^This link cannot be shown: .+\. Ask the sender for a new one\.$/;

  test.each([
    ["too long", { demo: `1.${"a".repeat(MOST_LINK_CHARACTERS)}` }, /30,002 characters/],
    ["empty", { demo: "" }, /it is cut/],
    ["no content", { demo: "1." }, /it is cut/],
    ["of a newer page", { demo: "2.abc" }, /newer version/],
    ["no version", { demo: "abc" }, /cut/],
    ["no base64", { demo: "1.%%%" }, /cut or damaged/],
    ["no deflate", { demo: "1.AAAA" }, /cut or damaged/],
    ["old form, cut", { text: '{"turns": [{"role":' }, /cut or damaged/],
    ["old form, another thing", { text: "[1, 2]" }, /no completions/],
    ["old form, null", { text: "null" }, /no conversation/],
  ])("%s", async (_what, entries, why) => {
    await expect(linked(params(entries))).rejects.toThrow(sentence);
    await expect(linked(params(entries))).rejects.toThrow(why);
  });

  test.each([
    ["no turns", { ...DEMO, turns: [] }, /no conversation/],
    ["a turn that is null", { ...DEMO, turns: [null] }, /no text/],
    ["a turn of an unknown role", { ...DEMO, turns: [{ role: "root", content: "x" }] }, /no known role/],
    ["too many turns", { ...DEMO, turns: Array(51).fill({ role: "user", content: "" }) }, /at most 50/],
    ["too many completions", { ...DEMO, sent: undefined, completions: Array(201).fill("") }, /at most 200/],
    ["a completion that is no text", { ...DEMO, completions: [1, 2, 3] }, /no completions/],
    ["an unknown model of the site", { ...DEMO, model: { site: "other" } }, /does not know/],
    ["a model at an address", { ...DEMO, model: { hub: "https://evil.example/x" } }, /does not know/],
    [
      "a head at another kind of address",
      { ...DEMO, head: { name: "x", address: "file:///etc/passwd", sha256: "0" } },
      /head/,
    ],
    ["a head without a hash", { ...DEMO, head: { name: "x", address: "https://h.example/x" } }, /head/],
    ["scores of another number", { ...DEMO, sent: { ...DEMO.sent!, scores: [1] } }, /3 completions and 1 scores/],
    ["scores that are texts", { ...DEMO, sent: { ...DEMO.sent!, scores: ["a", 1, 2] } }, /no number/],
  ])("%s", async (_what, demonstration, why) => {
    await expect(read(demonstration)).rejects.toThrow(why);
    await expect(read(demonstration)).rejects.toThrow(sentence);
  });

  test("few bytes that unpack to very many are not unpacked", async () => {
    const bomb = { turns: [{ role: "user", content: "a".repeat(20_000_000) }], completions: [] };
    const { demo = "" } = await linkParams(bomb as Demonstration);
    expect(demo.length).toBeLessThan(MOST_LINK_CHARACTERS);
    await expect(linked(params({ demo }))).rejects.toThrow(/unpacks to more than 500,000/);
  });

  test("cut anywhere or with any letter changed, it is refused or reads as a whole", async () => {
    const { demo = "" } = await linkParams(DEMO);
    const { unit: next } = seeded(7);
    for (let i = 0; i < 200; i++) {
      const at = Math.floor(next() * demo.length);
      const letter = "abcXYZ019-_.%"[Math.floor(next() * 13)] ?? "a";
      const damaged = i % 2 === 0 ? demo.slice(0, at) : demo.slice(0, at) + letter + demo.slice(at + 1);
      const found = await linked(params({ demo: damaged })).catch((error: Error) => {
        expect(error.message).toMatch(sentence);
      });
      if (found) expect(found.turns.length).toBeGreaterThan(0);
    }
  });
});
