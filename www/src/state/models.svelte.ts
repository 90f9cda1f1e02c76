// The loaded model, its head, and a second model beside it.
import { Engine } from "../engine/engine";
import { Helpers } from "../engine/helpers";
import { model as modelName } from "../lib/format";
import type { HeadReport, LoadProgress, LoadSettings, ModelReport, Score, Turn } from "../wasm/rewardscope";
import type { Access, EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** Where a model comes from; enough to load it again. */
export type ModelSource = (
  { kind: "site"; manifest: string } | { kind: "hub"; id: string } | { kind: "files"; files: File[] }
) & {
  /** A reward head's file to be put on it, or the address of the site's own. */
  head?: Uint8Array | File | URL | undefined;
};

/** What others do when a model takes another's place. */
interface Hooks {
  /** Before: what was said of a run with the old one is not true of the new one. */
  replacing: () => void;
  /** After: scores of two models never stand in one table. */
  changed: () => void;
}

interface Loaded {
  source: ModelSource;
  settings: LoadSettings;
  access: Access;
  fingerprint: string;
}

async function headBytes(head: ModelSource["head"]): Promise<Uint8Array | undefined> {
  if (head instanceof File) return new Uint8Array(await head.arrayBuffer());
  if (!(head instanceof URL)) return head;
  const response = await fetch(head);
  if (!response.ok)
    throw new Error(`fetching the reward head: ${head.href} answered ${response.status}; reload the page`);
  return new Uint8Array(await response.arrayBuffer());
}

async function loadInto(
  engine: Pick<Engine, "call">,
  source: ModelSource,
  head: Uint8Array | undefined,
  settings: LoadSettings,
  { hub, token, keep }: Access,
  tell: (now: LoadProgress) => void,
): Promise<ModelReport> {
  await engine.call("configure", [hub, token, keep]);
  if (source.kind === "site") return engine.call("loadSite", [source.manifest, head, settings], tell);
  if (source.kind === "hub") return engine.call("loadHub", [source.id, head, settings], tell);
  const { files } = source;
  const path = files[0]?.webkitRelativePath ?? "";
  const name = path.split("/")[0] || (files.length === 1 ? (files[0]?.name ?? "") : `the ${files.length} picked files`);
  return engine.call("loadFiles", [name, files, head, settings], tell);
}

export class ModelsState {
  loaded = $state<ModelReport>();
  /** The head on the loaded model, and what it is worth. */
  head = $state.raw<HeadReport>();
  /** A second model, loaded beside the first in a worker of its own. */
  beside = $state.raw<ModelReport>();
  #work: WorkState;
  #engine: EngineState;
  #hooks: Hooks;
  #from: Loaded | undefined;
  #second: Engine | undefined;

  constructor(work: WorkState, engine: EngineState, hooks: Hooks) {
    this.#work = work;
    this.#engine = engine;
    this.#hooks = hooks;
  }

  /** Where the loaded model came from. */
  get from(): Pick<Loaded, "source" | "settings"> | undefined {
    return this.#from;
  }

  load(source: ModelSource, settings: LoadSettings) {
    return this.#work.during("loading", async () => {
      const model = await this.become(source, settings);
      this.#work.notice = `${modelName(model)} is loaded.`;
    });
  }

  /** Loads a model in the place of the one before. */
  async become(source: ModelSource, settings: LoadSettings): Promise<ModelReport> {
    this.drop();
    this.#hooks.replacing();
    this.#engine.load = undefined;
    const access = this.#engine.access();
    const model = await this.#load(source, settings, access);
    this.loaded = model;
    this.#from = { source, settings, access, fingerprint: model.fingerprint };
    this.#engine.device = model.device;
    this.#hooks.changed();
    return model;
  }

  /** Shows that no model is loaded any more. */
  drop() {
    this.loaded = undefined;
    this.head = undefined;
    this.#from = undefined;
  }

  /** Loads what was loaded into a new worker. */
  async restore() {
    if (!this.#from) return;
    const { source, settings, access, fingerprint } = this.#from;
    this.loaded = undefined;
    const model = await this.#load(source, settings, access);
    if (model.fingerprint !== fingerprint) {
      throw new Error(`${model.name} has changed since it was loaded; load it again, and run it anew`);
    }
    this.loaded = model;
    this.#engine.device = model.device;
  }

  async #load(source: ModelSource, settings: LoadSettings, access: Access): Promise<ModelReport> {
    const head = await headBytes(source.head);
    this.head = head && (await this.#engine.call("readHead", [head]));
    return this.#engine.loading((tell) => loadInto(this.#engine, source, head, settings, access, tell));
  }

  /** Helpers of a run with the model that is loaded. */
  newHelpers(): Helpers | undefined {
    if (!this.#from || !this.loaded) return undefined;
    const { source, settings, access } = this.#from;
    return new Helpers(this.#engine.client, $state.snapshot(this.loaded) as ModelReport, async (engine) =>
      loadInto(engine, source, await headBytes(source.head), settings, access, () => {}),
    );
  }

  /** Loads the model that is loaded a second time, in a worker of its own, so that another can take its place here. */
  putBeside() {
    const loaded = this.#from;
    if (!loaded) return;
    return this.#work.during("loading", async () => {
      this.dropBeside();
      const engine = new Engine((reason) => {
        this.dropBeside();
        this.#work.error = `The second model's engine stopped: ${reason}. Set it beside again.`;
      }, "second");
      try {
        const head = await headBytes(loaded.source.head);
        this.beside = await this.#engine.loading((tell) =>
          loadInto(engine, loaded.source, head, loaded.settings, loaded.access, tell),
        );
        this.#second = engine;
      } catch (error) {
        engine.end("it could not be loaded");
        throw error;
      }
      this.#work.notice = `${this.beside.head?.name ?? this.beside.name} is set beside. Load another model now, and both score the same text.`;
    });
  }

  dropBeside() {
    this.#second?.end("it is not needed any more");
    this.#second = undefined;
    this.beside = undefined;
  }

  score(prompt: Turn[], completions: string[]) {
    return this.#engine.withstanding(() => this.#engine.call("score", [prompt, completions]));
  }

  /** The second model's scores of the same text, where there is one. */
  async scoreBeside(prompt: Turn[], completions: string[]): Promise<Score[]> {
    return (await this.#second?.call("score", [prompt, completions])) ?? [];
  }

  /** Stops what the second model does. */
  cancelBeside() {
    this.#second?.call("cancel", []).catch(() => {});
  }
}
