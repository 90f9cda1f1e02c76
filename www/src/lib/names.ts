// Names of files that the page saves: they say what the file holds, so that ten of them in a folder are told apart.
import { dataset as datasetName, origin } from "./format";

/** Longest part of a file's name; folders and archives of some systems bound a name at 255 bytes. */
const MOST = 60;

/** Names that Windows keeps for devices. */
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)$/i;

/** What a Hub id, an address or a file's name calls its thing: without owner, commit, folders and ending. */
export function short(name: string): string {
  const hub = /^[^/@\s]+\/([^/@\s]+)(@|$)/.exec(name.split(", ")[0] ?? "");
  if (hub?.[1]) return hub[1];
  const last =
    name
      .split(/[?#]/)[0]
      ?.split("/")
      .findLast((part) => part) ?? "";
  return last.replace(/\.(gguf|safetensors|parquet|jsonl?|csv|gz|zst)$/i, "");
}

/** A text of others as a part of a file's name: letters and digits of any script, dots, and dashes between them. */
function part(text: string): string {
  const plain = [...text.normalize("NFC").replace(/[^\p{L}\p{N}\p{M}.]+/gu, "-")].slice(0, MOST).join("");
  // A name that begins with a dot is hidden, one that ends with one is refused by some systems.
  return plain.replace(/^[-.]+|[-.]+$/g, "");
}

/** A file's name from its parts, such as a model and a dataset: `SmolLM2-135M-reward_sample.json`. */
export function fileName(parts: readonly string[], ending: string): string {
  const plain = parts.map(part).filter((one) => one !== "");
  const name = plain.join("_") || "file";
  return `${RESERVED.test(name) ? `${name}-` : name}.${ending}`;
}

/** A moment as files' names have it: the day and the minute, in the visitor's time. */
function minute(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day}-${two(at.getHours())}${two(at.getMinutes())}`;
}

/** What a run's files are named by. */
export interface RunNamed {
  /** The model, as it is shown or as its Hub id; a commit is shortened. */
  model: string;
  /** The rows, as their files are named. */
  dataset: string;
  /** How many items were scored. */
  items: number;
  /** When the run ended; runs of one model over the same rows differ in it. */
  at?: Date | undefined;
}

/** The name of a file of a run, such as `SmolLM2-on-sample-120-items-2026-05-04-0903.run.json`. */
export function runFileName({ model, dataset, items, at }: RunNamed, ending = "run.json"): string {
  const rows = datasetName(dataset).replace(
    /\.(parquet|arrow|feather|jsonl|ndjson|json|csv|tsv)(\.(gz|zst|bz2))?$/i,
    "",
  );
  const named = [
    part(origin(model)) || "model",
    "on",
    part(rows) || "rows",
    `${items}-items`,
    ...(at ? [minute(at)] : []),
  ];
  return `${named.join("-")}.${ending}`;
}
