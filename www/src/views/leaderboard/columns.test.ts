import { expect, test } from "vitest";
import { columnsOf, csv, sorted, type Here } from "./columns";
import type { Line } from "./lines";

const line = (model: string, marks: Record<string, number>, over: Partial<Line> = {}): Line => ({
  key: model,
  model,
  place: "ranked",
  type: "",
  overall: marks.Math,
  marks,
  rank: undefined,
  note: "",
  source: "a paper",
  under: { dtype: undefined, length_limit: undefined, template: undefined },
  ...over,
});
const COLUMNS = columnsOf(["Math"]);
const column = (key: string) => COLUMNS.find((one) => one.key === key)!;
const nowhere = () => undefined;
const names = (lines: Line[]) => lines.map(({ model }) => model).join("");

test("lines are sorted either way, and those without a value stay last", () => {
  const lines = [line("b", { Math: 0.2 }), line("a", {}), line("c", { Math: 0.7 })];
  expect(names(sorted(lines, column("Math"), false, nowhere))).toBe("cba");
  expect(names(sorted(lines, column("Math"), true, nowhere))).toBe("bca");
  expect(names(sorted(lines, column("model"), false, nowhere))).toBe("abc");
  expect(names(sorted(lines, column("model"), true, nowhere))).toBe("cba");
});

test("what does not fit comes after what does", () => {
  const here: Record<string, Here> = {
    a: { bytes: 1e9, trouble: "too large" },
    b: { bytes: 9e9, trouble: undefined },
  };
  const lines = [line("c", {}), line("a", {}), line("b", {})];
  expect(names(sorted(lines, column("here"), false, (model) => here[model]))).toBe("bac");
});

test("the saved table has all digits, says what marks are of, and runs nothing in a spreadsheet", () => {
  const titles = { own: "Your runs", "own-aside": "Aside", "contributed-aside": "Contributed", ranked: "Published" };
  const lines = [
    line("=HYPERLINK(1)", { Math: 0.123456 }, { place: "own-aside", note: "sample, 2 items" }),
    line('a "b"', { Math: 0.5 }, { rank: 1 }),
  ];
  expect(csv(lines, COLUMNS, titles, () => "")).toBe(
    `Rank,Model,Overall,Math,Type,On this device,Group,Source
,'=HYPERLINK(1),12.3456,12.3456,,,"Aside: sample, 2 items",a paper
1,"a ""b""",50,50,,,Published,a paper
`,
  );
});
