import { beforeEach, describe, expect, test, vi } from "vitest";
import { seeded } from "../testing/random";
import { FakeWorker, settle } from "../testing/worker";
import { Engine, EngineFailure } from "./engine";

let replaced: string[];

beforeEach(() => {
  FakeWorker.install();
  replaced = [];
});

const start = (name?: string) => new Engine((reason) => replaced.push(reason), name);

/** How a call ended so far. */
function watch<T>(promise: Promise<T>) {
  const seen: { result?: T; error?: Error } = {};
  promise.then(
    (result) => (seen.result = result),
    (error: Error) => (seen.error = error),
  );
  return seen;
}

/** An engine whose worker has answered a call already. */
async function started() {
  const engine = start();
  const first = engine.call("memoryBytes", []);
  FakeWorker.at(0).done(0, 1);
  await first;
  return engine;
}

describe("calls", () => {
  test("one worker is started for them, by its name", () => {
    start();
    start("second");
    expect(FakeWorker.all.map(({ name }) => name)).toEqual(["engine", "second"]);
  });

  test("they go out at once, in order, each with its name, arguments and another id", () => {
    const engine = start();
    void engine.call("openDevice", ["auto"]);
    void engine.call("plan", ["Focus", undefined, 3, false]);
    void engine.call("memoryBytes", []);
    const { requests } = FakeWorker.at(0);
    expect(requests.map(({ call, args }) => [call, args])).toEqual([
      ["openDevice", ["auto"]],
      ["plan", ["Focus", undefined, 3, false]],
      ["memoryBytes", []],
    ]);
    expect(new Set(requests.map(({ id }) => id)).size).toBe(3);
  });

  test("each gets its own answer, whatever the order of answers", async () => {
    const engine = start();
    const { whole } = seeded(20);
    const calls = Array.from({ length: 50 }, (_, i) => engine.call("encodeMs", [i]));
    const left = calls.map((_, i) => i);
    while (left.length > 0) {
      const [place = 0] = left.splice(whole(left.length), 1);
      FakeWorker.at(0).done(place, 1000 + Number(FakeWorker.at(0).request(place).args[0]));
    }
    expect(await Promise.all(calls)).toEqual(calls.map((_, i) => 1000 + i));
  });

  test("a call is open until it is answered", async () => {
    const call = watch(start().call("storage", []));
    await settle();
    expect(call).toEqual({});
  });

  test("what is sent is a copy: what the page changes later does not reach the worker", () => {
    const engine = start();
    const prompt = [{ role: "user", content: "Why?" }];
    void engine.call("score", [prompt, ["Because."]]);
    prompt[0] = { role: "user", content: "changed" };
    expect(FakeWorker.at(0).request(0).args[0]).toEqual([{ role: "user", content: "Why?" }]);
  });

  test("a call that cannot be sent is refused, and those beside it go on", async () => {
    const engine = start();
    const fine = engine.call("memoryBytes", []);
    await expect(engine.call("fittedHead", [() => 0] as never)).rejects.toThrow("could not be cloned");
    FakeWorker.at(0).done(0, 5);
    expect(await fine).toBe(5);
  });
});

