// The board's columns: their values, by which lines are sorted, and their text in the saved table.
import { percent, type Line } from "./lines";

/** A column. */
export interface Column {
  key: string;
  title: string;
  kind: "rank" | "model" | "overall" | "part" | "type" | "here";
  /** Whether it is shown unless the visitor chooses otherwise. Rank, model and overall mark always are. */
  isShown: boolean;
}

/** All columns of a board whose rows have these parts. */
export const columnsOf = (parts: readonly string[]): Column[] => [
  { key: "rank", title: "Rank", kind: "rank", isShown: true },
  { key: "model", title: "Model", kind: "model", isShown: true },
  { key: "overall", title: "Overall", kind: "overall", isShown: true },
  ...parts.map((part): Column => ({ key: part, title: part, kind: "part", isShown: true })),
  { key: "type", title: "Type", kind: "type", isShown: false },
  { key: "here", title: "On this device", kind: "here", isShown: true },
];

/** Whether the visitor can hide a column. */
export const canHide = ({ kind }: Column) => kind === "part" || kind === "type" || kind === "here";

/** Whether the first press sorts upwards. Marks are sorted from the best down. */
export const isUpwards = ({ kind }: Column) => kind !== "part" && kind !== "overall";

/** What is known of a model on this device. */
export interface Here {
  bytes: number;
  /** Why it does not fit; undefined where it does. */
  trouble: string | undefined;
}

/** What a line is sorted by. */
export function valueOf(line: Line, { kind, key }: Column, here: Here | undefined): string | number | undefined {
  if (kind === "rank") return line.rank;
  if (kind === "model") return line.model.toLowerCase();
  if (kind === "overall") return line.overall;
  if (kind === "part") return line.marks[key];
  if (kind === "type") return line.type || undefined;
  // What does not fit comes after what does.
  return here && here.bytes + (here.trouble ? 1e15 : 0);
}

/** The lines in the order of a column. Lines without a value come last in either direction. */
export function sorted(
  lines: readonly Line[],
  column: Column,
  isReversed: boolean,
  hereOf: (model: string) => Here | undefined,
): Line[] {
  const up = isUpwards(column) !== isReversed ? 1 : -1;
  const valued = lines.map((line): [Line, string | number | undefined] => [
    line,
    valueOf(line, column, column.kind === "here" ? hereOf(line.model) : undefined),
  ]);
  const compare = (a: string | number, b: string | number) => (a < b ? -up : a > b ? up : 0);
  return valued
    .toSorted(([, a], [, b]) => (a === undefined ? (b === undefined ? 0 : 1) : b === undefined ? -1 : compare(a, b)))
    .map(([line]) => line);
}

/** Text of a cell in CSV. A spreadsheet would run what begins like a formula, and names are other people's. */
function cell(value: string | number): string {
  const text = typeof value === "string" && /^[=+@\t\r-]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The lines as CSV, with all digits of the marks in percent, and what each mark is of. */
export function csv(
  lines: readonly Line[],
  columns: readonly Column[],
  titles: Record<Line["place"], string>,
  hereText: (model: string) => string,
): string {
  const mark = (value: number | undefined) => (value === undefined ? "" : Number(percent(value, true)));
  const text = (line: Line, { kind, key }: Column): string | number => {
    if (kind === "rank") return line.rank ?? "";
    if (kind === "model") return line.model;
    if (kind === "overall") return mark(line.overall);
    if (kind === "part") return mark(line.marks[key]);
    return kind === "type" ? line.type : hereText(line.model);
  };
  const rows = lines.map((line) => [
    ...columns.map((column) => text(line, column)),
    titles[line.place] + (line.note ? `: ${line.note}` : ""),
    line.source,
  ]);
  const heads = [...columns.map(({ title }) => title), "Group", "Source"];
  return [heads, ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
}
