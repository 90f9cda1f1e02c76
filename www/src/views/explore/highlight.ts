// Splits a text where a search was found in it and where it differs from another.

/** A part of a text that two texts have in common or not. */
export interface Part {
  value: string;
  added?: boolean | undefined;
}

/** A piece of a text as it is drawn. */
export interface Piece extends Part {
  hit: boolean;
}

/** Most places that are marked in one text. */
const MOST_HITS = 500;

/** The lower-case text where it is longer than the text itself, and from where to where its units come from. */
function lowered(text: string): { lower: string; from: number[]; to: number[] } {
  let lower = "";
  const [from, to]: [number[], number[]] = [[], []];
  let at = 0;
  for (const character of text) {
    const small = character.toLowerCase();
    for (let i = 0; i < small.length; i++) {
      from.push(at);
      to.push(at + character.length);
    }
    lower += small;
    at += character.length;
  }
  return { lower, from, to };
}

/** Where the wanted text stands, upper and lower case being equal, as the search finds it. */
export function hits(text: string, wanted: string): [from: number, to: number][] {
  const needle = wanted.trim().toLowerCase();
  if (needle === "") return [];
  const same = text.toLowerCase();
  const { lower, from, to } =
    same.length === text.length ? { lower: same, from: undefined, to: undefined } : lowered(text);
  const found: [number, number][] = [];
  for (let at = lower.indexOf(needle); at >= 0 && found.length < MOST_HITS;) {
    const end = at + needle.length;
    // A hit that ends within a character covers all of it, and the next one begins behind it.
    const [begin, behind] = [from?.[at] ?? at, to?.[end - 1] ?? end];
    if (begin >= (found.at(-1)?.[1] ?? 0)) found.push([begin, behind]);
    at = lower.indexOf(needle, end);
  }
  return found;
}

/** The text in pieces: as its parts say what is added, and as the hits of a search say what is marked. */
export function pieces(parts: readonly Part[], found: readonly [from: number, to: number][]): Piece[] {
  const all: Piece[] = [];
  let at = 0;
  let next = 0;
  for (const { value, added } of parts) {
    const end = at + value.length;
    while (at < end) {
      while (found[next] && (found[next]?.[1] ?? 0) <= at) next++;
      const [from, to] = found[next] ?? [Infinity, Infinity];
      const hit = from <= at;
      const until = Math.min(end, hit ? to : from);
      all.push({ value: value.slice(at - end + value.length, until - end + value.length), added, hit });
      at = until;
    }
  }
  return all;
}

/** The start of a text, not cut within a character. */
export function start(text: string, most: number): string {
  if (text.length <= most) return text;
  const cut = text.slice(0, most);
  return /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut;
}
