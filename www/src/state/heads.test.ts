import { beforeEach, describe, expect, test } from "vitest";
import { broken, parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { held } from "../testing/worker";
import { HeadsState } from "./heads.svelte";
import { ModelsState } from "./models.svelte";
import type { FitOptions } from "../wasm/rewardscope";

const OPTIONS: FitOptions = { name: "Helpful", seed: 1, layers: undefined, pooling: "last-token", overlap: "keep" };
const PREFERENCES = new File(["{}\n"], "preferences.jsonl");

let all: ReturnType<typeof parts>;
let models: ModelsState;
let heads: HeadsState;

beforeEach(() => {
  all = parts();
  models = new ModelsState(all.work, all.engine, { replacing: () => {}, changed: () => {} });
  heads = new HeadsState(all.work, all.engine, models);
  all.seam.answers.fit = () => sample.head("Helpful");
  all.seam.answers.fittedHead = () => new Uint8Array([1, 2]);
  all.seam.answers.loadHub = () => sample.model();
  all.seam.answers.readHead = () => sample.head("Helpful");
});

const fit = () => heads.fit(PREFERENCES, undefined, OPTIONS);

describe("fitting a head", () => {
  test("it is kept with its file, and said to be fitted", async () => {
    const features = new File(["x"], "features.bin");
    await heads.fit(PREFERENCES, features, OPTIONS);
    expect(all.seam.calls).toEqual([["fit", PREFERENCES, features, OPTIONS], ["fittedHead"]]);
    expect(heads.fitted).toEqual({ head: sample.head("Helpful"), bytes: new Uint8Array([1, 2]) });
    expect(all.work.notice).toMatch(/Helpful/);
  });

  test("how far it is is shown while it lasts, and no longer", async () => {
    const fitting = held();
    all.seam.answers.fit = async (_args, tell) => {
      tell({ stage: "features", done: 3, total: 9 });
      await fitting.promise;
      return sample.head("Helpful");
    };
    const done = fit();
    expect(all.work.now).toBe("fitting");
    expect(heads.progress).toEqual({ stage: "features", done: 3, total: 9 });
    fitting.done();
    await done;
    expect(heads.progress).toBeUndefined();
  });

  test("the head before is gone as soon as another is begun, and a failure does not bring it back", async () => {
    await fit();
    all.seam.answers.fit = () => {
      expect(heads.fitted).toBeUndefined();
      return Promise.reject(new Error("reading preferences.jsonl: no row is a preference"));
    };
    await fit();
    expect(heads.fitted).toBeUndefined();
    expect(heads.progress).toBeUndefined();
    expect(all.work.error).toBe("reading preferences.jsonl: no row is a preference");
    expect(all.work.notice).toBe("");
  });

  test("cancelled, it leaves no head", async () => {
    all.seam.answers.fit = (_args, tell) => {
      tell({ stage: "fitting", done: 0, total: 1 });
      return Promise.reject(new Error("cancelled"));
    };
    await fit();
    expect(all.work.notice).toMatch(/^Cancelled/);
    expect([heads.fitted, heads.progress]).toEqual([undefined, undefined]);
  });

  test("when the engine breaks it is begun again in a new worker", async () => {
    let times = 0;
    all.seam.answers.fit = () => {
      if (times++ === 0) throw broken();
      return sample.head("Helpful");
    };
    await fit();
    expect(times).toBe(2);
    expect(heads.fitted).toBeDefined();
  });

  test("a second begin while one is going on does nothing", async () => {
    const fitting = held<ReturnType<typeof sample.head>>();
    all.seam.answers.fit = () => fitting.promise;
    const first = fit();
    await heads.fit(PREFERENCES, undefined, { ...OPTIONS, name: "Other" });
    fitting.done(sample.head("Helpful"));
    await first;
    expect(all.seam.of("fit")).toHaveLength(1);
    expect(all.work.notice).toMatch(/Helpful/);
  });
});

describe("using the fitted head", () => {
  test("the loaded model is loaded again with it, as it was loaded before", async () => {
    const settings = { ...sample.SETTINGS, device: "cpu" as const };
    await models.load({ kind: "hub", id: "owner/name" }, settings);
    await fit();
    all.seam.calls.length = 0;
    await heads.useFitted();
    expect(all.seam.of("readHead")).toEqual([[new Uint8Array([1, 2])]]);
    expect(all.seam.of("loadHub")).toEqual([["owner/name", new Uint8Array([1, 2]), settings]]);
    expect(models.head?.config.name).toBe("Helpful");
  });

  test("without a model, or without a head, nothing is loaded", async () => {
    await fit();
    await heads.useFitted();
    expect(all.seam.of("loadHub")).toEqual([]);
    heads.fitted = undefined;
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    await heads.useFitted();
    expect(all.seam.of("loadHub")).toHaveLength(1);
  });
});

test("preferences that were clicked stay, whatever is fitted", async () => {
  heads.choices.push({ prompt: "p", chosen: "c", rejected: "r" });
  await fit();
  all.seam.answers.fit = () => Promise.reject(new Error("no"));
  await fit();
  expect(heads.choices).toEqual([{ prompt: "p", chosen: "c", rejected: "r" }]);
});
