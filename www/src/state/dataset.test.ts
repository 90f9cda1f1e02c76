import { beforeEach, describe, expect, test } from "vitest";
import { parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { held } from "../testing/worker";
import { DatasetState, type DataSource } from "./dataset.svelte";

const SITE: DataSource = { kind: "site", manifest: "https://site.example/parts.json", file: "sample.parquet" };
const HUB: DataSource = { kind: "hub", ids: ["owner/rows"], rows: "1-5" };

let all: ReturnType<typeof parts>;
let dataset: DatasetState;
let changed: number;

beforeEach(() => {
  all = parts();
  changed = 0;
  dataset = new DatasetState(all.work, all.engine, () => changed++);
  all.seam.answers.openDataSite = () => sample.dataset({ name: "site" });
  all.seam.answers.openDataHub = () => sample.dataset({ name: "hub" });
  all.seam.answers.openDataFiles = () => sample.dataset({ name: "files" });
});

describe("opening rows", () => {
  test("those of the site are RewardBench 2's, whatever was chosen for others", async () => {
    dataset.benchmark = "reward-bench";
    dataset.columns.prompt = "question";
    await dataset.open(SITE);
    expect(all.seam.calls).toEqual([
      ["configure", undefined, undefined, true],
      ["chooseBenchmark", "reward-bench-2", undefined, undefined],
      ["openDataSite", "https://site.example/parts.json", "sample.parquet"],
    ]);
    expect(dataset.report?.name).toBe("site");
    expect(dataset.isOpen).toBe(true);
    expect(changed).toBe(1);
  });

  test("so are the official ones", async () => {
    dataset.benchmark = "reward-bench";
    dataset.columns.prompt = "question";
    await dataset.open({ kind: "hub", ids: ["official"], official: true });
    expect(all.seam.of("chooseBenchmark")).toEqual([["reward-bench-2", undefined, undefined]]);
  });

  test("those of the Hub are opened as the visitor says", async () => {
    dataset.benchmark = "reward-bench";
    dataset.columns.prompt = "question";
    dataset.split = " test ";
    Object.assign(all.engine, { hub: " https://mirror.example ", token: " secret ", keep: false });
    await dataset.open(HUB);
    const columns = { prompt: "question", chosen: "", rejected: "", subset: "", more: "" };
    expect(all.seam.calls).toEqual([
      ["configure", "https://mirror.example", "secret", false],
      ["chooseBenchmark", "reward-bench", columns, "test"],
      ["openDataHub", ["owner/rows"], "1-5"],
    ]);
  });

  test("without a choice the columns tell the benchmark", async () => {
    dataset.benchmark = "";
    dataset.columns.chosen = "  ";
    const files = [new File(["{}"], "rows.jsonl")];
    await dataset.open({ kind: "files", files });
    expect(all.seam.of("chooseBenchmark")).toEqual([[undefined, undefined, undefined]]);
    expect(all.seam.of("openDataFiles")).toEqual([[files]]);
  });

  test("how far it is is shown while it lasts", async () => {
    const opening = held();
    all.seam.answers.openDataHub = async (_args, tell) => {
      tell(sample.load({ name: "rows.parquet", bytes_done: 7 }));
      await opening.promise;
      return sample.dataset();
    };
    const open = dataset.open(HUB);
    await new Promise(setImmediate);
    expect(all.engine.load).toMatchObject({ name: "rows.parquet", bytes_done: 7 });
    expect([all.work.now, dataset.report]).toEqual(["opening", undefined]);
    opening.done();
    await open;
    expect(all.engine.load).toBeUndefined();
  });

  test("rows that cannot be opened leave the ones before, and their run", async () => {
    await dataset.open(SITE);
    all.seam.answers.openDataHub = () => Promise.reject(new Error("opening owner/rows: there is no such repository"));
    await dataset.open(HUB);
    expect(all.work.error).toBe("opening owner/rows: there is no such repository");
    expect(dataset.report?.name).toBe("site");
    expect(changed).toBe(1);
    expect(all.engine.load).toBeUndefined();
  });

  test("what is cancelled opens nothing", async () => {
    all.seam.answers.openDataHub = () => Promise.reject(new Error("cancelled"));
    await dataset.open(HUB);
    expect(all.work.notice).toMatch(/^Cancelled/);
    expect([dataset.report, dataset.isOpen, changed]).toEqual([undefined, false, 0]);
  });

  test("a second begin while rows are being opened does nothing", async () => {
    const opening = held<ReturnType<typeof sample.dataset>>();
    all.seam.answers.openDataHub = () => opening.promise;
    const open = dataset.open(HUB);
    await dataset.open(SITE);
    opening.done(sample.dataset({ name: "hub" }));
    await open;
    expect(all.seam.of("openDataSite")).toEqual([]);
    expect(dataset.report?.name).toBe("hub");
  });
});

describe("closing rows", () => {
  test("nothing of them is shown, and a run over them is over", async () => {
    await dataset.open(SITE);
    dataset.close();
    expect([dataset.report, dataset.isOpen, changed]).toEqual([undefined, false, 2]);
  });

  test("a new worker opens nothing then", async () => {
    await dataset.open(SITE);
    dataset.close();
    all.seam.calls.length = 0;
    await dataset.restore();
    expect(all.seam.calls).toEqual([]);
  });
});

describe("choosing how rows are read after they were picked", () => {
  const files = [new File(["{}"], "rows.jsonl")];

  test("the same files are read again as what is chosen now", async () => {
    await dataset.open({ kind: "files", files });
    dataset.benchmark = "preferences";
    await dataset.reread();
    expect(all.seam.of("chooseBenchmark").map(([benchmark]) => benchmark)).toEqual([undefined, "preferences"]);
    expect(all.seam.of("openDataFiles")).toEqual([[files], [files]]);
    expect(dataset.isOpen).toBe(true);
  });

  test("also files that could not be read as what was chosen before", async () => {
    all.seam.answers.openDataFiles = () => Promise.reject(new Error("rows.jsonl has no column num_correct"));
    await dataset.open({ kind: "files", files });
    expect(all.work.error).toMatch(/num_correct/);
    all.seam.answers.openDataFiles = () => sample.dataset({ name: "files" });
    dataset.benchmark = "preferences";
    await dataset.reread();
    expect([all.work.error, dataset.report?.name]).toEqual(["", "files"]);
  });

  test("until then the old reading is not run", async () => {
    await dataset.open({ kind: "files", files });
    all.seam.answers.openDataFiles = () => Promise.reject(new Error("no"));
    await dataset.reread();
    expect([dataset.report, dataset.isOpen]).toEqual([undefined, false]);
  });

  test("rows of the Hub are closed, and not fetched unasked", async () => {
    await dataset.open(HUB);
    await dataset.reread();
    expect(all.seam.of("openDataHub")).toHaveLength(1);
    expect(dataset.isOpen).toBe(false);
  });

  test("while columns are typed nothing is read, and then the same files are", async () => {
    await dataset.open({ kind: "files", files });
    dataset.outdate();
    expect([dataset.isOpen, all.seam.of("openDataFiles").length]).toEqual([false, 1]);
    await dataset.reread();
    expect(all.seam.of("openDataFiles")).toEqual([[files], [files]]);
  });

  test("files of which the visitor has turned away are not read", async () => {
    await dataset.open({ kind: "files", files });
    dataset.close();
    await dataset.reread();
    expect(all.seam.of("openDataFiles")).toHaveLength(1);
  });
});

describe("a new worker", () => {
  test("it opens the same rows in the same way, though the visitor has typed something else since", async () => {
    dataset.benchmark = "reward-bench";
    dataset.columns.prompt = "question";
    all.engine.token = "secret";
    await dataset.open(HUB);
    const first = [...all.seam.calls];
    all.seam.calls.length = 0;
    Object.assign(all.engine, { token: "", hub: "https://other.example", keep: false });
    dataset.benchmark = "";
    dataset.columns.prompt = "other";
    dataset.split = "other";
    await dataset.restore();
    expect(all.seam.calls).toEqual(first);
    expect(changed).toBe(1);
  });

  test("whoever restores it hears of a failure", async () => {
    await dataset.open(HUB);
    all.seam.answers.openDataHub = () => Promise.reject(new Error("no network"));
    await expect(dataset.restore()).rejects.toThrow("no network");
  });

  test("without rows there is nothing to open", async () => {
    await dataset.restore();
    expect(all.seam.calls).toEqual([]);
  });
});
