// How a model is loaded unless the visitor chooses otherwise.
import type { LoadSettings } from "../wasm/rewardscope";

/** The settings that the page starts with. */
export const DEFAULT_SETTINGS: Readonly<LoadSettings> = {
  device: "auto",
  dtype: "auto",
  is_reference: false,
  is_dpo: false,
  format: undefined,
  label: undefined,
  reader: undefined,
  instruction: undefined,
  step_aggregate: undefined,
  pair_aggregate: undefined,
  reference: undefined,
  date: undefined,
};

const DEVICES = ["auto", "gpu", "cpu"] as const satisfies readonly LoadSettings["device"][];
const AGGREGATES = ["min", "product", "last"] as const;
const PAIR_AGGREGATES = ["win-rate", "bradley-terry"] as const;
/** Most characters of a reader's JSON, and of what it asks. */
const MOST_READER = 20_000;
const MOST_INSTRUCTION = 2_000;
/** Most characters of a reference's Hub id or address. */
const MOST_REFERENCE = 500;
const DTYPES = ["auto", "f32", "f16", "q8", "q4"] as const;

/** A reference, checked; undefined where there is none, null where it is damaged. */
function readReference(found: unknown): LoadSettings["reference"] | null {
  if (found === undefined || found === null) return undefined;
  const { model, log_ratios } = found as Record<string, unknown>;
  const { beta, normalise_length } = (log_ratios ?? {}) as Record<string, unknown>;
  const isNamed = typeof model === "string" && model.trim() !== "" && model.length <= MOST_REFERENCE;
  if (!isNamed || typeof beta !== "number" || !Number.isFinite(beta) || beta <= 0) return null;
  return { model, log_ratios: { beta, normalise_length: normalise_length === true } };
}

/** Settings from a link or from storage, checked; undefined where they are no settings. */
export function readSettings(found: unknown): LoadSettings | undefined {
  if (typeof found !== "object" || found === null) return undefined;
  const given = found as Record<string, unknown>;
  const { device, dtype, is_reference, is_dpo, format, label, reader, instruction, date } = given;
  const { step_aggregate, pair_aggregate } = given;
  const reference = readReference(given["reference"]);
  const isShort = (value: unknown, most = 100) =>
    value === undefined || (typeof value === "string" && value.length <= most);
  const isIndex = label === undefined || (Number.isInteger(label) && (label as number) >= 0);
  if (!isShort(format) || !isShort(date) || !isIndex) return undefined;
  if (reference === null) return undefined;
  if (!isShort(reader, MOST_READER) || !isShort(instruction, MOST_INSTRUCTION)) return undefined;
  return {
    device: DEVICES.find((known) => known === device) ?? "auto",
    dtype: (DTYPES as readonly unknown[]).includes(dtype) ? (dtype as LoadSettings["dtype"]) : "auto",
    is_reference: is_reference === true,
    is_dpo: is_dpo === true,
    format: format as string | undefined,
    label: label as number | undefined,
    reader: reader as string | undefined,
    instruction: instruction as string | undefined,
    step_aggregate: AGGREGATES.find((known) => known === step_aggregate),
    pair_aggregate: PAIR_AGGREGATES.find((known) => known === pair_aggregate),
    reference,
    date: date as string | undefined,
  };
}
