// Numbers, times and names as they are shown.
import type { Dtype } from "../wasm/rewardscope";

/** A score or mark with four decimals; a dash where there is none. */
export const score = (value: number | undefined) =>
  value === undefined ? "–" : Number.isFinite(value) ? value.toFixed(4) : String(value);

/** A score with two decimals, for a first look; a dash where there is none. */
export const short = (value: number | undefined) =>
  value === undefined ? "–" : Number.isFinite(value) ? value.toFixed(2).replace("-", "−") : String(value);

/** A difference with two decimals and its sign. */
export const signed = (value: number) => (value > 0 ? "+" : "") + short(value);

/** A Hub id with its commit shortened to seven digits. */
export const origin = (name: string) => name.replace(/@([0-9a-f]{7})[0-9a-f]{33}(?![0-9a-f])/g, "@$1");

/** A dataset's file names without their folders. */
export const dataset = (name: string) =>
  name
    .split(", ")
    .map((file) => file.split("/").pop() || file)
    .join(", ");

/** The name of a loaded model: of its reward head, else its Hub id without the commit, else its file's name. */
export const model = ({
  head,
  origin: of,
  name,
}: {
  head?: { name: string } | undefined;
  origin?: string | undefined;
  name: string;
}) => head?.name ?? of?.replace(/@[^:]*/, "") ?? name;

/** Weight types in words. */
export const TYPE_NAMES: Record<Dtype, string> = {
  auto: "as stored",
  f32: "32 bits",
  f16: "16 bits",
  q8: "8 bits",
  q4: "4 bits",
};

/** A weight type in words. A link or a file may name one that this page does not know. */
export const dtype = (name: string) => (TYPE_NAMES as Record<string, string>)[name] ?? name;

/** A whole number with thousands separators. */
export const count = (value: number) => new Intl.NumberFormat("en").format(value);

const plurals = new Intl.PluralRules("en");

/** A count with its noun in singular or plural: `1 item`, `2 items`. */
export const many = (value: number, one: string, other = `${one}s`) =>
  `${count(value)} ${plurals.select(value) === "one" ? one : other}`;

/** A size in bytes as kB, MB or GB (powers of 1000). */
export function bytes(value: number): string {
  if (value < 1e5) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}

/** A duration in ms as seconds, minutes or hours. */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A share (0..1) in percent with one decimal; a dash where it is not finite. */
export const percent = (value: number) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");

/** A mark's 95 % interval with four decimals. */
export const markInterval = ({ low, high }: { low: number; high: number }) => `${score(low)} to ${score(high)}`;

/** A share's 95 % interval (0..1) in percent with one decimal. */
export const interval = ({ low, high }: { low: number; high: number }) =>
  `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;
