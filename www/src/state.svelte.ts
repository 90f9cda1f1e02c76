// The page's state, put together: one engine, one model, one dataset, one run, and the other open runs.
import { EngineFailure } from "./engine/engine";
import { isCancel } from "./engine/protocol";
import * as format from "./lib/format";
import { hasLink } from "./lib/link";
import { route } from "./lib/route.svelte";
import { DatasetState } from "./state/dataset.svelte";
import { EngineState } from "./state/engine.svelte";
import { HeadsState } from "./state/heads.svelte";
import { ModelsState } from "./state/models.svelte";
import { NotifyState } from "./state/notify.svelte";
import { OpenRunsState } from "./state/open_runs.svelte";
import { RunState } from "./state/run.svelte";
import { SheetState } from "./state/sheet.svelte";
import { StorageState } from "./state/storage.svelte";
import { VisitsState } from "./state/visits.svelte";
import { WorkState } from "./state/work.svelte";

/** The state of the whole page. Its parts know each other only through what is passed here. */
export class AppState {
  readonly work = new WorkState();
  readonly engine = new EngineState(this.work);
  readonly models: ModelsState = new ModelsState(this.work, this.engine, {
    replacing: () => (this.run.estimate = undefined),
    changed: () => this.run.forget(),
  });
  readonly heads = new HeadsState(this.work, this.engine, this.models);
  readonly dataset: DatasetState = new DatasetState(this.work, this.engine, () => this.run.forget());
  readonly runs = new OpenRunsState(this.work, this.engine);
  readonly notify = new NotifyState();
  readonly run = new RunState({
    work: this.work,
    engine: this.engine,
    models: this.models,
    open: this.runs,
    notify: this.notify,
    keeps: () => this.storage.report?.is_available !== false,
  });
  readonly sheet = new SheetState(this.work, this.models, hasLink(route.params));
  readonly visits = new VisitsState(this.models);
  readonly storage = new StorageState(this.work, this.engine, () => this.run.forget());

  constructor() {
    this.sheet.onSuperseded = () => this.supersede();
    this.work.connect({
      say: (error) => this.engine.say(error),
      mend: (error) => this.engine.mend(error),
      giveUp: () => {
        this.engine.giveUp();
        this.models.abandonOthers();
      },
      reopen: (error) => this.engine.reopen(error),
      ended: () => {
        this.run.ended();
        this.visits.remember();
        void this.storage.refresh();
      },
    });
    this.engine.connect({
      restore: () => this.#restore(),
      restoreOthers: () => this.models.restoreOthers(),
      open: (lacks) => this.#open(lacks),
      drop: () => {
        this.models.drop();
        this.dataset.close();
      },
      itemsDone: () => this.run.progress?.items_done ?? 0,
    });
  }

  /** Starts the engine and reads what is stored on this device. */
  async start() {
    await this.engine.start();
    await this.storage.refresh();
    const stored = this.storage.report;
    // What a link brings waits for the visitor.
    if (!stored || hasLink(route.params)) return;
    await this.visits.open(stored);
    if (this.models.loaded && this.sheet.live) await this.sheet.score();
  }

  /**
   * Opens in a new worker what the old one had open: model, dataset, run and other open runs. Returns one sentence for
   * each run that had to be closed.
   */
  async #restore(): Promise<string[]> {
    await this.models.restore();
    this.work.checkCancelled();
    await this.dataset.restore();
    this.work.checkCancelled();
    if (this.models.loaded && this.dataset.isOpen) await this.run.restore();
    return this.runs.restore();
  }

  /** What has to be opened again once work was cancelled; empty if nothing has. */
  #open(lacks: boolean): string {
    const { loaded } = this.models;
    if (lacks && loaded) return format.model(loaded);
    if (lacks && this.dataset.report) return format.dataset(this.dataset.report.name);
    if (this.models.lacksOthers) return "the compared model";
    return lacks && this.runs.all.length > 0 ? "what the leaderboard lists" : "";
  }

  /** Stops the work under way within a second. A run can be resumed later. */
  cancel() {
    this.work.cancel();
    this.#askToStop();
  }

  /**
   * Stops the scoring of a text that has changed since. It may take its time: a new worker would have to load the model
   * again.
   */
  supersede() {
    this.work.cancel({ patiently: true });
    this.#askToStop();
  }

  #askToStop() {
    this.models.cancelOthers();
    this.engine.call("cancel", []).catch((error: unknown) => {
      // A worker that was given up or has died: the work under way says so.
      if (!isCancel(error) && !(error instanceof EngineFailure)) this.work.fail(error);
    });
  }

  /** Stops the run and removes it from the page. Its journal stays. */
  giveUp() {
    this.cancel();
    this.run.giveUp();
  }
}

/** The state that every component uses. */
export const app = new AppState();
