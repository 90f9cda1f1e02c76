import { describe, expect, test } from "vitest";
import type { Gives, ReaderSpec } from "../wasm/rewardscope";
import { given } from "./gives";

const spec = (gives?: Gives): ReaderSpec => ({ tokens: [1], at: "last", combine: "logit", gives }) as ReaderSpec;

describe("what scores are", () => {
  test("a likelihood and a criterion's score are never called rewards", () => {
    expect(given({ is_reward_model: false, reader: undefined, step_aggregate: undefined }).one).toBe(
      "mean log-probability",
    );
    const criterion = given({
      is_reward_model: false,
      reader: { name: "criterion", spec: spec("criterion") },
      step_aggregate: undefined,
    });
    expect(criterion.one).toBe("criterion's score");
    expect(criterion.note).toContain("not rewards");
    const unnamed = given({ is_reward_model: false, reader: { name: "own", spec: spec() }, step_aggregate: undefined });
    expect(unnamed.one).toBe("score");
  });

  test("rewards are rewards, whatever reads them", () => {
    expect(given({ is_reward_model: true, reader: undefined, step_aggregate: undefined }).one).toBe("reward");
    const reader = { name: "qwen-prm", spec: spec("reward") };
    expect(given({ is_reward_model: true, reader, step_aggregate: undefined }).kind).toBe("Reward model");
    const process = given({ is_reward_model: true, reader, step_aggregate: "min" });
    expect(process).toMatchObject({ kind: "Process reward model", one: "reward", note: undefined });
  });
});
