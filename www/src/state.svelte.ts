// What the page knows. One engine, one model, one run; panels read and call it.
import { Engine, EngineFailure } from "./engine";
import { many, model as modelName } from "./format";
import { Helpers } from "./helpers";
import type {
  ColumnNames,
  DatasetReport,
  DeviceReport,
  Estimate,
  FitOptions,
  FitProgress,
  HeadReport,
  Insight,
  LoadProgress,
  LoadSettings,
  ModelReport,
  OpenedReport,
  OpenedRun,
  Report,
  RunProgress,
  Score,
  Storage,
  Turn,
} from "./wasm/rewardscope";

export type Work = "idle" | "loading" | "opening" | "fitting" | "estimating" | "running" | "scoring" | "removing";

/** Where a model comes from; enough to load it again. */
export type ModelSource = (
  | { kind: "site"; manifest: string }
  | { kind: "hub"; id: string }
  | { kind: "files"; files: File[] }
) & {
  /** A reward head's file to be put on it, or the address of the site's own. */
  head?: Uint8Array | File | URL | undefined;
};

/** A completion that the visitor preferred to another. */
export interface Choice {
  prompt: string;
  chosen: string;
  rejected: string;
}

/** Where rows come from; enough to open them again. */
export type DataSource =
  | { kind: "site"; manifest: string; file: string }
  /** Of several, each as much as another. With `rows`, such as `12-20`, these alone; `official` are RewardBench 2's. */
  | { kind: "hub"; ids: string[]; rows?: string | undefined; official?: boolean }
  | { kind: "files"; files: File[] };

/** Which items of the rows are run. */
export interface Selection {
  /** All subsets where none is named. */
  subset: string | undefined;
  /** At most so many of a subset. */
  limit: number | undefined;
  seed: number;
}

/** A model that waits for its run. */
export interface Queued {
  title: string;
  source: ModelSource;
  settings: LoadSettings;
}

/** A run that is open, and what opens it again. */
interface Kept {
  card: OpenedRun;
  source: { file: File; benchmark: string | undefined; variant: string | undefined } | string;
}

/** The Hub, as whom, and whether to store what comes; as it was when a model or rows were opened. */
interface Access {
  hub: string | undefined;
  token: string | undefined;
  keep: boolean;
}

/** The benchmark that the page begins with. */
const REWARD_BENCH_2 = "reward-bench-2";

/** A new worker that gets no further than the one before is not followed by another. */
const FRUITLESS_RESTARTS = 2;

