import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as sample from "../testing/reports";
import { FakeWorker, held } from "../testing/worker";
import { Engine } from "./engine";
import { Helpers, helpersFor } from "./helpers";

const LONG = 60_000;

function machine(hardwareConcurrency: number | undefined, deviceMemory?: number) {
  vi.stubGlobal("navigator", { hardwareConcurrency, deviceMemory });
}

describe("how many helpers a device has room for", () => {
  const small = sample.model({ device_bytes: 1e6 });

  test.each([
    [undefined, 0],
    [1, 0],
    [2, 1],
    [3, 0],
    [4, 1],
    [5, 1],
    [8, 3],
    [15, 6],
    [16, 7],
    [128, 7],
  ])("with %s cores there are %s", (cores, count) => {
    machine(cores, 1000);
    expect(helpersFor(small)).toBe(count);
  });

  test.each([
    [8, 0.5e9, 7],
    [8, 1e9, 3],
    [8, 2e9, 1],
    [8, 2.1e9, 0],
    [8, 4.1e9, 0],
    [undefined, 0.5e9, 3],
    [undefined, 1e9, 1],
    [undefined, 1.1e9, 0],
    [0.25, 0.5e9, 0],
  ])("with %s GB of memory copies of %s bytes leave room for %s", (memory, device_bytes, count) => {
    machine(64, memory);
    expect(helpersFor(sample.model({ device_bytes }))).toBe(count);
  });

  test("a model of no size asks for no more than the most", () => {
    machine(64, 8);
    expect(helpersFor(sample.model({ device_bytes: 0 }))).toBe(7);
  });

  test("a GPU is shared with nobody", () => {
    machine(64, 64);
    expect(helpersFor(sample.model({ device_bytes: 1, device: sample.device({ kind: "gpu" }) }))).toBe(0);
  });
});

