// What both sides are asked, as export.py makes it too.
export const ids = (count, first) => Array.from({ length: count }, (_, i) => ((first * 131 + i * 7919) % 20_000) + 100);
export const batch = (count, length) => Array.from({ length: count }, (_, i) => ids(length, i));

/** The shapes that are timed. */
export const MODELS = {
  minilm: { title: "MiniLM", count: 4, length: 256 },
  smollm2: { title: "SmolLM2", count: 1, length: 512 },
};

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Nothing is timed that does not agree with transformers: `score` gives logits of token ids. */
export async function compare(expected, who, score, within) {
  for (const { count, length, logits } of expected) {
    const { logits: found } = await score(batch(count, length));
    const off = Math.max(...logits.map((want, i) => Math.abs(found[i] - want) / Math.max(1, Math.abs(want))));
    if (!(off < within)) throw new Error(`${who}: ${found} is not ${logits}`);
  }
}

/** Medians of several ways of doing the same, taken in turn after one round that is not counted. */
export async function inTurn(ways, times) {
  const taken = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = -1; round < times; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const { ms } = await way();
      if (round >= 0) taken[name].push(ms);
    }
  }
  return Object.fromEntries(Object.entries(taken).map(([name, all]) => [name, median(all)]));
}

/** Rows of one length as ONNX Runtime takes them: every token is seen, all are of the first text. */
export function feed(Tensor, names, ids) {
  const dims = [ids.length, ids[0].length];
  const filled = (value) => new Tensor("int64", new BigInt64Array(dims[0] * dims[1]).fill(value), dims);
  const made = {
    input_ids: () => new Tensor("int64", BigInt64Array.from(ids.flat(), BigInt), dims),
    attention_mask: () => filled(1n),
    token_type_ids: () => filled(0n),
  };
  return Object.fromEntries(names.map((name) => [name, made[name]()]));
}
