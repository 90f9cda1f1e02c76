// What of a run stands in the address, so that a link opens the same run elsewhere.

/** Where the rows come from. */
export const SOURCES = ["sample", "official", "hub", "own"] as const;
export type Source = (typeof SOURCES)[number];

/** How many items of each subset run. */
export type Size = "quick" | "full" | "some";

/** The choices that a link carries. */
export interface Choices {
  source: Source;
  /** Dataset ids or addresses. */
  id: string;
  /** Which rows of them, such as `1-50`. */
  only: string;
  /** Undefined where the dataset decides. */
  size: Size | undefined;
  /** Items per subset where the size is `some`. */
  some: number;
  seed: number;
  /** Empty: the columns tell it. */
  benchmark: string;
  split: string;
}

/** The names that the choices have in a link. */
const NAMES = ["rows", "id", "only", "size", "seed", "benchmark", "split"] as const;
type Name = (typeof NAMES)[number];

/** Reads what a link says, bounded and checked; what it does not say is as on a first visit. */
export function readLink(params: URLSearchParams): Choices {
  const param = (name: Name) => (params.get(name) ?? "").slice(0, 500);
  const number = /^\d{1,6}$/.test(param("size")) ? Number(param("size")) : 0;
  const size =
    (["quick", "full"] as const).find((known) => known === param("size")) ?? (number > 0 ? "some" : undefined);
  return {
    source: SOURCES.find((known) => known === param("rows")) ?? "sample",
    id: param("id"),
    only: /^\d{1,9}(-\d{1,9})?$/.test(param("only")) ? param("only") : "",
    size,
    some: number || 100,
    seed: /^\d{1,9}$/.test(param("seed")) ? Number(param("seed")) : 0,
    benchmark: param("benchmark"),
    split: param("split"),
  };
}

/** The parameters of a link; empty ones are left out of the address. */
export function writeLink(choices: Choices): Record<Name, string> {
  const { source, id, only, size, some, seed, benchmark, split } = choices;
  const elsewhere = source === "hub" || source === "own";
  return {
    rows: source === "sample" ? "" : source,
    id: source === "hub" ? id.trim() : "",
    only: source === "hub" ? only.trim() : "",
    benchmark: elsewhere ? benchmark : "",
    split: elsewhere ? split.trim() : "",
    size: size === "some" ? String(some) : (size ?? ""),
    seed: seed ? String(seed) : "",
  };
}

/** Whether the address says anything of a run. Without that it is the view's plain address, which changes nothing. */
export const isLink = (params: URLSearchParams) => NAMES.some((name) => params.has(name));

const agree = (names: readonly Name[]) => (a: Choices, b: Choices) => {
  const [one, other] = [writeLink(a), writeLink(b)];
  return names.every((name) => one[name] === other[name]);
};
/** Whether two choices make the same link. */
export const isSame = agree(NAMES);
/** Whether two choices have the same rows, read in the same way. */
export const isSameData = agree(NAMES.filter((name) => name !== "size" && name !== "seed"));
