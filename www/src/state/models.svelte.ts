// The loaded model, its reward head, and a second model to compare it with.
import { Engine } from "../engine/engine";
import { Helpers } from "../engine/helpers";
import { model as modelName } from "../lib/format";
import type { HeadReport, LoadProgress, LoadSettings, ModelReport, Score, Message } from "../wasm/rewardscope";
import type { Access, EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** Where a model comes from, with all that is needed to load it again. */
export type ModelSource = (
  { kind: "site"; manifest: string } | { kind: "hub"; id: string } | { kind: "files"; files: File[] }
) & {
  /** The reward head to use: its file, or the address of the site's own. */
  head?: Uint8Array | File | URL | undefined;
};

/** What the rest of the state does when another model is loaded. */
interface Hooks {
  /** Called before loading: a run's estimate does not hold for the new model. */
  replacing: () => void;
  /** Called after loading: scores of two models must not be in one run. */
  changed: () => void;
}

/** What the loaded model was loaded with. A new worker must get the same fingerprint. */
interface Loaded {
  source: ModelSource;
  settings: LoadSettings;
  access: Access;
  fingerprint: string;
}

/** The bytes of a head's file. */
async function headBytes(head: ModelSource["head"]): Promise<Uint8Array | undefined> {
  if (head instanceof File) return new Uint8Array(await head.arrayBuffer());
  if (!(head instanceof URL)) return head;
  const response = await fetch(head);
  if (!response.ok)
    throw new Error(`fetching the reward head: ${head.href} answered ${response.status}; reload the page`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Loads a model into a worker. */
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

/** The loaded model and the second one. */
export class ModelsState {
  /** The loaded model. */
  loaded = $state<ModelReport>();
  /** The loaded model's reward head and its quality figures. */
  head = $state.raw<HeadReport>();
  /** The second model, in a worker of its own. */
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

  /** Loads a model and says so. */
  load(source: ModelSource, settings: LoadSettings) {
    return this.#work.during("loading", async () => {
      const model = await this.become(source, settings);
      this.#work.notice = `${modelName(model)} is loaded.`;
    });
  }

  /** Loads a model in place of the loaded one. */
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

  /** Marks the model as not loaded. */
  drop() {
    this.loaded = undefined;
    this.head = undefined;
    this.#from = undefined;
  }

  /** Loads the same model into a new worker. */
  async restore() {
    if (!this.#from) return;
    const { source, settings, access, fingerprint } = this.#from;
    this.loaded = undefined;
    const model = await this.#load(source, settings, access);
    if (model.fingerprint !== fingerprint) {
      throw new Error(`${model.name} has changed since it was loaded; load it again and start a new run`);
    }
    this.loaded = model;
    this.#engine.device = model.device;
  }

  async #load(source: ModelSource, settings: LoadSettings, access: Access): Promise<ModelReport> {
    const head = await headBytes(source.head);
    this.head = head && (await this.#engine.call("readHead", [head]));
    return this.#engine.loading((tell) => loadInto(this.#engine, source, head, settings, access, tell));
  }

  /** New helpers for a run of the loaded model. */
  newHelpers(): Helpers | undefined {
    if (!this.#from || !this.loaded) return undefined;
    const { source, settings, access } = this.#from;
    return new Helpers(this.#engine.client, $state.snapshot(this.loaded) as ModelReport, async (engine) =>
      loadInto(engine, source, await headBytes(source.head), settings, access, () => {}),
    );
  }

  /** Loads the loaded model once more as the second model. Another one can then be loaded in place of the first. */
  putBeside() {
    const loaded = this.#from;
    if (!loaded) return;
    return this.#work.during("loading", async () => {
      this.dropBeside();
      const engine = new Engine((reason) => {
        this.dropBeside();
        this.#work.error = `The second model's engine stopped: ${reason}. Add the second model again.`;
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
      this.#work.notice = `${this.beside.head?.name ?? this.beside.name} is now the second model. Load another model, and both score the same text.`;
    });
  }

  /** Removes the second model. */
  dropBeside() {
    this.#second?.end("it is not needed any more");
    this.#second = undefined;
    this.beside = undefined;
  }

  /** The loaded model's scores of the completions. */
  score(prompt: Message[], completions: string[]) {
    return this.#engine.withstanding(() => this.#engine.call("score", [prompt, completions]));
  }

  /** The second model's scores of the completions; empty without a second model. */
  async scoreBeside(prompt: Message[], completions: string[]): Promise<Score[]> {
    return (await this.#second?.call("score", [prompt, completions])) ?? [];
  }

  /** Stops the second model's scoring. */
  cancelBeside() {
    this.#second?.call("cancel", []).catch(() => {});
  }
}
