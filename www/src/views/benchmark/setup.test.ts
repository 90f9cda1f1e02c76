import { beforeEach, describe, expect, test } from "vitest";
import { DatasetState } from "../../state/dataset.svelte";
import { parts } from "../../testing/engine";
import * as sample from "../../testing/reports";
import { held } from "../../testing/worker";
import { isLink, isSame, readLink, writeLink } from "./link";
import { Setup, countItems, defaultSize } from "./setup.svelte";

let all: ReturnType<typeof parts>;
let dataset: DatasetState;
let forgotten: number;

const link = (text: string) => new URLSearchParams(text);
const subsets = (...counts: number[]) => counts.map((count, i) => ({ subset: `s${i}`, count }));

function setup(params = "") {
  return new Setup(
    {
      work: all.work,
      dataset,
      run: { forget: () => void forgotten++ },
      sample: { kind: "site", manifest: "https://site.example/parts.json", file: "sample.parquet" },
      official: async () => ({ kind: "hub", ids: ["official"], official: true }),
    },
    link(params),
  );
}

beforeEach(() => {
  all = parts();
  forgotten = 0;
  dataset = new DatasetState(all.work, all.engine, () => {});
  all.seam.answers.openDataSite = () => sample.dataset({ benchmark: "reward-bench-2", subsets: subsets(20, 20) });
  all.seam.answers.openDataHub = () => sample.dataset({ benchmark: "rm-bench", subsets: subsets(5, 5) });
  all.seam.answers.openDataFiles = () => sample.dataset({ benchmark: "preferences", subsets: subsets(50) });
});

describe("how many items run", () => {
  test("one's own pairs run whole, the sample quickly", async () => {
    const chosen = setup();
    expect(chosen.selection.limit).toBe(20);
    await chosen.take([new File(["{}"], "pairs.jsonl")]);
    expect(chosen.source).toBe("own");
    expect([chosen.size, chosen.selection.limit]).toEqual(["full", undefined]);
  });

  test.each([
    ["sample", "", undefined, "quick"],
    ["official", "", undefined, "quick"],
    ["own", "", undefined, "full"],
    ["own", "preferences", subsets(50), "full"],
    ["own", "preferences", subsets(50, 50), "full"],
    ["own", "reward-bench-2", subsets(50), "full"],
    ["own", "reward-bench-2", subsets(50, 50), "quick"],
    ["hub", "rm-bench", undefined, "quick"],
    ["hub", "preferences", undefined, "full"],
  ] as const)("%s rows of %s in %j: %s", (source, benchmark, parts, size) =>
    expect(defaultSize(source, benchmark, parts && { benchmark, subsets: [...parts] })).toBe(size),
  );

  test("what the visitor chose stays for other rows", async () => {
    const chosen = setup();
    chosen.size = "full";
    expect(forgotten).toBe(1);
    chosen.source = "official";
    expect(chosen.size).toBe("full");
  });

  test("a control that is set to what it shows already chooses nothing", async () => {
    const chosen = setup();
    chosen.size = "quick";
    await chosen.take([new File(["{}"], "pairs.jsonl")]);
    expect([chosen.size, forgotten]).toEqual(["full", 0]);
  });

  test("they are counted by subset", () => {
    const report = { subsets: subsets(50, 10) };
    expect(countItems(report, { subset: undefined, limit: 20, seed: 0 })).toBe(30);
    expect(countItems(report, { subset: "s1", limit: undefined, seed: 0 })).toBe(10);
  });
});

describe("a link", () => {
  test.each(["", "rows=official&size=full", "rows=hub&id=a%2Fb&only=1-5&benchmark=rm-bench&split=test&size=7&seed=3"])(
    "%j is written as it is read",
    (text) => {
      const written = Object.entries(writeLink(readLink(link(text)))).filter(([, value]) => value);
      expect(new URLSearchParams(written)).toEqual(
        new URLSearchParams([...link(text)].sort((a, b) => order(a[0]) - order(b[0]))),
      );
    },
  );
  const names = Object.keys(writeLink(readLink(link(""))));
  const order = (name: string) => names.indexOf(name);

  test("what no link can say is as on a first visit", () => {
    const strange = link(`rows=elsewhere&size=-1&seed=x&only=a-b&id=${"i".repeat(5000)}`);
    const { source, size, seed, only, id } = readLink(strange);
    expect([source, size, seed, only, id.length]).toEqual(["sample", undefined, 0, "", 500]);
  });

  test("the view's plain address is none", () => {
    expect([isLink(link("")), isLink(link("text=x")), isLink(link("size=full"))]).toEqual([false, false, true]);
  });

  test("one that is opened later is followed, and other rows are closed", async () => {
    const chosen = setup();
    await chosen.openRows();
    expect(chosen.follow(link("rows=hub&id=a%2Fb&size=7&seed=3&benchmark=rm-bench&split=test"))).toBe(true);
    expect([chosen.source, chosen.id, chosen.size, chosen.some, chosen.seed]).toEqual(["hub", "a/b", "some", 7, 3]);
    expect([dataset.benchmark, dataset.split, dataset.report]).toEqual(["rm-bench", "test", undefined]);
  });

  test("the same rows stay open", async () => {
    const chosen = setup();
    await chosen.openRows();
    expect(chosen.follow(link("size=full"))).toBe(true);
    expect(dataset.report).toBeDefined();
    expect([chosen.size, forgotten]).toEqual(["full", 1]);
  });

  test("the address that the choice itself wrote changes nothing", () => {
    const chosen = setup("rows=hub&id=a%2Fb");
    expect(isSame(readLink(link("rows=hub&id=a%2Fb")), chosen.choices)).toBe(true);
    expect(chosen.follow(link("rows=hub&id=a%2Fb"))).toBe(false);
    expect(forgotten).toBe(0);
  });

  test("while work is under way it is not followed, and it is said", async () => {
    const chosen = setup();
    const opening = held<ReturnType<typeof sample.dataset>>();
    all.seam.answers.openDataSite = () => opening.promise;
    const open = chosen.openRows();
    expect(chosen.follow(link("rows=official"))).toBe(false);
    expect(all.work.notice).toMatch(/link was not followed/);
    opening.done(sample.dataset());
    await open;
    expect(chosen.source).toBe("sample");
  });
});
