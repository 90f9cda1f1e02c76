// The run of the loaded model over the open rows, and models that wait for theirs.
import { many, model as modelName } from "../lib/format";
import type { Estimate, Insight, LoadSettings, RunProgress, RunReport } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { ModelSource, ModelsState } from "./models.svelte";
import type { NotifyState } from "./notify.svelte";
import type { OpenRunsState } from "./open_runs.svelte";
import type { WorkState } from "./work.svelte";

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

/** What a run works with. */
interface Parts {
  work: WorkState;
  engine: EngineState;
  models: ModelsState;
  open: OpenRunsState;
  notify: NotifyState;
}

export class RunState {
  estimate = $state<Estimate>();
  progress = $state<RunProgress>();
  /** Workers that score items of the run beside the engine. */
  helpers = $state(0);
  report = $state.raw<RunReport>();
  /** What the scores of a run that is over say beside its marks. */
  insight = $state.raw<Insight>();
  /** Models that wait for their run. */
  queue = $state.raw<Queued[]>([]);
  #parts: Parts;
  #selection: Selection | undefined;
  #givenUp = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Forgets the run's selection and what is shown of it; its journal stays. */
  forget() {
    const { engine, open } = this.#parts;
    this.progress = undefined;
    this.estimate = undefined;
    this.report = undefined;
    this.insight = undefined;
    open.ownKey = undefined;
    engine.incidents = [];
    this.#selection = undefined;
    // Another tab may go on with it.
    engine.call("closeRun", []).catch(() => {});
  }

  /** Opens in a new worker what was run. */
  async restore() {
    if (this.#selection) this.progress = await this.#planned(this.#selection, false);
  }

  estimateRun(selection: Selection) {
    const { work, engine } = this.#parts;
    return work.during("estimating", async () => {
      await this.#plan(selection, false);
      this.estimate = await engine.withstanding(() => engine.call("estimate", []));
    });
  }

  /** Starts the run, or goes on with one that was stopped. */
  start(selection: Selection, anew: boolean) {
    const { work, notify } = this.#parts;
    return work.during("running", async () => {
      const before = await this.#run(selection, anew);
      work.notice =
        before > 0
          ? `The run is done; ${many(before, "item of it was", "items of it were")} scored earlier.`
          : "The run is done.";
      notify.tell(work.notice);
    });
  }

  /** Runs one model after the other over the rows; what is done of the queue leaves it. */
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
      work.notice = `The queue is done: ${many(done, "run")}, which stand beside each other in Leaderboard and Explore.`;
      notify.tell(work.notice);
    });
  }

  /** Puts the model that is loaded into the queue. */
  enqueueLoaded() {
    const { from, loaded } = this.#parts.models;
    if (from && loaded) this.enqueue({ title: modelName(loaded), source: from.source, settings: from.settings });
  }

  enqueue(model: Queued) {
    this.queue = [...this.queue, model];
  }

  /** Takes a model out of the queue. */
  unqueue(model: Queued) {
    this.queue = this.queue.filter((one) => one !== model);
  }

  /** The run that is under way is taken off the page once it has stopped; its journal stays until it is removed. */
  giveUp() {
    this.#givenUp = true;
  }

  /** Takes off what was given up. */
  ended() {
    if (!this.#givenUp) return;
    this.#givenUp = false;
    this.forget();
    this.#parts.work.notice =
      "Cancelled. What was scored is kept among the runs in Models, and the same run goes on from there.";
  }

  #planned({ subset, limit, seed }: Selection, anew: boolean) {
    return this.#parts.engine.call("plan", [subset, limit, seed, anew]);
  }

  async #plan(selection: Selection, anew: boolean) {
    this.report = undefined;
    this.insight = undefined;
    this.#parts.open.ownKey = undefined;
    this.progress = await this.#planned(selection, anew);
    this.#selection = selection;
    await this.#refresh();
  }

  /** Scores what is left; gives how many items were scored earlier. */
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
    if ((this.report?.assessment.items ?? 0) > 0) await open.keep();
    return before;
  }

  async #refresh() {
    if (!this.progress) return;
    const { engine } = this.#parts;
    this.report = await engine.call("report", []);
    if (this.progress.items_done === this.progress.items_total && this.report.items_done > 0)
      this.insight = await engine.call("insight", []);
  }
}
