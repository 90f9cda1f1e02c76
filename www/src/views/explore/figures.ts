// Marks, scores and differences as Explore shows them: short, and with more digits where they are asked for.
import * as format from "../../lib/format";

const dashed = (text: string) => text.replace("-", "−");

/** A mark (0..1) in percent as the field writes it: `42.0`; with more digits `42.031`. */
export const mark = (value: number | undefined, more = false) =>
  value === undefined ? "–" : Number.isFinite(value) ? dashed((100 * value).toFixed(more ? 3 : 1)) : String(value);

/** A difference of marks (-1..1) in points with its sign. */
export const points = (value: number, more = false) => `${value > 0 ? "+" : ""}${mark(value, more)}`;

/** A score or a margin of scores: with two decimals, or with six. */
export const score = (value: number | undefined, more = false) =>
  more && value !== undefined && Number.isFinite(value) ? dashed(value.toFixed(6)) : format.short(value);

/** A difference of scores with its sign. */
export const gap = (value: number, more = false) => `${value > 0 ? "+" : ""}${score(value, more)}`;

/** A p-value. */
export const p = (value: number | undefined) =>
  value === undefined ? "–" : value < 0.0001 ? "< 0.0001" : value.toFixed(4);

/** What a mark says of an item. */
export const verdict = (value: number | undefined) =>
  value === undefined ? "not scored" : value === 1 ? "right" : value === 0 ? "wrong" : `partly right, ${mark(value)}`;

/** The line that scores are placed on: from the lowest to the highest of them, both a little within its ends. */
export function axis(values: readonly (number | undefined)[]): (value: number) => number {
  const finite = values.filter((value): value is number => value !== undefined && Number.isFinite(value));
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  return (value) => {
    if (!Number.isFinite(value)) return value > 0 ? 1 : 0;
    if (!(high > low)) return 0.5;
    return Math.max(0, Math.min(1, 0.03 + (0.94 * (value - low)) / (high - low)));
  };
}
