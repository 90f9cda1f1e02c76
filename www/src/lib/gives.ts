// What a model's scores are, in words.
import type { Gives, ModelReport, PairAggregate } from "../wasm/rewardscope";

/** The words for one kind of scores. */
export interface Given {
  /** What the model is. */
  kind: string;
  /** One of its scores. */
  one: string;
  /** What its scores are, as the end of a sentence. */
  are: string;
  /** Why they are no rewards: a sentence's end; undefined for rewards. */
  note: string | undefined;
}

const REWARD: Given = { kind: "Reward model", one: "reward", are: "rewards", note: undefined };

const IMPLICIT: Given = {
  kind: "Implicit reward",
  one: "implicit reward",
  are: "implicit rewards",
  note: undefined,
};

const COMPARED: Record<PairAggregate, Given> = {
  "win-rate": {
    kind: "Pairwise reward model",
    one: "win rate",
    are: "win rates (the mean probability of beating another completion of the prompt)",
    note: undefined,
  },
  "bradley-terry": {
    kind: "Pairwise reward model",
    one: "Bradley-Terry strength",
    are: "Bradley-Terry strengths, fitted to the outcomes among a prompt's completions",
    note: undefined,
  },
};

const LIKELIHOOD: Given = {
  kind: "Likelihood baseline",
  one: "mean log-probability",
  are: "reference-free log-probabilities, not rewards",
  note: "is a likelihood baseline: these are mean log-probabilities in nats, not rewards",
};

const READ: Record<Gives, Given> = {
  reward: REWARD,
  relevance: {
    kind: "Reranker",
    one: "relevance",
    are: "how well a text fits a query, not rewards",
    note: "is a reranker: these say how well a completion fits the prompt as a query, and are not rewards",
  },
  criterion: {
    kind: "Criterion",
    one: "criterion's score",
    are: "what the model says of a criterion, not rewards",
    note: "is asked by a criterion: these are a criterion's scores, not rewards",
  },
  score: {
    kind: "Reader",
    one: "score",
    are: "what the reader reads, not rewards",
    note: "is read by a reader of its own: these are its scores, not rewards",
  },
};

/** A text with a capital at its beginning. */
export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What a model's scores are. */
export function given(
  model: Pick<ModelReport, "is_reward_model" | "reader" | "reference" | "step_aggregate" | "pair_aggregate">,
): Given {
  const gives = model.reader?.spec.gives ?? "score";
  if (gives === "reward" && model.step_aggregate) return { ...REWARD, kind: "Process reward model" };
  if (model.reader) return READ[gives];
  if (model.reference) return IMPLICIT;
  if (model.pair_aggregate) return COMPARED[model.pair_aggregate];
  return model.is_reward_model ? REWARD : LIKELIHOOD;
}
