import { describe, expect, test } from "vitest";
import type { Gives, ReaderSpec } from "../wasm/rewardscope";
import { given } from "./gives";

const spec = (gives?: Gives): ReaderSpec => ({ tokens: [1], at: "last", combine: "logit", gives }) as ReaderSpec;

describe("what scores are", () => {
  test("a likelihood and a criterion's score are never called rewards", () => {
    expect(given({ is_reward_model: false, reader: undefined }).one).toBe("mean log-probability");
    const criterion = given({ is_reward_model: false, reader: { name: "criterion", spec: spec("criterion") } });
    expect(criterion.one).toBe("criterion's score");
    expect(criterion.note).toContain("not rewards");
    const unnamed = given({ is_reward_model: false, reader: { name: "own", spec: spec() } });
    expect(unnamed.one).toBe("score");
  });

  test("rewards are rewards, whatever reads them", () => {
    expect(given({ is_reward_model: true, reader: undefined }).one).toBe("reward");
    const process = given({ is_reward_model: true, reader: { name: "qwen-prm", spec: spec("reward") } });
    expect(process).toMatchObject({ one: "reward", note: undefined });
  });
});
