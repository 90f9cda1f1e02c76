// The page's state as it is put together: what one part does to the others.
import { beforeEach, describe, expect, test, vi } from "vitest";
import { broken, seam, type Seam } from "./testing/engine";
import * as sample from "./testing/reports";
import { FakeWorker, held, settle } from "./testing/worker";
import { app as first } from "./state.svelte";

// The module under test starts the page's worker as soon as it is loaded.
vi.hoisted(() => {
  globalThis.Worker ??= class {} as unknown as typeof Worker;
  globalThis.document ??= { baseURI: "https://site.example/" } as Document;
});

const SELECTION = { subset: undefined, limit: 20, seed: 0 };

let app: typeof first;
let calls: Seam;

beforeEach(() => {
  FakeWorker.install();
  app = Reflect.construct(first.constructor, []) as typeof first;
  calls = seam(app.engine);
  Object.assign(calls.answers, {
    openDevice: () => sample.device(),
    loadHub: ([id]: unknown[]) => sample.model({ name: String(id) }),
    openDataHub: () => sample.dataset(),
    plan: () => sample.progress(0),
    run: (_args: [], tell: (now: sample.Progress) => void) => tell(sample.progress(10)),
    report: () => sample.report(10),
    insight: () => sample.insight(),
    estimate: () => sample.estimate(),
    keepRun: () => sample.openRun("own", { is_own: true }),
    runFile: () => "{}",
    openRun: ([, , , key]: unknown[]) => sample.openRun(String(key)),
  } satisfies typeof calls.answers);
});

const load = (id = "owner/name") => app.models.load({ kind: "hub", id }, sample.SETTINGS);
const openRows = () => app.dataset.open({ kind: "hub", ids: ["owner/rows"] });

/** Everything is open, and a run of it is done. */
async function everything() {
  await load();
  await openRows();
  await app.run.estimateRun(SELECTION);
  await app.run.start(SELECTION, false);
  calls.calls.length = 0;
}

test("at the start the device is looked at, and what is stored", async () => {
  calls.answers.storage = () => sample.storage({ usage_bytes: 3 });
  await app.start();
  expect(calls.names()).toEqual(["openDevice", "storage"]);
  expect(app.engine.device).toEqual(sample.device());
  expect(app.storage.report?.usage_bytes).toBe(3);
});

test("after any work what is stored is looked at again", async () => {
  await load();
  await app.work.during("opening", () => Promise.reject(new Error("no")));
  expect(calls.of("storage")).toHaveLength(2);
});

describe("a run is of one model over certain rows", () => {
  const shown = () => [app.run.progress, app.run.report, app.run.insight, app.run.estimate, app.runs.ownKey];

  test("all of it is there when it is done", async () => {
    await everything();
    expect(shown()).not.toContain(undefined);
  });

  test("another model takes it off the page; it stays among the open ones, and the rows stay open", async () => {
    await everything();
    await load("owner/other");
    expect(shown()).toEqual(Array(5).fill(undefined));
    expect(app.runs.all.map(({ key }) => key)).toEqual(["own"]);
    expect(app.dataset.report).toBeDefined();
  });

  test("other rows do", async () => {
    await everything();
    await openRows();
    expect(shown()).toEqual(Array(5).fill(undefined));
    expect(app.models.loaded).toBeDefined();
  });

  test("closed rows do", async () => {
    await everything();
    app.dataset.close();
    expect(shown()).toEqual(Array(5).fill(undefined));
  });

  test("removing its journal does, and removing another's does not", async () => {
    await everything();
    calls.answers.removeRun = () => false;
    await app.storage.removeRun("other");
    expect(shown()).not.toContain(undefined);
    calls.answers.removeRun = () => true;
    await app.storage.removeRun("this");
    expect(shown()).toEqual(Array(5).fill(undefined));
  });
});

