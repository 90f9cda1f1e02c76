import { beforeEach, describe, expect, test } from "vitest";
import { EngineFailure } from "../engine/engine";
import { broken, seam, type Seam } from "../testing/engine";
import * as sample from "../testing/reports";
import { FakeWorker, held, settle } from "../testing/worker";
import { EngineState } from "./engine.svelte";
import { WorkState } from "./work.svelte";

let work: WorkState;
let engine: EngineState;
let order: string[];
let itemsDone: number;
/** What happens when a new worker is brought to where the old one was. */
let restore: () => Promise<string[]>;

beforeEach(() => {
  FakeWorker.install();
  work = new WorkState();
  engine = new EngineState(work);
  work.connect({ say: (error) => engine.say(error), mend: (error) => engine.mend(error), ended: () => {} });
  [order, itemsDone, restore] = [[], 0, async () => []];
  engine.connect({
    restore: () => {
      order.push("restore");
      return restore();
    },
    drop: () => void order.push("drop"),
    itemsDone: () => itemsDone,
  });
});

/** A worker that has answered is replaced when it dies; one that has not is not. */
async function answerOnce() {
  const call = engine.client.call("memoryBytes", []);
  FakeWorker.at(-1).done(FakeWorker.at(-1).requests.length - 1, 1);
  await call;
}

async function die(message = "unreachable") {
  await answerOnce();
  FakeWorker.at(-1).die(message);
  await settle();
}

describe("calls", () => {
  test("they go to the worker with their progress", async () => {
    const told: unknown[] = [];
    const call = engine.call("run", [], (now) => told.push(now));
    FakeWorker.at(0).say({ id: 0, kind: "progress", progress: 1 });
    FakeWorker.at(0).done(0, undefined);
    await call;
    expect(told).toEqual([1]);
    expect(FakeWorker.at(0).calls).toEqual(["run"]);
  });
});

describe("access to the Hub", () => {
  test("it is as typed, without spaces around, and nothing where nothing is typed", () => {
    expect(engine.access()).toEqual({ hub: undefined, token: undefined, keep: true });
    Object.assign(engine, { hub: " https://mirror.example\n", token: " secret ", keep: false });
    expect(engine.access()).toEqual({ hub: "https://mirror.example", token: "secret", keep: false });
    Object.assign(engine, { hub: "  ", token: "\t" });
    expect(engine.access()).toEqual({ hub: undefined, token: undefined, keep: false });
  });
});

describe("a load", () => {
  test("how far it is is shown until it is done, and its result is given", async () => {
    const task = held<string>();
    const loading = engine.loading((tell) => {
      tell(sample.load({ bytes_done: 1 }));
      tell(sample.load({ bytes_done: 2 }));
      return task.promise;
    });
    expect(engine.load?.bytes_done).toBe(2);
    task.done("loaded");
    expect(await loading).toBe("loaded");
    expect(engine.load).toBeUndefined();
  });

  test("one that fails is not shown any more either", async () => {
    const loading = engine.loading(async (tell) => {
      tell(sample.load());
      throw new Error("no network");
    });
    await expect(loading).rejects.toThrow("no network");
    expect(engine.load).toBeUndefined();
  });
});

describe("the start", () => {
  let calls: Seam;
  beforeEach(() => void (calls = seam(engine)));

  test("the device that would be taken is shown", async () => {
    calls.answers.openDevice = () => sample.device({ name: "a GPU" });
    await engine.start();
    expect(calls.of("openDevice")).toEqual([["auto"]]);
    expect(engine.device?.name).toBe("a GPU");
  });

  test("where the engine does not start that is shown", async () => {
    calls.answers.openDevice = () => Promise.reject(new Error("the engine could not be fetched"));
    await engine.start();
    expect(work.error).toBe("the engine could not be fetched");
    expect(engine.device).toBeUndefined();
  });
});

describe("the sentence for an error", () => {
  test("it is the error's own, and where the engine stopped it says so", () => {
    expect(engine.say(new Error("the file is empty"))).toBe("the file is empty");
    expect(engine.say("a text")).toBe("a text");
    expect(engine.say(broken("unreachable"))).toMatch(/engine.*unreachable/);
  });
});

describe("mending after a failure", () => {
  test("a broken worker is replaced and brought to where it was", async () => {
    await engine.mend(broken());
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(order).toEqual(["restore"]);
  });

  test("any other error breaks nothing", async () => {
    await engine.mend(new Error("the file is empty"));
    await engine.mend("cancelled");
    expect(FakeWorker.all).toHaveLength(1);
    expect(order).toEqual([]);
  });

  test("where that cannot be done, nothing is shown as open", async () => {
    restore = () => Promise.reject(new Error("no network"));
    await engine.mend(broken());
    expect(order).toEqual(["restore", "drop"]);
  });
});

