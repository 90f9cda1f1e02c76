import { expect, test } from "vitest";
import { axis, gap, mark, p, points, score, verdict } from "./figures";

test("marks are in percent with one decimal, and with three where more are asked for", () => {
  expect([mark(0.42), mark(1), mark(0.420312, true), mark(-0.013), mark(undefined), mark(NaN)]).toEqual([
    "42.0",
    "100.0",
    "42.031",
    "−1.3",
    "–",
    "NaN",
  ]);
});

test("differences have their sign", () => {
  expect([points(0.05), points(-0.2), points(0), gap(3.62), gap(-0.18)]).toEqual([
    "+5.0",
    "−20.0",
    "0.0",
    "+3.62",
    "−0.18",
  ]);
});

test("scores have two decimals, and six where more are asked for", () => {
  expect([score(-2.0951), score(1.5, true), score(Infinity), score(undefined)]).toEqual([
    "−2.10",
    "1.500000",
    "Infinity",
    "–",
  ]);
});

test("a small p is not shown as none", () => {
  expect([p(undefined), p(1), p(0.00001)]).toEqual(["–", "1.0000", "< 0.0001"]);
});

test("a mark is said in words", () => {
  expect([undefined, 1, 0, 0.5].map(verdict)).toEqual(["not scored", "right", "wrong", "partly right, 50.0"]);
});

test("scores lie on the axis in their order, and those that are no numbers at its ends", () => {
  const at = axis([1, undefined, -1, NaN, 3]);
  expect(at(-1)).toBeCloseTo(0.03);
  expect(at(1)).toBeCloseTo(0.5);
  expect(at(3)).toBeCloseTo(0.97);
  expect([at(Infinity), at(-Infinity), at(NaN)]).toEqual([1, 0, 0]);
  expect(axis([2, 2])(2)).toBe(0.5);
  expect(axis([])(0)).toBe(0.5);
});
