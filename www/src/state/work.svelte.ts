// Long work, of which there is one at a time, and the messages about it.

/** What is under way. */
export type Work = "idle" | "loading" | "opening" | "fitting" | "estimating" | "running" | "scoring" | "removing";

/** What the rest of the state does when work ends. */
interface Hooks {
  /** The message to show for an error. */
  say: (error: unknown) => string;
  /** Recovers from an error, such as a dead worker. */
  mend: (error: unknown) => Promise<void>;
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
  #cancelled = false;
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
    try {
      await task();
    } catch (error) {
      if (error instanceof Error && error.message === "cancelled") {
        this.notice =
          work === "running"
            ? "Paused; what was scored stays on this device, and you can resume the run."
            : "Cancelled.";
      } else {
        this.fail(error);
      }
      await this.#hooks?.mend(error);
    } finally {
      this.now = "idle";
      this.#hooks?.ended();
    }
  }

  /** Shows an error. */
  fail(error: unknown) {
    this.error = this.#hooks?.say(error) ?? String(error);
  }

  /** Marks the work under way as cancelled. */
  cancel() {
    this.#cancelled = true;
  }

  /** Throws if the work under way was cancelled. */
  checkCancelled() {
    if (this.#cancelled) throw new Error("cancelled");
  }
}
