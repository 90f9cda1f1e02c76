import { beforeEach, describe, expect, test } from "vitest";
import { EngineFailure } from "../engine/engine";
import { broken, parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { held } from "../testing/worker";
import { OpenRunsState } from "./open_runs.svelte";

const file = (name: string) => new File(["{}"], name);

let all: ReturnType<typeof parts>;
let runs: OpenRunsState;

beforeEach(() => {
  all = parts();
  runs = new OpenRunsState(all.work, all.engine);
  // A file is known by its content; here by its name.
  all.seam.answers.openRun = ([{ name }, , , key]) =>
    sample.openRun(key ?? `of ${name}`, { name, is_own: key !== undefined && key !== null });
  all.seam.answers.openRunAddress = ([address]) => sample.openRun(`of ${address}`, { name: address });
  all.seam.answers.openedReport = () => ({ insight: sample.insight(), json: "{}" });
  all.seam.answers.keepRun = () => sample.openRun("own", { is_own: true });
  all.seam.answers.runFile = () => "{}";
});

const keys = () => runs.all.map(({ key }) => key);

describe("opening runs", () => {
  test("files stand beside each other in their order", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    expect(keys()).toEqual(["of a.json", "of b.json"]);
    expect(all.work.notice).toMatch(/b\.json/);
    expect(all.seam.of("openRun").map(([, ...rest]) => rest)).toEqual([
      [undefined, undefined, undefined],
      [undefined, undefined, undefined],
    ]);
  });

  test("the same one again takes its own place", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    await runs.open([file("a.json")]);
    expect(keys()).toEqual(["of b.json", "of a.json"]);
  });

  test("one that cannot be read is told; those before it are open", async () => {
    const { openRun } = all.seam.answers;
    all.seam.answers.openRun = (args, tell, worker) => {
      if (args[0].name === "bad.json") throw new Error("reading bad.json: it is no run");
      return openRun?.(args, tell, worker) as never;
    };
    await runs.open([file("a.json"), file("bad.json"), file("c.json")]);
    expect(keys()).toEqual(["of a.json"]);
    expect(all.work.error).toBe("reading bad.json: it is no run");
  });

  test("while the engine is at work none is opened, and that is said", async () => {
    const task = held();
    const running = all.work.during("running", () => task.promise);
    await runs.open([file("a.json")]);
    expect(all.seam.of("openRun")).toEqual([]);
    expect(all.work.notice).not.toBe("");
    task.done();
    await running;
    expect(keys()).toEqual([]);
  });

  test("an address is fetched, with how far it is", async () => {
    const opening = held();
    all.seam.answers.openRunAddress = async ([address], tell) => {
      tell(sample.load({ bytes_done: 4 }));
      await opening.promise;
      return sample.openRun("k", { name: address });
    };
    const open = runs.openAt("https://site.example/run.json");
    await new Promise(setImmediate);
    expect(all.engine.load?.bytes_done).toBe(4);
    opening.done();
    await open;
    expect(all.engine.load).toBeUndefined();
    expect(keys()).toEqual(["k"]);
    expect(all.work.notice).toContain("https://site.example/run.json");
  });
});

describe("marking a file of scores", () => {
  test("it is open, and all that it says is shown", async () => {
    const scores = file("scores.jsonl");
    await runs.markScores(scores, "reward-bench", "v2");
    expect(all.seam.calls).toEqual([
      ["openRun", scores, "reward-bench", "v2", undefined],
      ["openedReport", "of scores.jsonl"],
    ]);
    expect(runs.marked?.run.key).toBe("of scores.jsonl");
    expect(runs.marked?.report.json).toBe("{}");
    expect(keys()).toEqual(["of scores.jsonl"]);
  });

  test("what the one before said is gone when another cannot be marked", async () => {
    await runs.markScores(file("a.jsonl"), undefined, undefined);
    all.seam.answers.openRun = () => Promise.reject(new Error("reading b.jsonl: no row has scores"));
    await runs.markScores(file("b.jsonl"), undefined, undefined);
    expect(runs.marked).toBeUndefined();
    expect(keys()).toEqual(["of a.jsonl"]);
    expect(all.work.error).toBe("reading b.jsonl: no row has scores");
  });
});

