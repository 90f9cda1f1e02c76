import { describe, expect, test } from "vitest";
import { seeded } from "../testing/random";
import type { Trace } from "../wasm/rewardscope";
import { groups, middle, range, share, span, sparkline, steps, type Group } from "./trace";

const trace = (tokens: [text: string, value?: number][], over: Partial<Trace> = {}): Trace => ({
  tokens: tokens.map(([text, value], i) => ({ id: 100 + i, text, value })),
  first_completion_token: 0,
  score: 0,
  is_reward: true,
  ...over,
});
const grouped = (of: Trace) => groups(steps(of), of.first_completion_token, of.is_reward);
const texts = (all: Group[]) => all.map(({ text }) => text);

describe("changes", () => {
  test("a reward's is that from the token before, the prompt's last one included", () => {
    const of = trace(
      [
        ["a", 1],
        ["b", 1.5],
        ["c", 1],
      ],
      { first_completion_token: 1 },
    );
    expect(steps(of).map(({ change }) => change)).toEqual([undefined, 0.5, -0.5]);
    expect(middle(of)).toBeUndefined();
  });

  test("a log-probability's is its distance from the completion's mean", () => {
    const of = trace([["a"], ["b", -1], ["c", -3]], { first_completion_token: 1, is_reward: false });
    expect(middle(of)).toBe(-2);
    expect(steps(of).map(({ change }) => change)).toEqual([undefined, 1, -1]);
  });

  test("there is none where a value is missing or not finite", () => {
    const of = trace([["a", 1], ["b", NaN], ["c", 2], ["d", Infinity], ["e"], ["f", 3]]);
    expect(steps(of).map(({ change }) => change)).toEqual(Array(6).fill(undefined));
  });

  test("a model without values by token has no changes, no range and no line", () => {
    const all = grouped(trace([["a"], ["b"]]));
    expect([span(all), range(all), sparkline(all, 100, 10, 1)]).toEqual([0, undefined, ""]);
    expect(middle(trace([["a"]], { is_reward: false }))).toBeUndefined();
  });
});

describe("characters of several tokens", () => {
  test("tokens without text belong to the character before them", () => {
    const [first, crab, last] = grouped(
      trace([
        ["a ", 0],
        ["🦀", 1],
        ["", 3],
        ["", 2],
        ["!", 2],
      ]),
    );
    expect([first?.text, crab?.text, last?.text]).toEqual(["a ", "🦀", "!"]);
    expect(crab?.steps.map(({ id }) => id)).toEqual([101, 102, 103]);
    expect([crab?.value, crab?.change]).toEqual([2, 2]);
  });

  test("pieces that are no character are shown as one", () => {
    expect(texts(grouped(trace([["x"], ["\ufffd"], ["\ufffd\ufffd"], ["\ufffd"], ["y"]])))).toEqual([
      "x",
      "\ufffd",
      "y",
    ]);
  });

  test("marks, joiners and skin tones stay on their character", () => {
    expect(
      texts(grouped(trace([["e"], ["\u0301"], ["क"], ["ि"], ["👩"], ["\u200d"], ["💻"], ["👍"], ["🏽"]]))),
    ).toEqual(["e\u0301", "कि", "👩\u200d💻", "👍🏽"]);
  });

  test("one token's text stays as it is, and tokens that begin without text stay apart", () => {
    expect(texts(grouped(trace([[""], [""], ["\ufffd\ufffd"], ["a"]])))).toEqual(["", "", "\ufffd\ufffd", "a"]);
  });

  test("none reaches into the completion", () => {
    const all = grouped(trace([["a"], [""], ["", 1], ["b", 2]], { first_completion_token: 2 }));
    expect(all.map(({ steps: [step] }) => step.place)).toEqual([0, 2, 3]);
  });

  test("log-probabilities of one character are averaged", () => {
    const all = grouped(
      trace(
        [
          ["é", -1],
          ["", -3],
          ["x", -2],
        ],
        { is_reward: false },
      ),
    );
    expect(all.map(({ change }) => change)).toEqual([0, 0]);
  });
});