describe("answers", () => {
  test("an error becomes a rejection with its sentence", async () => {
    const call = start().call("report", []);
    FakeWorker.at(0).say({ id: 0, kind: "failed", message: "reporting: open a run first", deviceFailed: false });
    const error = await call.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(EngineFailure);
    expect(error).toHaveProperty("message", "reporting: open a run first");
    expect(FakeWorker.all).toHaveLength(1);
  });

  test("an error of the device says whose it is, so that another worker can take its place", async () => {
    const call = start().call("run", []);
    FakeWorker.at(0).say({ id: 0, kind: "failed", message: "the device was lost", deviceFailed: true });
    const error = (await call.catch((error: unknown) => error)) as EngineFailure;
    expect(error).toBeInstanceOf(EngineFailure);
    expect(error.message).toBe("the device was lost");
    expect(error.worker).toBe(FakeWorker.at(0));
    expect(FakeWorker.at(0).isEnded).toBe(false);
  });

  test("an error of one call leaves the others open", async () => {
    const engine = start();
    const [first, second] = [watch(engine.call("report", [])), watch(engine.call("memoryBytes", []))];
    FakeWorker.at(0).say({ id: 0, kind: "failed", message: "no", deviceFailed: true });
    await settle();
    expect(first.error?.message).toBe("no");
    expect(second).toEqual({});
    FakeWorker.at(0).done(1, 7);
    await settle();
    expect(second).toEqual({ result: 7 });
  });

  test("only the first answer counts, and one that nobody waits for is no harm", async () => {
    const engine = start();
    const call = watch(engine.call("memoryBytes", []));
    const worker = FakeWorker.at(0);
    worker.say({ id: 99, kind: "done", result: 1 });
    worker.say({ id: 99, kind: "failed", message: "no", deviceFailed: true });
    worker.say({ id: 99, kind: "progress", progress: 1 });
    worker.done(0, 2);
    worker.done(0, 3);
    await settle();
    expect(call).toEqual({ result: 2 });
    expect(replaced).toEqual([]);
  });
});

describe("progress", () => {
  test("it reaches the call that it is of, in order, and does not answer it", async () => {
    const engine = start();
    const told: string[] = [];
    const first = watch(engine.call("run", [], (now) => told.push(`first ${String(now)}`)));
    const second = watch(engine.call("run", [], (now) => told.push(`second ${String(now)}`)));
    const worker = FakeWorker.at(0);
    for (const [id, progress] of [
      [1, "a"],
      [0, "b"],
      [1, "c"],
    ] as const)
      worker.say({ id, kind: "progress", progress });
    await settle();
    expect(told).toEqual(["second a", "first b", "second c"]);
    expect([first, second]).toEqual([{}, {}]);
  });

  test("after the answer there is none", async () => {
    const told: unknown[] = [];
    const call = start().call("run", [], (now) => told.push(now));
    FakeWorker.at(0).done(0, undefined);
    await call;
    FakeWorker.at(0).say({ id: 0, kind: "progress", progress: "late" });
    expect(told).toEqual([]);
  });

  test("a call that does not ask for it does without", async () => {
    const call = start().call("run", []);
    FakeWorker.at(0).say({ id: 0, kind: "progress", progress: 1 });
    FakeWorker.at(0).done(0, undefined);
    await expect(call).resolves.toBeUndefined();
  });
});

describe("a worker that dies", () => {
  test("every open call fails with the reason, and another worker takes its place", async () => {
    const engine = await started();
    const open = [engine.call("run", []), engine.call("storage", [])];
    expect(FakeWorker.at(0).die("unreachable")).toBe(true);
    for (const call of open) {
      const error = (await call.catch((error: unknown) => error)) as EngineFailure;
      expect(error).toBeInstanceOf(EngineFailure);
      expect(error.message).toBe("unreachable");
      expect(error.worker).toBe(FakeWorker.at(0));
    }
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(replaced).toEqual(["unreachable"]);
  });

  test("its calls have failed by the time that it is said, and the new worker can be called then", async () => {
    const order: string[] = [];
    const engine: Engine = new Engine(() => {
      order.push("replaced");
      void engine.call("openDevice", ["auto"]);
    });
    const call = engine.call("memoryBytes", []);
    FakeWorker.at(0).done(0, 1);
    await call;
    void engine.call("run", []).catch(() => order.push("failed"));
    FakeWorker.at(0).die("unreachable");
    await settle();
    expect(order).toEqual(["replaced", "failed"]);
    expect(FakeWorker.at(1).calls).toEqual(["openDevice"]);
  });

  test("the replacement goes on: it alone is called, and it answers", async () => {
    const engine = await started();
    FakeWorker.at(0).die("unreachable");
    const call = engine.call("encodeMs", [4]);
    expect(FakeWorker.at(0).requests).toHaveLength(1);
    FakeWorker.at(1).done(0, 12);
    expect(await call).toBe(12);
  });

  test("what the old worker still says is not taken for its successor's", async () => {
    const engine = await started();
    const worker = FakeWorker.at(0);
    FakeWorker.at(0).die("unreachable");
    const told: unknown[] = [];
    const call = watch(engine.call("run", [], (now) => told.push(now)));
    const { id } = FakeWorker.at(1).request(0);
    worker.say({ id, kind: "progress", progress: "old" });
    worker.say({ id, kind: "done", result: "old" });
    expect(worker.die("again")).toBe(true);
    await settle();
    expect(call).toEqual({});
    expect(told).toEqual([]);
    expect(replaced).toEqual(["unreachable"]);
    expect(FakeWorker.all).toHaveLength(2);
  });

  test("the one after it can die too", async () => {
    const engine = await started();
    for (let times = 1; times <= 3; times++) {
      const call = engine.call("memoryBytes", []);
      FakeWorker.at(-1).done(FakeWorker.at(-1).requests.length - 1, 1);
      await call;
      FakeWorker.at(-1).die(`death ${times}`);
    }
    expect(replaced).toEqual(["death 1", "death 2", "death 3"]);
    expect(FakeWorker.all.filter(({ isEnded }) => !isEnded)).toHaveLength(1);
  });

  test("progress is a sign of life like an answer", async () => {
    const engine = start();
    const call = watch(engine.call("run", []));
    FakeWorker.at(0).say({ id: 0, kind: "progress", progress: 1 });
    FakeWorker.at(0).die("unreachable");
    await settle();
    expect(call.error).toBeInstanceOf(EngineFailure);
    expect(replaced).toEqual(["unreachable"]);
  });

  test("without a reason there is still a sentence", async () => {
    const engine = await started();
    const call = engine.call("storage", []);
    FakeWorker.at(0).die("");
    await expect(call).rejects.toThrow(/reload/);
  });
});

