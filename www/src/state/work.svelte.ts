// Long work, one at a time, and what is said of it.
export type Work = "idle" | "loading" | "opening" | "fitting" | "estimating" | "running" | "scoring" | "removing";

/** What others do when work ends. */
interface Hooks {
  /** The sentence for an error. */
  say: (error: unknown) => string;
  /** Mends what an error broke. */
  mend: (error: unknown) => Promise<void>;
  /** Looks at what has changed, whether the work was done or not. */
  ended: () => void;
}

export class WorkState {
  /** What is under way. */
  now = $state<Work>("idle");
  error = $state("");
  notice = $state("");
  #cancelled = false;
  #hooks: Hooks | undefined;
  /** What long work that was done sets back. */
  onDone: () => void = () => {};

  connect(hooks: Hooks) {
    this.#hooks = hooks;
  }

  /** Does long work that the visitor asked for. */
  during(work: Work, task: () => Promise<void>) {
    return this.alone(work, async () => {
      await task();
      this.onDone();
    });
  }

  /** One work at a time, its failure shown as the sentence that it is. */
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
          work === "running" ? "Paused; what was scored stays on this device, and the run can go on." : "Cancelled.";
      } else {
        this.fail(error);
      }
      await this.#hooks?.mend(error);
    } finally {
      this.now = "idle";
      this.#hooks?.ended();
    }
  }

  fail(error: unknown) {
    this.error = this.#hooks?.say(error) ?? String(error);
  }

  cancel() {
    this.#cancelled = true;
  }

  checkCancelled() {
    if (this.#cancelled) throw new Error("cancelled");
  }
}