describe("cancelling", () => {
  /** A run that has scored four items and stops when it is cancelled. */
  function cancellable() {
    const cancelled = held<never>();
    calls.answers.run = (_args, tell) => {
      tell(sample.progress(4));
      return cancelled.promise;
    };
    calls.answers.report = () => sample.report(4);
    calls.answers.cancel = () => cancelled.failed(new Error("cancelled"));
  }

  test("a paused run keeps what was scored", async () => {
    cancellable();
    await load();
    await openRows();
    const running = app.run.start(SELECTION, false);
    await settle();
    app.cancel();
    await running;
    expect(calls.of("cancel")).toHaveLength(1);
    expect(app.work.notice).toMatch(/^Paused/);
    expect(app.run.progress?.items_done).toBe(4);
    expect(app.run.report?.items_done).toBe(4);
  });

  test("a run that is given up is off the page, with the model and the rows still there", async () => {
    cancellable();
    await load();
    await openRows();
    const running = app.run.start(SELECTION, false);
    await settle();
    app.giveUp();
    await running;
    expect(app.work.notice).toMatch(/^Cancelled/);
    expect([app.run.progress, app.run.report]).toEqual([undefined, undefined]);
    expect([app.models.loaded?.name, app.dataset.report?.name]).toEqual(["owner/name", "rows.parquet"]);
  });

  test("what cannot be cancelled is shown as an error", async () => {
    calls.answers.cancel = () => Promise.reject(new Error("the worker ended"));
    app.cancel();
    await settle();
    expect(app.work.error).toBe("the worker ended");
  });

  test("the second model stops with the first", async () => {
    await load();
    FakeWorker.answers = { configure: () => {}, loadHub: () => sample.model() };
    await app.models.addOther({ kind: "hub", id: "owner/other" }, sample.SETTINGS);
    app.cancel();
    expect(FakeWorker.at(-1).calls.at(-1)).toBe("cancel");
  });
});

describe("a new worker", () => {
  const RESTORED = ["configure", "loadHub", "configure", "chooseBenchmark", "openDataHub", "plan", "openRun"];

  async function die() {
    FakeWorker.at(0).say({ id: 99, kind: "done", result: undefined });
    FakeWorker.at(0).die("unreachable");
    await settle();
  }

  test("it has the model, the rows, the run and the open runs, in this order", async () => {
    await everything();
    await die();
    expect(calls.names().filter((call) => call !== "storage")).toEqual(RESTORED);
    expect(app.work.notice).toMatch(/unreachable/);
    expect(app.work.error).toBe("");
    expect(app.run.report).toBeDefined();
  });

  test("without rows no run is opened", async () => {
    await load();
    calls.calls.length = 0;
    await die();
    expect(calls.names()).not.toContain("plan");
  });

  test("a run goes on in it", async () => {
    await load();
    await openRows();
    const lost = broken("the device was lost");
    calls.answers.run = (_args, tell) => {
      calls.answers.run = (_args, tell) => tell(sample.progress(10));
      tell(sample.progress(4));
      throw lost;
    };
    calls.calls.length = 0;
    await app.run.start(SELECTION, false);
    expect(app.run.progress?.items_done).toBe(10);
    expect(app.engine.incidents).toHaveLength(1);
    expect(calls.of("plan")).toHaveLength(2);
    expect(calls.of("loadHub")).toHaveLength(1);
    expect(app.work.error).toBe("");
  });

  test("cancelled meanwhile, nothing more is opened", async () => {
    await everything();
    calls.answers.loadHub = () => {
      app.work.cancel();
      return sample.model({ name: "owner/name" });
    };
    const lost = broken();
    calls.answers.run = () => {
      throw lost;
    };
    await app.run.start(SELECTION, false);
    expect(app.work.notice).toMatch(/^Paused/);
    expect(calls.names()).not.toContain("openDataHub");
  });

  test("where the model cannot be had again neither model nor rows are shown", async () => {
    await everything();
    calls.answers.loadHub = () => Promise.reject(new Error("no network"));
    await die();
    expect([app.models.loaded, app.dataset.report]).toEqual([undefined, undefined]);
    expect(app.work.error).toBe("no network");
  });
});
