// The engine's worker. It is replaced when it fails, and its successor opens what it had open.
import { Engine, EngineFailure } from "../engine/engine";
import { CANCELLED, isCancel, type CallName, type Calls, type ProgressOf } from "../engine/protocol";
import { many } from "../lib/format";
import type { DeviceReport, LoadProgress } from "../wasm/rewardscope";
import type { WorkState } from "./work.svelte";

/** Most restarts in a row without progress between them. */
const FRUITLESS_RESTARTS = 2;

/** Calls that begin something long. A cancel ends them only if they run already, so later they are not made. */
const LONG: ReadonlySet<CallName> = new Set<CallName>([
  "estimate",
  "fit",
  "loadFiles",
  "loadHub",
  "loadSite",
  "openDataFiles",
  "openDataHub",
  "openDataSite",
  "openRun",
  "openRunAddress",
  "plan",
  "run",
  "score",
  "trace",
]);

/** Access to the Hub, as it was when a model or dataset was opened. `keep`: downloads are stored on this device. */
export interface Access {
  hub: string | undefined;
  token: string | undefined;
  keep: boolean;
}

/** What the rest of the state does when the worker is replaced. */
interface Hooks {
  /** Opens again what was open. Returns one sentence for each run that had to be closed. */
  restore: () => Promise<string[]>;
  /** Opens again the compared models whose workers were given up. Returns one sentence for each that cannot be. */
  restoreOthers?: () => Promise<string[]>;
  /**
   * What has to be opened again, named for a sentence; empty if nothing has. `lacks`: the engine's worker is a new one.
   */
  open?: (lacks: boolean) => string;
  /** Marks model and dataset as closed. */
  drop: () => void;
  /** How many items of the run are done. */
  itemsDone: () => number;
}

/** The engine's worker and the device that it computes on. */
export class EngineState {
  /** The device, and why it was chosen. */
  device = $state<DeviceReport>();
  /** Progress of the load under way. */
  load = $state<LoadProgress>();
  /** Failures during the run that were recovered from: a sentence each. */
  incidents = $state<string[]>([]);
  /** Address of another Hub; empty for huggingface.co. */
  hub = $state("");
  /** Access token for the Hub. It stays in memory. */
  token = $state("");
  /** Whether downloads are stored on this device. */
  keep = $state(true);
  /** The worker's client. */
  readonly client = new Engine((reason) => this.#replaced(reason));
  #work: WorkState;
  #hooks: Hooks | undefined;
  /** Restarts while no work was under way, since work last succeeded. */
  #idleRestarts = 0;
  /** Whether the worker was replaced for cancelled work, so that it lacks what is open. */
  #lacks = false;

  constructor(work: WorkState) {
    this.#work = work;
    work.onDone = () => (this.#idleRestarts = 0);
  }

  /** Sets the hooks, which need states that are made later. */
  connect(hooks: Hooks) {
    this.#hooks = hooks;
  }

  /** Calls the engine. */
  call<K extends CallName>(call: K, args: Calls[K]["args"], progress?: (progress: ProgressOf<K>) => void) {
    // The engine forgets a cancel that comes before the call, as while it is still being fetched.
    if (this.#work.isCancelled && LONG.has(call)) return Promise.reject<Calls[K]["result"]>(new Error(CANCELLED));
    return this.client.call(call, args, progress);
  }

  /** The access settings as they are now. */
  access(): Access {
    return { hub: this.hub.trim() || undefined, token: this.token.trim() || undefined, keep: this.keep };
  }

  /** Shows a load's progress while `task` runs. */
  async loading<T>(task: (tell: (now: LoadProgress) => void) => Promise<T>): Promise<T> {
    try {
      return await task((now) => (this.load = now));
    } finally {
      this.load = undefined;
    }
  }

  /** Finds out which device computes. */
  async start() {
    try {
      this.device = await this.call("openDevice", ["auto"]);
    } catch (error) {
      this.#work.fail(error);
    }
  }

  /** The message to show for an error. */
  say(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    return error instanceof EngineFailure ? `The engine stopped: ${message}` : message;
  }

  /** Replaces the worker if the error means that its device or memory has failed. */
  async mend(error: unknown) {
    if (!(error instanceof EngineFailure)) return;
    this.client.restartAfter(error);
    await this.#restore().catch(() => {});
  }

  /** Runs a task. If the engine fails, a new worker opens what was open and the task runs again. */
  async withstanding<T>(task: () => Promise<T>): Promise<T> {
    const itemsDone = () => this.#hooks?.itemsDone() ?? 0;
    let fruitless = 0;
    let reached = itemsDone();
    for (;;) {
      try {
        this.#work.checkCancelled();
        return await task();
      } catch (error) {
        if (!(error instanceof EngineFailure) || this.#work.isCancelled) throw error;
        const done = itemsDone();
        fruitless = done > reached ? 1 : fruitless + 1;
        reached = Math.max(reached, done);
        if (fruitless > FRUITLESS_RESTARTS) throw error;
        const device = this.device?.name;
        const incident = this.incidents.push(`The engine stopped (${error.message}) and is being started again.`) - 1;
        this.client.restartAfter(error);
        const closed = await this.#restore();
        const where = this.#work.now === "running" ? `; the run went on after ${many(itemsDone(), "item")}` : "";
        const moved = this.device?.name === device ? "" : `, now on ${this.device?.name}`;
        this.incidents[incident] = [
          `The engine stopped (${error.message}) and was started again${where}${moved}.`,
          ...closed,
        ].join(" ");
      }
    }
  }

  /** Gives up the worker if it goes on with cancelled work. */
  giveUp() {
    if (this.client.abandon()) this.#lacks = true;
  }

  /** Opens again, after work was cancelled, what was open in a worker that was lost. */
  reopen(error: unknown) {
    if (error instanceof EngineFailure) {
      this.client.restartAfter(error);
      this.#lacks = true;
    }
    const lacks = this.#lacks;
    this.#lacks = false;
    const open = this.#hooks?.open?.(lacks) ?? "";
    if (!open) return;
    const { notice } = this.#work;
    void this.#work.alone("loading", async () => {
      this.#work.notice = `${notice} Opening ${open} again.`;
      try {
        const closed = lacks ? await this.#restore() : [];
        closed.push(...((await this.#hooks?.restoreOthers?.()) ?? []));
        this.#work.notice = [notice, `Opened ${open} again.`, ...closed].join(" ");
      } catch (error) {
        this.#work.notice = notice;
        throw error;
      }
    });
  }

  #replaced(reason: string) {
    // Work under way fails by itself and handles the restart.
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

  /** Opens in a new worker what the old one had open. Returns one sentence for each run that had to be closed. */
  async #restore(): Promise<string[]> {
    try {
      return (await this.#hooks?.restore()) ?? [];
    } catch (error) {
      this.#hooks?.drop();
      // The runs were not opened yet.
      this.#lacks ||= isCancel(error);
      throw error;
    }
  }
}
