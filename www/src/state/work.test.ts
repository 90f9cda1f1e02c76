import { beforeEach, describe, expect, test } from "vitest";
import { held, settle } from "../testing/worker";
import { WorkState } from "./work.svelte";

let work: WorkState;
let order: string[];

beforeEach(() => {
  work = new WorkState();
  order = [];
});

const connect = (mend: (error: unknown) => Promise<void> = async () => {}) =>
  work.connect({
    say: (error) => `said: ${(error as Error).message}`,
    mend,
    ended: () => void order.push(`ended, ${work.now}`),
  });

describe("long work", () => {
  test("it is shown while it lasts", async () => {
    const task = held();
    const running = work.during("fitting", () => task.promise);
    expect(work.now).toBe("fitting");
    task.done();
    await running;
    expect(work.now).toBe("idle");
    expect([work.error, work.notice]).toEqual(["", ""]);
  });

  test("what was said of earlier work goes when new work begins", async () => {
    work.error = "old";
    work.notice = "old";
    const task = held();
    const running = work.during("loading", () => task.promise);
    expect([work.error, work.notice]).toEqual(["", ""]);
    work.notice = "it is loaded";
    task.done();
    await running;
    expect(work.notice).toBe("it is loaded");
  });

  test("a second begin while one is going on does nothing, and the first goes on", async () => {
    connect();
    const task = held();
    const first = work.during("running", () => task.promise);
    work.notice = "half of it";
    await work.during("loading", async () => void order.push("second"));
    await work.alone("loading", async () => void order.push("second"));
    expect(work.now).toBe("running");
    expect(work.notice).toBe("half of it");
    expect(order).toEqual([]);
    task.done();
    await first;
    expect(order).toEqual(["ended, idle"]);
  });

  test("after it another can begin", async () => {
    await work.during("running", async () => void order.push("first"));
    await work.during("loading", async () => void order.push("second"));
    expect(order).toEqual(["first", "second"]);
  });

  test("others look at what changed once it is over, done or not", async () => {
    connect();
    await work.during("opening", async () => void order.push("task"));
    await work.during("opening", () => Promise.reject(new Error("no")));
    expect(order).toEqual(["task", "ended, idle", "ended, idle"]);
  });

  test("work that the visitor asked for and that was done is told; other work, and what failed, is not", async () => {
    let done = 0;
    work.onDone = () => done++;
    await work.alone("loading", async () => {});
    await work.during("loading", () => Promise.reject(new Error("no")));
    expect(done).toBe(0);
    await work.during("loading", async () => {});
    expect(done).toBe(1);
  });
});

describe("work that fails", () => {
  test("its error is shown as a sentence", async () => {
    connect();
    await work.during("opening", () => Promise.reject(new Error("the file is empty")));
    expect(work.error).toBe("said: the file is empty");
    expect(work.notice).toBe("");
  });

  test("an error that is thrown before anything is awaited is shown too", async () => {
    await work.during("opening", () => {
      throw new Error("at once");
    });
    expect(work.error).toBe("Error: at once");
    expect(work.now).toBe("idle");
  });

  test("what it broke is mended before other work can begin", async () => {
    const mending = held();
    const mended: unknown[] = [];
    connect((error) => {
      mended.push(error);
      return mending.promise;
    });
    const failure = new Error("broken");
    const running = work.during("running", () => Promise.reject(failure));
    await settle();
    expect(mended).toEqual([failure]);
    expect(work.now).toBe("running");
    expect(order).toEqual([]);
    mending.done();
    await running;
    expect(order).toEqual(["ended, idle"]);
  });

  test("the error goes when work begins anew", async () => {
    await work.during("opening", () => Promise.reject(new Error("no")));
    await work.during("opening", async () => {});
    expect(work.error).toBe("");
  });
});

describe("work that is cancelled", () => {
  const cancelled = () => Promise.reject(new Error("cancelled"));

  test("a run is paused and can go on", async () => {
    await work.during("running", cancelled);
    expect(work.notice).toMatch(/^Paused/);
    expect([work.error, work.now]).toEqual(["", "idle"]);
  });

  test.each(["loading", "opening", "fitting", "estimating", "scoring", "removing"] as const)(
    "%s is cancelled, which is no error",
    async (kind) => {
      await work.during(kind, cancelled);
      expect(work.notice).toMatch(/^Cancelled/);
      expect(work.error).toBe("");
    },
  );

  test("an error that only speaks of it is an error", async () => {
    await work.during("opening", () => Promise.reject(new Error("the download was cancelled")));
    expect(work.error).toBe("Error: the download was cancelled");
    await work.during("opening", () => Promise.reject("cancelled"));
    expect(work.error).toBe("cancelled");
  });

  test("it stops at the next place that looks", async () => {
    const step = held();
    const running = work.during("running", async () => {
      work.checkCancelled();
      order.push("first");
      await step.promise;
      work.checkCancelled();
      order.push("second");
    });
    work.cancel();
    step.done();
    await running;
    expect(order).toEqual(["first"]);
    expect(work.notice).toMatch(/^Paused/);
  });

  test("work that begins afterwards is not cancelled by it", async () => {
    work.cancel();
    await work.during("running", async () => work.checkCancelled());
    expect([work.notice, work.error]).toEqual(["", ""]);
  });
});

test("before others are connected an error is still shown", () => {
  work.fail(new Error("early"));
  expect(work.error).toBe("Error: early");
});
