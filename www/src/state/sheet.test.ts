import { beforeEach, describe, expect, test, vi } from "vitest";
import { EXAMPLES } from "../lib/examples";
import { parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { held, settle } from "../testing/worker";
import type { Score } from "../wasm/rewardscope";
import { ModelsState } from "./models.svelte";
import { SheetState, TOLERANCE } from "./sheet.svelte";

let all: ReturnType<typeof parts>;
let models: ModelsState;
let sheet: SheetState;

/** Scores as the engine gives them, by text. */
const SCORES: Record<string, number> = { Red: 1, Green: 0, Violet: 2, Brown: NaN };
const score = (text: string) => ({ score: SCORES[text] ?? -1, tokens: text.length }) as Score;

beforeEach(async () => {
  vi.useRealTimers();
  all = parts();
  models = new ModelsState(all.work, all.engine, { replacing: () => {}, changed: () => {} });
  all.seam.answers.loadHub = ([id]) => sample.model({ name: id, fingerprint: `f ${id}` });
  all.seam.answers.score = ([, texts]) => texts.map(score);
  sheet = new SheetState(all.work, models);
  sheet.live = false;
});

const load = () => models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
const texts = () => sheet.ordered.map(({ text }) => text);
const card = (text: string) => {
  const found = sheet.cards.find((one) => one.text === text);
  if (!found) throw new Error(`there is no card ${text}`);
  return found;
};

describe("a first visit", () => {
  test("shows the first example, without a score", () => {
    expect(sheet.prompt).toBe(EXAMPLES[0].turns[0]?.content);
    expect(texts()).toEqual(EXAMPLES[0].completions);
    expect([sheet.scored, sheet.best, sheet.anyStale]).toEqual([undefined, undefined, false]);
  });
});

describe("scoring", () => {
  test("puts the cards best first, and NaN last", async () => {
    await load();
    await sheet.score();
    expect(texts()).toEqual(["Violet", "Red", "Green", "Rainbows appear when sunlight meets rain.", "Brown"]);
    expect([sheet.best, sheet.rank(card("Violet")), sheet.rank(card("Green"))]).toEqual([2, 1, 3]);
    sheet.bestFirst = false;
    expect(texts()).toEqual(EXAMPLES[0].completions);
  });

  test("a changed text keeps its score, marked as stale", async () => {
    await load();
    await sheet.score();
    const changed = card("Red");
    changed.text = "Reddish";
    expect([sheet.isStale(changed), sheet.isStale(card("Green")), sheet.anyStale]).toEqual([true, false, true]);
    expect(sheet.scoreOf(changed)).toBe(1);
    changed.text = "Red";
    expect(sheet.anyStale).toBe(false);
    sheet.turns[0]!.content += "!";
    expect(sheet.isStale(card("Green"))).toBe(true);
  });

  test("while a text is edited the order is held", async () => {
    await load();
    sheet.hold();
    await sheet.score();
    expect(texts()).toEqual(EXAMPLES[0].completions);
    sheet.add(["Indigo"]);
    expect(texts().at(-1)).toBe("Indigo");
    sheet.release();
    expect(texts()[0]).toBe("Violet");
  });

  test("tells how far it is", async () => {
    await load();
    const later = held<Score[]>();
    all.seam.answers.score = (_, tell) => {
      tell({ completions_done: 1, completions_total: 5 });
      return later.promise;
    };
    const scoring = sheet.score();
    expect(sheet.progress).toEqual({ done: 1, total: 5 });
    later.done([1, 2, 3, 4, 5].map((value) => ({ score: value }) as Score));
    await scoring;
    all.seam.answers.score = () => later.promise;
    const next = sheet.score();
    expect(sheet.progress).toBe(undefined);
    await next;
  });

  test("of what was typed meanwhile happens after", async () => {
    await load();
    sheet.live = true;
    const first = held<Score[]>();
    let calls = 0;
    all.seam.answers.score = ([, texts]) => (calls++ === 0 ? first.promise : texts.map(score));
    const superseded = vi.fn(() => first.failed(new Error("cancelled")));
    sheet.onSuperseded = superseded;
    vi.useFakeTimers();
    const scoring = sheet.score();
    await vi.advanceTimersByTimeAsync(10);
    card("Red").text = "Crimson";
    sheet.typed();
    await vi.advanceTimersByTimeAsync(1000);
    await scoring;
    await vi.advanceTimersByTimeAsync(1000);
    expect(superseded).toHaveBeenCalledOnce();
    expect(all.seam.of("score").at(-1)?.[1]).toContain("Crimson");
    expect(sheet.anyStale).toBe(false);
  });

  test("fails with a sentence, and the old scores stay", async () => {
    await load();
    await sheet.score();
    all.seam.answers.score = () => Promise.reject(new Error("scoring: no"));
    await sheet.score();
    expect([all.work.error, sheet.best]).toEqual(["scoring: no", 2]);
  });
});

describe("undo", () => {
  test("takes back what was removed, added and typed, one step each", () => {
    sheet.remove(card("Green"));
    sheet.add(["Indigo", ""]);
    sheet.typing("card");
    card("Indigo").text = "Indigo!";
    sheet.typing("card");
    card("Indigo!").text = "Indigo!!";
    expect(sheet.cards.map(({ text }) => text)).toContain("Indigo!!");
    sheet.undo();
    expect(sheet.cards.map(({ text }) => text)).toContain("Indigo");
    sheet.undo();
    expect(sheet.cards).toHaveLength(4);
    sheet.undo();
    expect(sheet.cards.map(({ text }) => text)).toEqual(EXAMPLES[0].completions);
    expect(sheet.canUndo).toBe(false);
    sheet.undo();
    expect(sheet.cards).toHaveLength(5);
  });

  test("brings scores back with the cards that they belong to", async () => {
    await load();
    await sheet.score();
    sheet.remove(card("Violet"));
    expect(sheet.best).toBe(1);
    sheet.undo();
    expect([sheet.best, sheet.isStale(card("Violet"))]).toEqual([2, false]);
  });
});

describe("a link", () => {
  const sent = { by: "M", fingerprint: "f owner/name", dtype: "f32", is_reward: true };
  const demonstration = {
    turns: [{ role: "user" as const, content: "Colour?" }],
    completions: ["Red", "Violet"],
    model: { hub: "owner/name@abc" },
    sent: { ...sent, scores: [1.0001, 3] },
  };

  test("shows the sender's scores at once and computes nothing", async () => {
    await load();
    sheet.live = true;
    sheet.takeLink(demonstration);
    await settle();
    expect(all.seam.of("score")).toEqual([]);
    expect([sheet.best, texts()[0]]).toEqual([3, "Violet"]);
  });

  test("computed here both stand, and what differs by more than two devices do is said", async () => {
    await load();
    sheet.takeLink(demonstration);
    await sheet.score();
    expect([sheet.sentScore(card("Red")), sheet.scoreOf(card("Red"))]).toEqual([1.0001, 1]);
    expect([sheet.differs(card("Red")), sheet.differs(card("Violet"))]).toEqual([false, true]);
  });

  test.each([
    [1 + TOLERANCE * 1.1, true],
    [1 - TOLERANCE * 0.9, false],
    [NaN, true],
    [Infinity, true],
  ])("a sender's score of %d against 1", async (score, differs) => {
    await load();
    sheet.takeLink({ ...demonstration, sent: { ...sent, scores: [score, 2] } });
    await sheet.score();
    expect(sheet.differs(card("Red"))).toBe(differs);
  });

  test("once the text is another, the sender's scores are gone", () => {
    sheet.takeLink(demonstration);
    expect(sheet.linked).toEqual(demonstration);
    card("Red").text = "Pink";
    sheet.typed();
    expect([sheet.sent, sheet.linked, sheet.best]).toEqual([undefined, undefined, undefined]);
  });
});