describe("a run with helpers", () => {
  const model = sample.model({ device_bytes: 1e6 });
  let engine: Engine;
  /** Items that nobody has begun. */
  let items: number[];
  let brought: string[];
  let released: number[];

  beforeEach(() => {
    vi.useFakeTimers();
    machine(6, 1000);
    FakeWorker.install();
    engine = new Engine(() => {});
    [items, brought, released] = [[0, 1, 2, 3, 4], [], []];
    FakeWorker.answers = {
      claim: () => {
        const place = items.shift();
        return place === undefined ? undefined : JSON.stringify({ place });
      },
      scoreClaim: ([claim]) => `outcome of ${claim}`,
      bring: ([outcome]) => void brought.push(outcome),
      release: ([place]) => void released.push(place),
      loadHub: () => model,
    };
  });
  afterEach(() => void vi.useRealTimers());

  const load = (engine: Engine) => engine.call("loadHub", ["owner/name", undefined, sample.SETTINGS]);
  const outcome = (place: number) => `outcome of {"place":${place}}`;
  const helpersOf = () => FakeWorker.all.filter(({ name }) => name === "helper");
  const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

  test.each([undefined, 0, 19_999])("with %s ms left none is started", async (left) => {
    const helpers = new Helpers(engine, model, load);
    helpers.start(left);
    await pass(1000);
    expect(helpersOf()).toEqual([]);
    helpers.stop();
  });

  test("they are started once, however often the time left is told", async () => {
    const helpers = new Helpers(engine, model, load);
    for (const left of [undefined, 5000, 20_000, LONG, LONG]) helpers.start(left);
    await pass();
    expect(helpersOf()).toHaveLength(2);
    expect(helpers.count).toBe(2);
    helpers.stop();
  });

  test("every item is scored by one of them and brought to the engine", async () => {
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(200);
    expect(brought.toSorted()).toEqual([0, 1, 2, 3, 4].map(outcome));
    expect(released).toEqual([]);
    const scored = helpersOf().map(({ calls }) => calls.filter((call) => call === "scoreClaim").length);
    expect(scored.reduce((sum, count) => sum + count)).toBe(5);
    expect(FakeWorker.at(0).calls).not.toContain("scoreClaim");
    helpers.stop();
  });

  test("a claim says how many help, so that times are shared among them", async () => {
    const slow = held<sample.Model>();
    let loads = 0;
    FakeWorker.answers.loadHub = () => (loads++ === 0 ? model : slow.promise);
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass();
    slow.done(model);
    await pass(100);
    const told = FakeWorker.at(0).requests.filter(({ call }) => call === "claim");
    expect(told[0]?.args).toEqual([1]);
    expect(told.at(-1)?.args).toEqual([2]);
    helpers.stop();
  });

  test("where there is no item for now they ask again a little later", async () => {
    items = [];
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass();
    const asked = () => FakeWorker.at(0).calls.length;
    const before = asked();
    await pass(40);
    expect(asked()).toBe(before);
    items = [9];
    await pass(20);
    expect(asked()).toBeGreaterThan(before);
    expect(brought).toEqual([outcome(9)]);
    helpers.stop();
  });

  test("one that loaded other weights is ended and does not help", async () => {
    FakeWorker.answers.loadHub = (_args, _tell, worker) =>
      worker === helpersOf()[0] ? sample.model({ fingerprint: "other" }) : model;
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(100);
    expect(helpersOf().map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(helpersOf()[0]?.calls).toEqual(["loadHub"]);
    expect(helpers.count).toBe(1);
    expect(brought).toHaveLength(5);
    helpers.stop();
  });

  test("one that cannot load is done without", async () => {
    FakeWorker.answers.loadHub = (_args, _tell, worker) => {
      if (worker === helpersOf()[0]) throw new Error("no network");
      return model;
    };
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(100);
    expect(helpers.count).toBe(1);
    expect(brought).toHaveLength(5);
    helpers.stop();
  });

  test("one that fails at an item gives it back and ends, and the others go on", async () => {
    FakeWorker.answers.scoreClaim = ([claim], _tell, worker) => {
      if (worker === helpersOf()[0]) throw new Error("out of memory");
      return `outcome of ${claim}`;
    };
    FakeWorker.answers.release = ([place]) => {
      released.push(place);
      items.push(place);
    };
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(200);
    expect(released).toHaveLength(1);
    expect(helpersOf().map(({ isEnded }) => isEnded)).toEqual([true, false]);
    expect(helpers.count).toBe(1);
    expect(brought.toSorted()).toEqual([0, 1, 2, 3, 4].map(outcome));
    helpers.stop();
  });

  test("one that dies at an item gives it back", async () => {
    const { scoreClaim } = FakeWorker.answers;
    delete FakeWorker.answers.scoreClaim;
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass();
    FakeWorker.answers.scoreClaim = scoreClaim;
    helpersOf()[1]?.die("unreachable");
    await pass();
    expect(released).toEqual([1]);
    expect(helpers.count).toBe(1);
    helpers.stop();
  });

  test("an outcome that the engine does not take is no reason to stop", async () => {
    FakeWorker.answers.bring = ([outcome]) => {
      if (outcome.includes("2")) throw new Error("one of an item of this run was expected");
      brought.push(outcome);
    };
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(200);
    expect(helpers.count).toBe(2);
    expect(brought.toSorted()).toEqual([0, 1, 3, 4].map(outcome));
    helpers.stop();
  });

  test("when the engine's own worker dies they wait for the next one and go on with it", async () => {
    items = [0];
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass(200);
    FakeWorker.at(0).die("unreachable");
    items = [1, 2];
    await pass(200);
    expect(brought.toSorted()).toEqual([0, 1, 2].map(outcome));
    expect(FakeWorker.at(-1).name).toBe("engine");
    expect(FakeWorker.at(-1).calls).toContain("bring");
    expect(helpers.count).toBe(2);
    helpers.stop();
  });

  test("when the run is over they end, and what they were at is given back and not brought", async () => {
    delete FakeWorker.answers.scoreClaim;
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass();
    const before = FakeWorker.at(0).calls.length;
    helpers.stop();
    await pass(1000);
    expect(helpersOf().map(({ isEnded }) => isEnded)).toEqual([true, true]);
    expect(released).toEqual([0, 1]);
    expect(brought).toEqual([]);
    expect(FakeWorker.at(0).calls.slice(before)).toEqual(["release", "release"]);
    expect(helpers.count).toBe(0);
  });

  test("those that are over while they load do not begin", async () => {
    const slow = held<sample.Model>();
    FakeWorker.answers.loadHub = () => slow.promise;
    const helpers = new Helpers(engine, model, load);
    helpers.start(LONG);
    await pass();
    helpers.stop();
    slow.done(model);
    await pass(1000);
    expect(FakeWorker.at(0).calls).toEqual([]);
    expect(helpers.count).toBe(0);
  });

  test("after the run they are not started", async () => {
    const helpers = new Helpers(engine, model, load);
    helpers.stop();
    helpers.start(LONG);
    await pass();
    expect(helpersOf()).toEqual([]);
  });
});
