// A worker that lies in memory: what passes between it and the page is cloned as between two threads.
import { vi } from "vitest";
import type { CallName, Calls, Forget, ProgressOf, Reply, Request } from "../engine/protocol";

/** What answers calls, by their names. */
export type Answers = {
  [K in CallName]?: (
    args: Calls[K]["args"],
    tell: (progress: ProgressOf<K>) => void,
    worker: FakeWorker,
  ) => Calls[K]["result"] | Promise<Calls[K]["result"]>;
};

export class FakeWorker {
  static all: FakeWorker[] = [];
  /** Calls that have no answer here wait until a test answers them. */
  static answers: Answers = {};
  onmessage: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;
  readonly name: string | undefined;
  readonly requests: Request[] = [];
  /** Ids of calls that it was told to forget. */
  readonly forgotten: number[] = [];
  readonly type: WorkerOptions["type"];
  isEnded = false;

  constructor(address: URL | string, options?: WorkerOptions) {
    this.name = options?.name;
    // Browsers read whether it is a module.
    this.type = options?.type;
    // One without a file only tries what the browser knows.
    if (address !== "blob:") FakeWorker.all.push(this);
  }

  postMessage(message: Request | Forget) {
    const request = structuredClone(message);
    if (this.isEnded) return;
    if ("forget" in request) {
      this.forgotten.push(...request.forget);
      return;
    }
    this.requests.push(request);
    void this.#serve(request);
  }

  terminate() {
    this.isEnded = true;
  }

  async #serve({ id, call, args }: Request) {
    const answer = FakeWorker.answers[call] as
      ((args: unknown[], tell: (progress: unknown) => void, worker: FakeWorker) => unknown) | undefined;
    if (!answer) return;
    let reply: Reply;
    try {
      const result = await answer(args, (progress) => this.say({ id, kind: "progress", progress }), this);
      reply = { id, kind: "done", result };
    } catch (error) {
      const { name, message } = error as Error;
      reply = { id, kind: "failed", message, deviceFailed: name === "DeviceFailed" };
    }
    if (!this.isEnded) this.say(reply);
  }

  /** A word of the worker arrives at the page. */
  say(reply: Reply) {
    this.onmessage?.(new MessageEvent("message", { data: structuredClone(reply) }));
  }

  /** Answers the call that came in so many before. */
  done(place: number, result: unknown) {
    this.say({ id: this.request(place).id, kind: "done", result });
  }

  /** Something in the worker is thrown and not caught. Gives whether the browser is told not to report it. */
  die(message: string): boolean {
    const event = Object.assign(new Event("error", { cancelable: true }), { message });
    this.onerror?.(event as ErrorEvent);
    return event.defaultPrevented;
  }

  request(place: number): Request {
    const request = this.requests[place];
    if (!request) throw new Error(`call ${place} was expected, ${this.requests.length} came in`);
    return request;
  }

  get calls() {
    return this.requests.map(({ call }) => call);
  }

  /** Puts it in the place of workers for one test. */
  static install() {
    FakeWorker.all = [];
    FakeWorker.answers = {};
    vi.stubGlobal("Worker", FakeWorker);
  }

  static at(place: number): FakeWorker {
    const worker = FakeWorker.all.at(place);
    if (!worker) throw new Error(`worker ${place} was expected, there are ${FakeWorker.all.length}`);
    return worker;
  }
}

/** Something that a test lets happen when it is time. */
export function held<T = void>() {
  let done!: (value: T) => void;
  let failed!: (error: unknown) => void;
  const promise = new Promise<T>((resolve, reject) => ([done, failed] = [resolve, reject]));
  return { promise, done, failed };
}

/** Lets everything happen that needs no more than promises. */
export const settle = () => new Promise<void>((done) => setImmediate(done));
