// The messages between page and worker. A call names a method of `Session` and is answered once, after any number of
// progress reports. Names, arguments and results are derived from the types that the Rust side declares.
import type { Session } from "../wasm/rewardscope";

/** A method's arguments with none left out: an optional argument is passed as undefined instead. */
type Whole<A extends unknown[]> = Unboxed<Required<{ [I in keyof A]: [A[I]] }>>;
type Unboxed<A extends unknown[]> = { [I in keyof A]: A[I] extends [infer T] ? T : never };

/** A method's arguments, result and progress. The worker adds the progress callback, so it is no argument of a call. */
type Method<M> = M extends (...args: infer A) => infer R
  ? A extends [...infer Args, (progress: infer P) => void]
    ? { args: Args; result: Awaited<R>; progress: P }
    : { args: Whole<A>; result: Awaited<R>; progress: never }
  : never;

/** All methods of `Session` that can be called. */
type SessionMethods = Omit<
  { [K in keyof Session as Session[K] extends (...args: never[]) => unknown ? K : never]: Method<Session[K]> },
  "free" | typeof Symbol.dispose
>;

/** Every call by its name. */
export type Calls = SessionMethods & {
  /** Size of the worker's wasm memory in bytes. */
  memoryBytes: { args: []; result: number; progress: never };
};

/** The name of a call. */
export type CallName = keyof Calls & string;
/** What a call reports while it runs; `never` where it reports nothing. */
export type ProgressOf<K extends CallName> = Calls[K]["progress"];

/** A call as the page sends it. `id` returns in its replies. */
export interface Request<K extends CallName = CallName> {
  id: number;
  call: K;
  args: Calls[K]["args"];
}

/** Calls that the worker should not make, because nobody waits for them any more. */
export interface Forget {
  forget: number[];
}

/** The message of the error that a cancelled call fails with. */
export const CANCELLED = "cancelled";

/** Whether an error says that work was cancelled. */
export const isCancel = (error: unknown) => error instanceof Error && error.message === CANCELLED;

/**
 * A message of the worker. `deviceFailed`: the device failed, so the worker should be replaced. `outdated`: the site no
 * longer has the engine's file, so the page is of an older version than the site.
 */
export type Reply =
  | { id: number; kind: "done"; result: unknown }
  | { id: number; kind: "progress"; progress: unknown }
  | { id: number; kind: "failed"; message: string; deviceFailed: boolean; outdated?: boolean };
