// Runs contributed to this site: the repository's folder of run summaries, each checked by the project's tests.
import type { BoardRow } from "../../wasm/rewardscope";

/** The contributed rows. A test holds that none of the folder is missing: a glob that matches nothing is no error. */
export const CONTRIBUTED: readonly BoardRow[] = Object.values(
  import.meta.glob<BoardRow>("../../../../board/*.json", { eager: true, import: "default" }),
);