describe("a worker that never starts", () => {
  test("its calls fail, and no other is started to die again", async () => {
    const engine = start();
    const calls = [watch(engine.call("openDevice", ["auto"])), watch(engine.call("storage", []))];
    FakeWorker.at(0).die("");
    await settle();
    for (const { error } of calls) {
      expect(error?.message).toMatch(/reload/);
      expect(error).not.toBeInstanceOf(EngineFailure);
    }
    expect(FakeWorker.all).toHaveLength(1);
    expect(replaced).toEqual([]);
  });

  test("the next call gives it another try", async () => {
    const engine = start();
    FakeWorker.at(0).die("no module workers");
    const call = engine.call("memoryBytes", []);
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
    FakeWorker.at(1).done(0, 3);
    expect(await call).toBe(3);
    void engine.call("memoryBytes", []);
    expect(FakeWorker.all).toHaveLength(2);
  });

  test("a replacement that never starts is not replaced either", async () => {
    const engine = await started();
    FakeWorker.at(0).die("unreachable");
    const call = watch(engine.call("openDevice", ["auto"]));
    FakeWorker.at(1).die("out of memory");
    await settle();
    expect(call.error?.message).toBe("out of memory");
    expect(replaced).toEqual(["unreachable"]);
    expect(FakeWorker.all).toHaveLength(2);
  });
});

describe("ending a worker", () => {
  test("after a failure of its device it is replaced once, without it being said", async () => {
    const engine = await started();
    const other = watch(engine.call("storage", []));
    const failure = new EngineFailure("lost", FakeWorker.at(0) as unknown as Worker);
    engine.restartAfter(failure);
    engine.restartAfter(failure);
    await settle();
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(other.error?.message).toBe("lost");
    expect(replaced).toEqual([]);
  });

  test("a failure of another's worker is not its own", () => {
    const engine = start();
    start("second");
    engine.restartAfter(new EngineFailure("lost", FakeWorker.at(1) as unknown as Worker));
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([false, false]);
  });

  test("it can be replaced for a reason", async () => {
    const engine = await started();
    const call = watch(engine.call("run", []));
    engine.replace("the memory is full");
    await settle();
    expect(call.error).toBeInstanceOf(EngineFailure);
    expect(call.error?.message).toBe("the memory is full");
    expect(replaced).toEqual(["the memory is full"]);
  });

  test("ended for good, its calls fail and nobody follows it", async () => {
    const engine = await started();
    const call = watch(engine.call("run", []));
    engine.end("it is not needed");
    FakeWorker.at(0).die("late");
    await settle();
    expect(call.error).toBeInstanceOf(EngineFailure);
    expect(call.error?.message).toBe("it is not needed");
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true]);
    expect(replaced).toEqual([]);
  });
});

