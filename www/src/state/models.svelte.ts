// The loaded model, its reward head, and other models to compare it with.
import { Engine } from "../engine/engine";
import { Helpers } from "../engine/helpers";
import { model as modelName } from "../lib/format";
import { nameOf } from "../lib/picked";
import { DEFAULT_SETTINGS } from "../lib/settings";
import { SITE_MODELS } from "../lib/site";
import type { HeadReport, LoadProgress, LoadSettings, ModelReport, Score, Message } from "../wasm/rewardscope";
import { ChoiceState } from "./choice.svelte";
import type { Access, EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** Where a model comes from, with all that is needed to load it again. */
export type ModelSource = (
  | { kind: "site"; manifest: string }
  | { kind: "hub"; id: string }
  | { kind: "files"; files: File[]; /** What the files are called together. */ name?: string }
) & {
  /** The reward head to use: its file, or the address of the site's own. */
  head?: Uint8Array | File | URL | undefined;
  /** The files of the model that its rewards are measured against, where the settings' name for it stands for these. */
  reference?: File[] | undefined;
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
async function headBytes(head: ModelSource["head"], signal?: AbortSignal): Promise<Uint8Array | undefined> {
  if (head instanceof File) return new Uint8Array(await head.arrayBuffer());
  if (!(head instanceof URL)) return head;
  const response = await fetch(head, signal && { signal });
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
  if (source.reference) await engine.call("pickReference", [source.reference]);
  if (source.kind === "site") return engine.call("loadSite", [source.manifest, head, settings], tell);
  if (source.kind === "hub") return engine.call("loadHub", [source.id, head, settings], tell);
  return engine.call("loadFiles", [sourceName(source), source.files, head, settings], tell);
}

/** What a model is called before it is loaded. */
export function sourceName(source: ModelSource): string {
  if (source.kind === "hub") return source.id;
  if (source.kind === "files") return source.name ?? nameOf(source.files);
  // The site's models share a manifest; a head of one's own goes on the one that has none.
  const isOwn = source.head instanceof URL;
  const known = SITE_MODELS.find(
    (model) => model.source.manifest === source.manifest && "head" in model.source === isOwn,
  );
  return known?.title ?? source.manifest;
}

/** A model in a worker of its own, which scores the same texts as the loaded one. */
export interface OtherModel {
  report: ModelReport;
  engine: Engine;
}

/** Most models that are compared with the loaded one: each takes memory of its own. */
export const MOST_OTHERS = 3;

/** The loaded model and those that it is compared with. */
export class ModelsState {
  /** The loaded model. */
  loaded = $state<ModelReport>();
  /** The loaded model's reward head and its quality figures. */
  head = $state.raw<HeadReport>();
  /** The models that it is compared with. */
  others = $state.raw<OtherModel[]>([]);
  /** The settings that the next model is loaded with. */
  settings = $state<LoadSettings>({ ...DEFAULT_SETTINGS });
  /** What is chosen for the next load: source, files and reward head. */
  readonly choice = new ChoiceState();
  /** The name of the model that is being loaded; empty if none is. */
  loading = $state("");
  #work: WorkState;
  #engine: EngineState;
  #hooks: Hooks;
  #from: Loaded | undefined;
  /** The engine of a model that is being added. */
  #loading: Engine | undefined;
  /** Where the compared models came from, by their engines. */
  #othersFrom = new WeakMap<Engine, Loaded>();
  /** Engines of compared models whose workers were given up, so that they have no model. */
  #emptied: Engine[] = [];

  constructor(work: WorkState, engine: EngineState, hooks: Hooks) {
    this.#work = work;
    this.#engine = engine;
    this.#hooks = hooks;
  }

  /** Where the loaded model came from. */
  get from(): Pick<Loaded, "source" | "settings" | "access"> | undefined {
    return this.#from;
  }

  /** Loads a model and says so. */
  load(source: ModelSource, settings: LoadSettings) {
    // Files that were picked stand for the name in the settings.
    const reference = settings.reference && this.choice.reference;
    return this.#work.during("loading", async () => {
      const model = await this.become(reference ? { ...source, reference } : source, settings);
      this.#work.notice = `${modelName(model)} is loaded.`;
    });
  }

  /** Loads a model in place of the loaded one. */
  async become(source: ModelSource, chosen: LoadSettings): Promise<ModelReport> {
    // Later changes of the settings are for the next model, and a proxy cannot be sent to a worker.
    const settings = $state.snapshot(chosen);
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
    this.loading = sourceName(source);
    try {
      const head = await headBytes(source.head, this.#work.signal);
      this.head = head && (await this.#engine.call("readHead", [head]));
      return await this.#engine.loading((tell) => loadInto(this.#engine, source, head, settings, access, tell));
    } finally {
      this.loading = "";
    }
  }

  /** New helpers for a run of the loaded model. */
  newHelpers(): Helpers | undefined {
    if (!this.#from || !this.loaded) return undefined;
    const { source, settings, access } = this.#from;
    return new Helpers(this.#engine.client, $state.snapshot(this.loaded) as ModelReport, async (engine) =>
      loadInto(engine, source, await headBytes(source.head), settings, access, () => {}),
    );
  }

  /** Loads a model to compare the loaded one with. */
  addOther(source: ModelSource, chosen: LoadSettings) {
    const settings = $state.snapshot(chosen);
    if (this.others.length >= MOST_OTHERS) return;
    return this.#work.during("loading", async () => {
      const engine: Engine = new Engine((reason) => {
        // The client has started a new worker, which holds no model.
        engine.end(reason);
        this.#forget(engine);
        this.#work.error = `The engine of a compared model stopped: ${reason}. Add the model again.`;
      }, "other");
      this.#loading = engine;
      this.loading = sourceName(source);
      try {
        const head = await headBytes(source.head, this.#work.signal);
        const access = this.#engine.access();
        const report = await this.#engine.loading((tell) => loadInto(engine, source, head, settings, access, tell));
        this.others = [...this.others, { report, engine }];
        this.#othersFrom.set(engine, { source, settings, access, fingerprint: report.fingerprint });
      } catch (error) {
        engine.end("it could not be loaded");
        throw error;
      } finally {
        this.#loading = undefined;
        this.loading = "";
      }
    });
  }

  /** Removes a model that the loaded one was compared with. */
  removeOther(other: OtherModel) {
    other.engine.end("it is not needed any more");
    this.#forget(other.engine);
  }

  #forget(engine: Engine) {
    this.others = this.others.filter((other) => other.engine !== engine);
  }

  /**
   * The completions' scores by the loaded model, then by each compared one in the order of `others`. `told` gets how
   * many of all these scores are there.
   */
  async score(
    prompt: Message[],
    completions: string[],
    told: (done: number, total: number) => void,
  ): Promise<[Score[], ...Score[][]]> {
    const done = [0, ...this.others.map(() => 0)];
    const total = done.length * completions.length;
    const by = (engine: Pick<Engine, "call">, place: number) =>
      engine.call("score", [prompt, completions], ({ completions_done }) => {
        done[place] = completions_done;
        told(
          done.reduce((sum, own) => sum + own),
          total,
        );
      });
    return Promise.all([
      this.#engine.withstanding(() => by(this.#engine, 0)),
      ...this.others.map(({ engine }, i) => by(engine, i + 1)),
    ]);
  }

  /** Stops what the compared models do. */
  cancelOthers() {
    for (const engine of [...this.others.map(({ engine }) => engine), ...(this.#loading ? [this.#loading] : [])])
      engine.call("cancel", []).catch(() => {});
  }

  /** Gives up the workers of compared models that go on with cancelled work. */
  abandonOthers() {
    this.#loading?.abandon();
    for (const { engine } of this.others) if (engine.abandon()) this.#emptied.push(engine);
  }

  /** Whether compared models have to be loaded again. */
  get lacksOthers() {
    return this.#emptied.length > 0;
  }

  /** Loads compared models again whose workers were given up. Returns one sentence for each that cannot be. */
  async restoreOthers(): Promise<string[]> {
    const lost: string[] = [];
    for (const { report, engine } of this.others.filter((other) => this.#emptied.includes(other.engine))) {
      this.#loading = engine;
      try {
        this.#work.checkCancelled();
        const from = this.#othersFrom.get(engine);
        if (!from) throw new Error("it is not known where it came from");
        const head = await headBytes(from.source.head, this.#work.signal);
        const again = await this.#engine.loading((tell) =>
          loadInto(engine, from.source, head, from.settings, from.access, tell),
        );
        if (again.fingerprint !== from.fingerprint) throw new Error("it has changed since it was loaded");
      } catch (error) {
        engine.end("it could not be loaded again");
        this.#forget(engine);
        const why = error instanceof Error ? error.message : String(error);
        lost.push(`${modelName(report)} is no longer compared: ${why}.`);
      } finally {
        this.#loading = undefined;
      }
    }
    this.#emptied = [];
    return lost;
  }
}
