import { beforeEach, describe, expect, test, vi } from "vitest";
import { parts } from "../testing/engine";
import * as sample from "../testing/reports";
import { held } from "../testing/worker";
import { StorageState } from "./storage.svelte";

let all: ReturnType<typeof parts>;
let storage: StorageState;
let removed: number;

beforeEach(() => {
  all = parts();
  removed = 0;
  storage = new StorageState(all.work, all.engine, () => removed++);
});

describe("what is stored", () => {
  test("it is shown as the engine has it", async () => {
    all.seam.answers.storage = () => sample.storage({ usage_bytes: 5 });
    await storage.refresh();
    expect(storage.report?.usage_bytes).toBe(5);
  });

  test("while the engine is away what was known stays, and it is no error", async () => {
    all.seam.answers.storage = () => sample.storage({ usage_bytes: 5 });
    await storage.refresh();
    all.seam.answers.storage = () => Promise.reject(new Error("the worker ended"));
    await storage.refresh();
    expect(storage.report?.usage_bytes).toBe(5);
    expect(all.work.error).toBe("");
  });
});

describe("removing", () => {
  test("files go one after the other", async () => {
    const first = held();
    all.seam.answers.removeFile = ([key]) => (key === "a" ? first.promise : Promise.resolve());
    const removing = storage.removeFiles(["a", "b"]);
    expect(all.work.now).toBe("removing");
    expect(all.seam.of("removeFile")).toEqual([["a"]]);
    first.done();
    await removing;
    expect(all.seam.of("removeFile")).toEqual([["a"], ["b"]]);
    expect(removed).toBe(0);
  });

  test("one that cannot be removed is told, and those behind it stay", async () => {
    all.seam.answers.removeFile = () => Promise.reject(new Error("removing a: it is in use"));
    await storage.removeFiles(["a", "b"]);
    expect(all.work.error).toBe("removing a: it is in use");
    expect(all.seam.of("removeFile")).toEqual([["a"]]);
  });

  test("the run that is shown goes from the page with its journal", async () => {
    all.seam.answers.removeRun = () => true;
    await storage.removeRun("r");
    expect(all.seam.of("removeRun")).toEqual([["r"]]);
    expect(removed).toBe(1);
  });

  test("another run leaves the one that is shown alone", async () => {
    all.seam.answers.removeRun = () => false;
    await storage.removeRun("r");
    expect(removed).toBe(0);
  });

  test("a run that cannot be removed stays", async () => {
    all.seam.answers.removeRun = () => Promise.reject(new Error("no"));
    await storage.removeRun("r");
    expect(removed).toBe(0);
    expect(all.work.error).toBe("no");
  });

  test("nothing is removed while other work is going on", async () => {
    const run = held();
    const running = all.work.during("running", () => run.promise);
    await storage.removeFiles(["a"]);
    await storage.removeRun("r");
    expect(all.seam.calls).toEqual([]);
    run.done();
    await running;
  });
});

describe("keeping", () => {
  const browser = (persist: () => Promise<boolean>) => vi.stubGlobal("navigator", { storage: { persist } });

  test("where the browser promises it, what is stored is looked at again", async () => {
    browser(async () => true);
    all.seam.answers.storage = () => sample.storage({ is_persisted: true });
    await storage.persist();
    expect(storage.report?.is_persisted).toBe(true);
    expect(all.work.notice).toBe("");
  });

  test("where it does not, that is said", async () => {
    browser(async () => false);
    await storage.persist();
    expect(all.work.notice).toMatch(/browser did not promise/);
    expect(all.seam.names()).toEqual(["storage"]);
  });

  test("where it has nothing of the kind, that is an error with a sentence", async () => {
    vi.stubGlobal("navigator", {});
    await storage.persist();
    expect(all.work.error).toMatch(/persist/);
    expect(all.seam.names()).toEqual(["storage"]);
  });
});