class AppState {
  device = $state<DeviceReport>();
  model = $state<ModelReport>();
  load = $state<LoadProgress>();
  dataset = $state<DatasetReport>();
  estimate = $state<Estimate>();
  progress = $state<RunProgress>();
  /** Workers that score items of the run beside the engine. */
  helpers = $state(0);
  report = $state.raw<Report>();
  /** What the scores of a run that is over say beside its marks. */
  insight = $state.raw<Insight>();
  storage = $state<Storage>();
  /** The benchmark that rows from elsewhere are of. */
  benchmark = $state(REWARD_BENCH_2);
  /** Where rows of one's own have what; empty names where they are as the benchmark has them. */
  columns = $state<ColumnNames>({ prompt: "", chosen: "", rejected: "", subset: "", more: "" });
  /** Which split of a folder, a repository or a file with several. */
  split = $state("");
  /** Runs that are open beside each other: those of this visit, and files. */
  #kept = $state.raw<Kept[]>([]);
  runs = $derived(this.#kept.map(({ card }) => card));
  /** What the run that is shown goes by among them, once it is over. */
  runKey = $state<string>();
  /** The file of scores that was marked last, and all that it says. */
  marked = $state.raw<{ run: OpenedRun; report: OpenedReport }>();
  /** Models that wait for their run. */
  queue = $state.raw<Queued[]>([]);
  /** A second model, loaded beside the first in a worker of its own. */
  beside = $state.raw<ModelReport>();
  /** Whether to say so by a notification when long work is over. */
  notify = $state(false);
  /** The head on the loaded model, and what it is worth. */
  head = $state.raw<HeadReport>();
  /** Preferences clicked in this visit; they stay in memory. */
  choices = $state<Choice[]>([]);
  fitProgress = $state<FitProgress>();
  /** The head that was fitted last. */
  fitted = $state.raw<{ head: HeadReport; bytes: Uint8Array }>();
  work = $state<Work>("idle");
  error = $state("");
  notice = $state("");
  /** What broke during the run and was mended. */
  incidents = $state<string[]>([]);
  /** The Hub's address where it is not the usual one. */
  hub = $state("");
  /** An access token for the Hub; it stays in memory. */
  token = $state("");
  /** Whether what is fetched is stored on this device. */
  keep = $state(true);
  engine = new Engine((reason) => this.#replaced(reason));

  #modelSource: { source: ModelSource; settings: LoadSettings; access: Access; fingerprint: string } | undefined;
  #dataSource: { source: DataSource; access: Access; benchmark: string | undefined; columns: ColumnNames | undefined } | undefined;
  /** Restarts since the visitor last got something done. */
  #idleRestarts = 0;
  #cancelled = false;
  #givenUp = false;
  #selection: Selection | undefined;
  #second: Engine | undefined;

  #replaced(reason: string) {
    // Whatever was under way learns of it by its own failure, and sees to it.
    if (this.work !== "idle") return;
    if (this.#idleRestarts++ >= FRUITLESS_RESTARTS) {
      this.#drop();
      this.error = `The engine stopped: ${reason}`;
      return;
    }
    void this.#alone("loading", async () => {
      const closed = await this.#restore();
      this.notice = [`The engine stopped (${reason}) and was started again.`, ...closed].join(" ");
    });
  }

  /** What the page shows as open is gone. */
  #drop() {
    this.model = undefined;
    this.head = undefined;
    this.#modelSource = undefined;
    this.closeDataset();
  }

  #checkCancelled() {
    if (this.#cancelled) throw new Error("cancelled");
  }

  /** Brings a new worker to where the old one was: model, rows, runs. Says which runs it had to close. */
  async #restore(): Promise<string[]> {
    try {
      if (this.#modelSource) {
        const { source, settings, access, fingerprint } = this.#modelSource;
        this.model = undefined;
        const model = await this.#load(source, settings, access);
        if (model.fingerprint !== fingerprint) {
          throw new Error(`${model.name} has changed since it was loaded; load it again, and run it anew`);
        }
        this.model = model;
        this.device = model.device;
      }
      this.#checkCancelled();
      if (this.#dataSource) {
        const { source, access, benchmark, columns } = this.#dataSource;
        this.dataset = await this.#openFrom(source, access, benchmark, columns);
      }
      this.#checkCancelled();
      if (this.#modelSource && this.#dataSource && this.#selection) {
        this.progress = await this.#planned(this.#selection, false);
      }
      return await this.#reopenRuns();
    } catch (error) {
      this.#drop();
      throw error;
    }
  }

  /** Does a task of the engine; when the engine breaks, a new one takes its place and does it again. */
  async #withstanding<T>(task: () => Promise<T>): Promise<T> {
    let fruitless = 0;
    let reached = this.progress?.items_done ?? 0;
    for (;;) {
      try {
        this.#checkCancelled();
        return await task();
      } catch (error) {
        if (!(error instanceof EngineFailure)) throw error;
        const done = this.progress?.items_done ?? 0;
        fruitless = done > reached ? 1 : fruitless + 1;
        reached = Math.max(reached, done);
        if (fruitless > FRUITLESS_RESTARTS) throw error;
        const device = this.device?.name;
        const incident = this.incidents.push(`The engine stopped (${error.message}) and is being started again.`) - 1;
        this.engine.restartAfter(error);
        const closed = await this.#restore();
        const where = this.work === "running" ? `; the run went on after ${this.progress?.items_done ?? 0} items` : "";
        const moved = this.device?.name === device ? "" : `, now on ${this.device?.name}`;
        this.incidents[incident] = [`The engine stopped (${error.message}) and was started again${where}${moved}.`, ...closed].join(" ");
      }
    }
  }

  /** Does long work that the visitor asked for. */
  during(work: Work, task: () => Promise<void>) {
    return this.#alone(work, async () => {
      await task();
      this.#idleRestarts = 0;
    });
  }

  /** One work at a time, its failure shown as the sentence that it is. */
  async #alone(work: Work, task: () => Promise<void>) {
    if (this.work !== "idle") return;
    this.work = work;
    this.error = "";
    this.notice = "";
    this.#cancelled = false;
    try {
      await task();
    } catch (error) {
      if (error instanceof Error && error.message === "cancelled") {
        this.notice = work === "running" ? "Paused; what was scored stays on this device, and the run can go on." : "Cancelled.";
      } else {
        this.fail(error);
      }
      if (error instanceof EngineFailure) {
        // A worker whose device or memory is broken is of no further use.
        this.engine.restartAfter(error);
        await this.#restore().catch(() => {});
      }
    } finally {
      this.work = "idle";
      if (this.#givenUp) {
        this.#givenUp = false;
        this.forget();
        this.notice = "Cancelled. What was scored is kept among the runs in Models, and the same run goes on from there.";
      }
      void this.refreshStorage();
    }
  }

  fail(error: unknown) {
    const message = error instanceof Error ? error.message : String(error);
    this.error = error instanceof EngineFailure ? `The engine stopped: ${message}` : message;
  }

  async start() {
    try {
      this.device = await this.engine.call("openDevice", ["auto"]);
    } catch (error) {
      this.fail(error);
    }
    await this.refreshStorage();
  }

  #access(): Access {
    return { hub: this.hub.trim() || undefined, token: this.token.trim() || undefined, keep: this.keep };
  }

  async #load(source: ModelSource, settings: LoadSettings, access: Access): Promise<ModelReport> {
    const head = await this.#headBytes(source.head);
    this.head = head && (await this.engine.call("readHead", [head]));
    try {
      return await this.#loadInto(this.engine, source, head, settings, access, (now) => (this.load = now));
    } finally {
      this.load = undefined;
    }
  }

  async #loadInto(
    engine: Engine,
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

  /** Helpers of the run with the model that is loaded. */
  #newHelpers(): Helpers | undefined {
    if (!this.#modelSource || !this.model) return undefined;
    const { source, settings, access } = this.#modelSource;
    return new Helpers(this.engine, $state.snapshot(this.model) as ModelReport, async (engine) =>
      this.#loadInto(engine, source, await this.#headBytes(source.head), settings, access, () => {}),
    );
  }

  async #headBytes(head: ModelSource["head"]): Promise<Uint8Array | undefined> {
    if (head instanceof File) return new Uint8Array(await head.arrayBuffer());
    if (!(head instanceof URL)) return head;
    const response = await fetch(head);
    if (!response.ok) throw new Error(`fetching the reward head: ${head.href} answered ${response.status}; reload the page`);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Fits a head on the loaded model; it is not put on it yet. */
  fit(preferences: File, features: File | undefined, options: FitOptions) {
    return this.during("fitting", async () => {
      this.fitted = undefined;
      try {
        const tell = (now: FitProgress) => (this.fitProgress = now);
        const head = await this.#withstanding(() => this.engine.call("fit", [preferences, features, options], tell));
        this.fitted = { head, bytes: await this.engine.call("fittedHead", []) };
      } finally {
        this.fitProgress = undefined;
      }
      this.notice = `${options.name} is fitted; its figures are below.`;
    });
  }

  /** Puts the fitted head on the loaded model. */
  useFitted() {
    if (!this.#modelSource || !this.fitted) return;
    const { source, settings } = this.#modelSource;
    return this.loadModel({ ...source, head: this.fitted.bytes }, settings);
  }

  loadModel(source: ModelSource, settings: LoadSettings) {
    return this.during("loading", async () => {
      const model = await this.#become(source, settings);
      this.notice = `${modelName(model)} is loaded.`;
    });
  }

  /** Loads a model in the place of the one before. */
  async #become(source: ModelSource, settings: LoadSettings): Promise<ModelReport> {
    this.model = undefined;
    this.head = undefined;
    this.load = undefined;
    this.estimate = undefined;
    this.#modelSource = undefined;
    const access = this.#access();
    const model = await this.#load(source, settings, access);
    this.model = model;
    this.#modelSource = { source, settings, access, fingerprint: model.fingerprint };
    this.device = model.device;
    // Scores of two models never stand in one table.
    this.forget();
    return model;
  }

  /** Loads the model that is loaded a second time, in a worker of its own, so that another can take its place here. */
  putBeside() {
    const loaded = this.#modelSource;
    if (!loaded) return;
    return this.during("loading", async () => {
      this.dropBeside();
      const engine = new Engine((reason) => {
        this.dropBeside();
        this.error = `The second model's engine stopped: ${reason}. Set it beside again.`;
      }, "second");
      try {
        const head = await this.#headBytes(loaded.source.head);
        this.beside = await this.#loadInto(engine, loaded.source, head, loaded.settings, loaded.access, (now) => (this.load = now));
        this.#second = engine;
      } catch (error) {
        engine.end("it could not be loaded");
        throw error;
      } finally {
        this.load = undefined;
      }
      this.notice = `${this.beside.head?.name ?? this.beside.name} is set beside. Load another model now, and both score the same text.`;
    });
  }

  dropBeside() {
    this.#second?.end("it is not needed any more");
    this.#second = undefined;
    this.beside = undefined;
  }

  async #openFrom(source: DataSource, { hub, token, keep }: Access, benchmark: string | undefined, columns: ColumnNames | undefined): Promise<DatasetReport> {
    await this.engine.call("configure", [hub, token, keep]);
    await this.engine.call("chooseBenchmark", [benchmark, columns, this.split.trim() || undefined]);
    const tell = (now: LoadProgress) => (this.load = now);
    try {
      if (source.kind === "site") return await this.engine.call("openDataSite", [source.manifest, source.file], tell);
      if (source.kind === "hub") return await this.engine.call("openDataHub", [source.ids, source.rows], tell);
      return await this.engine.call("openDataFiles", [source.files]);
    } finally {
      this.load = undefined;
    }
  }

  openDataset(source: DataSource) {
    return this.during("opening", async () => {
      const access = this.#access();
      // Rows of the site and the official ones are RewardBench 2's form.
      const known = source.kind === "site" || (source.kind === "hub" && source.official === true);
      const benchmark = known ? REWARD_BENCH_2 : this.benchmark || undefined;
      const named = Object.values(this.columns).some((name) => name.trim() !== "");
      const columns = named && !known ? { ...this.columns } : undefined;
      this.dataset = await this.#openFrom(source, access, benchmark, columns);
      this.#dataSource = { source, access, benchmark, columns };
      this.forget();
    });
  }

  /** Marks a file of scores; no model is needed for it. */
  markScores(file: File, benchmark: string | undefined, variant: string | undefined) {
    return this.during("opening", async () => {
      this.marked = undefined;
      const run = await this.#openRun({ file, benchmark, variant });
      this.marked = { run, report: await this.engine.call("openedReport", [run.key]) };
    });
  }

  /** Opens runs from files beside the others. */
  openRuns(files: File[]) {
    if (this.work !== "idle") {
      this.notice = "The engine is at work. Open the file again when that is done.";
      return;
    }
    return this.during("opening", async () => {
      for (const file of files) {
        const run = await this.#openRun({ file, benchmark: undefined, variant: undefined });
        this.notice = `${run.name} is open beside the others.`;
      }
    });
  }

  /** Opens a run from an address. */
  openRunAt(address: string) {
    return this.during("opening", async () => {
      const run = await this.#openRun(address);
      this.notice = `${run.name} is open beside the others.`;
    });
  }

  async #openRun(source: Kept["source"], key?: string): Promise<OpenedRun> {
    let card: OpenedRun;
    if (typeof source !== "string") card = await this.engine.call("openRun", [source.file, source.benchmark, source.variant, key]);
    else {
      try {
        card = await this.engine.call("openRunAddress", [source], (now) => (this.load = now));
      } finally {
        this.load = undefined;
      }
    }
    this.#hold({ card, source });
    return card;
  }

  /** A run that is open already takes its own place. */
  #hold(run: Kept) {
    this.#kept = [...this.#kept.filter(({ card }) => card.key !== run.card.key), run];
  }

  /** A new worker knows of none. What cannot be had again is closed, and said to be. */
  async #reopenRuns(): Promise<string[]> {
    const closed: string[] = [];
    for (const { card, source } of this.#kept) {
      try {
        await this.#openRun(source, card.is_own ? card.key : undefined);
      } catch (error) {
        // An address may be gone by now.
        if (error instanceof EngineFailure) throw error;
        this.#kept = this.#kept.filter((run) => run.card.key !== card.key);
        closed.push(`The run ${card.name} was closed: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return closed;
  }

  closeRun(key: string) {
    this.#kept = this.#kept.filter(({ card }) => card.key !== key);
    if (this.marked?.run.key === key) this.marked = undefined;
    this.engine.call("closeOpened", [key]).catch((error: unknown) => this.fail(error));
  }

  /** Keeps the run that is over among the open ones; its file stays out of the heap. */
  async #keepRun() {
    const card = await this.engine.call("keepRun", []);
    const file = new File([await this.engine.call("runFile", [card.key])], card.name);
    this.#hold({ card, source: { file, benchmark: undefined, variant: undefined } });
    this.runKey = card.key;
  }

  closeDataset() {
    this.dataset = undefined;
    this.#dataSource = undefined;
    this.forget();
  }

  /** Forgets the run's selection and what is shown of it; its journal stays. */
  forget() {
    this.progress = undefined;
    this.estimate = undefined;
    this.report = undefined;
    this.insight = undefined;
    this.runKey = undefined;
    this.incidents = [];
    this.#selection = undefined;
    // Another tab may go on with it.
    this.engine.call("closeRun", []).catch(() => {});
  }

  #planned({ subset, limit, seed }: Selection, anew: boolean) {
    return this.engine.call("plan", [subset, limit, seed, anew]);
  }

  async #plan(selection: Selection, anew: boolean) {
    this.report = undefined;
    this.insight = undefined;
    this.runKey = undefined;
    this.progress = await this.#planned(selection, anew);
    this.#selection = selection;
    await this.#refresh();
  }

  estimateRun(selection: Selection) {
    return this.during("estimating", async () => {
      await this.#plan(selection, false);
      this.estimate = await this.#withstanding(() => this.engine.call("estimate", []));
    });
  }

  /** Starts the run, or goes on with one that was stopped. */
  run(selection: Selection, anew: boolean) {
    return this.during("running", async () => {
      const before = await this.#run(selection, anew);
      this.notice = before > 0 ? `The run is done; ${many(before, "item of it was", "items of it were")} scored earlier.` : "The run is done.";
      this.#tell(this.notice);
    });
  }

  /** Runs one model after the other over the rows; what is done of the queue leaves it. */
  runQueue(selection: Selection) {
    return this.during("running", async () => {
      let done = 0;
      for (let next = this.queue[0]; next; next = this.queue[0]) {
        this.#checkCancelled();
        await this.#become(next.source, next.settings);
        await this.#run(selection, false);
        this.queue = this.queue.slice(1);
        done++;
      }
      this.notice = `The queue is done: ${many(done, "run")}, which stand beside each other in Leaderboard and Explore.`;
      this.#tell(this.notice);
    });
  }

  /** Puts the model that is loaded into the queue. */
  enqueueLoaded() {
    if (!this.#modelSource || !this.model) return;
    const { source, settings } = this.#modelSource;
    this.enqueue({ title: modelName(this.model), source, settings });
  }

  enqueue(model: Queued) {
    this.queue = [...this.queue, model];
  }

  /** Takes a model out of the queue. */
  unqueue(model: Queued) {
    this.queue = this.queue.filter((one) => one !== model);
  }

  /** Scores what is left; gives how many items were scored earlier. */
  async #run(selection: Selection, anew: boolean): Promise<number> {
    if (!this.progress || anew) await this.#plan(selection, anew);
    const before = this.progress?.items_done ?? 0;
    let refreshed = performance.now();
    const helpers = this.#newHelpers();
    try {
      await this.#withstanding(() =>
        this.engine.call("run", [], (now) => {
          this.progress = now;
          helpers?.start(now.ms_left);
          this.helpers = helpers?.count ?? 0;
          if (performance.now() - refreshed > 1000) {
            refreshed = performance.now();
            // A worker that ends now takes the run with it, not this table.
            this.#refresh().catch(() => {});
          }
        }),
      );
    } finally {
      helpers?.stop();
      this.helpers = 0;
      await this.#refresh().catch(() => {});
    }
    // Where nothing could be scored there is nothing to set beside others.
    if ((this.report?.assessment.items ?? 0) > 0) await this.#keepRun();
    return before;
  }

  /** Asks whether notifications may be sent. */
  async askToNotify(wanted: boolean) {
    this.notify = wanted && "Notification" in window && (await Notification.requestPermission()) === "granted";
    if (wanted && !this.notify) this.notice = "The browser allows no notifications of this page; its settings for the site can change that.";
  }

  #tell(what: string) {
    if (!this.notify) return;
    try {
      new Notification("Rewardscope", { body: what, icon: new URL("icon.svg", document.baseURI).href });
    } catch {
      // Phones take them from a service worker alone.
      void navigator.serviceWorker?.ready.then((worker) => worker.showNotification("Rewardscope", { body: what })).catch(() => {});
    }
  }

  score(prompt: Turn[], completions: string[]) {
    return this.#withstanding(() => this.engine.call("score", [prompt, completions]));
  }

  /** The second model's scores of the same text, where there is one. */
  async scoreBeside(prompt: Turn[], completions: string[]): Promise<Score[]> {
    return (await this.#second?.call("score", [prompt, completions])) ?? [];
  }

  async #refresh() {
    if (!this.progress) return;
    this.report = await this.engine.call("report", []);
    if (this.progress.items_done === this.progress.items_total && this.report.items_done > 0) this.insight = await this.engine.call("insight", []);
  }

  async refreshStorage() {
    try {
      this.storage = await this.engine.call("storage", []);
    } catch {
      // A worker that ends now is replaced, and asked again then.
    }
  }

  removeFiles(keys: string[]) {
    return this.during("removing", async () => {
      for (const key of keys) await this.engine.call("removeFile", [key]);
    });
  }

  removeRun(key: string) {
    return this.during("removing", async () => {
      // The run that is shown may be the one that is gone.
      if (await this.engine.call("removeRun", [key])) this.forget();
    });
  }

  /** Asks the browser not to remove what is stored on its own. */
  async persist() {
    try {
      const granted = await navigator.storage.persist();
      if (!granted) this.notice = "The browser did not promise to keep it; it may remove it when space runs out.";
    } catch (error) {
      this.fail(error);
    }
    await this.refreshStorage();
  }

  /** Stops what is under way; a run can go on later. */
  cancel() {
    this.#cancelled = true;
    this.#second?.call("cancel", []).catch(() => {});
    this.engine.call("cancel", []).catch((error: unknown) => this.fail(error));
  }

  /** Stops the run and takes it off the page; its journal stays until it is removed. */
  giveUp() {
    this.cancel();
    this.#givenUp = true;
  }
}

export const app = new AppState();
