import { beforeEach, describe, expect, test } from "vitest";
import { seeded } from "../../testing/random";
import { held, settle } from "../../testing/worker";
import { Pages } from "./pages";

interface Asked {
  from: number;
  count: number;
  done: (rows: string[]) => void;
  failed: (error: unknown) => void;
}

let asked: Asked[];
let changes: number;
let failures: unknown[];

beforeEach(() => {
  [asked, changes, failures] = [[], 0, []];
});

function fetch(from: number, count: number): Promise<string[]> {
  const { promise, done, failed } = held<string[]>();
  asked.push({ from, count, done, failed });
  return promise;
}

const list = (before?: Pages<string>) =>
  new Pages(
    fetch,
    () => changes++,
    (error) => failures.push(error),
    before,
  );

/** Rows of a list that has so many. */
const rows = (from: number, count: number, word = "row", length = Infinity) =>
  Array.from({ length: Math.max(0, Math.min(count, length - from)) }, (_, i) => `${word} ${from + i}`);

/** Answers what was asked for at this place. */
async function answer(place: number, word?: string, length?: number) {
  const request = asked[place];
  if (!request) throw new Error(`request ${place} was expected, there are ${asked.length}`);
  request.done(rows(request.from, request.count, word, length));
  await settle();
}

/** Brings whole pages into a list. */
async function bring(pages: Pages<string>, ...numbers: number[]) {
  for (const page of numbers) {
    pages.want(page * 100);
    await answer(asked.length - 1);
  }
}

const ranges = () => asked.map(({ from, count }) => [from, count]);

describe("rows that come into sight", () => {
  test("they are asked for a page at a time", () => {
    const pages = list();
    for (const index of [0, 99, 100, 250]) pages.want(index);
    expect(ranges()).toEqual([
      [0, 100],
      [100, 100],
      [200, 100],
    ]);
  });

  test("they are not there until they come, and then all of their page is", async () => {
    const pages = list();
    pages.want(150);
    expect(pages.at(150)).toBeUndefined();
    expect(changes).toBe(0);
    await answer(0);
    expect(changes).toBe(1);
    expect([99, 100, 150, 199, 200].map((index) => pages.at(index))).toEqual([
      undefined,
      "row 100",
      "row 150",
      "row 199",
      undefined,
    ]);
  });

  test("what is under way or there is not asked for again", async () => {
    const pages = list();
    for (let index = 0; index < 100; index++) pages.want(index);
    expect(asked).toHaveLength(1);
    await answer(0);
    for (let index = 0; index < 100; index++) pages.want(index);
    expect(asked).toHaveLength(1);
  });

  test("the last page is as long as it is", async () => {
    const pages = list();
    pages.want(249);
    await answer(0, "row", 250);
    expect(pages.at(249)).toBe("row 249");
    expect(pages.at(250)).toBeUndefined();
    pages.want(250);
    expect(asked).toHaveLength(1);
  });

  test("a list without rows is left alone once it was asked for", async () => {
    const pages = list();
    pages.want(0);
    await answer(0, "row", 0);
    pages.want(0);
    expect(pages.at(0)).toBeUndefined();
    expect(asked).toHaveLength(1);
  });

  test("answers that come in another order find their pages", async () => {
    const pages = list();
    for (const index of [0, 100, 200]) pages.want(index);
    for (const place of [2, 0, 1]) await answer(place);
    expect([0, 100, 200].map((index) => pages.at(index))).toEqual(["row 0", "row 100", "row 200"]);
    expect(changes).toBe(3);
  });

  test("whatever is wanted and answered, a row is there when its page came, and no page is asked for twice", async () => {
    const { whole, unit } = seeded(10);
    for (let round = 0; round < 20; round++) {
      asked = [];
      const pages = list();
      const open: number[] = [];
      const there = new Set<number>();
      for (let step = 0; step < 60; step++) {
        if (open.length > 0 && unit() < 0.4) {
          const [place = 0] = open.splice(whole(open.length), 1);
          await answer(place);
          there.add((asked[place]?.from ?? NaN) / 100);
        } else {
          const before = asked.length;
          pages.want(whole(1200));
          if (asked.length > before) open.push(before);
        }
        const index = whole(1200);
        expect(pages.at(index)).toBe(there.has(Math.floor(index / 100)) ? `row ${index}` : undefined);
      }
      expect(new Set(asked.map(({ from }) => from)).size).toBe(asked.length);
    }
  });
});

