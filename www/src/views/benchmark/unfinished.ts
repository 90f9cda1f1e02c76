// Runs of earlier visits that are not finished, and what this browser remembers to open them again by itself: where
// model and rows came from. Of rows and models that the visitor picked from files it can only say which to pick.
import { dataset as datasetName, origin } from "../../lib/format";
import { readSettings } from "../../lib/settings";
import { SITE_MODELS } from "../../lib/site";
import type { ModelSource } from "../../state/models.svelte";
import type { Selection } from "../../state/run.svelte";
import type { JournalSummary, LoadSettings, StoredRun } from "../../wasm/rewardscope";
import { type Choices, type Source, readLink, writeLink } from "./link";

const KEY = "rewardscope.runs";
/** How many runs are remembered, and how many are offered. */
const MOST = 20;
const OFFERED = 3;
/** Runs that were left so many days ago are not offered any more. They are listed under Models. */
const DAYS = 14;

/** What is remembered of a run. */
export interface Remembered {
  /** Fingerprint of the model, name of the rows and size, as the stored run has them. */
  run: string;
  /** One of the site's models or an id of the Hub; undefined for files. */
  model: { site: string } | { hub: string } | undefined;
  settings: LoadSettings;
  /** The choice of rows as a link has it. Columns are named beside it. */
  link: string;
  columns: Record<string, string>;
  subset: string;
}

/** A stored run that can go on. */
export interface Unfinished {
  key: string;
  summary: JournalSummary;
  /** When it was left, where the browser says so. */
  at: Date | undefined;
  /** What is known to open it again: one for each subset that the run may have had. */
  known: Remembered[];
}

/** What tells a run from others without its journal's key. */
const named = (fingerprint: string, dataset: string, limit: number | undefined, seed: number, total: number) =>
  JSON.stringify([fingerprint, dataset, limit ?? null, limit === undefined ? 0 : seed, total]);

const isTexts = (found: unknown): found is Record<string, string> =>
  typeof found === "object" && found !== null && Object.values(found).every((text) => typeof text === "string");

/** An entry as it was written, checked: anything may have been written there. */
function entry(found: unknown): Remembered[] {
  if (typeof found !== "object" || found === null) return [];
  const { run, model, settings, link, columns, subset } = found as Partial<Remembered>;
  const known = readSettings(settings);
  if (typeof run !== "string" || typeof link !== "string" || typeof subset !== "string" || !known) return [];
  if (!isTexts(columns)) return [];
  const hub = model && "hub" in model && typeof model.hub === "string" ? { hub: model.hub } : undefined;
  const site = model && "site" in model && typeof model.site === "string" ? { site: model.site } : undefined;
  return [{ run, model: hub ?? site, settings: known, link, columns, subset }];
}

/** The remembered runs, the last one first. */
export function read(): Remembered[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.slice(0, MOST).flatMap(entry) : [];
  } catch {
    // Blocked or unreadable: nothing is remembered.
    return [];
  }
}

/** What a run was made with. */
export interface Made {
  fingerprint: string;
  dataset: string;
  selection: Selection;
  total: number;
  model: ModelSource | undefined;
  /** The model's Hub id with its commit. */
  origin: string | undefined;
  settings: LoadSettings;
  choices: Choices;
  columns: Record<string, string>;
}

/** The model as it can be opened again; undefined for files, and for a head of one's own. */
function modelOf({ model, origin }: Made): Remembered["model"] {
  if (model?.kind === "hub" && !model.head) return { hub: origin ?? model.id };
  if (model?.kind !== "site") return undefined;
  const address = (head: ModelSource["head"]) => (head instanceof URL ? head.href : head);
  const found = SITE_MODELS.find(
    ({ source }) =>
      source.manifest === model.manifest && address("head" in source ? source.head : undefined) === address(model.head),
  );
  return found && { site: found.name };
}

/** Remembers a run that has begun. */
export function remember(made: Made) {
  const { fingerprint, dataset, selection, total, settings, choices, columns } = made;
  const one: Remembered = {
    run: named(fingerprint, dataset, selection.limit, selection.seed, total),
    model: modelOf(made),
    settings,
    link: new URLSearchParams(Object.entries(writeLink(choices)).filter(([, value]) => value)).toString(),
    columns,
    subset: selection.subset ?? "",
  };
  const others = read().filter(({ run, subset }) => run !== one.run || subset !== one.subset);
  try {
    localStorage.setItem(KEY, JSON.stringify([one, ...others].slice(0, MOST)));
  } catch {
    // A later visit says what to open.
  }
}

/** The stored runs that can go on, the one left last first. */
export function unfinished(
  runs: StoredRun[],
  times: ReadonlyMap<string, number>,
  now: number,
  remembered: Remembered[],
): Unfinished[] {
  return runs
    .flatMap(({ key, summary }) => {
      if (!summary || summary.items_done === 0 || summary.items_done >= summary.items_total) return [];
      const time = times.get(key);
      if (time !== undefined && now - time > DAYS * 86_400_000) return [];
      const { model_fingerprint, dataset, limit_per_subset, seed } = summary.identity;
      const run = named(model_fingerprint, dataset, limit_per_subset, seed, summary.items_total);
      const known = remembered.filter((one) => one.run === run);
      return [{ key, summary, at: time === undefined ? undefined : new Date(time), known }];
    })
    .sort((a, b) => (b.at?.getTime() ?? 0) - (a.at?.getTime() ?? 0))
    .slice(0, OFFERED);
}

/** The choices of a remembered run. */
export const choicesOf = ({ link }: Remembered) => readLink(new URLSearchParams(link));

/** The model of a remembered run, to load it. */
export function sourceOf({ model }: Remembered): ModelSource | undefined {
  if (!model) return undefined;
  return "site" in model ? SITE_MODELS.find(({ name }) => name === model.site)?.source : { kind: "hub", id: model.hub };
}

/** What a run is called: the model and the rows as the page calls them, where it knows them. */
export function nameOf({ summary: { identity }, known: [first] }: Unfinished): string {
  const site = first?.model && "site" in first.model ? first.model.site : undefined;
  const model = SITE_MODELS.find(({ name }) => name === site)?.title ?? origin(identity.model);
  const titles: Partial<Record<Source, string>> = { sample: "Bundled sample", official: "RewardBench 2" };
  return `${model} on ${(first && titles[choicesOf(first).source]) ?? datasetName(identity.dataset)}`;
}

/** When the journals were written to last, by their keys. Empty where the browser gives no private files. */
export async function journalTimes(): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  try {
    const root = await navigator.storage.getDirectory();
    const logs = await (await root.getDirectoryHandle("rewardscope")).getDirectoryHandle("logs");
    // TypeScript's list of the browser's interfaces lacks the iteration of folders.
    for await (const [name, handle] of logs as unknown as AsyncIterable<[string, FileSystemHandle]>)
      if (handle.kind === "file") times.set(name, (await (handle as FileSystemFileHandle).getFile()).lastModified);
  } catch {
    // The runs are offered without their times.
  }
  return times;
}