describe("giving up work that does not end", () => {
  test("its calls fail as cancelled ones, and a new worker takes its place without a word", async () => {
    const engine = await started();
    const [run, cancel] = [watch(engine.call("run", [])), watch(engine.call("cancel", []))];
    expect(engine.abandon()).toBe(true);
    await settle();
    for (const { error } of [run, cancel]) {
      expect(error?.message).toBe("cancelled");
      expect(error).not.toBeInstanceOf(EngineFailure);
    }
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(replaced).toEqual([]);
  });

  test("what is asked of any worker is asked of the next", async () => {
    const engine = await started();
    void engine.call("score", [[], []]).catch(() => {});
    const benchmarks = engine.call("benchmarks", []);
    engine.abandon();
    expect(FakeWorker.at(1).calls).toEqual(["benchmarks"]);
    FakeWorker.at(1).done(0, []);
    expect(await benchmarks).toEqual([]);
  });

  test("what the old worker still says is not heard", async () => {
    const engine = await started();
    void engine.call("run", []).catch(() => {});
    const { id } = FakeWorker.at(0).request(1);
    engine.abandon();
    const call = watch(engine.call("report", []));
    FakeWorker.at(0).say({ id, kind: "done", result: "old" });
    FakeWorker.at(0).say({ id: id + 1, kind: "done", result: "old" });
    expect(FakeWorker.at(0).die("late")).toBe(true);
    await settle();
    expect(call).toEqual({});
    expect(FakeWorker.all).toHaveLength(2);
  });

  test("without calls of work there is nothing to give up", async () => {
    const engine = await started();
    const call = watch(engine.call("storage", []));
    expect(engine.abandon()).toBe(false);
    await settle();
    expect(call).toEqual({});
    expect(FakeWorker.all).toHaveLength(1);
  });

  test("before the engine is there its worker stays, and is told to forget the calls of the work", async () => {
    const engine = start();
    const [device, configure] = [
      watch(engine.call("openDevice", ["auto"])),
      watch(engine.call("configure", [undefined, undefined, true])),
    ];
    expect(engine.abandon()).toBe(false);
    await settle();
    expect(configure.error?.message).toBe("cancelled");
    expect(device).toEqual({});
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([false]);
    expect(FakeWorker.at(0).forgotten).toEqual([FakeWorker.at(0).request(1).id]);
  });
});

test("it is told when the site no longer has the engine's file", async () => {
  const engine = start();
  let outdated = 0;
  engine.onOutdated = () => outdated++;
  const calls = [watch(engine.call("memoryBytes", [])), watch(engine.call("storage", []))];
  FakeWorker.at(0).say({ id: 0, kind: "failed", message: "404", deviceFailed: false, outdated: true });
  FakeWorker.at(0).say({ id: 1, kind: "failed", message: "no", deviceFailed: false });
  await settle();
  expect(calls.map(({ error }) => error?.message)).toEqual(["404", "no"]);
  expect(outdated).toBe(1);
});

test("where the browser knows no modules in workers one sentence says so", async () => {
  vi.stubGlobal(
    "Worker",
    class extends FakeWorker {
      constructor(address: URL) {
        super(address);
      }
    },
  );
  const call = watch(start().call("openDevice", ["auto"]));
  FakeWorker.at(0).die("Uncaught SyntaxError: Cannot use import statement outside a module");
  await settle();
  expect(call.error?.message).toMatch(/^This browser cannot run modules in workers; .* or newer\.$/);
});

test("the worker is a module beside the engine", () => {
  const made = vi.fn();
  vi.stubGlobal(
    "Worker",
    class {
      constructor(...args: unknown[]) {
        made(...args);
      }
    },
  );
  start("helper");
  const [address, options] = made.mock.calls[0] as [URL, WorkerOptions];
  expect(String(address)).toMatch(/\/engine\/worker\.ts/);
  expect(options).toEqual({ type: "module", name: "helper" });
});
