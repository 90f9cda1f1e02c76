// The published rows next to a mark.
import type { PublishedRow } from "../../wasm/rewardscope";

/** How many rows above and below are shown. */
const EACH = 2;

/** A row of the board with its rank. */
export interface Ranked {
  rank: number;
  model: string;
  overall: number;
}

/** The rows right above and right below an overall mark; rows with the same mark lie below it. */
export function neighbours(rows: Pick<PublishedRow, "model" | "overall">[], overall: number) {
  const sorted = rows.toSorted((a, b) => b.overall - a.overall);
  const ranked = sorted.map(({ model, overall }, i): Ranked => ({ rank: i + 1, model, overall }));
  const above = ranked.filter((row) => row.overall > overall).slice(-EACH);
  // The run takes a rank, so those below it move by one.
  const below = ranked.filter((row) => row.overall <= overall).slice(0, EACH);
  return { above, below: below.map((row) => ({ ...row, rank: row.rank + 1 })) };
}
