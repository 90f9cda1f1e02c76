// The page's state, put together: one engine, one model, one dataset, one run, and the other open runs.
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
    this.sheet.onSuperseded = () => this.cancel();
    this.work.connect({
      say: (error) => this.engine.say(error),
      mend: (error) => this.engine.mend(error),
      ended: () => {
        this.run.ended();
        this.visits.remember();
        void this.storage.refresh();
      },
    });
    this.engine.connect({
      restore: () => this.#restore(),
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

  /** Stops the work under way. A run can be resumed later. */
  cancel() {
    this.work.cancel();
    this.models.cancelOthers();
    this.engine.call("cancel", []).catch((error: unknown) => this.work.fail(error));
  }

  /** Stops the run and removes it from the page. Its journal stays. */
  giveUp() {
    this.cancel();
    this.run.giveUp();
  }
}

/** The state that every component uses. */
export const app = new AppState();
