// The page's side of the protocol. A worker that dies is replaced, and every call that waited on
// it fails with a sentence.
import type { CallName, Calls, ProgressOf, Reply, Request } from "./protocol";

/** A worker or its device failed: another worker can do better. Anything else is a plain error. */
export class EngineFailure extends Error {
  readonly worker: Worker;

  constructor(message: string, worker: Worker) {
    super(message);
    this.worker = worker;
  }
}

interface Waiting {
  done: (result: unknown) => void;
  failed: (error: Error) => void;
  progress: (progress: unknown) => void;
}

export class Engine {
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 0;
  #onReplaced: (reason: string) => void;
  #name: string;
  /** Whether this worker has ever answered; one that never did would only die again. */
  #answered = false;
  /** Why the worker never started. */
  #dead: Error | undefined;

  constructor(onReplaced: (reason: string) => void, name = "engine") {
    this.#onReplaced = onReplaced;
    this.#name = name;
    this.#worker = this.#start();
  }

  #start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: this.#name });
    // A worker that was ended may still have words under way; they are not its successor's.
    worker.onmessage = (event: MessageEvent<Reply>) => {
      if (worker === this.#worker) this.#take(event.data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker !== this.#worker) return;
      const reason = event.message || "the worker could not start; reload the page";
      if (this.#answered) {
        this.replace(reason);
      } else {
        this.#dead = new Error(reason);
        this.#failWaiting(this.#dead);
      }
    };
    return worker;
  }

  #take(reply: Reply) {
    this.#answered = true;
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    if (reply.kind === "progress") {
      waiting.progress(reply.progress);
      return;
    }
    this.#waiting.delete(reply.id);
    if (reply.kind === "done") waiting.done(reply.result);
    else waiting.failed(reply.deviceFailed ? new EngineFailure(reply.message, this.#worker) : new Error(reply.message));
  }

  /** Ends the worker that failed, unless another has taken its place already. */
  restartAfter(failure: EngineFailure) {
    if (failure.worker === this.#worker) this.#restart(failure.message);
  }

  /** Ends the worker and starts a new one, without model or dataset. */
  replace(reason: string) {
    this.#restart(reason);
    this.#onReplaced(reason);
  }

  #restart(reason: string) {
    const old = this.#worker;
    old.terminate();
    this.#answered = false;
    this.#dead = undefined;
    this.#worker = this.#start();
    this.#failWaiting(new EngineFailure(reason, old));
  }

  /** Ends the worker for good. */
  end(reason: string) {
    this.#worker.onerror = null;
    this.#worker.terminate();
    this.#failWaiting(new EngineFailure(reason, this.#worker));
  }

  #failWaiting(error: Error) {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { failed } of waiting) failed(error);
  }

  call<K extends CallName>(
    call: K,
    args: Calls[K]["args"],
    progress?: (progress: ProgressOf<K>) => void,
  ): Promise<Calls[K]["result"]> {
    // The next call of one that never started gets another try.
    if (this.#dead) this.#restart(this.#dead.message);
    const id = this.#next++;
    return new Promise((done, failed) => {
      this.#waiting.set(id, {
        done: done as (result: unknown) => void,
        failed,
        progress: (progress ?? (() => {})) as (progress: unknown) => void,
      });
      const request: Request<K> = { id, call, args };
      this.#worker.postMessage(request);
    });
  }
}
