// What Explore shows, as it stands in the address. Anyone can make a link, so everything in it is bounded and checked.
import { MOST_LINK_CHARACTERS, linkParams } from "../../lib/link";
import { route } from "../../lib/route.svelte";
import type { ItemReport, Order, Verdict } from "../../wasm/rewardscope";

/** The filters by result, as a chip names them. */
export const VERDICTS: Record<Verdict, string> = {
  any: "All",
  right: "Right",
  wrong: "Mistakes",
  narrow: "Narrow",
  truncated: "Cut at the context limit",
  unscored: "Not scored",
  disagreement: "Disagreements",
};
/** What a filter by result finds. */
export const MEANINGS: Record<Verdict, string> = {
  any: "",
  right: "a correct completion scored highest",
  wrong: "an incorrect completion scored highest, or some did",
  narrow: "the smallest 10 % of margins",
  truncated: "a completion did not fit",
  unscored: "no scores",
  disagreement: "marked differently by the two runs",
};
/** The orders, each with the two ways to go through it. */
export const ORDERS: Record<Order, { title: string; ways: [string, string] }> = {
  place: { title: "Original order", ways: ["first to last", "last to first"] },
  margin: { title: "Margin", ways: ["smallest first", "largest first"] },
  length: { title: "Length", ways: ["longest first", "shortest first"] },
  difference: { title: "Margin difference", ways: ["largest first", "smallest first"] },
};

export const MOST_TEXT = 500;
const MOST_NAME = 300;

/** An item by what it is called, which is the same in every dataset and run that has it. */
export interface ItemKey {
  id: string;
  subset: string;
}

/** What Explore shows. */
export interface Query {
  /** The dataset or run; empty for the first one. */
  source: string;
  /** The second run; empty for none. */
  against: string;
  subset: string;
  verdict: Verdict;
  order: Order;
  reversed: boolean;
  text: string;
  item: ItemKey | undefined;
}

const NAMES = ["source", "against", "subset", "verdict", "order", "reversed", "text", "item", "of"];

/** Whether an address asks for anything of Explore. */
export const asksAnything = (params: URLSearchParams) => NAMES.some((name) => params.has(name));

const known = <T extends string>(all: Record<T, unknown>, name: string, other: T): T =>
  Object.hasOwn(all, name) ? (name as T) : other;

/** What an address asks for. */
export function readQuery(params: URLSearchParams): Query {
  const text = (name: string, most = MOST_NAME) => (params.get(name) ?? "").slice(0, most);
  const id = text("item");
  return {
    source: text("source"),
    against: text("against"),
    subset: text("subset"),
    verdict: known(VERDICTS, text("verdict"), "any"),
    order: known(ORDERS, text("order"), "place"),
    reversed: text("reversed") === "yes",
    text: text("text", MOST_TEXT),
    item: id ? { id, subset: text("of") } : undefined,
  };
}

/** The parameters of the address. Empty ones do not stand in it, nor does an item whose name is too long for it. */
export function writeQuery(query: Query): Record<string, string> {
  const { source, against, subset, verdict, order, reversed, text, item } = query;
  const isNamed = item && item.id.length <= MOST_NAME && item.subset.length <= MOST_NAME;
  return {
    source,
    against,
    subset: subset.slice(0, MOST_NAME),
    verdict: verdict === "any" ? "" : verdict,
    order: order === "place" ? "" : order,
    reversed: reversed ? "yes" : "",
    text,
    item: isNamed ? item.id : "",
    of: isNamed ? item.subset : "",
  };
}

/**
 * The link that puts an item's conversation and completions into Try, packed where they are long; undefined where they
 * are too long for a link.
 */
export async function tryLink({ turns, completions }: ItemReport): Promise<string | undefined> {
  const all = {
    turns: turns.map(({ role, content }) => ({ role, content })),
    completions: completions.map(({ text }) => text),
  };
  const text = JSON.stringify(all);
  const plain = route.to("try", { text });
  if (plain.length <= MOST_LINK_CHARACTERS) return plain;
  // What unpacks to more is refused when the link is read.
  if (text.length > 400_000) return undefined;
  const packed = route.to("try", await linkParams(all));
  return packed.length <= MOST_LINK_CHARACTERS ? packed : undefined;
}