describe("the scale", () => {
  test("it reaches equally far to both sides", () => {
    const all = grouped(
      trace([
        ["a", 0],
        ["b", 1],
        ["c", -3],
      ]),
    );
    expect(span(all)).toBe(4);
    expect(all.map(({ change }) => share(change, 4))).toEqual([0, 0.25, -1]);
  });

  test("a share never leaves it", () => {
    expect([share(9, 4), share(-9, 4), share(1, 0), share(undefined, 4), share(NaN, 4)]).toEqual([1, -1, 0, 0, 0]);
  });

  test("the line goes from the lowest value at the bottom to the highest at the top", () => {
    expect(sparkline(grouped(trace([["a", 1], ["b"], ["c", 3], ["d", 2]])), 100, 20, 2)).toBe(
      "12.50,18.00 62.50,2.00 87.50,10.00",
    );
    expect(sparkline(grouped(trace([["a", 5]])), 100, 20, 2)).toBe("50.00,10.00");
  });
});

test("of any trace: no token is lost, all text is kept, and shares and corners lie within their bounds", () => {
  const { whole, unit, pick } = seeded(25);
  const pieces = [
    "",
    "",
    "a",
    " the",
    "\n",
    "\ufffd",
    "\ufffd\ufffd",
    "🦀",
    "\u0301",
    "\u200d",
    "א",
    "漢",
    "<|im_end|>",
  ];
  const values = [undefined, NaN, Infinity, -Infinity];
  for (let round = 0; round < 400; round++) {
    const count = whole(40);
    const tokens = Array.from(
      { length: count },
      () =>
        [pick(pieces), unit() < 0.2 ? values[whole(values.length)] : (unit() - 0.5) * 10 ** whole(6)] as [
          string,
          number | undefined,
        ],
    );
    const of = trace(tokens as [string, number?][], {
      first_completion_token: whole(count + 1),
      is_reward: unit() < 0.5,
    });
    const all = grouped(of);
    const places = all.flatMap(({ steps: tokensOf }) => tokensOf.map(({ place }) => place));
    expect(places).toEqual(tokens.map((_, i) => i));
    // Only replacement characters of one character are shown once.
    const bare = (text: string) => text.replaceAll("\ufffd", "");
    expect(bare(texts(all).join(""))).toBe(bare(tokens.map(([text]) => text).join("")));
    // The completion begins with a group of its own.
    if (of.first_completion_token < count)
      expect(all.some(({ steps: [step] }) => step.place === of.first_completion_token)).toBe(true);
    const most = span(all);
    expect(Number.isFinite(most) && most >= 0).toBe(true);
    for (const { change } of all) {
      const part = share(change, most);
      expect(Math.abs(part)).toBeLessThanOrEqual(1);
      if (change !== undefined && most > 0) expect(Math.sign(part)).toBe(Math.sign(change));
    }
    // Where every token has a value, the changes of a reward add up to the way from the first to the last.
    const given = tokens.map(([, value]) => value);
    if (of.is_reward && count > 0 && given.every((value) => value !== undefined && Number.isFinite(value))) {
      const sum = all.reduce((total, { change = 0 }) => total + change, 0);
      const way = (given.at(-1) ?? 0) - (given[0] ?? 0);
      expect(Math.abs(sum - way)).toBeLessThan(1e-6 * (1 + Math.abs(way) + most));
    }
    for (const corner of sparkline(all, 300, 40, 3).split(" ").filter(Boolean)) {
      const [x = NaN, y = NaN] = corner.split(",").map(Number);
      expect(x >= 0 && x <= 300 && y >= 3 - 1e-9 && y <= 37 + 1e-9).toBe(true);
    }
  }
});
