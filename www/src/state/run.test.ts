import { beforeEach, describe, expect, test, vi } from "vitest";
import { broken, parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { FakeWorker, held, settle } from "../testing/worker";
import { ModelsState } from "./models.svelte";
import { NotifyState } from "./notify.svelte";
import { OpenRunsState } from "./open_runs.svelte";
import { RunState, isLong, type Queued, type Selection } from "./run.svelte";

const QUICK: Selection = { subset: "Focus", limit: 20, seed: 3 };

let all: ReturnType<typeof parts>;
let models: ModelsState;
let open: OpenRunsState;
let run: RunState;
let told: string[];
/** Whether the window stores what was scored. */
let keeps: boolean;
/** Items that the engine has scored. */
let done: number;

beforeEach(() => {
  all = parts();
  models = new ModelsState(all.work, all.engine, {
    replacing: () => (run.estimate = undefined),
    changed: () => run.forget(),
  });
  open = new OpenRunsState(all.work, all.engine);
  const notify = new NotifyState();
  told = [];
  notify.tell = (what) => void told.push(what);
  run = new RunState({ work: all.work, engine: all.engine, models, open, notify, keeps: () => keeps });
  all.work.connect({
    say: (error) => all.engine.say(error),
    mend: (error) => all.engine.mend(error),
    ended: () => run.ended(),
  });
  all.engine.connect({
    restore: async () => (await run.restore(), []),
    drop: () => {},
    itemsDone: () => run.progress?.items_done ?? 0,
  });
  done = 0;
  keeps = true;
  Object.assign(all.seam.answers, {
    plan: () => sample.progress(done),
    estimate: () => sample.estimate(),
    run: (_args: [], tell: (now: sample.Progress) => void) => score(10, tell),
    report: () => sample.report(done),
    insight: () => sample.insight(),
    keepRun: () => sample.openRun(`own ${models.loaded?.name}`, { is_own: true }),
    runFile: () => "{}",
    loadHub: ([id]: unknown[]) => sample.model({ name: String(id) }),
  } satisfies typeof all.seam.answers);
});

/** Scores items until so many are done. */
async function score(until: number, tell: (now: sample.Progress) => void) {
  while (done < until) {
    done++;
    await Promise.resolve();
    tell(sample.progress(done));
  }
}

/** The engine scores so many items and then fails so. */
const failAfter = (items: number, error: Error) =>
  (all.seam.answers.run = async (_args, tell) => {
    await score(items, tell);
    throw error;
  });

const load = () => models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
const cancelled = new Error("cancelled");

describe("a run", () => {
  test("it is planned as selected, scored to its end and kept beside the others", async () => {
    await run.start(QUICK, false);
    expect(all.seam.of("plan")).toEqual([["Focus", 20, 3, false]]);
    expect(run.progress?.items_done).toBe(10);
    expect(run.report?.items_done).toBe(10);
    expect(run.insight).toBeDefined();
    expect(open.all.map(({ key }) => key)).toEqual([open.ownKey]);
    expect(all.work.now).toBe("idle");
    expect(all.work.error).toBe("");
  });

  test("that it is done is said and told, and what of it was scored earlier", async () => {
    await run.start(QUICK, false);
    expect(told).toEqual([all.work.notice]);
    expect(all.work.notice).not.toMatch(/\d/);
    done = 4;
    await run.start(QUICK, true);
    expect(told.at(-1)).toBe(all.work.notice);
    expect(all.work.notice).toMatch(/4 items/);
  });

  test("how far it is is shown while it lasts", async () => {
    const shown: (number | undefined)[] = [];
    all.seam.answers.run = async (_args, tell) => {
      for (let items = 1; items <= 3; items++) {
        tell(sample.progress(items));
        shown.push(run.progress?.items_done);
      }
    };
    await run.start(QUICK, false);
    expect(shown).toEqual([1, 2, 3]);
  });

  test("a second begin while one is going on does nothing", async () => {
    const scoring = held();
    all.seam.answers.run = () => scoring.promise;
    const first = run.start(QUICK, false);
    await settle();
    await run.start({ ...QUICK, seed: 9 }, true);
    await run.estimateRun({ ...QUICK, seed: 9 });
    await run.startQueue({ ...QUICK, seed: 9 });
    expect(all.work.now).toBe("running");
    scoring.done();
    await first;
    expect(all.seam.of("plan")).toHaveLength(1);
    expect(all.seam.of("run")).toHaveLength(1);
  });

  test("begun anew, it is planned anew and nothing of the old one is shown", async () => {
    await run.start(QUICK, false);
    all.seam.answers.plan = () => {
      expect([run.report, run.insight, open.ownKey]).toEqual([undefined, undefined, undefined]);
      done = 0;
      return sample.progress(0);
    };
    await run.start(QUICK, true);
    expect(all.seam.of("plan").at(-1)).toEqual(["Focus", 20, 3, true]);
    expect(run.report?.items_done).toBe(10);
  });

  test("one in which nothing could be scored is not set beside others", async () => {
    all.seam.answers.report = () => sample.report(10, { assessment: sample.assessment(0) });
    await run.start(QUICK, false);
    expect(open.all).toEqual([]);
    expect(open.ownKey).toBeUndefined();
    expect(all.work.error).toBe("");
  });

  test("what the scores say is asked for once all items are done, and not before", async () => {
    failAfter(4, cancelled);
    await run.start(QUICK, false);
    expect(run.report?.items_done).toBe(4);
    expect(all.seam.of("insight")).toEqual([]);
    expect(run.insight).toBeUndefined();
  });

  test("its table is brought up to date while it goes on, at most once a second", async () => {
    vi.spyOn(performance, "now").mockImplementation(() => clock);
    let clock = 0;
    const counts: number[] = [];
    all.seam.answers.run = async (_args, tell) => {
      for (const at of [500, 900, 1001, 1500, 2100]) {
        clock = at;
        tell(sample.progress(1));
        counts.push(all.seam.of("report").length);
      }
    };
    await run.start(QUICK, false);
    expect(counts).toEqual([1, 1, 2, 2, 3]);
  });

  test("a table that cannot be had then ends nothing", async () => {
    vi.spyOn(performance, "now").mockReturnValueOnce(0).mockReturnValue(5000);
    all.seam.answers.run = (_args, tell) => {
      all.seam.answers.report = () => Promise.reject(new Error("the worker ended"));
      tell(sample.progress(1));
    };
    await run.start(QUICK, false);
    expect(all.work.error).toBe("");
  });

  test("one that cannot be planned is an error, and there is none then", async () => {
    all.seam.answers.plan = () => Promise.reject(new Error("running: no dataset is open"));
    await run.start(QUICK, false);
    expect(all.work.error).toBe("running: no dataset is open");
    expect(run.progress).toBeUndefined();
    expect(all.seam.of("run")).toEqual([]);
  });
});

describe("a run that stops", () => {
  test("a cancelled run keeps what was scored, and goes on from there", async () => {
    failAfter(4, cancelled);
    await run.start(QUICK, false);
    expect(all.work.notice).toMatch(/^Paused/);
    expect(run.progress?.items_done).toBe(4);
    expect(run.report?.items_done).toBe(4);
    expect(open.all).toEqual([]);
    expect(told).toEqual([]);

    all.seam.answers.run = (_args, tell) => score(10, tell);
    await run.start(QUICK, false);
    expect(all.seam.of("plan")).toHaveLength(1);
    expect(all.work.notice).toMatch(/4 items/);
    expect(run.progress?.items_done).toBe(10);
  });

  test("so does one that fails, and the failure is shown", async () => {
    failAfter(6, new Error("writing the journal: the disk is full"));
    await run.start(QUICK, false);
    expect(all.work.error).toBe("writing the journal: the disk is full");
    expect(run.report?.items_done).toBe(6);
    expect(open.all).toEqual([]);
    expect(told).toEqual([]);
  });

  test("when the engine breaks, the same run is opened in a new worker and goes on", async () => {
    failAfter(5, broken("the device was lost"));
    const { run: breaking } = all.seam.answers;
    all.seam.answers.run = (args, tell, worker) => {
      all.seam.answers.run = (_args, tell) => score(10, tell);
      return breaking?.(args, tell, worker);
    };
    await run.start(QUICK, false);
    expect(all.seam.of("plan")).toEqual([
      ["Focus", 20, 3, false],
      ["Focus", 20, 3, false],
    ]);
    expect(run.progress?.items_done).toBe(10);
    expect(all.engine.incidents).toHaveLength(1);
    expect(all.engine.incidents[0]).toMatch(/the device was lost.*5 items/);
    expect(all.work.error).toBe("");
  });

  test("given up, it is taken off the page once it has stopped, and not before", async () => {
    const stopping = held();
    all.seam.answers.run = async (_args, tell) => {
      await score(4, tell);
      await stopping.promise;
      throw cancelled;
    };
    const running = run.start(QUICK, false);
    await settle();
    run.giveUp();
    expect(run.progress?.items_done).toBe(4);
    stopping.done();
    await running;
    expect([run.progress, run.report, run.estimate]).toEqual([undefined, undefined, undefined]);
    expect(all.work.notice).toMatch(/^Cancelled/);
    expect(all.seam.names()).toContain("closeRun");
  });

  test("the next one is not given up with it", async () => {
    failAfter(4, cancelled);
    const running = run.start(QUICK, false);
    run.giveUp();
    await running;
    all.seam.answers.run = (_args, tell) => score(10, tell);
    await run.start(QUICK, false);
    expect(run.progress?.items_done).toBe(10);
    expect(all.work.notice).not.toMatch(/^Cancelled/);
  });
});

describe("a window that stores nothing", () => {
  beforeEach(() => {
    keeps = false;
    failAfter(4, cancelled);
  });

  test("a paused run is not said to be kept", async () => {
    await run.start(QUICK, false);
    expect(all.work.notice).toMatch(/^Paused.*until the page closes/);
    expect(all.work.notice).not.toMatch(/stays on this device/);
    expect(run.progress?.items_done).toBe(4);
  });

  test("nor is a cancelled one", async () => {
    const running = run.start(QUICK, false);
    run.giveUp();
    await running;
    expect(all.work.notice).toMatch(/^Cancelled.*gone/);
    expect(all.work.notice).not.toMatch(/kept/);
  });

  test("what is cancelled besides runs has its own words", async () => {
    all.seam.answers.estimate = () => Promise.reject(cancelled);
    await run.estimateRun(QUICK);
    expect(all.work.notice).toBe("Cancelled.");
  });
});

describe("a run for which there is no room", () => {
  const paused = async (_args: [], tell: (now: sample.Progress) => void) => {
    tell(sample.progress(4, { is_kept: false }));
    await settle();
    throw cancelled;
  };
  beforeEach(() => void (all.seam.answers.run = paused));

  test("paused, it is said how long it lasts", async () => {
    await run.start(QUICK, false);
    expect(all.work.notice).toMatch(/^Paused. The browser gives no more room.*until the page closes/);
  });

  test("cancelled, it is not said to be kept", async () => {
    const running = run.start(QUICK, false);
    await settle();
    run.giveUp();
    await running;
    expect(all.work.notice).toMatch(/^Cancelled. The browser gives no more room.*gone/);
  });
});

describe("beginning a run", () => {
  const ALL: Selection = { subset: undefined, limit: undefined, seed: 0 };

  test("one that takes a second begins at once, though it was estimated", async () => {
    await run.begin(ALL, true);
    expect(run.progress?.items_done).toBe(10);
    expect(all.seam.of("plan")).toHaveLength(1);
  });

  test("a long one is estimated and waits until it is begun again", async () => {
    all.seam.answers.estimate = () => ({ ...sample.estimate(), ms: 3_600_000 });
    await run.begin(ALL, true);
    expect(run.estimate?.ms).toBe(3_600_000);
    expect(all.seam.of("run")).toEqual([]);
    await run.begin(ALL, true);
    expect(run.progress?.items_done).toBe(10);
    expect(all.seam.of("estimate")).toHaveLength(1);
  });

  test("a short selection is not estimated", async () => {
    await run.begin(QUICK, false);
    expect(all.seam.of("estimate")).toEqual([]);
    expect(run.progress?.items_done).toBe(10);
  });

  test("cancelled in its estimate, it does not begin", async () => {
    all.seam.answers.estimate = () => Promise.reject(cancelled);
    await run.begin(ALL, true);
    expect(all.seam.of("run")).toEqual([]);
  });

  test("a paused one goes on without another estimate", async () => {
    failAfter(4, cancelled);
    await run.begin(ALL, true);
    all.seam.answers.run = (_args, tell) => score(10, tell);
    await run.begin(ALL, true);
    expect(all.seam.of("estimate")).toHaveLength(1);
    expect(run.progress?.items_done).toBe(10);
  });

  test.each([
    [20, 5000, false],
    [20, 45_000, false],
    [20, 61_000, true],
    [5000, 9000, false],
    [5000, 11_000, true],
  ])("%i items that take %i ms are long: %s", (items, ms, long) => expect(isLong({ items, ms })).toBe(long));
});

describe("a run of an earlier visit", () => {
  test("it goes on from where it was", async () => {
    done = 4;
    await run.resume(QUICK, 4);
    expect(all.seam.of("plan")).toEqual([["Focus", 20, 3, false]]);
    expect(run.progress?.items_done).toBe(10);
    expect(open.all).toHaveLength(1);
  });

  test("where the rows are others nothing is scored, and it is said", async () => {
    done = 0;
    await run.resume(QUICK, 4);
    expect(all.work.error).toMatch(/not those of the stored run/);
    expect(all.seam.of("run")).toEqual([]);
    expect(run.progress).toBeUndefined();
  });
});

describe("an estimate", () => {
  test("the run is planned for it and not begun", async () => {
    await run.estimateRun(QUICK);
    expect(run.estimate).toEqual(sample.estimate());
    expect(all.seam.of("plan")).toEqual([["Focus", 20, 3, false]]);
    expect(all.seam.of("run")).toEqual([]);
  });

  test("the run that it was made for is begun as it was planned", async () => {
    await run.estimateRun(QUICK);
    await run.start(QUICK, false);
    expect(all.seam.of("plan")).toHaveLength(1);
    expect(run.progress?.items_done).toBe(10);
  });

  test("cancelled, there is none", async () => {
    all.seam.answers.estimate = () => Promise.reject(cancelled);
    await run.estimateRun(QUICK);
    expect(run.estimate).toBeUndefined();
    expect(all.work.notice).toMatch(/^Cancelled/);
  });

  test("a run of an earlier visit shows what was scored then", async () => {
    done = 7;
    await run.estimateRun(QUICK);
    expect(run.report?.items_done).toBe(7);
  });
});

describe("forgetting a run", () => {
  test("nothing of it is shown, and its journal is let go", async () => {
    await run.estimateRun(QUICK);
    await run.start(QUICK, false);
    all.engine.incidents.push("it broke once");
    run.forget();
    expect([run.progress, run.estimate, run.report, run.insight, open.ownKey]).toEqual(Array(5).fill(undefined));
    expect(all.engine.incidents).toEqual([]);
    expect(all.seam.names().at(-1)).toBe("closeRun");
  });

  test("it stays open beside the others", async () => {
    await run.start(QUICK, false);
    run.forget();
    expect(open.all).toHaveLength(1);
  });

  test("a new worker does not open it again", async () => {
    await run.start(QUICK, false);
    run.forget();
    await run.restore();
    expect(all.seam.of("plan")).toHaveLength(1);
  });

  test("an engine that is away is no error", async () => {
    all.seam.answers.closeRun = () => Promise.reject(new Error("the worker ended"));
    run.forget();
    await settle();
    expect(all.work.error).toBe("");
  });

  test("another model has neither its run nor its estimate", async () => {
    await load();
    await run.estimateRun(QUICK);
    await run.start(QUICK, false);
    await load();
    expect([run.progress, run.estimate, run.report, run.insight, open.ownKey]).toEqual(Array(5).fill(undefined));
    expect(open.all).toHaveLength(1);
    await run.start(QUICK, false);
    expect(all.seam.of("plan")).toHaveLength(2);
  });

  test("a model that cannot be loaded has no estimate of the one before", async () => {
    await load();
    await run.estimateRun(QUICK);
    all.seam.answers.loadHub = () => Promise.reject(new Error("no"));
    await load();
    expect(run.estimate).toBeUndefined();
  });
});

describe("helpers of a run", () => {
  beforeEach(async () => {
    vi.stubGlobal("navigator", { hardwareConcurrency: 4, deviceMemory: 8 });
    await load();
    FakeWorker.answers.configure = () => {};
    FakeWorker.answers.loadHub = () => sample.model();
    FakeWorker.answers.claim = () => undefined;
  });

  test("a long run gets some, shows how many, and ends them with it", async () => {
    const scoring = held();
    all.seam.answers.run = async (_args, tell) => {
      tell(sample.progress(1, { ms_left: 60_000 }));
      await settle();
      tell(sample.progress(2, { ms_left: 50_000 }));
      await scoring.promise;
    };
    const running = run.start(QUICK, false);
    await settle();
    await settle();
    expect(run.helpers).toBe(1);
    scoring.done();
    await running;
    expect(run.helpers).toBe(0);
    expect(FakeWorker.all.map(({ name, isEnded }) => [name, isEnded])).toEqual([
      ["engine", false],
      ["helper", true],
    ]);
  });

  test("they end with a run that fails too", async () => {
    all.seam.answers.run = async (_args, tell) => {
      tell(sample.progress(1, { ms_left: 60_000 }));
      await settle();
      throw new Error("no");
    };
    await run.start(QUICK, false);
    expect(FakeWorker.at(1).isEnded).toBe(true);
    expect(run.helpers).toBe(0);
  });

  test("a short run has none", async () => {
    all.seam.answers.run = (_args, tell) => tell(sample.progress(1, { ms_left: 5000 }));
    await run.start(QUICK, false);
    expect(FakeWorker.all).toHaveLength(1);
  });
});

describe("models that wait for their run", () => {
  const queued = (id: string): Queued => ({ title: id, source: { kind: "hub", id }, settings: sample.SETTINGS });
  const titles = () => run.queue.map(({ title }) => title);

  beforeEach(() => {
    all.seam.answers.plan = () => sample.progress((done = 0));
  });

  test("they wait in their order until they are taken out", () => {
    const [a, b, c] = [queued("a"), queued("b"), queued("c")];
    for (const model of [a, b, c]) run.enqueue(model);
    run.unqueue(b);
    run.unqueue(queued("a"));
    expect(run.queue).toEqual([a, c]);
  });

  test("the loaded one can be put among them as it was loaded", async () => {
    run.enqueueLoaded();
    expect(titles()).toEqual([]);
    const settings = { ...sample.SETTINGS, dtype: "q8" as const };
    await models.load({ kind: "hub", id: "owner/name" }, settings);
    run.enqueueLoaded();
    expect(run.queue).toEqual([{ title: "owner/name", source: { kind: "hub", id: "owner/name" }, settings }]);
  });

  test("each is loaded, run and kept, and then leaves the queue", async () => {
    for (const id of ["a", "b", "c"]) run.enqueue(queued(id));
    const left: string[][] = [];
    all.seam.answers.plan = () => {
      left.push(titles());
      return sample.progress((done = 0));
    };
    await run.startQueue(QUICK);
    expect(all.seam.of("loadHub").map(([id]) => id)).toEqual(["a", "b", "c"]);
    expect(left).toEqual([["a", "b", "c"], ["b", "c"], ["c"]]);
    expect(titles()).toEqual([]);
    expect(open.all.map(({ key }) => key)).toEqual(["own a", "own b", "own c"]);
    expect(all.work.notice).toMatch(/3 runs/);
    expect(told).toEqual([all.work.notice]);
  });

  test("one that is added meanwhile is run too", async () => {
    run.enqueue(queued("a"));
    all.seam.answers.run = (_args, tell) => {
      if (models.loaded?.name === "a") run.enqueue(queued("b"));
      return score(10, tell);
    };
    await run.startQueue(QUICK);
    expect(open.all.map(({ key }) => key)).toEqual(["own a", "own b"]);
  });

  test("paused, it begins the next time with the model that it was at", async () => {
    for (const id of ["a", "b"]) run.enqueue(queued(id));
    all.seam.answers.run = async (_args, tell) => {
      await score(models.loaded?.name === "b" ? 4 : 10, tell);
      if (models.loaded?.name === "b") throw cancelled;
    };
    await run.startQueue(QUICK);
    expect(titles()).toEqual(["b"]);
    expect(all.work.notice).toMatch(/^Paused/);
    expect(told).toEqual([]);
    all.seam.answers.run = (_args, tell) => score(10, tell);
    await run.startQueue(QUICK);
    expect(all.seam.of("loadHub").map(([id]) => id)).toEqual(["a", "b", "b"]);
    expect(titles()).toEqual([]);
  });

  test("cancelled between two, the second is not loaded", async () => {
    for (const id of ["a", "b"]) run.enqueue(queued(id));
    all.seam.answers.runFile = () => {
      all.work.cancel();
      return "{}";
    };
    await run.startQueue(QUICK);
    expect(all.seam.of("loadHub").map(([id]) => id)).toEqual(["a"]);
    expect(titles()).toEqual(["b"]);
  });

  test("one that cannot be loaded stops the queue and stays at its head", async () => {
    for (const id of ["a", "b", "c"]) run.enqueue(queued(id));
    all.seam.answers.loadHub = ([id]) => {
      if (id === "b") throw new Error("loading b: it does not fit");
      return sample.model({ name: id });
    };
    await run.startQueue(QUICK);
    expect(titles()).toEqual(["b", "c"]);
    expect(all.work.error).toBe("loading b: it does not fit");
    expect(open.all).toHaveLength(1);
  });

  test("where none waits nothing is loaded", async () => {
    await run.startQueue(QUICK);
    expect(all.seam.calls).toEqual([]);
  });
});
