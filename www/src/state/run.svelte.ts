// The run of the loaded model over the open dataset, and the queue of models to run next.
import { many, model as modelName } from "../lib/format";
import type { Estimate, Insight, LoadSettings, RunProgress, RunReport } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { ModelSource, ModelsState } from "./models.svelte";
import type { NotifyState } from "./notify.svelte";
import type { OpenRunsState } from "./open_runs.svelte";
import type { WorkState } from "./work.svelte";

/** Which items of the dataset are run. */
export interface Selection {
  /** One subset; undefined for all. */
  subset: string | undefined;
  /** Most items per subset; undefined for all. */
  limit: number | undefined;
  /** Seed that items are drawn with. */
  seed: number;
}

/** A model in the queue. */
export interface Queued {
  title: string;
  source: ModelSource;
  settings: LoadSettings;
}

/** The parts of the state that a run uses. */
interface Parts {
  work: WorkState;
  engine: EngineState;
  models: ModelsState;
  open: OpenRunsState;
  notify: NotifyState;
}

/** The run, its results and the queue. */
export class RunState {
  /** Size and duration of the run, before it starts. */
  estimate = $state<Estimate>();
  /** Progress of the run. */
  progress = $state<RunProgress>();
  /** How many helpers score items of the run. */
  helpers = $state(0);
  /** Marks of the items scored so far. */
  report = $state.raw<RunReport>();
  /** Distributions and correlations of the scores of a finished run. */
  insight = $state.raw<Insight>();
  /** Models to run, the next one first. */
  queue = $state.raw<Queued[]>([]);
  #parts: Parts;
  #selection: Selection | undefined;
  #givenUp = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Removes the run from the page and closes its journal, which stays on the device. */
  forget() {
    const { engine, open } = this.#parts;
    this.progress = undefined;
    this.estimate = undefined;
    this.report = undefined;
    this.insight = undefined;
    open.ownKey = undefined;
    engine.incidents = [];
    this.#selection = undefined;
    // Once the journal is closed, another tab can continue the run.
    engine.call("closeRun", []).catch(() => {});
  }

  /** Opens the run in a new worker. */
  async restore() {
    if (this.#selection) this.progress = await this.#planned(this.#selection, false);
  }

  /** Estimates how long the run takes. */
  estimateRun(selection: Selection) {
    const { work, engine } = this.#parts;
    return work.during("estimating", async () => {
      await this.#plan(selection, false);
      this.estimate = await engine.withstanding(() => engine.call("estimate", []));
    });
  }

  /** Starts the run, or continues a stopped one. `anew` forgets what was scored before. */
  start(selection: Selection, anew: boolean) {
    const { work, notify } = this.#parts;
    return work.during("running", async () => {
      const before = await this.#run(selection, anew);
      work.notice =
        before > 0 ? `The run is done; ${many(before, "item was", "items were")} scored earlier.` : "The run is done.";
      notify.tell(work.notice);
    });
  }

  /** Runs the models of the queue one after the other. A model leaves the queue when its run is done. */
  startQueue(selection: Selection) {
    const { work, models, notify } = this.#parts;
    return work.during("running", async () => {
      let done = 0;
      for (let next = this.queue[0]; next; next = this.queue[0]) {
        work.checkCancelled();
        await models.become(next.source, next.settings);
        await this.#run(selection, false);
        this.queue = this.queue.slice(1);
        done++;
      }
      work.notice = `The queue is done: ${many(done, "run")}. Compare runs in Leaderboard and Explore.`;
      notify.tell(work.notice);
    });
  }

  /** Adds the loaded model to the queue. */
  enqueueLoaded() {
    const { from, loaded } = this.#parts.models;
    if (from && loaded) this.enqueue({ title: modelName(loaded), source: from.source, settings: from.settings });
  }

  /** Adds a model to the queue. */
  enqueue(model: Queued) {
    this.queue = [...this.queue, model];
  }

  /** Removes a model from the queue. */
  unqueue(model: Queued) {
    this.queue = this.queue.filter((one) => one !== model);
  }

  /** Removes the run under way from the page as soon as it has stopped. Its journal stays until it is removed. */
  giveUp() {
    this.#givenUp = true;
  }

  /** Called when work has ended: removes the run if it was given up. */
  ended() {
    if (!this.#givenUp) return;
    this.#givenUp = false;
    this.forget();
    this.#parts.work.notice =
      "Cancelled. What was scored is kept under Models; start the same run again to continue it.";
  }

  /** Opens the run's journal in the engine. */
  #planned({ subset, limit, seed }: Selection, anew: boolean) {
    return this.#parts.engine.call("plan", [subset, limit, seed, anew]);
  }

  /** Opens the run's journal and shows what was scored before. */
  async #plan(selection: Selection, anew: boolean) {
    this.report = undefined;
    this.insight = undefined;
    this.#parts.open.ownKey = undefined;
    this.progress = await this.#planned(selection, anew);
    this.#selection = selection;
    await this.#refresh();
  }

  /** Scores the remaining items. Returns how many items had been scored before. */
  async #run(selection: Selection, anew: boolean): Promise<number> {
    const { engine, models, open } = this.#parts;
    if (!this.progress || anew) await this.#plan(selection, anew);
    const before = this.progress?.items_done ?? 0;
    let refreshed = performance.now();
    const helpers = models.newHelpers();
    try {
      await engine.withstanding(() =>
        engine.call("run", [], (now) => {
          this.progress = now;
          helpers?.start(now.ms_left);
          this.helpers = helpers?.count ?? 0;
          if (performance.now() - refreshed > 1000) {
            refreshed = performance.now();
            // If the worker dies now, the run handles the failure, not this update.
            this.#refresh().catch(() => {});
          }
        }),
      );
    } finally {
      helpers?.stop();
      this.helpers = 0;
      await this.#refresh().catch(() => {});
    }
    // A run without a scored item cannot be compared with others.
    if ((this.report?.assessment.items ?? 0) > 0) await open.keep();
    return before;
  }

  /** Updates the marks, and the insight once the run is finished. */
  async #refresh() {
    if (!this.progress) return;
    const { engine } = this.#parts;
    this.report = await engine.call("report", []);
    if (this.progress.items_done === this.progress.items_total && this.report.items_done > 0)
      this.insight = await engine.call("insight", []);
  }
}
