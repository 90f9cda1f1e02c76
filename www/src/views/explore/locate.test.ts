import { expect, test, vi } from "vitest";
import type { ItemSummary } from "../../wasm/rewardscope";
import { locate } from "./locate";

const row = (at: number) => ({ id: String(at % 1000), subset: at < 1000 ? "Math" : "Focus" }) as ItemSummary;
const list = (count: number) =>
  vi.fn((from: number, many: number) => {
    expect(from + many).toBeLessThanOrEqual(count);
    return Promise.resolve(Array.from({ length: many }, (_, i) => row(from + i)));
  });
const never = () => false;

test("an item is found by subset and id, a part of the list at a time", async () => {
  const fetch = list(2000);
  expect((await locate(fetch, 2000, { id: "999", subset: "Focus" }, undefined, never))?.at).toBe(1999);
  expect(Math.max(...fetch.mock.calls.map(([, many]) => many))).toBeLessThanOrEqual(500);
  expect((await locate(fetch, 2000, { id: "7", subset: "" }, undefined, never))?.at).toBe(7);
});

test("where it is likely to stand is looked at first", async () => {
  const fetch = list(2000);
  expect((await locate(fetch, 2000, { id: "5", subset: "Focus" }, 1005, never))?.at).toBe(1005);
  expect(fetch.mock.calls).toEqual([[1005, 1]]);
  expect((await locate(fetch, 2000, { id: "5", subset: "Focus" }, 4, never))?.at).toBe(1005);
  expect((await locate(fetch, 2000, { id: "5", subset: "Focus" }, 9999, never))?.at).toBe(1005);
});

test("what is not in the list is not found, and a list without rows is not asked", async () => {
  const fetch = list(2000);
  expect(await locate(fetch, 2000, { id: "1000", subset: "Math" }, undefined, never)).toBeUndefined();
  const none = list(0);
  expect(await locate(none, 0, { id: "1", subset: "Math" }, 0, never)).toBeUndefined();
  expect(none).not.toHaveBeenCalled();
});

test("a search that no longer matters ends", async () => {
  const fetch = list(100_000);
  let left = 3;
  expect(await locate(fetch, 100_000, { id: "no", subset: "" }, undefined, () => left-- <= 0)).toBeUndefined();
  expect(fetch).toHaveBeenCalledTimes(3);
});
