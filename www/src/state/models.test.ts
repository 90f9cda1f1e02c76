import { beforeEach, describe, expect, test, vi } from "vitest";
import { parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { FakeWorker, held, settle } from "../testing/worker";
import { SITE_MODELS } from "../lib/site";
import { MOST_OTHERS, ModelsState, sourceName, type ModelSource } from "./models.svelte";

const HUB: ModelSource = { kind: "hub", id: "owner/name" };
const BYTES = new Uint8Array([1, 2, 3]);

let all: ReturnType<typeof parts>;
let models: ModelsState;
let order: string[];

beforeEach(() => {
  all = parts();
  order = [];
  models = new ModelsState(all.work, all.engine, {
    replacing: () => void order.push(`replacing, ${models.loaded?.name}`),
    changed: () => void order.push(`changed, ${models.loaded?.name}`),
  });
  all.seam.answers.loadHub = ([id]) => sample.model({ name: id });
  all.seam.answers.loadSite = () => sample.model({ name: "site" });
  all.seam.answers.loadFiles = ([name]) => sample.model({ name });
  all.seam.answers.readHead = () => sample.head("Helpful");
});

const load = (source: ModelSource = HUB) => models.load(source, sample.SETTINGS);

/** A picked file; one of a picked folder has a path. */
const file = (name: string, path = "") =>
  Object.defineProperty(new File(["x"], name), "webkitRelativePath", { value: path }) as File;

describe("loading a model", () => {
  test("it is loaded as chosen and with the access of now, and shown", async () => {
    Object.assign(all.engine, { token: "secret", keep: false });
    const settings = { ...sample.SETTINGS, dtype: "q8" as const };
    await models.load(HUB, settings);
    expect(all.seam.calls).toEqual([
      ["configure", undefined, "secret", false],
      ["loadHub", "owner/name", undefined, settings],
    ]);
    expect(models.loaded?.name).toBe("owner/name");
    expect(models.from).toMatchObject({ source: HUB, settings });
    expect(all.work.notice).toMatch(/owner\/name/);
  });

  test("the device that it was loaded on is the one that is shown", async () => {
    all.seam.answers.loadHub = () => sample.model({ device: sample.device({ name: "a GPU" }) });
    await load();
    expect(all.engine.device?.name).toBe("a GPU");
  });

  test("others hear of it before and after", async () => {
    await load();
    await load({ kind: "site", manifest: "m" });
    expect(order).toEqual(["replacing, undefined", "changed, owner/name", "replacing, undefined", "changed, site"]);
  });

  test("the site's own is loaded by its manifest", async () => {
    await load({ kind: "site", manifest: "https://site.example/parts.json" });
    expect(all.seam.of("loadSite")).toEqual([["https://site.example/parts.json", undefined, sample.SETTINGS]]);
  });

  test.each([
    ["a single file by its name", [file("model.gguf")], /^model\.gguf$/],
    ["a folder by its name", [file("config.json", "my-model/config.json"), file("b", "my-model/b")], /^my-model$/],
    [
      "several files by what they are",
      [file("model.safetensors"), file("config.json")],
      /^config\.json and 1 more file$/,
    ],
  ])("one's own: %s", async (_what, files, name) => {
    await load({ kind: "files", files });
    expect(all.seam.of("loadFiles")).toEqual([[expect.stringMatching(name), files, undefined, sample.SETTINGS]]);
  });

  test("files of a reference are handed over before the model is loaded", async () => {
    const files = [file("config.json"), file("model.safetensors")];
    models.choice.reference = files;
    all.seam.answers.pickReference = () => undefined;
    const reference = { model: "config.json", log_ratios: { beta: 1, normalise_length: false } };
    await models.load(HUB, { ...sample.SETTINGS, reference });
    expect(all.seam.calls.map(([name]) => name)).toEqual(["configure", "pickReference", "loadHub"]);
    expect(all.seam.of("pickReference")).toEqual([[files]]);
    // Without a reference in the settings they have no part in it.
    await load();
    expect(all.seam.of("pickReference")).toHaveLength(1);
  });

  test("how far it is is shown while it lasts", async () => {
    const loading = held();
    all.seam.answers.loadHub = async (_args, tell) => {
      tell(sample.load({ bytes_done: 9 }));
      await loading.promise;
      return sample.model();
    };
    const done = load();
    await settle();
    expect(all.engine.load?.bytes_done).toBe(9);
    expect(models.loaded).toBeUndefined();
    loading.done();
    await done;
    expect(all.engine.load).toBeUndefined();
  });

  test("a second begin while one is being loaded does nothing", async () => {
    const loading = held<sample.Model>();
    all.seam.answers.loadHub = () => loading.promise;
    const first = load();
    await load({ kind: "site", manifest: "m" });
    loading.done(sample.model({ name: "first" }));
    await first;
    expect(models.loaded?.name).toBe("first");
    expect(all.seam.of("loadSite")).toEqual([]);
  });
});

describe("a model that cannot be loaded", () => {
  test("the one before is gone all the same, since the engine let go of it", async () => {
    await load();
    all.seam.answers.loadHub = () => Promise.reject(new Error("loading: the download is broken"));
    await load();
    expect(all.work.error).toBe("loading: the download is broken");
    expect([models.loaded, models.from]).toEqual([undefined, undefined]);
    expect(order).toHaveLength(3);
  });

  test("cancelled, none is loaded, and a new worker loads none", async () => {
    all.seam.answers.loadHub = () => Promise.reject(new Error("cancelled"));
    await load();
    expect(all.work.notice).toMatch(/^Cancelled/);
    expect(models.loaded).toBeUndefined();
    all.seam.calls.length = 0;
    await models.restore();
    expect(all.seam.calls).toEqual([]);
  });
});

describe("a reward head", () => {
  test("it is read and put on the model, whether it is bytes or a file", async () => {
    await load({ ...HUB, head: BYTES });
    await load({ ...HUB, head: new File([BYTES], "head.safetensors") });
    expect(all.seam.of("readHead")).toEqual([[BYTES], [BYTES]]);
    expect(all.seam.of("loadHub")).toEqual([
      ["owner/name", BYTES, sample.SETTINGS],
      ["owner/name", BYTES, sample.SETTINGS],
    ]);
    expect(models.head?.config.name).toBe("Helpful");
  });

  test("the site's own is fetched", async () => {
    const fetch = vi.fn(async () => new Response(BYTES));
    vi.stubGlobal("fetch", fetch);
    const address = new URL("https://site.example/head.safetensors");
    await load({ ...HUB, head: address });
    expect(fetch).toHaveBeenCalledWith(address, { signal: expect.any(AbortSignal) as unknown });
    expect(all.seam.of("readHead")).toEqual([[BYTES]]);
  });

  test("where it cannot be fetched nothing is loaded, and what was found is said", async () => {
    vi.stubGlobal("fetch", async () => new Response("", { status: 404 }));
    await load({ ...HUB, head: new URL("https://site.example/head.safetensors") });
    expect(all.work.error).toContain("https://site.example/head.safetensors");
    expect(all.work.error).toContain("404");
    expect(all.seam.of("loadHub")).toEqual([]);
  });

  test("one that is no head is refused before the model is loaded", async () => {
    all.seam.answers.readHead = () => Promise.reject(new Error("reading the head: it is no safetensors file"));
    await load({ ...HUB, head: BYTES });
    expect(all.work.error).toMatch(/no safetensors file/);
    expect(all.seam.of("loadHub")).toEqual([]);
    expect(models.head).toBeUndefined();
  });

  test("the next model does not have the one before's", async () => {
    await load({ ...HUB, head: BYTES });
    await load();
    expect(models.head).toBeUndefined();
    expect(all.seam.of("loadHub").at(-1)).toEqual(["owner/name", undefined, sample.SETTINGS]);
  });

  test("a model is called by it", async () => {
    all.seam.answers.loadHub = () => sample.model({ head: sample.headConfig("Helpful") });
    await load({ ...HUB, head: BYTES });
    expect(all.work.notice).toMatch(/^Helpful/);
  });
});

describe("a new worker", () => {
  test("it loads the same model in the same way, whatever was typed since", async () => {
    all.engine.token = "secret";
    await load({ ...HUB, head: BYTES });
    const first = [...all.seam.calls];
    all.seam.calls.length = 0;
    all.engine.token = "";
    const before = order.length;
    await models.restore();
    // The head is read before or after the engine is configured.
    expect(all.seam.calls).toEqual(first);
    expect(models.loaded?.name).toBe("owner/name");
    expect(order).toHaveLength(before);
  });

  test("the device that it is on now is shown", async () => {
    await load();
    all.seam.answers.loadHub = () => sample.model({ device: sample.device({ name: "another" }) });
    await models.restore();
    expect(all.engine.device?.name).toBe("another");
  });

  test("a model whose files have changed is not taken for the same", async () => {
    await load();
    all.seam.answers.loadHub = () => sample.model({ name: "owner/name", fingerprint: "f2" });
    await expect(models.restore()).rejects.toThrow(/owner\/name has changed/);
    expect(models.loaded).toBeUndefined();
  });

  test("while it is loaded again none is shown, nor when that fails", async () => {
    await load();
    all.seam.answers.loadHub = () => {
      expect(models.loaded).toBeUndefined();
      return Promise.reject(new Error("no network"));
    };
    await expect(models.restore()).rejects.toThrow("no network");
    expect(models.loaded).toBeUndefined();
  });

  test("a model that was dropped is not loaded again", async () => {
    await load();
    models.drop();
    expect([models.loaded, models.head, models.from]).toEqual([undefined, undefined, undefined]);
    all.seam.calls.length = 0;
    await models.restore();
    expect(all.seam.calls).toEqual([]);
  });
});

describe("helpers of a run", () => {
  test("without a model there are none", () => {
    expect(models.newHelpers()).toBeUndefined();
  });

  test("they load the same model as it was loaded, each in a worker of its own", async () => {
    vi.stubGlobal("navigator", { hardwareConcurrency: 4, deviceMemory: 8 });
    all.engine.token = "secret";
    await load({ ...HUB, head: BYTES });
    all.engine.token = "";
    FakeWorker.answers.configure = () => {};
    const helpers = models.newHelpers();
    helpers?.start(60_000);
    await settle();
    expect(FakeWorker.all.map(({ name }) => name)).toEqual(["engine", "helper"]);
    expect(FakeWorker.at(1).requests.map(({ call, args }) => [call, ...args])).toEqual([
      ["configure", undefined, "secret", true],
      ["loadHub", "owner/name", BYTES, sample.SETTINGS],
    ]);
    helpers?.stop();
    expect(FakeWorker.at(1).isEnded).toBe(true);
  });
});

describe("models to compare with", () => {
  const other = (place: number) => {
    const found = models.others[place];
    if (!found) throw new Error(`there is no model ${place}`);
    return found;
  };
  const names = () => models.others.map(({ report }) => report.name);
  const add = (id = "owner/other") => models.addOther({ kind: "hub", id }, sample.SETTINGS);

  beforeEach(async () => {
    await load();
    FakeWorker.answers.configure = () => {};
    FakeWorker.answers.loadHub = ([id]) => sample.model({ name: id });
    FakeWorker.answers.score = ([, completions]) => completions.map(() => ({ score: 1 }) as never);
  });

  test("each is loaded into a worker of its own and stays when the loaded one is replaced", async () => {
    await add();
    expect(FakeWorker.all.map(({ name }) => name)).toEqual(["engine", "other"]);
    expect(FakeWorker.at(1).calls).toEqual(["configure", "loadHub"]);
    expect(names()).toEqual(["owner/other"]);
    expect(models.loaded?.name).toBe("owner/name");
    await load({ kind: "site", manifest: "m" });
    expect(models.loaded?.name).toBe("site");
    expect(names()).toEqual(["owner/other"]);
    expect(FakeWorker.at(1).isEnded).toBe(false);
  });

  test("they score the same text, each in its place", async () => {
    all.seam.answers.score = ([, completions], tell) => {
      for (const at of completions.keys()) tell({ completions_done: at + 1, completions_total: completions.length });
      return completions.map(() => ({ score: 0 }) as never);
    };
    const told: number[][] = [];
    const tell = (...now: number[]) => told.push(now);
    expect(await models.score([], ["a", "b"], tell)).toHaveLength(1);
    expect(told.splice(0)).toEqual([
      [1, 2],
      [2, 2],
    ]);
    await add();
    await add("owner/third");
    const scores = await models.score([], ["a", "b"], tell);
    expect(scores.map((of) => of.map(({ score }) => score))).toEqual([
      [0, 0],
      [1, 1],
      [1, 1],
    ]);
    expect(all.seam.of("score")).toHaveLength(2);
    // The workers of the others told nothing.
    expect(told.at(-1)).toEqual([2, 6]);
  });

  test("there are no more of them than memory is likely to hold", async () => {
    for (let i = 0; i < MOST_OTHERS + 2; i++) await add(`owner/${i}`);
    expect(names()).toHaveLength(MOST_OTHERS);
    expect(FakeWorker.all).toHaveLength(1 + MOST_OTHERS);
  });

  test("what they do can be stopped, and that there are none is no error", async () => {
    models.cancelOthers();
    await add();
    models.cancelOthers();
    expect(FakeWorker.at(1).calls.at(-1)).toBe("cancel");
    models.removeOther(other(0));
    models.cancelOthers();
    await settle();
    expect(all.work.error).toBe("");
  });

  test("one that is being loaded can be stopped", async () => {
    FakeWorker.answers.loadHub = () => new Promise(() => {});
    void add();
    await settle();
    expect(models.loading).toBe("owner/other");
    models.cancelOthers();
    expect(FakeWorker.at(1).calls.at(-1)).toBe("cancel");
  });

  test("a removed one's worker ends, and the rest stay", async () => {
    await add();
    await add("owner/third");
    models.removeOther(other(0));
    expect(FakeWorker.all.map(({ isEnded }) => isEnded)).toEqual([false, true, false]);
    expect(names()).toEqual(["owner/third"]);
  });

  test("where one cannot be loaded its worker ends, and the loaded one stays", async () => {
    FakeWorker.answers.loadHub = () => Promise.reject(new Error("out of memory"));
    await add();
    expect(all.work.error).toBe("out of memory");
    expect(FakeWorker.at(1).isEnded).toBe(true);
    expect(names()).toEqual([]);
    expect(models.loaded?.name).toBe("owner/name");
    expect([all.engine.load, models.loading]).toEqual([undefined, ""]);
  });

  test("when one's worker dies it is gone, and that is said", async () => {
    await add();
    FakeWorker.at(1).die("unreachable");
    expect(names()).toEqual([]);
    expect(all.work.error).toMatch(/compared model.*unreachable/);
    expect(FakeWorker.all.filter(({ isEnded }) => !isEnded).map(({ name }) => name)).toEqual(["engine"]);
    expect(models.loaded?.name).toBe("owner/name");
  });
});

describe("the name of what is being loaded", () => {
  test.each<[string, ModelSource, string]>([
    ["of the Hub, its id", HUB, "owner/name"],
    ["of files, theirs", { kind: "files", files: [file("model.gguf")], name: "folder" }, "folder"],
    ["of the site, its title", SITE_MODELS[0].source, "SmolLM2-135M reward model"],
    ["of the site without its head, the other title", SITE_MODELS[1].source, "SmolLM2-135M-Instruct"],
    [
      "of the site with a head of one's own, that of the one without",
      { ...SITE_MODELS[1].source, head: BYTES },
      "SmolLM2-135M-Instruct",
    ],
    ["of an unknown manifest, its address", { kind: "site", manifest: "m" }, "m"],
  ])("%s", (_what, source, name) => expect(sourceName(source)).toBe(name));

  test("it is known before the engine says anything, and not when that is over", async () => {
    const loading = held<sample.Model>();
    all.seam.answers.loadHub = () => loading.promise;
    const done = load();
    expect([models.loading, all.engine.load]).toEqual(["owner/name", undefined]);
    loading.done(sample.model());
    await done;
    expect(models.loading).toBe("");
  });

  test("nor when it fails", async () => {
    all.seam.answers.loadHub = () => Promise.reject(new Error("no"));
    await load();
    expect(models.loading).toBe("");
  });
});

test("what the next model is loaded with changes nothing of the loaded one", async () => {
  models.settings.dtype = "q8";
  await models.load(HUB, models.settings);
  models.settings.dtype = "q4";
  expect(models.from?.settings.dtype).toBe("q8");
  expect(all.seam.of("loadHub")[0]?.at(-1)).toMatchObject({ dtype: "q8" });
});
