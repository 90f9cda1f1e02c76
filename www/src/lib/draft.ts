// What is written in Try, kept for a reload of the tab. It stays in this tab's session on this device.
import type { Message } from "../wasm/rewardscope";

const KEY = "rewardscope.draft";
/** Browsers keep about 5 MB for a session; a draft of more characters is not kept. */
const MOST_CHARACTERS = 2_000_000;

/** A preference: for this prompt the visitor chose one completion over another. */
export interface Choice {
  prompt: string;
  chosen: string;
  rejected: string;
}

/** What a reload keeps. */
export interface Draft {
  turns: Message[];
  completions: string[];
  choices: Choice[];
}

/** Keeps a draft. Returns whether the browser has kept it. */
export function keepDraft(draft: Draft): boolean {
  try {
    const json = JSON.stringify(draft);
    if (json.length > MOST_CHARACTERS) return false;
    sessionStorage.setItem(KEY, json);
    return true;
  } catch {
    return false;
  }
}

/** The draft of this tab's session; undefined where there is none. */
export function readDraft(): Draft | undefined {
  try {
    const { turns, completions, choices } = JSON.parse(sessionStorage.getItem(KEY) ?? "") as Draft;
    const isText = (value: unknown) => typeof value === "string";
    const areTurns = turns.length > 0 && turns.every(({ role, content }) => isText(role) && isText(content));
    const areChoices = choices.every((one) => [one.prompt, one.chosen, one.rejected].every(isText));
    return areTurns && completions.every(isText) && areChoices ? { turns, completions, choices } : undefined;
  } catch {
    return undefined;
  }
}
