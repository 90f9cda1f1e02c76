// Marks as the field writes them: from 0 to 100, with one decimal.

/** A mark (0..1) in percent with one decimal and without its sign; a dash where there is none. */
export const points = (value: number | undefined) =>
  value === undefined || !Number.isFinite(value) ? "–" : (100 * value).toFixed(1).replace("-", "−");

/** A mark's interval in percent with one decimal. */
export const span = ({ low, high }: { low: number; high: number }) => `${points(low)} – ${points(high)}`;

/** Where a mark lies on the axis from 0 to 100. Some benchmarks' marks can leave it. */
export const place = (value: number) => Math.min(1, Math.max(0, value));
