// Cancelling: whatever the engine does, work ends within a second, and what was open before is opened again.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { CallName } from "../engine/protocol";
import * as sample from "../testing/reports";
import { FakeWorker, held, settle, type Answers } from "../testing/worker";
import { app as first } from "../state.svelte";

// The module under test starts the page's worker as soon as it is loaded.
vi.hoisted(() => {
  globalThis.Worker ??= class {} as unknown as typeof Worker;
  globalThis.document ??= { baseURI: "https://site.example/" } as Document;
});

const HUB = { kind: "hub" as const, id: "owner/name" };
const SELECTION = { subset: undefined, limit: 20, seed: 0 };
const never = () => new Promise<never>(() => {});

let app: typeof first;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  FakeWorker.install();
  app = Reflect.construct(first.constructor, []) as typeof first;
  FakeWorker.answers = {
    openDevice: () => sample.device(),
    configure: () => {},
    chooseBenchmark: () => {},
    closeRun: () => {},
    cancel: () => {},
    storage: () => sample.storage(),
    loadHub: ([id]) => sample.model({ name: id }),
    openDataHub: () => sample.dataset(),
    plan: () => sample.progress(4),
    report: () => sample.report(4),
    insight: () => sample.insight(),
    openRun: ([, , , key]) => sample.openRun(String(key ?? "run")),
  } satisfies Answers;
});

afterEach(() => void vi.useRealTimers());

const load = (id = HUB.id) => app.models.load({ ...HUB, id }, sample.SETTINGS);
const openRows = () => app.dataset.open({ kind: "hub", ids: ["owner/rows"] });
const worker = () => FakeWorker.at(-1);

/** Cancels the work under way and lets so many ms pass. */
async function cancel(ms = 700) {
  await settle();
  app.cancel();
  for (let passed = 0; passed < ms; passed += 100) {
    vi.advanceTimersByTime(100);
    await settle();
  }
}

/** Answers a call never from now on in this worker; the next one answers as before. */
function silentHere(call: CallName) {
  const [stuck, before] = [worker(), FakeWorker.answers[call]];
  (FakeWorker.answers as Record<string, unknown>)[call] = (args: never, tell: never, from: FakeWorker) =>
    from === stuck ? never() : (before as (...all: unknown[]) => unknown)(args, tell, from);
}

test("an engine that stops by itself keeps its worker", async () => {
  const stopped = held<never>();
  await load();
  FakeWorker.answers.score = () => stopped.promise;
  FakeWorker.answers.cancel = () => stopped.failed(new Error("cancelled"));
  const scoring = app.sheet.score();
  await cancel(0);
  await scoring;
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled.", ""]);
  await cancel();
  expect(FakeWorker.all).toHaveLength(1);
  expect(app.models.loaded?.name).toBe(HUB.id);
});

test("scoring that goes on is given up, and the model is opened again behind it", async () => {
  await load();
  silentHere("score");
  const again = held<ReturnType<typeof sample.model>>();
  FakeWorker.answers.loadHub = () => again.promise;
  void app.sheet.score();
  await cancel();
  expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([true, false]);
  expect([app.work.now, app.work.notice]).toEqual(["loading", "Cancelled. Opening owner/name again."]);
  again.done(sample.model({ name: HUB.id }));
  await settle();
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled. Opened owner/name again.", ""]);
  expect(app.models.loaded?.name).toBe(HUB.id);
  await app.sheet.score();
  expect(worker().calls).toContain("score");
});

test("that it is opened again can be cancelled too, and then the model is not open", async () => {
  await load();
  silentHere("score");
  FakeWorker.answers.loadHub = never;
  void app.sheet.score();
  await cancel();
  await cancel();
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled.", ""]);
  expect(app.models.loaded).toBeUndefined();
});

test("where it cannot be opened again that is said", async () => {
  await load();
  silentHere("score");
  FakeWorker.answers.loadHub = () => Promise.reject(new Error("no network"));
  void app.sheet.score();
  await cancel();
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled.", "no network"]);
  expect(app.models.loaded).toBeUndefined();
});

test("a load from a silent server is given up; the model before it was dropped, and the rows are open again", async () => {
  await load();
  await openRows();
  silentHere("loadHub");
  void load("owner/other");
  await cancel();
  expect([app.work.now, app.work.notice, app.work.error]).toEqual([
    "idle",
    "Cancelled. Opened rows.parquet again.",
    "",
  ]);
  expect([app.models.loaded, app.dataset.report?.name]).toEqual([undefined, "rows.parquet"]);
  expect(worker().calls).not.toContain("loadHub");
});

test("a cancel before the engine is there prevents the load", async () => {
  FakeWorker.answers = {};
  void load();
  await cancel();
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled.", ""]);
  // The worker goes on fetching the engine, and makes none of the calls.
  expect(FakeWorker.all).toHaveLength(1);
  const configure = worker().requests.find(({ call }) => call === "configure");
  expect(worker().forgotten).toContain(configure?.id);
  expect(worker().calls).not.toContain("loadHub");
});

