// Long work, of which there is one at a time, and the messages about it.
import { CANCELLED, isCancel } from "../engine/protocol";

/** Cancelled work that has not ended after this many ms is given up. */
const PATIENCE_MS = 600;

/** What is under way. */
export type Work = "idle" | "loading" | "opening" | "fitting" | "estimating" | "running" | "scoring" | "removing";

/** What the rest of the state does when work ends. */
interface Hooks {
  /** The message to show for an error. */
  say: (error: unknown) => string;
  /** Recovers from an error, such as a dead worker. */
  mend: (error: unknown) => Promise<void>;
  /** Gives up workers that go on with cancelled work. */
  giveUp?: () => void;
  /** Called after cancelled work has ended, with its error: opens again what a lost worker had open. */
  reopen?: (error: unknown) => void;
  /** Updates what the work may have changed, whether or not it succeeded. */
  ended: () => void;
}

/** The work under way, the last error and the last notice. */
export class WorkState {
  /** The work under way. */
  now = $state<Work>("idle");
  /** The last error's message; empty if there was none. */
  error = $state("");
  /** The last notice; empty if there was none. */
  notice = $state("");
  /** Whether the work under way was cancelled. */
  #cancelled = false;
  /** Aborts what the work under way waits for. */
  #stop = new AbortController();
  /** Ends the work under way without waiting for it. */
  #abandon: (error: Error) => void = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hooks: Hooks | undefined;
  /** Called when work that the visitor asked for has succeeded. */
  onDone: () => void = () => {};

  /** Sets the hooks, which need states that are made later. */
  connect(hooks: Hooks) {
    this.#hooks = hooks;
  }

  /** Does work that the visitor asked for. */
  during(work: Work, task: () => Promise<void>) {
    return this.alone(work, async () => {
      await task();
      this.onDone();
    });
  }

  /** Does work unless other work is under way, and shows its error if it fails. */
  async alone(work: Work, task: () => Promise<void>) {
    if (this.now !== "idle") return;
    this.now = work;
    this.error = "";
    this.notice = "";
    this.#cancelled = false;
    this.#stop = new AbortController();
    const abandoned = new Promise<never>((_, failed) => (this.#abandon = failed));
    let reopen = () => {};
    try {
      // Raced, because the task may wait for something that does not hear of the cancel.
      await Promise.race([task(), abandoned]);
    } catch (error) {
      // Whatever work fails with once it was cancelled, such as an aborted download, comes of that.
      if (this.#cancelled || isCancel(error)) {
        reopen = () => this.#hooks?.reopen?.(error);
        this.notice =
          work === "running"
            ? "Paused; what was scored stays on this device, and you can resume the run."
            : "Cancelled.";
      } else {
        this.fail(error);
        await this.#hooks?.mend(error);
      }
    } finally {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.now = "idle";
      this.#hooks?.ended();
    }
    reopen();
  }

  /** Shows an error. */
  fail(error: unknown) {
    this.error = this.#hooks?.say(error) ?? String(error);
  }

  /**
   * Cancels the work under way. If it has not ended soon, it is given up, unless `patiently` lets it take the time that
   * it takes.
   */
  cancel({ patiently = false } = {}) {
    this.#cancelled = true;
    if (this.now === "idle") return;
    this.#stop.abort(new Error(CANCELLED));
    if (patiently) return;
    this.#timer ??= setTimeout(() => {
      this.#hooks?.giveUp?.();
      this.#abandon(new Error(CANCELLED));
    }, PATIENCE_MS);
  }

  /** Whether the work under way was cancelled. */
  get isCancelled() {
    return this.#cancelled && this.now !== "idle";
  }

  /** Is aborted when the work under way is cancelled. */
  get signal() {
    return this.#stop.signal;
  }

  /** Throws if the work under way was cancelled. */
  checkCancelled() {
    if (this.#cancelled) throw new Error(CANCELLED);
  }
}
