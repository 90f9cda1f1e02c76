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
  /** Whether this browser window stores what was scored. */
  keeps: () => boolean;
}

/** A run that takes longer begins only after its estimate was shown. */
const LONG_MS = 10_000;
/** So does one of many items; with few, the marks come in soon, and the run can be paused. */
const FEW = { items: 200, ms: 60_000 };

/** Whether a run is so long that the visitor should know before it begins. */
export const isLong = ({ items, ms }: Pick<Estimate, "items" | "ms">) => ms > (items <= FEW.items ? FEW.ms : LONG_MS);

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
  /** When the run ended, in ms since 1970; undefined while it goes on. */
  endedAt = $state<number>();
  /** Which items are run. */
  planned = $state.raw<Selection>();
  /** How long an item took in the last run, of which model and benchmark. */
  pace = $state.raw<{ fingerprint: string; benchmark: string; ms: number }>();
  /** Models to run, the next one first. */
  queue = $state.raw<Queued[]>([]);
  #parts: Parts;
  #givenUp = false;
  #isStopped = false;

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
    this.planned = undefined;
    this.endedAt = undefined;
    // Once the journal is closed, another tab can continue the run.
    engine.call("closeRun", []).catch(() => {});
  }

  /** Opens the run in a new worker. */
  async restore() {
    if (this.planned) this.progress = await this.#open(this.planned, false);
  }

  /** Estimates how long the run takes. */
  estimateRun(selection: Selection) {
    const { work, engine } = this.#parts;
    return work.during("estimating", async () => {
      await this.#plan(selection, false);
      this.estimate = await engine.withstanding(() => engine.call("estimate", []));
    });
  }

  /**
   * Starts the run; one that turns out to be long is only estimated, and starts when it is begun again. `asks`: whether
   * it may be long.
   */
  async begin(selection: Selection, asks: boolean) {
    if (asks && !this.estimate && !this.progress?.items_done) {
      await this.estimateRun(selection);
      // Cancelled, or a run of an earlier visit, which is shown first.
      if (!this.estimate || this.progress?.items_done || isLong(this.estimate)) return;
    }
    await this.start(selection, false);
  }

  /**
   * Goes on with a stored run, of which so many items are done. Refused where model or rows are others than the run's:
   * then nothing is scored.
   */
  resume(selection: Selection, done: number) {
    return this.#during(async () => {
      await this.#plan(selection, false);
      if ((this.progress?.items_done ?? 0) < done) {
        this.forget();
        throw new Error(
          "These rows or settings are not those of the stored run, so it cannot go on with them. Its scores are kept.",
        );
      }
      await this.#run(selection, false);
    });
  }

  /** Starts the run, or continues a stopped one. `anew` forgets what was scored before. */
  start(selection: Selection, anew: boolean) {
    const { work, notify } = this.#parts;
    return this.#during(async () => {
      const before = await this.#run(selection, anew);
      work.notice =
        before > 0 ? `The run is done; ${many(before, "item was", "items were")} scored earlier.` : "The run is done.";
      notify.tell(work.notice);
    });
  }

  /** Runs the models of the queue one after the other. A model leaves the queue when its run is done. */
  startQueue(selection: Selection) {
    const { work, models, notify } = this.#parts;
    return this.#during(async () => {
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

  /** Called when work has ended: says what of a stopped run is left, and removes the run if it was given up. */
  ended() {
    const { work, keeps } = this.#parts;
    const why = !keeps()
      ? "This window stores nothing"
      : this.progress?.is_kept === false && "The browser gives no more room to store runs";
    if (this.#givenUp) {
      this.forget();
      work.notice = why
        ? `Cancelled. ${why}, so what was not stored is gone.`
        : "Cancelled. What was scored is kept under Models; start the same run again to continue it.";
    } else if (this.#isStopped && why) {
      work.notice = `Paused. ${why}: what was scored lasts until the page closes or another run begins.`;
    }
    this.#givenUp = false;
    this.#isStopped = false;
  }

  /** Runs, and notes whether it was stopped on the way. */
  #during(task: () => Promise<void>) {
    return this.#parts.work.during("running", async () => {
      try {
        await task();
      } catch (error) {
        this.#isStopped = error instanceof Error && error.message === "cancelled";
        throw error;
      }
    });
  }

  /** Opens the run's journal in the engine. */
  #open({ subset, limit, seed }: Selection, anew: boolean) {
    return this.#parts.engine.call("plan", [subset, limit, seed, anew]);
  }

  /** Opens the run's journal and shows what was scored before. */
  async #plan(selection: Selection, anew: boolean) {
    this.report = undefined;
    this.insight = undefined;
    this.#parts.open.ownKey = undefined;
    this.endedAt = undefined;
    this.progress = await this.#open(selection, anew);
    this.planned = selection;
    await this.#refresh();
  }

  /** Scores the remaining items. Returns how many items had been scored before. */
  async #run(selection: Selection, anew: boolean): Promise<number> {
    const { engine, models, open } = this.#parts;
    if (!this.progress || anew) await this.#plan(selection, anew);
    const before = this.progress?.items_done ?? 0;
    this.endedAt = undefined;
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
      this.endedAt = Date.now();
      await this.#refresh().catch(() => {});
      this.#notePace();
    }
    // A run without a scored item cannot be compared with others.
    if ((this.report?.assessment.items ?? 0) > 0) await open.keep();
    return before;
  }

  /** Notes how long an item took, for what the next run will take. */
  #notePace() {
    const { report } = this;
    const model = this.#parts.models.loaded;
    if (report && model && report.items_done > 0)
      this.pace = {
        fingerprint: model.fingerprint,
        benchmark: report.assessment.benchmark,
        ms: report.ms / report.items_done,
      };
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
