// Reads what is pasted into Try: lines, a JSON list of texts, or a row of a dataset.
import type { Message } from "../wasm/rewardscope";

/** Most completions of one paste. */
const MOST_COMPLETIONS = 200;

/** What was found in a pasted text. */
export interface Pasted {
  /** The conversation of a row; undefined where only completions were pasted. */
  turns?: Message[] | undefined;
  completions: string[];
  /** What is wrong with it: one sentence; empty where nothing is. */
  trouble: string;
}

type Row = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === "string";
const isRow = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
const isTurn = (value: unknown): value is Message =>
  isRow(value) && ["system", "user", "assistant"].includes(String(value.role)) && isText(value.content);

/** The texts of a value: a text, a list of texts, of objects with a text, or of conversations whose last turn counts. */
function texts(value: unknown): string[] {
  if (isText(value)) return [value];
  if (!Array.isArray(value)) return [];
  // A conversation is one text: its last turn.
  if (value.length > 0 && value.every(isTurn)) return texts(value.at(-1)?.content);
  return value.flatMap((one) => (isRow(one) ? texts(one.text ?? one.content ?? one.completion) : texts(one)));
}

/** The conversation of a row, from `messages`, `prompt` (text or turns) or the turns before `chosen`'s last. */
function turnsOf(row: Row): Message[] | undefined {
  for (const value of [row.messages, row.prompt, row.context]) {
    if (Array.isArray(value) && value.length > 0 && value.every(isTurn))
      return value.map(({ role, content }) => ({ role, content }));
  }
  const prompt = [row.prompt, row.instruction, row.question].find(isText);
  const system = isText(row.system) && row.system ? [{ role: "system", content: row.system } as const] : [];
  if (prompt !== undefined) return [...system, { role: "user", content: prompt }];
  const { chosen } = row;
  if (Array.isArray(chosen) && chosen.length > 1 && chosen.every(isTurn)) return chosen.slice(0, -1);
  return undefined;
}

/** The turns and completions of a row. */
function fromRow(row: Row): Pasted {
  const turns = turnsOf(row);
  const given = [row.completions, row.responses, row.answers].find((value) => value !== undefined);
  const completions = given === undefined ? [...texts(row.chosen), ...texts(row.rejected)] : texts(given);
  if (completions.length === 0)
    return { completions, trouble: "This row has no completions: name them completions, or chosen and rejected." };
  return bounded({ turns, completions, trouble: "" });
}

function bounded(found: Pasted): Pasted {
  if (found.completions.length <= MOST_COMPLETIONS) return found;
  const trouble = `Of ${found.completions.length} completions the first ${MOST_COMPLETIONS} are taken. Score more with the command, or as a dataset in Benchmark.`;
  return { ...found, completions: found.completions.slice(0, MOST_COMPLETIONS), trouble };
}

/** Reads a pasted text. */
export function pasted(text: string): Pasted {
  const whole = text.trim();
  if (/^[[{]/.test(whole)) {
    try {
      const found: unknown = JSON.parse(whole);
      if (isRow(found)) return fromRow(found);
      if (Array.isArray(found) && found.length === 1 && isRow(found[0]) && !isText(found[0].text))
        return fromRow(found[0]);
      const completions = texts(found);
      return bounded({ completions, trouble: completions.length > 0 ? "" : "This list has no texts." });
    } catch {
      // A text may begin with a bracket without being JSON.
      if (whole.startsWith("{") || /^\[\s*["{]/.test(whole))
        return { completions: [], trouble: "This begins like JSON and is none. Is its end missing?" };
    }
  }
  const lines = whole.split(/\r?\n/).filter((line) => line.trim() !== "");
  return bounded({ completions: lines, trouble: "" });
}
