// Values that look random and are the same in every run of the tests.

/** Characters that addresses, markup and programs make something of, and some that they do not. */
const AWKWARD = [..."abcXYZ019 ?#&=+%/\\:;@!'\"<>[]{}|^`~_-.,\n\t\0äß漢字🙂\u200d\u00a0", "%00", "%zz", "__proto__"];

export function seeded(seed: number) {
  let state = seed;
  /** From 0 up to 1 (mulberry32). */
  const unit = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const whole = (below: number) => Math.floor(unit() * below);
  const pick = <T>(from: readonly T[]): T => {
    const found = from[whole(from.length)];
    if (found === undefined) throw new Error("there is nothing to pick from");
    return found;
  };
  const text = (longest: number) => Array.from({ length: whole(longest + 1) }, () => pick(AWKWARD)).join("");
  return { unit, whole, pick, text };
}
