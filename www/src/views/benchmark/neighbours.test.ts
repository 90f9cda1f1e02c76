import { expect, test } from "vitest";
import { neighbours } from "./neighbours";

const rows = [0.5, 0.9, 0.7, 0.6, 0.8].map((overall) => ({ model: `m${overall}`, overall }));
const names = (mark: number) => {
  const { above, below } = neighbours(rows, mark);
  return [above, below].map((side) => side.map(({ rank, model }) => `${rank} ${model}`));
};

test("two rows above and two below, ranked as with the run among them", () => {
  expect(names(0.65)).toEqual([
    ["2 m0.8", "3 m0.7"],
    ["5 m0.6", "6 m0.5"],
  ]);
});

test("at the ends there are fewer", () => {
  expect(names(0.95)).toEqual([[], ["2 m0.9", "3 m0.8"]]);
  expect(names(0.1)).toEqual([["4 m0.6", "5 m0.5"], []]);
});

test("a row with the same mark lies below", () => {
  expect(names(0.7)).toEqual([
    ["1 m0.9", "2 m0.8"],
    ["4 m0.7", "5 m0.6"],
  ]);
});
