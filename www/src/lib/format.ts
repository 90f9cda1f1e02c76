// Numbers and times as people read them.

export const score = (value: number | undefined) =>
  value === undefined ? "–" : Number.isFinite(value) ? value.toFixed(4) : String(value);

/** A Hub id with its commit as people read it: seven digits of it. */
export const origin = (name: string) => name.replace(/@([0-9a-f]{7})[0-9a-f]{33}(?![0-9a-f])/g, "@$1");

/** A dataset by the names of its files, without what they lie in. */
export const dataset = (name: string) =>
  name
    .split(", ")
    .map((file) => file.split("/").pop() || file)
    .join(", ");

/** A loaded model: its reward head, its Hub id, or its file's name. */
export const model = ({
  head,
  origin: of,
  name,
}: {
  head?: { name: string } | undefined;
  origin?: string | undefined;
  name: string;
}) => head?.name ?? of?.replace(/@[^:]*/, "") ?? name;

export const count = (value: number) => new Intl.NumberFormat("en").format(value);

const plurals = new Intl.PluralRules("en");

/** So many of them: `1 item`, `2 items`. */
export const many = (value: number, one: string, other = `${one}s`) =>
  `${count(value)} ${plurals.select(value) === "one" ? one : other}`;

export function bytes(value: number): string {
  if (value < 1e5) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e10 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}

export function duration(ms: number): string {
  if (ms < 10_000) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A share, to a tenth of a percent. */
export const percent = (value: number) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");

/** A 95 % interval of a mark. */
export const markInterval = ({ low, high }: { low: number; high: number }) => `${score(low)} to ${score(high)}`;

/** A 95 % interval of a share. */
export const interval = ({ low, high }: { low: number; high: number }) =>
  `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;
