// The page's side of the protocol. A worker that dies is replaced, and every call that was waiting for it fails with a
// message.
import {
  CANCELLED,
  type CallName,
  type Calls,
  type Forget,
  type ProgressOf,
  type Reply,
  type Request,
} from "./protocol";

/** The worker or its device failed, so a new worker may succeed. All other errors are plain `Error`s. */
export class EngineFailure extends Error {
  readonly worker: Worker;

  constructor(message: string, worker: Worker) {
    super(message);
    this.worker = worker;
  }
}

/** Calls that need nothing that is open, so that another worker can answer them as well. */
const OF_NO_WORK: ReadonlySet<CallName> = new Set<CallName>([
  "benchmarks",
  "catalog",
  "memoryBytes",
  "officialRows",
  "openDevice",
  "published",
  "storage",
]);

const NO_MODULE_WORKERS =
  "This browser cannot run modules in workers; Rewardscope needs Chrome 110, Firefox 115, Safari 16.4 or newer.";

/** Whether workers can be modules here. Browsers that do not know of it do not read the option. */
function knowsModules(): boolean {
  let known = false;
  try {
    new Worker("blob:", {
      get type() {
        known = true;
        return "module" as const;
      },
    }).terminate();
  } catch {
    // The address is none.
  }
  return known;
}

/** A call that has no answer yet, and its callbacks. */
interface Waiting {
  request: Request;
  done: (result: unknown) => void;
  failed: (error: Error) => void;
  progress: (progress: unknown) => void;
}

/** One worker with a session in it, and the calls that wait for its answers. */
export class Engine {
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 0;
  #onReplaced: (reason: string) => void;
  #name: string;
  /** Whether this worker has ever answered. One that fails before that is not replaced: the next would fail too. */
  #answered = false;
  /** Why the worker could not start. */
  #dead: Error | undefined;
  /** Called when the engine's file is no longer on the site, which has a newer version then. */
  onOutdated: () => void = () => {};

  /** `onReplaced` is called with the reason when a worker dies and a new one takes its place. */
  constructor(onReplaced: (reason: string) => void, name = "engine") {
    this.#onReplaced = onReplaced;
    this.#name = name;
    this.#worker = this.#start();
  }

  #start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: this.#name });
    // Messages of a terminated worker may still arrive. They are not from its successor.
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
        this.#dead = new Error(knowsModules() ? reason : NO_MODULE_WORKERS);
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
    if (reply.kind === "failed" && reply.outdated) this.onOutdated();
  }

  /** Replaces the worker that failed, unless that has happened already. */
  restartAfter(failure: EngineFailure) {
    if (failure.worker === this.#worker) this.#restart(failure.message);
  }

  /** Replaces the worker by a new one without model or dataset, and reports it to `onReplaced`. */
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

  /** Ends the worker without a replacement. */
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

  /**
   * Gives up the work under way, which has not ended when it was cancelled: its calls fail with "cancelled", which is
   * no failure of the engine. Returns whether the worker was replaced, so that the new one has nothing open.
   */
  abandon(): boolean {
    const [ofNoWork, ofWork] = [[] as Waiting[], [] as Waiting[]];
    for (const one of this.#waiting.values()) (OF_NO_WORK.has(one.request.call) ? ofNoWork : ofWork).push(one);
    if (ofWork.length === 0) return false;
    for (const { request } of ofWork) this.#waiting.delete(request.id);
    const replaced = this.#answered;
    if (replaced) {
      this.#worker.terminate();
      this.#answered = false;
      this.#worker = this.#start();
      for (const { request } of ofNoWork) this.#worker.postMessage(request);
    } else {
      // The engine is still being fetched. A new worker would begin that anew.
      const forget: Forget = { forget: ofWork.map(({ request }) => request.id) };
      this.#worker.postMessage(forget);
    }
    for (const { failed } of ofWork) failed(new Error(CANCELLED));
    return replaced;
  }

  /** Calls a method of the worker's session. `progress` gets its reports until the promise settles. */
  call<K extends CallName>(
    call: K,
    args: Calls[K]["args"],
    progress?: (progress: ProgressOf<K>) => void,
  ): Promise<Calls[K]["result"]> {
    // A worker that could not start gets another try with the next call.
    if (this.#dead) this.#restart(this.#dead.message);
    const id = this.#next++;
    return new Promise((done, failed) => {
      const request: Request<K> = { id, call, args };
      this.#waiting.set(id, {
        request: request as Request,
        done: done as (result: unknown) => void,
        failed,
        progress: (progress ?? (() => {})) as (progress: unknown) => void,
      });
      this.#worker.postMessage(request);
    });
  }
}
