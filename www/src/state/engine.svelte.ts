// The engine's worker, which is replaced when it breaks, and brought to where the old one was.
import { Engine, EngineFailure } from "../engine/engine";
import type { CallName, Calls, ProgressOf } from "../engine/protocol";
import type { DeviceReport, LoadProgress } from "../wasm/rewardscope";
import type { WorkState } from "./work.svelte";

/** A new worker that gets no further than the one before is not followed by another. */
const FRUITLESS_RESTARTS = 2;

/** The Hub, as whom, and whether to store what comes; as it was when a model or rows were opened. */
export interface Access {
  hub: string | undefined;
  token: string | undefined;
  keep: boolean;
}

/** What a new worker is brought back to. */
interface Hooks {
  /** Opens what was open; gives sentences of what could not be had again. */
  restore: () => Promise<string[]>;
  /** Shows that nothing is open any more. */
  drop: () => void;
  /** Items of the run that are done. */
  itemsDone: () => number;
}

export class EngineState {
  device = $state<DeviceReport>();
  /** How far a load is. */
  load = $state<LoadProgress>();
  /** What broke during the run and was mended. */
  incidents = $state<string[]>([]);
  /** The Hub's address where it is not the usual one. */
  hub = $state("");
  /** An access token for the Hub; it stays in memory. */
  token = $state("");
  /** Whether what is fetched is stored on this device. */
  keep = $state(true);
  readonly client = new Engine((reason) => this.#replaced(reason));
  #work: WorkState;
  #hooks: Hooks | undefined;
  /** Restarts since the visitor last got something done. */
  #idleRestarts = 0;

  constructor(work: WorkState) {
    this.#work = work;
    work.onDone = () => (this.#idleRestarts = 0);
  }

  connect(hooks: Hooks) {
    this.#hooks = hooks;
  }

  call<K extends CallName>(call: K, args: Calls[K]["args"], progress?: (progress: ProgressOf<K>) => void) {
    return this.client.call(call, args, progress);
  }

  access(): Access {
    return { hub: this.hub.trim() || undefined, token: this.token.trim() || undefined, keep: this.keep };
  }

  /** Shows how far a load is while it lasts. */
  async loading<T>(task: (tell: (now: LoadProgress) => void) => Promise<T>): Promise<T> {
    try {
      return await task((now) => (this.load = now));
    } finally {
      this.load = undefined;
    }
  }

  async start() {
    try {
      this.device = await this.call("openDevice", ["auto"]);
    } catch (error) {
      this.#work.fail(error);
    }
  }

  /** The sentence for an error. */
  say(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    return error instanceof EngineFailure ? `The engine stopped: ${message}` : message;
  }

  /** A worker whose device or memory is broken is of no further use. */
  async mend(error: unknown) {
    if (!(error instanceof EngineFailure)) return;
    this.client.restartAfter(error);
    await this.#restore().catch(() => {});
  }

  /** Does a task of the engine; when the engine breaks, a new one takes its place and does it again. */
  async withstanding<T>(task: () => Promise<T>): Promise<T> {
    const itemsDone = () => this.#hooks?.itemsDone() ?? 0;
    let fruitless = 0;
    let reached = itemsDone();
    for (;;) {
      try {
        this.#work.checkCancelled();
        return await task();
      } catch (error) {
        if (!(error instanceof EngineFailure)) throw error;
        const done = itemsDone();
        fruitless = done > reached ? 1 : fruitless + 1;
        reached = Math.max(reached, done);
        if (fruitless > FRUITLESS_RESTARTS) throw error;
        const device = this.device?.name;
        const incident = this.incidents.push(`The engine stopped (${error.message}) and is being started again.`) - 1;
        this.client.restartAfter(error);
        const closed = await this.#restore();
        const where = this.#work.now === "running" ? `; the run went on after ${itemsDone()} items` : "";
        const moved = this.device?.name === device ? "" : `, now on ${this.device?.name}`;
        this.incidents[incident] = [
          `The engine stopped (${error.message}) and was started again${where}${moved}.`,
          ...closed,
        ].join(" ");
      }
    }
  }

  #replaced(reason: string) {
    // Whatever was under way learns of it by its own failure, and sees to it.
    if (this.#work.now !== "idle") return;
    if (this.#idleRestarts++ >= FRUITLESS_RESTARTS) {
      this.#hooks?.drop();
      this.#work.error = `The engine stopped: ${reason}`;
      return;
    }
    void this.#work.alone("loading", async () => {
      const closed = await this.#restore();
      this.#work.notice = [`The engine stopped (${reason}) and was started again.`, ...closed].join(" ");
    });
  }

  /** Brings a new worker to where the old one was. Says which runs it had to close. */
  async #restore(): Promise<string[]> {
    try {
      return (await this.#hooks?.restore()) ?? [];
    } catch (error) {
      this.#hooks?.drop();
      throw error;
    }
  }
}