test("so does one that comes just before the load begins", async () => {
  const configured = held();
  FakeWorker.answers.configure = () => configured.promise;
  const loading = load();
  await settle();
  app.cancel();
  configured.done();
  await loading;
  expect([app.work.now, app.work.notice]).toEqual(["idle", "Cancelled."]);
  expect(worker().calls).not.toContain("loadHub");
});

test("a reward head that a silent server has to give is not waited for", async () => {
  vi.stubGlobal("fetch", (_address: unknown, { signal }: RequestInit) => {
    const aborted = held<never>();
    signal?.addEventListener("abort", () => aborted.failed(signal.reason));
    return aborted.promise;
  });
  void app.models.load({ ...HUB, head: new URL("https://site.example/head") }, sample.SETTINGS);
  await cancel(0);
  await settle();
  expect([app.work.now, app.work.notice]).toEqual(["idle", "Cancelled."]);
});

test("work that waits for something else ends too", async () => {
  void app.work.during("fitting", never);
  await cancel();
  expect([app.work.now, app.work.notice]).toEqual(["idle", "Cancelled."]);
});

test("a run that goes on is paused as ever, and its journal is open again", async () => {
  await load();
  await openRows();
  silentHere("run");
  void app.run.start(SELECTION, false);
  await cancel();
  expect(app.work.now).toBe("idle");
  expect(app.work.notice).toMatch(/^Paused; .* resume the run\. Opened owner\/name again\.$/);
  expect(worker().calls).toEqual(
    expect.arrayContaining(["configure", "loadHub", "chooseBenchmark", "openDataHub", "plan"]),
  );
  expect(app.run.progress?.items_done).toBe(4);
  expect(app.run.report?.items_done).toBe(4);
});

test("a run that is given up is off the page, and is not opened again", async () => {
  await load();
  await openRows();
  silentHere("run");
  void app.run.start(SELECTION, false);
  await settle();
  app.giveUp();
  await cancel();
  expect(app.work.now).toBe("idle");
  expect(app.work.notice).toMatch(/^Cancelled\. What was scored is kept/);
  expect(app.run.progress).toBeUndefined();
  expect(worker().calls).not.toContain("plan");
});

test("a worker that dies of the cancel is no error", async () => {
  await load();
  FakeWorker.answers.score = never;
  FakeWorker.answers.cancel = (_args, _tell, from) => {
    from.die("Uncaught AbortError: BodyStreamBuffer was aborted");
    return never();
  };
  void app.sheet.score();
  await cancel(100);
  expect([app.work.now, app.work.notice, app.work.error]).toEqual(["idle", "Cancelled. Opened owner/name again.", ""]);
  expect(FakeWorker.all).toHaveLength(2);
});

test("a compared model that goes on is loaded again, and the loaded one stays", async () => {
  await load();
  await app.models.addOther({ ...HUB, id: "owner/other" }, sample.SETTINGS);
  expect(app.models.others).toHaveLength(1);
  const own = FakeWorker.at(0);
  FakeWorker.answers.score = (_args, _tell, from) => (from === own ? [] : never());
  void app.sheet.score();
  await cancel();
  expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([false, true, false]);
  expect(worker().calls).toEqual(["configure", "loadHub"]);
  expect(app.models.others).toHaveLength(1);
  expect([app.work.now, app.work.notice]).toEqual(["idle", "Cancelled. Opened the compared model again."]);
});

test("a model that is being added is not added", async () => {
  await load();
  FakeWorker.answers.loadHub = never;
  void app.models.addOther({ ...HUB, id: "owner/other" }, sample.SETTINGS);
  await cancel();
  expect([app.work.now, app.work.notice]).toEqual(["idle", "Cancelled."]);
  expect(app.models.others).toEqual([]);
  expect(FakeWorker.at(1).isEnded).toBe(true);
  expect(app.models.loaded?.name).toBe(HUB.id);
});

test("scoring of a text that has changed since is asked to stop, and keeps its worker", async () => {
  await load();
  FakeWorker.answers.score = never;
  void app.sheet.score();
  await settle();
  app.supersede();
  vi.advanceTimersByTime(60_000);
  await settle();
  expect(app.work.now).toBe("scoring");
  expect(FakeWorker.all).toHaveLength(1);
  // The visitor may still cancel it.
  FakeWorker.answers.score = () => [];
  await cancel();
  expect(app.work.now).toBe("idle");
});

test("work after a cancelled one is not given up", async () => {
  await load();
  const stopped = held<never>();
  FakeWorker.answers.score = () => stopped.promise;
  void app.sheet.score();
  await cancel(0);
  stopped.failed(new Error("cancelled"));
  await settle();
  FakeWorker.answers.score = never;
  void app.sheet.score();
  vi.advanceTimersByTime(10_000);
  await settle();
  expect(app.work.now).toBe("scoring");
  expect(FakeWorker.all).toHaveLength(1);
});