describe("closing a run", () => {
  test("it goes here and in the engine, and the others stay", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    runs.close("of a.json");
    expect(keys()).toEqual(["of b.json"]);
    expect(all.seam.of("closeOpened")).toEqual([["of a.json"]]);
  });

  test("what was marked goes with its own run alone", async () => {
    await runs.open([file("a.json")]);
    await runs.markScores(file("scores.jsonl"), undefined, undefined);
    runs.close("of a.json");
    expect(runs.marked).toBeDefined();
    runs.close("of scores.jsonl");
    expect(runs.marked).toBeUndefined();
  });

  test("where the engine cannot, that is told", async () => {
    all.seam.answers.closeOpened = () => Promise.reject(new Error("no"));
    runs.close("k");
    await new Promise(setImmediate);
    expect(all.work.error).toBe("no");
  });

  test("one that is not open is no harm", async () => {
    await runs.open([file("a.json")]);
    runs.close("other");
    expect(keys()).toEqual(["of a.json"]);
  });
});

describe("keeping the run that is over", () => {
  test("it stands among the open ones, and the page knows which it is", async () => {
    await runs.open([file("a.json")]);
    await runs.keep();
    expect(keys()).toEqual(["of a.json", "own"]);
    expect(runs.ownKey).toBe("own");
    expect(all.seam.of("runFile")).toEqual([["own"]]);
  });

  test("run again, it takes its own place", async () => {
    await runs.keep();
    await runs.open([file("a.json")]);
    await runs.keep();
    expect(keys()).toEqual(["of a.json", "own"]);
  });

  test("where its file cannot be had it is not among them", async () => {
    all.seam.answers.runFile = () => Promise.reject(new Error("no room"));
    await expect(runs.keep()).rejects.toThrow("no room");
    expect([keys(), runs.ownKey]).toEqual([[], undefined]);
  });
});

describe("a new worker", () => {
  test("every run is opened again as it was, from what the page kept of it", async () => {
    const [scores, other] = [file("scores.jsonl"), file("a.json")];
    await runs.markScores(scores, "reward-bench", "v2");
    await runs.open([other]);
    await runs.openAt("https://site.example/run.json");
    await runs.keep();
    const before = keys();
    all.seam.calls.length = 0;
    expect(await runs.restore()).toEqual([]);
    expect(keys()).toEqual(before);
    expect(all.seam.calls.slice(0, 3)).toEqual([
      ["openRun", scores, "reward-bench", "v2", undefined],
      ["openRun", other, undefined, undefined, undefined],
      ["openRunAddress", "https://site.example/run.json"],
    ]);
    const [call, kept, ...rest] = all.seam.calls[3] ?? [];
    expect([call, ...rest]).toEqual(["openRun", undefined, undefined, "own"]);
    expect(await (kept as File).text()).toBe("{}");
    expect(runs.all.at(-1)?.is_own).toBe(true);
  });

  test("what cannot be had again is closed and named, and the others are open", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    await runs.openAt("https://gone.example/run.json");
    all.seam.answers.openRunAddress = () => Promise.reject(new Error("it answered 404"));
    const closed = await runs.restore();
    expect(closed).toHaveLength(1);
    expect(closed[0]).toMatch(/https:\/\/gone\.example\/run\.json.*it answered 404/);
    expect(keys()).toEqual(["of a.json", "of b.json"]);
  });

  test("where it breaks as well no run is closed for it", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    all.seam.answers.openRun = () => {
      throw broken();
    };
    await expect(runs.restore()).rejects.toBeInstanceOf(EngineFailure);
    expect(keys()).toEqual(["of a.json", "of b.json"]);
  });

  test("a run that was closed is not opened again", async () => {
    await runs.open([file("a.json"), file("b.json")]);
    runs.close("of a.json");
    await runs.restore();
    expect(keys()).toEqual(["of b.json"]);
  });
});
