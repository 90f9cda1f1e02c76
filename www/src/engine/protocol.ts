// The protocol between page and worker: the methods of `Session` by name, each answered once, with progress between
// where the method tells of it. Names, arguments and results are those that the Rust side declares.
import type { Session } from "../wasm/rewardscope";

/** Arguments of which none is left out: one that may be is undefined then. */
type Whole<A extends unknown[]> = Unboxed<Required<{ [I in keyof A]: [A[I]] }>>;
type Unboxed<A extends unknown[]> = { [I in keyof A]: A[I] extends [infer T] ? T : never };

/** A method's arguments and result; the last argument may be told of progress, which the worker puts in. */
type Method<M> = M extends (...args: infer A) => infer R
  ? A extends [...infer Args, (progress: infer P) => void]
    ? { args: Args; result: Awaited<R>; progress: P }
    : { args: Whole<A>; result: Awaited<R>; progress: never }
  : never;

type SessionMethods = Omit<
  { [K in keyof Session as Session[K] extends (...args: never[]) => unknown ? K : never]: Method<Session[K]> },
  "free" | typeof Symbol.dispose
>;

export type Calls = SessionMethods & {
  /** Bytes of the engine's memory. */
  memoryBytes: { args: []; result: number; progress: never };
};

export type CallName = keyof Calls & string;
export type ProgressOf<K extends CallName> = Calls[K]["progress"];

export interface Request<K extends CallName = CallName> {
  id: number;
  call: K;
  args: Calls[K]["args"];
}

export type Reply =
  | { id: number; kind: "done"; result: unknown }
  | { id: number; kind: "progress"; progress: unknown }
  | { id: number; kind: "failed"; message: string; deviceFailed: boolean };
