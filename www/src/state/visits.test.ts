import { beforeEach, describe, expect, test, vi } from "vitest";
import { FIRST_MODEL } from "../lib/site";
import { parts } from "../testing/engine";
import * as sample from "../testing/reports";
import type { Storage as DeviceStorage } from "../wasm/rewardscope";
import { ModelsState } from "./models.svelte";
import { VisitsState } from "./visits.svelte";

let kept: Map<string, string>;
let all: ReturnType<typeof parts>;
let models: ModelsState;

beforeEach(() => {
  kept = new Map();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  });
  vi.stubGlobal("fetch", async () => new Response(new Uint8Array([1])));
  visit();
});

/** A new visit: what was in memory is gone. */
function visit() {
  all = parts();
  models = new ModelsState(all.work, all.engine, { replacing: () => {}, changed: () => {} });
  all.seam.answers.loadHub = ([id]) => sample.model({ name: "m", origin: `${String(id).split("@")[0]}@c0ffee:m.gguf` });
  all.seam.answers.loadSite = () => sample.model({ name: "site" });
  all.seam.answers.loadFiles = ([name]) => sample.model({ name });
  all.seam.answers.readHead = () => sample.head("Helpful");
  return new VisitsState(models);
}

const stored = (of: string, is_complete = true) =>
  sample.storage({ files: [{ of, name: "m.gguf", is_complete } as DeviceStorage["files"][number]] });

describe("a visit later", () => {
  test("opens the site's model with its head and settings, if it is stored", async () => {
    const settings = { ...sample.SETTINGS, device: "cpu" as const };
    await models.load(FIRST_MODEL.source, settings);
    new VisitsState(models).remember();
    const visits = visit();
    await visits.open(stored(FIRST_MODEL.folder));
    expect(all.seam.of("loadSite")).toEqual([[FIRST_MODEL.source.manifest, expect.any(Uint8Array), settings]]);
  });

  test("opens a Hub model at the commit that was used", async () => {
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    new VisitsState(models).remember();
    const visits = visit();
    await visits.open(stored("owner/name"));
    expect(all.seam.of("loadHub")[0]?.[0]).toBe("owner/name@c0ffee:m.gguf");
  });

  test.each([
    ["nothing of it is stored", sample.storage({ files: [] })],
    ["a part of it is missing", stored("owner/name", false)],
    ["another model is stored", stored("owner/other")],
  ])("opens nothing where %s: nothing is fetched unasked", async (_what, storage) => {
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    new VisitsState(models).remember();
    await visit().open(storage);
    expect(models.loaded).toBeUndefined();
  });

  test("opens nothing where the setting says so, and forgets the model", async () => {
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    const first = new VisitsState(models);
    first.remember();
    first.setOpens(false);
    const second = visit();
    expect(second.opens).toBe(false);
    await second.open(stored("owner/name"));
    expect(models.loaded).toBeUndefined();
    second.setOpens(true);
    expect(visit().opens).toBe(true);
  });

  test("picked files and heads of one's own are not remembered, and the one before is forgotten", async () => {
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    const visits = new VisitsState(models);
    visits.remember();
    await models.load({ kind: "hub", id: "owner/name", head: new Uint8Array([1]) }, sample.SETTINGS);
    visits.remember();
    expect(kept.size).toBe(0);
    await models.load({ kind: "files", files: [new File(["x"], "m.gguf")] }, sample.SETTINGS);
    visits.remember();
    expect(kept.size).toBe(0);
  });

  test.each([
    "",
    "{",
    "[]",
    "null",
    '{"model":{"site":"other"}}',
    '{"model":{"hub":3},"settings":{}}',
    '{"settings":{}}',
  ])("whatever lies in the browser's storage does no harm: %s", async (text) => {
    kept.set("rewardscope.last-model", text);
    await new VisitsState(models).open(stored("owner/name"));
    expect(all.work.error).toBe("");
    expect(models.loaded).toBeUndefined();
  });

  test("where the browser blocks its storage nothing is remembered, and nothing fails", async () => {
    const blocked = () => {
      throw new DOMException("denied", "SecurityError");
    };
    vi.stubGlobal("localStorage", { getItem: blocked, setItem: blocked, removeItem: blocked });
    const visits = visit();
    await models.load({ kind: "hub", id: "owner/name" }, sample.SETTINGS);
    visits.remember();
    await visits.open(stored("owner/name"));
    expect(visits.opens).toBe(true);
  });
});
