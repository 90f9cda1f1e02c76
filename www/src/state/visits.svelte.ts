// What this browser remembers from one visit to the next: the model that was used last, and whether to open it.
import { SITE_MODELS } from "../lib/site";
import { readSettings } from "../lib/settings";
import { isStored } from "../lib/stored";
import type { Storage as DeviceStorage } from "../wasm/rewardscope";
import type { ModelSource, ModelsState } from "./models.svelte";
import type { LoadSettings } from "../wasm/rewardscope";

const KEY = "rewardscope.last-model";
const OPENS_KEY = "rewardscope.open-last-model";

/** The model that was used last. Only models that can be opened from the device's storage are remembered. */
interface LastModel {
  /** One of the site's models, or an id of the Hub with its commit. */
  model: { site: string } | { hub: string };
  settings: LoadSettings;
}

/** Reads a value of the browser's storage; undefined where the browser blocks it. */
function read(key: string): string | undefined {
  try {
    return localStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Writes a value to the browser's storage, or removes it. Where the browser blocks it, nothing is remembered. */
function write(key: string, value: string | undefined) {
  try {
    if (value === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // The next visit begins like the first.
  }
}

/** What is remembered, checked: anything may have been written there. */
function lastModel(): LastModel | undefined {
  try {
    const { model, settings } = JSON.parse(read(KEY) ?? "{}") as Partial<LastModel>;
    const known = readSettings(settings);
    if (!model || !known) return undefined;
    if ("site" in model && SITE_MODELS.some(({ name }) => name === model.site)) return { model, settings: known };
    if ("hub" in model && typeof model.hub === "string" && model.hub.length <= 500) return { model, settings: known };
  } catch {
    // Unreadable: as if nothing were remembered.
  }
  return undefined;
}

/** The model that was used last, and whether a visit opens it. */
export class VisitsState {
  /** Whether a visit opens the model that was used last. */
  opens = $state(read(OPENS_KEY) !== "no");
  #models: ModelsState;

  constructor(models: ModelsState) {
    this.#models = models;
  }

  /** Sets whether a visit opens the model that was used last. */
  setOpens(opens: boolean) {
    this.opens = opens;
    write(OPENS_KEY, opens ? undefined : "no");
    if (opens) this.remember();
    else write(KEY, undefined);
  }

  /** Remembers the loaded model, if a later visit can open it from the device's storage. */
  remember() {
    const from = this.#models.from;
    const loaded = this.#models.loaded;
    if (!this.opens || !from || !loaded || !from.access.keep || from.access.hub) return;
    const { source, settings } = from;
    const site = source.reference ? undefined : SITE_MODELS.find((known) => isSame(known.source, source));
    // A head of one's own is not stored, and a picked file cannot be opened again.
    const hub = source.kind === "hub" && !source.head && !source.reference ? loaded.origin : undefined;
    const model = site ? { site: site.name } : hub && hub.includes("@") ? { hub } : undefined;
    write(KEY, model && JSON.stringify({ model, settings: $state.snapshot(settings) } satisfies LastModel));
  }

  /** Opens the model that was used last, if all of it is stored on this device. */
  async open(stored: DeviceStorage) {
    const last = this.opens ? lastModel() : undefined;
    if (!last || this.#models.loaded) return;
    const { model } = last;
    const source: ModelSource | undefined =
      "site" in model ? SITE_MODELS.find(({ name }) => name === model.site)?.source : { kind: "hub", id: model.hub };
    if (!source) return;
    if (!isStored(stored, repository(source))) return;
    await this.#models.load(source, last.settings);
  }
}

/** Whether two sources name the same model of the site with the same head. */
function isSame(known: ModelSource, source: ModelSource): boolean {
  if (known.kind !== "site" || source.kind !== "site" || known.manifest !== source.manifest) return false;
  const address = (head: ModelSource["head"]) => (head instanceof URL ? head.href : head);
  return address(known.head) === address(source.head);
}

/** The name under which the device's storage lists a model's files. */
function repository(source: ModelSource): string {
  if (source.kind === "site") return source.manifest.split("/").at(-2) ?? "";
  return source.kind === "hub" ? (source.id.split(/[@:]/)[0] ?? "") : "";
}
