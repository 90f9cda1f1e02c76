// Finds where an item stands in a list whose rows are in the worker.
import type { ItemSummary } from "../../wasm/rewardscope";
import type { ItemKey } from "./query";

/** Rows that are looked through at a time: few enough that none of the steps blocks the page. */
const CHUNK = 500;

/**
 * The item's place in the list of `count` rows and its row; undefined where it is not in it, or where `isStale` says
 * that it no longer matters. `near` is where it is likely to stand.
 */
export async function locate(
  fetch: (from: number, count: number) => Promise<ItemSummary[]>,
  count: number,
  key: ItemKey,
  near: number | undefined,
  isStale: () => boolean,
): Promise<{ at: number; row: ItemSummary } | undefined> {
  // A link may leave the subset out.
  const isIt = (row: ItemSummary) => row.id === key.id && (key.subset === "" || row.subset === key.subset);
  if (near !== undefined && near < count) {
    const [row] = await fetch(near, 1);
    if (row && isIt(row)) return { at: near, row };
  }
  for (let from = 0; from < count && !isStale(); from += CHUNK) {
    const rows = await fetch(from, Math.min(CHUNK, count - from));
    const found = rows.findIndex(isIt);
    const row = rows[found];
    if (row) return { at: from + found, row };
  }
  return undefined;
}
