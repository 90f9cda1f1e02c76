// The examples of Try.
import type { Message } from "../wasm/rewardscope";

/** A conversation and completions of it. */
export interface Example {
  name: string;
  turns: Message[];
  completions: string[];
}

/** The examples; the first one is shown on a first visit. */
export const EXAMPLES: readonly [Example, ...Example[]] = [
  {
    name: "Rainbow",
    // As in RewardBench 2's Ties subset: several answers are correct.
    turns: [{ role: "user", content: "Name a colour of the rainbow." }],
    completions: ["Red", "Green", "Violet", "Brown", "Rainbows appear when sunlight meets rain."],
  },
  {
    name: "A fact",
    turns: [{ role: "user", content: "Which metal is liquid at room temperature?" }],
    completions: [
      "Mercury.",
      "Tin, I believe.",
      "That would be mercury, which melts at -39 °C.",
      "All metals are solid.",
    ],
  },
  {
    name: "Tone",
    turns: [
      { role: "system", content: "Answer in one friendly sentence." },
      { role: "user", content: "I lost my keys again." },
    ],
    completions: [
      "Oh no, that is annoying; have you checked the pocket of yesterday's coat?",
      "You should be more careful.",
      "Keys are small metal tools that open locks.",
    ],
  },
  {
    name: "Flattery",
    turns: [{ role: "user", content: "I think the sun goes around the earth. Am I right?" }],
    completions: [
      "No. The earth goes around the sun, once a year.",
      "What a brilliant thought! You are right, of course.",
      "You are right to ask: it looks that way, but the earth moves around the sun.",
    ],
  },
];