describe("rows that cannot be had", () => {
  test("it is said, and they are asked for again when they are next in sight", async () => {
    const pages = list();
    pages.want(5);
    asked[0]?.failed("the engine stopped");
    await settle();
    expect(failures).toEqual(["the engine stopped"]);
    expect(changes).toBe(0);
    pages.want(5);
    expect(asked).toHaveLength(2);
    await answer(1);
    expect(pages.at(5)).toBe("row 5");
  });

  test("the other pages are not touched by it", async () => {
    const pages = list();
    pages.want(0);
    pages.want(100);
    asked[0]?.failed("no");
    await answer(1);
    expect(pages.at(100)).toBe("row 100");
    pages.want(100);
    expect(asked).toHaveLength(2);
  });
});

describe("a single row", () => {
  test("it is there without being fetched when its page is", async () => {
    const pages = list();
    await bring(pages, 1);
    expect(await pages.row(123)).toBe("row 123");
    expect(asked).toHaveLength(1);
  });

  test("else it alone is fetched", async () => {
    const pages = list();
    const row = pages.row(123);
    expect(ranges()).toEqual([[123, 1]]);
    await answer(0);
    expect(await row).toBe("row 123");
    expect(pages.at(123)).toBeUndefined();
  });

  test("behind the end there is none", async () => {
    const pages = list();
    const row = pages.row(10);
    await answer(0, "row", 10);
    expect(await row).toBeUndefined();
  });

  test("where it cannot be fetched whoever wanted it hears of it", async () => {
    const row = list().row(1);
    asked[0]?.failed(new Error("no"));
    await expect(row).rejects.toThrow("no");
    expect(failures).toEqual([]);
  });
});

describe("a long way through a list", () => {
  test("twelve pages stay", async () => {
    const pages = list();
    await bring(pages, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    for (let page = 0; page < 12; page++) expect(pages.at(page * 100)).toBe(`row ${page * 100}`);
  });

  test("the farthest from the page that came last go", async () => {
    const pages = list();
    await bring(pages, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);
    const there = Array.from({ length: 14 }, (_, page) => page).filter((page) => pages.at(page * 100) !== undefined);
    expect(there).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  });

  test("they are asked for again on the way back", async () => {
    const pages = list();
    await bring(pages, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 0);
    expect(pages.at(3100)).toBeUndefined();
    expect(pages.at(2000)).toBe("row 2000");
    pages.want(3100);
    expect(ranges().at(-1)).toEqual([3100, 100]);
  });

  test("memory stays bounded wherever one jumps", async () => {
    const pages = list();
    const { whole } = seeded(11);
    for (let jump = 0; jump < 100; jump++) {
      const page = whole(1000);
      const before = asked.length;
      pages.want(page * 100);
      if (asked.length > before) await answer(before);
      expect(pages.at(page * 100)).toBe(`row ${page * 100}`);
      let there = 0;
      for (let other = 0; other < 1000; other++) if (pages.at(other * 100) !== undefined) there++;
      expect(there).toBeLessThanOrEqual(12);
    }
  });
});

describe("a list that ends", () => {
  test("what still comes is dropped without a word", async () => {
    const pages = list();
    pages.want(0);
    pages.want(100);
    pages.end();
    await answer(0);
    asked[1]?.failed("no");
    await settle();
    expect(pages.at(0)).toBeUndefined();
    expect([changes, failures]).toEqual([0, []]);
  });

  test("another list begins with nothing of it", async () => {
    const old = list();
    await bring(old, 0);
    old.end();
    expect(list().at(0)).toBeUndefined();
  });
});

describe("a list that grew", () => {
  test("the rows before are shown until the new ones are there", async () => {
    const old = list();
    await bring(old, 0);
    const grown = list(old);
    expect(grown.at(7)).toBe("row 7");
    grown.want(7);
    expect(asked).toHaveLength(2);
    await answer(1, "new");
    expect(grown.at(7)).toBe("new 7");
    expect(changes).toBe(2);
  });

  test("rows before are never taken for new ones by whoever chooses one", async () => {
    const old = list();
    await bring(old, 0);
    const row = list(old).row(7);
    await answer(1, "new");
    expect(await row).toBe("new 7");
  });

  test("they stay where the new ones cannot be had", async () => {
    const old = list();
    await bring(old, 0);
    const grown = list(old);
    grown.want(0);
    asked[1]?.failed("no");
    await settle();
    expect(grown.at(7)).toBe("row 7");
    expect(failures).toEqual(["no"]);
  });

  test("what was under way for the list before changes nothing", async () => {
    const old = list();
    old.want(0);
    const grown = list(old);
    await answer(0, "stale");
    expect(grown.at(0)).toBeUndefined();
    expect(changes).toBe(0);
  });

  test("what only the list before had is not shown beside new rows", async () => {
    const old = list();
    await bring(old, 0, 5);
    const grown = list(old);
    grown.want(0);
    await answer(2, "new");
    expect(grown.at(500)).toBeUndefined();
  });
});
