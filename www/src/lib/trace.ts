// What is computed of a trace before it is drawn: how much each token changes the value, and which tokens are drawn
// together because they share a character.
import type { Trace } from "../wasm/rewardscope";

/** A token with its place among all tokens and how much it changes. */
export interface Step {
  place: number;
  id: number;
  text: string;
  value: number | undefined;
  /**
   * A reward's change from the token before; a log-probability's distance from the completion's mean. Undefined where
   * there is no value to compare with.
   */
  change: number | undefined;
}

/** Tokens that are drawn as one piece of text. Nearly always there is one. */
export interface Group {
  text: string;
  steps: [Step, ...Step[]];
  /** The value after the last of the tokens. */
  value: number | undefined;
  /** Of a reward the change over all of the tokens; of log-probabilities the mean of theirs. */
  change: number | undefined;
}

/** Shown for bytes that are no character. */
const REPLACEMENT = "\ufffd";

const known = (value: number | undefined): value is number => value !== undefined && Number.isFinite(value);

const mean = (values: number[]) =>
  values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean of the completion's log-probabilities; undefined for rewards, which are compared with the token before. */
export function middle(trace: Trace): number | undefined {
  if (trace.is_reward) return undefined;
  return mean(
    trace.tokens
      .slice(trace.first_completion_token)
      .map(({ value }) => value)
      .filter(known),
  );
}

/** All tokens with their changes. */
export function steps(trace: Trace): Step[] {
  const centre = middle(trace);
  return trace.tokens.map(({ id, text, value }, place) => {
    const from = trace.is_reward ? trace.tokens[place - 1]?.value : centre;
    return { place, id, text, value, change: known(value) && known(from) ? value - from : undefined };
  });
}

/**
 * Whether a token goes on with the character before it: it has no text of its own, both are parts of bytes that are no
 * character, or it begins with a mark that is drawn on the character before.
 */
function continues(before: string, text: string): boolean {
  if (before === "") return false;
  if (text === "") return true;
  if (before.endsWith(REPLACEMENT) && text.startsWith(REPLACEMENT)) return true;
  return before.endsWith("\u200d") || /^[\p{M}\p{EMod}\u200d]/u.test(text);
}

/** Puts tokens of one character together. No group reaches over the place where the completion begins. */
export function groups(all: readonly Step[], first: number, isReward: boolean): Group[] {
  const runs: [Step, ...Step[]][] = [];
  for (const step of all) {
    const last = runs.at(-1);
    const before = last?.map(({ text }) => text).join("") ?? "";
    if (last && step.place !== first && continues(before, step.text)) last.push(step);
    else runs.push([step]);
  }
  return runs.map((tokens) => {
    const joined = tokens.map(({ text }) => text).join("");
    const changes = tokens.map(({ change }) => change).filter(known);
    const sum = changes.reduce((total, change) => total + change, 0);
    return {
      // A character whose bytes are spread over tokens is shown once.
      text: tokens.length > 1 ? joined.replace(new RegExp(`${REPLACEMENT}+`, "g"), REPLACEMENT) : joined,
      steps: tokens,
      value: tokens.at(-1)?.value,
      change: changes.length === 0 ? undefined : isReward ? sum : sum / changes.length,
    };
  });
}

/** The largest change in either direction; 0 where nothing changes. Both ends of the scale lie this far from its middle. */
export const span = (all: readonly Group[]) =>
  all.reduce((most, { change }) => (known(change) ? Math.max(most, Math.abs(change)) : most), 0);

/** A change as a share of the scale, -1 to 1; 0 where there is none. */
export const share = (change: number | undefined, most: number) =>
  known(change) && most > 0 ? Math.max(-1, Math.min(1, change / most)) : 0;

/** The lowest and the highest value; undefined where there is none. */
export function range(all: readonly Group[]): { low: number; high: number } | undefined {
  let [low, high] = [Infinity, -Infinity];
  for (const { value } of all) {
    if (!known(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? { low, high } : undefined;
}

/**
 * The corners of the line of values, in a box of the given size with room for the line's width: `x,y x,y …`. Groups
 * without a value are left out.
 */
export function sparkline(all: readonly Group[], width: number, height: number, room: number): string {
  const ends = range(all);
  if (!ends) return "";
  const points: string[] = [];
  all.forEach(({ value }, i) => {
    if (!known(value)) return;
    const part = ends.high === ends.low ? 0.5 : (value - ends.low) / (ends.high - ends.low);
    const x = ((i + 0.5) / all.length) * width;
    points.push(`${x.toFixed(2)},${(height - room - part * (height - 2 * room)).toFixed(2)}`);
  });
  return points.join(" ");
}
