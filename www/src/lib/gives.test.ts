import { describe, expect, test } from "vitest";
import type { Gives, ReaderSpec } from "../wasm/rewardscope";
import { given } from "./gives";

const spec = (gives?: Gives): ReaderSpec => ({ tokens: [1], at: "last", combine: "logit", gives }) as ReaderSpec;

describe("what scores are", () => {
  test("a likelihood and a criterion's score are never called rewards", () => {
    expect(
      given({
        is_reward_model: false,
        reader: undefined,
        reference: undefined,
        step_aggregate: undefined,
        pair_aggregate: undefined,
      }).one,
    ).toBe("mean log-probability");
    const criterion = given({
      is_reward_model: false,
      reader: { name: "criterion", spec: spec("criterion") },
      reference: undefined,
      step_aggregate: undefined,
      pair_aggregate: undefined,
    });
    expect(criterion.one).toBe("criterion's score");
    expect(criterion.note).toContain("not rewards");
    const unnamed = given({
      is_reward_model: false,
      reader: { name: "own", spec: spec() },
      reference: undefined,
      step_aggregate: undefined,
      pair_aggregate: undefined,
    });
    expect(unnamed.one).toBe("score");
  });

  test("rewards are rewards, whatever reads them", () => {
    expect(
      given({
        is_reward_model: true,
        reader: undefined,
        reference: undefined,
        step_aggregate: undefined,
        pair_aggregate: undefined,
      }).one,
    ).toBe("reward");
    const reader = { name: "qwen-prm", spec: spec("reward") };
    expect(
      given({
        is_reward_model: true,
        reader,
        reference: undefined,
        step_aggregate: undefined,
        pair_aggregate: undefined,
      }).kind,
    ).toBe("Reward model");
    const process = given({
      is_reward_model: true,
      reader,
      reference: undefined,
      step_aggregate: "min",
      pair_aggregate: undefined,
    });
    const reference = { model: "m", fingerprint: "f", log_ratios: { beta: 1, normalise_length: false } };
    const implicit = given({
      is_reward_model: true,
      reader: undefined,
      reference,
      step_aggregate: undefined,
      pair_aggregate: undefined,
    });
    expect(implicit).toMatchObject({ one: "implicit reward", note: undefined });
    const none = { reader: undefined, reference: undefined, step_aggregate: undefined };
    const compared = given({ is_reward_model: true, ...none, pair_aggregate: "win-rate" });
    expect(compared).toMatchObject({ kind: "Pairwise reward model", one: "win rate" });
    expect(process).toMatchObject({ kind: "Process reward model", one: "reward", note: undefined });
  });
});
