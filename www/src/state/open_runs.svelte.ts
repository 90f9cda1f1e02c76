// The open runs: finished runs of this visit, and runs opened from files or addresses.
import { EngineFailure } from "../engine/engine";
import type { OpenedReport, OpenedRun } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** An open run, and the file or address that opens it again. */
interface Kept {
  card: OpenedRun;
  source: { file: File; benchmark: string | undefined; variant: string | undefined } | string;
}

/** The open runs, which the leaderboard lists and Explore compares. */
export class OpenRunsState {
  #kept = $state.raw<Kept[]>([]);
  /** All open runs. */
  all = $derived(this.#kept.map(({ card }) => card));
  /** The key of the shown run among the open ones, once it is finished. */
  ownKey = $state<string>();
  /** The last marked score file and its report. */
  marked = $state.raw<{ run: OpenedRun; report: OpenedReport }>();
  /** When a run of this visit ended, by its key, in ms since 1970. */
  readonly ended: Record<string, number> = {};
  #work: WorkState;
  #engine: EngineState;

  constructor(work: WorkState, engine: EngineState) {
    this.#work = work;
    this.#engine = engine;
  }

  /** Computes the marks of a score file. It needs no model. */
  markScores(file: File, benchmark: string | undefined, variant: string | undefined) {
    return this.#work.during("opening", async () => {
      this.marked = undefined;
      const run = await this.#open({ file, benchmark, variant });
      this.marked = { run, report: await this.#engine.call("openedReport", [run.key]) };
    });
  }

  /** Opens runs from files. */
  open(files: File[]) {
    if (this.#work.now !== "idle") {
      this.#work.notice = "The engine is busy. Open the file again when it has finished.";
      return;
    }
    return this.#work.during("opening", async () => {
      for (const file of files) {
        const run = await this.#open({ file, benchmark: undefined, variant: undefined });
        this.#work.notice = `${run.name} is open.`;
      }
    });
  }

  /** Opens a run from an address. */
  openAt(address: string) {
    return this.#work.during("opening", async () => {
      const run = await this.#open(address);
      this.#work.notice = `${run.name} is open.`;
    });
  }

  /** Closes a run. */
  close(key: string) {
    this.#kept = this.#kept.filter(({ card }) => card.key !== key);
    if (this.marked?.run.key === key) this.marked = undefined;
    this.#engine.call("closeOpened", [key]).catch((error: unknown) => this.#work.fail(error));
  }

  /** Adds the finished run to the open ones. A `File` holds its text, which stays out of the JavaScript heap. */
  async keep() {
    const card = await this.#engine.call("keepRun", []);
    const file = new File([await this.#engine.call("runFile", [card.key])], card.name);
    this.ended[card.key] = Date.now();
    this.#hold({ card, source: { file, benchmark: undefined, variant: undefined } });
    this.ownKey = card.key;
  }

  /** Opens all runs in a new worker. Closes those that cannot be opened again and returns one sentence for each. */
  async restore(): Promise<string[]> {
    const closed: string[] = [];
    for (const { card, source } of this.#kept) {
      try {
        await this.#open(source, card.is_own ? card.key : undefined);
      } catch (error) {
        // The file at an address may be gone by now.
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

  /** Adds a run. It replaces an open one with the same key. */
  #hold(run: Kept) {
    this.#kept = [...this.#kept.filter(({ card }) => card.key !== run.card.key), run];
  }
}
