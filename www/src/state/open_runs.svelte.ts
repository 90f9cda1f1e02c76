// Runs that are open beside each other: those of this visit, and files.
import { EngineFailure } from "../engine/engine";
import type { OpenedReport, OpenedRun } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** A run that is open, and what opens it again. */
interface Kept {
  card: OpenedRun;
  source: { file: File; benchmark: string | undefined; variant: string | undefined } | string;
}

export class OpenRunsState {
  #kept = $state.raw<Kept[]>([]);
  all = $derived(this.#kept.map(({ card }) => card));
  /** What the run that is shown goes by among them, once it is over. */
  ownKey = $state<string>();
  /** The file of scores that was marked last, and all that it says. */
  marked = $state.raw<{ run: OpenedRun; report: OpenedReport }>();
  #work: WorkState;
  #engine: EngineState;

  constructor(work: WorkState, engine: EngineState) {
    this.#work = work;
    this.#engine = engine;
  }

  /** Marks a file of scores; no model is needed for it. */
  markScores(file: File, benchmark: string | undefined, variant: string | undefined) {
    return this.#work.during("opening", async () => {
      this.marked = undefined;
      const run = await this.#open({ file, benchmark, variant });
      this.marked = { run, report: await this.#engine.call("openedReport", [run.key]) };
    });
  }

  /** Opens runs from files beside the others. */
  open(files: File[]) {
    if (this.#work.now !== "idle") {
      this.#work.notice = "The engine is at work. Open the file again when that is done.";
      return;
    }
    return this.#work.during("opening", async () => {
      for (const file of files) {
        const run = await this.#open({ file, benchmark: undefined, variant: undefined });
        this.#work.notice = `${run.name} is open beside the others.`;
      }
    });
  }

  /** Opens a run from an address. */
  openAt(address: string) {
    return this.#work.during("opening", async () => {
      const run = await this.#open(address);
      this.#work.notice = `${run.name} is open beside the others.`;
    });
  }

  close(key: string) {
    this.#kept = this.#kept.filter(({ card }) => card.key !== key);
    if (this.marked?.run.key === key) this.marked = undefined;
    this.#engine.call("closeOpened", [key]).catch((error: unknown) => this.#work.fail(error));
  }

  /** Keeps the run that is over among the open ones; its file stays out of the heap. */
  async keep() {
    const card = await this.#engine.call("keepRun", []);
    const file = new File([await this.#engine.call("runFile", [card.key])], card.name);
    this.#hold({ card, source: { file, benchmark: undefined, variant: undefined } });
    this.ownKey = card.key;
  }

  /** A new worker knows of none. What cannot be had again is closed, and said to be. */
  async restore(): Promise<string[]> {
    const closed: string[] = [];
    for (const { card, source } of this.#kept) {
      try {
        await this.#open(source, card.is_own ? card.key : undefined);
      } catch (error) {
        // An address may be gone by now.
        if (error instanceof EngineFailure) throw error;
        this.#kept = this.#kept.filter((run) => run.card.key !== card.key);
        closed.push(`The run ${card.name} was closed: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return closed;
  }

  async #open(source: Kept["source"], key?: string): Promise<OpenedRun> {
    const engine = this.#engine;
    const card =
      typeof source === "string"
        ? await engine.loading((tell) => engine.call("openRunAddress", [source], tell))
        : await engine.call("openRun", [source.file, source.benchmark, source.variant, key]);
    this.#hold({ card, source });
    return card;
  }

  /** A run that is open already takes its own place. */
  #hold(run: Kept) {
    this.#kept = [...this.#kept.filter(({ card }) => card.key !== run.card.key), run];
  }
}