describe("a task that withstands failures of the engine", () => {
  /** Does a task that breaks so many times first. */
  const breaking = (times: number, each = () => {}) =>
    engine.withstanding(async () => {
      order.push("task");
      each();
      if (times-- > 0) throw broken("lost");
      return "result";
    });

  test("it is done once where nothing breaks", async () => {
    expect(await breaking(0)).toBe("result");
    expect(order).toEqual(["task"]);
    expect(engine.incidents).toEqual([]);
  });

  test("after a failure it is done again in a new worker that has everything open", async () => {
    expect(await breaking(1)).toBe("result");
    expect(order).toEqual(["task", "restore", "task"]);
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
  });

  test("what broke is said while it is mended and after", async () => {
    const restoring = held<string[]>();
    restore = () => restoring.promise;
    const task = breaking(1);
    await settle();
    expect(engine.incidents).toHaveLength(1);
    const [first] = engine.incidents;
    expect(first).toContain("lost");
    restoring.done(["The run a.json was closed."]);
    await task;
    expect(engine.incidents).toHaveLength(1);
    expect(engine.incidents[0]).not.toBe(first);
    expect(engine.incidents[0]).toMatch(/lost.* The run a\.json was closed\.$/);
  });

  test("it says from where a run went on, and on what device, where that is another", async () => {
    engine.device = sample.device({ name: "a GPU" });
    itemsDone = 1234;
    restore = async () => {
      engine.device = sample.device({ name: "a processor" });
      return [];
    };
    await work.during("running", async () => void (await breaking(1)));
    expect(engine.incidents[0]).toMatch(/1,?234 items.*a processor/);
    engine.incidents = [];
    restore = async () => [];
    await work.during("scoring", async () => void (await breaking(1)));
    expect(engine.incidents[0]).not.toMatch(/items|a processor/);
  });

  test("a third failure without getting any further is the last", async () => {
    const task = breaking(99);
    await expect(task).rejects.toBeInstanceOf(EngineFailure);
    expect(order.filter((what) => what === "task")).toHaveLength(3);
    expect(engine.incidents).toHaveLength(2);
  });

  test("as long as it gets further it goes on", async () => {
    expect(await breaking(20, () => itemsDone++)).toBe("result");
    expect(engine.incidents).toHaveLength(20);
  });

  test("a worker that gets no further may follow one that did, but not two", async () => {
    let times = 0;
    expect(await breaking(9, () => times++ % 2 === 1 && itemsDone++)).toBe("result");
    times = 0;
    await expect(breaking(9, () => times++ % 3 === 0 && itemsDone++)).rejects.toThrow("lost");
    expect(times).toBe(3);
  });

  test("items that are lost with the worker are no progress when they are done again", async () => {
    itemsDone = 5;
    let times = 0;
    const task = breaking(99, () => (itemsDone = times++ % 2 === 0 ? 3 : 5));
    await expect(task).rejects.toThrow("lost");
    expect(times).toBe(3);
  });

  test("an error that no other worker would mend is not tried again", async () => {
    const task = engine.withstanding(async () => {
      order.push("task");
      throw new Error("the model has no template");
    });
    await expect(task).rejects.toThrow("the model has no template");
    expect(order).toEqual(["task"]);
    expect(FakeWorker.all).toHaveLength(1);
  });

  test("cancelled while it is mended, it is not done again", async () => {
    restore = async () => {
      work.cancel();
      return [];
    };
    await work.during("running", async () => void (await breaking(1)));
    expect(order).toEqual(["task", "restore"]);
    expect(work.notice).toMatch(/^Paused/);
  });

  test("where nothing can be brought back, nothing is shown as open and the reason is given", async () => {
    restore = () => Promise.reject(new Error("no network"));
    await expect(breaking(1)).rejects.toThrow("no network");
    expect(order).toEqual(["task", "restore", "drop"]);
  });
});

describe("a worker that dies while nothing is going on", () => {
  test("everything is opened again in its successor, and it is said", async () => {
    restore = async () => {
      expect(work.now).toBe("loading");
      return ["The run a.json was closed."];
    };
    await die("out of memory");
    expect(order).toEqual(["restore"]);
    expect(work.notice).toMatch(/out of memory.* The run a\.json was closed\.$/);
    expect([work.now, work.error]).toEqual(["idle", ""]);
  });

  test("during work it is left to the work to mend it", async () => {
    const task = held();
    const running = work.during("running", () => task.promise);
    await die();
    expect(order).toEqual([]);
    task.done();
    await running;
  });

  test("where it dies again and again nothing is opened any more, and the reason is shown", async () => {
    await die("first");
    await die("second");
    expect(order).toEqual(["restore", "restore"]);
    await die("third");
    expect(order).toEqual(["restore", "restore", "drop"]);
    expect(work.error).toMatch(/third/);
  });

  test("once the visitor got something done it may die twice again", async () => {
    await die();
    await die();
    await work.during("scoring", async () => {});
    await die();
    await die();
    expect(order).toEqual(["restore", "restore", "restore", "restore"]);
  });

  test("work that failed is no sign that it lives", async () => {
    await die();
    await die();
    await work.during("scoring", () => Promise.reject(new Error("no")));
    await die();
    expect(order).toEqual(["restore", "restore", "drop"]);
  });

  test("where nothing can be opened again nothing is shown as open, and why is said", async () => {
    restore = () => Promise.reject(new Error("no network"));
    await die();
    expect(order).toEqual(["restore", "drop"]);
    expect(work.error).toBe("no network");
    expect(work.now).toBe("idle");
  });
});
