// The protocol consists of types alone. `npm run check` checks what is said here.
import { expectTypeOf, test } from "vitest";
import type { Session } from "../wasm/rewardscope";
import type { CallName, Calls, ProgressOf, Reply, Request } from "./protocol";

/** What the callback is told that is the parameter of a method at this place. */
type Told<M extends keyof Session, I extends number> = Session[M] extends (...args: infer A) => unknown
  ? A[I] extends (progress: infer P) => void
    ? P
    : "no callback"
  : "no method";

test("a call's arguments and result are the method's, without its promise", () => {
  expectTypeOf<Calls["trace"]["args"]>().toEqualTypeOf<Parameters<Session["trace"]>>();
  expectTypeOf<Calls["trace"]["result"]>().toEqualTypeOf<Awaited<ReturnType<Session["trace"]>>>();
  expectTypeOf<Calls["score"]["result"]>().not.toExtend<Promise<unknown>>();
  expectTypeOf<Calls["marksJson"]>().toEqualTypeOf<{ args: []; result: string; progress: never }>();
});

test("the progress callback is no argument, because the worker adds it", () => {
  expectTypeOf<Calls["run"]["args"]>().toEqualTypeOf<[]>();
  expectTypeOf<ProgressOf<"run">>().toEqualTypeOf<Told<"run", 0>>();
  expectTypeOf<Calls["openDataSite"]["args"]["length"]>().toEqualTypeOf<2>();
  expectTypeOf<ProgressOf<"openDataSite">>().toEqualTypeOf<Told<"openDataSite", 2>>();
  expectTypeOf<ProgressOf<"trace">>().toEqualTypeOf<never>();
});

test("no argument can be left out, or the worker would put the callback in its place", () => {
  expectTypeOf<Calls["openRun"]["args"]["length"]>().toEqualTypeOf<4>();
  expectTypeOf<Calls["chooseBenchmark"]["args"]["length"]>().toEqualTypeOf<3>();
  expectTypeOf<undefined>().toExtend<Calls["openRun"]["args"][3]>();
});

test("what only the Rust side needs cannot be called", () => {
  expectTypeOf<"free">().not.toExtend<CallName>();
  expectTypeOf<Request<"memoryBytes">>().toEqualTypeOf<{ id: number; call: "memoryBytes"; args: [] }>();
});

test("every reply says to which call it belongs", () => {
  expectTypeOf<Reply["id"]>().toEqualTypeOf<number>();
  expectTypeOf<Reply["kind"]>().toEqualTypeOf<"done" | "progress" | "failed">();
});
