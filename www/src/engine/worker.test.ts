import { brotliCompressSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { held, settle } from "../testing/worker";
import { Engine, EngineFailure } from "./engine";
import type { Reply } from "./protocol";

const HERE = "https://site.example/app/assets/worker-1.js";
const PLAIN = "https://site.example/app/assets/plain.wasm";
const RELAXED = "https://site.example/app/assets/relaxed.wasm";
/** What every module begins with. */
const MODULE = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);

/** Whether a module that the worker tries has an instruction of relaxed SIMD. */
const isRelaxed = (bytes: BufferSource) => (bytes as Uint8Array).includes(133);

/** The engine's module: what it was started with, and the session that it has. */
const wasm = vi.hoisted(() => ({
  init: (async () => undefined) as (options: { module_or_path: Promise<Response> }) => Promise<unknown>,
  session: {} as Record<string, (...args: never[]) => unknown>,
}));
vi.mock("../wasm/rewardscope", () => ({
  default: (options: { module_or_path: Promise<Response> }) => wasm.init(options),
  Session: class {
    constructor() {
      return Object.create(wasm.session) as object;
    }
  },
}));
vi.mock("../wasm/rewardscope_bg.wasm?url", () => ({ default: "https://site.example/app/assets/plain.wasm" }));
vi.mock("../wasm/rewardscope_relaxed.wasm?url", () => ({ default: "https://site.example/app/assets/relaxed.wasm" }));

/** What the worker finds around it. */
class Scope {
  location = { href: HERE };
  replies: Reply[] = [];
  onmessage: ((event: MessageEvent) => void) | null = null;
  /** Who hears of replies. */
  onreply: (reply: Reply) => void = () => {};
  #unhandled: (event: { reason: unknown }) => void = () => {};

  postMessage(reply: Reply) {
    const copy = structuredClone(reply);
    this.replies.push(copy);
    this.onreply(copy);
  }

  addEventListener(kind: string, listener: (event: { reason: unknown }) => void) {
    expect(kind).toBe("unhandledrejection");
    this.#unhandled = listener;
  }

  take(message: unknown) {
    this.onmessage?.(new MessageEvent("message", { data: structuredClone(message) }));
  }

  /** Until the test is over rejections that nobody handles come here, as to a worker, and not to the test's runner. */
  catchUnhandled(uncaught: (error: unknown) => void) {
    const runner = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", (reason) => {
      try {
        this.#unhandled({ reason });
      } catch (error) {
        uncaught(error);
      }
    });
    return () => {
      process.removeAllListeners("unhandledRejection");
      for (const listener of runner) process.on("unhandledRejection", listener);
    };
  }
}

let scope: Scope;
let fetched: string[];
/** What the site has at an address. */
let site: Map<string, () => Response>;

beforeEach(() => {
  scope = new Scope();
  fetched = [];
  const ok = () => new Response(MODULE, { headers: { "Content-Type": "application/wasm" } });
  site = new Map([
    [PLAIN, ok],
    [RELAXED, ok],
  ]);
  wasm.init = async ({ module_or_path }) => {
    await (await module_or_path).arrayBuffer();
    return { memory: { buffer: new ArrayBuffer(65_536) } };
  };
  wasm.session = {};
  vi.stubGlobal("self", scope);
  vi.stubGlobal("__WASM_FORMS__", []);
  vi.stubGlobal("fetch", async (address: string) => {
    fetched.push(address);
    return site.get(address)?.() ?? new Response("none", { status: 404, headers: { "Content-Type": "text/plain" } });
  });
  vi.stubGlobal("caches", { delete: async () => false });
  vi.spyOn(WebAssembly, "validate").mockImplementation((bytes) => !isRelaxed(bytes));
});

/** Starts the worker's module anew. */
async function start() {
  vi.resetModules();
  await import("./worker");
}

/** Sends calls and gives all replies once nothing more happens. */
async function ask(...calls: [name: string, ...args: unknown[]][]): Promise<Reply[]> {
  for (const [id, [call, ...args]] of calls.entries()) scope.take({ id, call, args });
  for (let turns = 0; turns < 20; turns++) await settle();
  return scope.replies;
}

const done = (id: number, result?: unknown) => ({ id, kind: "done", result });
const failed = (id: number, message: string, deviceFailed = false) => ({ id, kind: "failed", message, deviceFailed });

describe("calls of the session", () => {
  test("each is answered by its id with what the method gives, promised or not", async () => {
    wasm.session = { marksJson: () => "{}", encodeMs: async (tokens: number) => tokens / 2 };
    await start();
    expect(await ask(["encodeMs", 8], ["marksJson"])).toEqual(expect.arrayContaining([done(0, 4), done(1, "{}")]));
    expect(scope.replies).toHaveLength(2);
  });

  test("they wait until the engine is in, and are made in their order then", async () => {
    const slow = held();
    const made: unknown[] = [];
    wasm.session = { encodeMs: (tokens: number) => void made.push(tokens) };
    wasm.init = async () => {
      await slow.promise;
      return { memory: { buffer: new ArrayBuffer(8) } };
    };
    await start();
    expect(await ask(["encodeMs", 1], ["encodeMs", 2], ["encodeMs", 3])).toEqual([]);
    expect(made).toEqual([]);
    slow.done();
    expect(await ask()).toEqual([done(0), done(1), done(2)]);
    expect(made).toEqual([1, 2, 3]);
  });

  test("a long call does not hold up a short one", async () => {
    const long = held();
    wasm.session = { run: () => long.promise, cancel: () => {} };
    await start();
    expect(await ask(["run"], ["cancel"])).toEqual([done(1)]);
    long.done();
    expect(await ask()).toEqual([done(1), done(0)]);
  });

  test("methods are called on the session with their arguments, undefined ones too", async () => {
    const seen: unknown[] = [];
    wasm.session = {
      openRun(this: unknown, file: string, benchmark: unknown, variant: unknown, key: unknown) {
        seen.push(Object.getPrototypeOf(this) === wasm.session, file, benchmark, variant, key);
      },
    };
    await start();
    expect(await ask(["openRun", "file", undefined, undefined, undefined])).toEqual([done(0)]);
    expect(seen).toEqual([true, "file", undefined, undefined, undefined]);
  });

  test("where a method tells of progress, it is passed on under the call's id before the answer", async () => {
    wasm.session = {
      async openDataSite(manifest: string, file: string, progress: (now: unknown) => void) {
        progress({ name: manifest, bytes_done: 1 });
        await Promise.resolve();
        progress({ name: file, bytes_done: 2 });
        return "report";
      },
    };
    await start();
    expect(await ask(["openDataSite", "m", "f"])).toEqual([
      { id: 0, kind: "progress", progress: { name: "m", bytes_done: 1 } },
      { id: 0, kind: "progress", progress: { name: "f", bytes_done: 2 } },
      done(0, "report"),
    ]);
  });

  test("the engine's memory is told without the session", async () => {
    await start();
    expect(await ask(["memoryBytes"])).toEqual([done(0, 65_536)]);
  });
});

describe("calls that fail", () => {
  test("the sentence is answered, whether it is thrown at once, later, or as a text", async () => {
    wasm.session = {
      report: () => {
        throw new Error("reporting: open a run first");
      },
      storage: async () => Promise.reject(new Error("the disk is full")),
      insight: async () => Promise.reject("a text"),
    };
    await start();
    expect(await ask(["report"], ["storage"], ["insight"])).toEqual([
      failed(0, "reporting: open a run first"),
      failed(1, "the disk is full"),
      failed(2, "a text"),
    ]);
  });

  test("a failure of the device is marked as one, by its name alone", async () => {
    const lost = Object.assign(new Error("the device was lost"), { name: "DeviceFailed" });
    wasm.session = {
      run: async () => Promise.reject(lost),
      report: async () => Promise.reject(new Error("DeviceFailed")),
      insight: async () => Promise.reject({ name: "DeviceFailed" }),
    };
    await start();
    expect(await ask(["run"], ["report"], ["insight"])).toEqual([
      failed(0, "the device was lost", true),
      failed(1, "DeviceFailed"),
      failed(2, "[object Object]"),
    ]);
  });

  test("the worker goes on after it", async () => {
    wasm.session = { report: async () => Promise.reject(new Error("no")), marksJson: () => "{}" };
    await start();
    await ask(["report"]);
    scope.replies = [];
    expect(await ask(["marksJson"])).toEqual([done(0, "{}")]);
  });

  test("an answer that cannot be sent is a failure of its call", async () => {
    wasm.session = { report: () => () => 0 };
    await start();
    expect(await ask(["report"])).toEqual([failed(0, expect.stringContaining("could not be cloned") as string)]);
  });

  test("a trap is not answered but thrown, so that the page sees the worker fail", async () => {
    const trap = new WebAssembly.RuntimeError("unreachable");
    wasm.session = { run: async () => Promise.reject(trap) };
    await start();
    const thrown: unknown[] = [];
    const restore = scope.catchUnhandled((error) => thrown.push(error));
    try {
      expect(await ask(["run"])).toEqual([]);
    } finally {
      restore();
    }
    expect(thrown).toEqual([trap]);
  });
});

describe("the engine's bytes", () => {
  /** What the module was started with. */
  async function started() {
    let response: Response | undefined;
    wasm.init = async ({ module_or_path }) => {
      response = await module_or_path;
      return { memory: { buffer: new ArrayBuffer(8) } };
    };
    await start();
    const replies = await ask(["memoryBytes"]);
    return { response, replies };
  }

  test("they are fetched once, as WebAssembly", async () => {
    const { response, replies } = await started();
    expect(fetched).toEqual([PLAIN]);
    expect(response?.headers.get("Content-Type")).toBe("application/wasm");
    expect(new Uint8Array((await response?.arrayBuffer()) ?? [])).toEqual(MODULE);
    expect(replies).toEqual([done(0, 8)]);
  });

  test("where the browser has relaxed SIMD they are the ones that use it", async () => {
    vi.mocked(WebAssembly.validate).mockReturnValue(true);
    await started();
    expect(fetched).toEqual([RELAXED]);
  });

  test("what is tried on the browser is a module that needs relaxed SIMD", async () => {
    await started();
    const [tried] = vi.mocked(WebAssembly.validate).mock.calls[0] ?? [];
    expect([...new Uint8Array(tried as ArrayBuffer)].slice(0, 8)).toEqual([...MODULE]);
  });

  test.each<[string, number, string]>([
    ["none", 404, "text/plain"],
    ["an error", 503, "application/json"],
    ["a page in its place", 200, "text/html; charset=utf-8"],
  ])("where the site has %s every call fails with what was found", async (_what, status, type) => {
    site.set(PLAIN, () => new Response("<html>", { status, headers: { "Content-Type": type } }));
    await start();
    const replies = await ask(["memoryBytes"], ["report"]);
    expect(replies).toHaveLength(2);
    for (const [id, reply] of replies.entries()) {
      const { message } = reply as { message: string };
      // The page asks for a newer version of the site, unless the host has a passing trouble.
      expect(reply).toEqual({ ...failed(id, message), ...(status < 500 && { outdated: true }) });
      for (const fact of [PLAIN, status, type]) expect(message).toContain(String(fact));
    }
  });

  describe("compressed", () => {
    beforeEach(() => {
      vi.stubGlobal("__WASM_FORMS__", [
        { ending: ".br", format: "brotli" },
        { ending: ".gz", format: "gzip" },
      ]);
      site = new Map([
        [`${PLAIN}.br`, () => new Response(brotliCompressSync(MODULE))],
        [`${PLAIN}.gz`, () => new Response(gzipSync(MODULE))],
      ]);
    });

    test("they are unpacked from the first form that the browser knows", async () => {
      const { response } = await started();
      const first = (() => {
        try {
          new DecompressionStream("brotli" as CompressionFormat);
          return ".br";
        } catch {
          return ".gz";
        }
      })();
      expect(fetched).toEqual([PLAIN + first]);
      expect(new Uint8Array((await response?.arrayBuffer()) ?? [])).toEqual(MODULE);
    });

    test("they are taken as they are where the host said so and the browser unpacked them", async () => {
      for (const ending of [".br", ".gz"]) site.set(PLAIN + ending, () => new Response(MODULE));
      const { response } = await started();
      expect(new Uint8Array((await response?.arrayBuffer()) ?? [])).toEqual(MODULE);
      expect(response?.headers.get("Content-Type")).toBe("application/wasm");
    });

    test("a browser that unpacks nothing is given them as they are", async () => {
      vi.stubGlobal(
        "DecompressionStream",
        class {
          constructor() {
            throw new TypeError("unknown format");
          }
        },
      );
      site.set(PLAIN, () => new Response(MODULE));
      await started();
      expect(fetched).toEqual([PLAIN]);
    });
  });

  describe("kept for visits without a network", () => {
    let store: Map<string, Response>;
    let deleted: string[];
    let isFull: boolean;

    beforeEach(() => {
      vi.stubEnv("DEV", false);
      [store, deleted, isFull] = [new Map(), [], false];
      vi.stubGlobal("caches", {
        async open(name: string) {
          expect(name).toBe("rewardscope-engine /app/");
          return {
            match: async (address: string) => store.get(address)?.clone(),
            async put(address: string, response: Response) {
              if (isFull) throw new DOMException("no room", "QuotaExceededError");
              store.set(address, response);
            },
            keys: async () => [...store.keys()].map((url) => ({ url })),
            delete: async ({ url }: { url: string }) => store.delete(url),
          };
        },
        async delete(name: string) {
          deleted.push(name);
          return true;
        },
      });
    });

    test("they are kept beside the version's before, which another tab may still show; older ones are not", async () => {
      const older = [1, 2, 3].map((number) => `https://site.example/app/assets/old-${number}.wasm`);
      for (const address of older) store.set(address, new Response("old"));
      await started();
      expect([...store.keys()]).toEqual([older[2], PLAIN]);
      expect(new Uint8Array((await store.get(PLAIN)?.arrayBuffer()) ?? [])).toEqual(MODULE);
    });

    test("kept ones are not fetched", async () => {
      store.set(PLAIN, new Response(MODULE));
      const { response } = await started();
      expect(fetched).toEqual([]);
      expect(new Uint8Array((await response?.arrayBuffer()) ?? [])).toEqual(MODULE);
    });

    test("without room, or where nothing is kept, they are fetched", async () => {
      isFull = true;
      expect((await started()).replies).toEqual([done(0, 8)]);
      expect([...store.keys()]).toEqual([]);
      vi.stubGlobal("caches", { open: async () => Promise.reject(new Error("insecure")) });
      scope.replies = [];
      expect((await started()).replies).toEqual([done(0, 8)]);
      expect(fetched).toEqual([PLAIN, PLAIN]);
    });

    test("what the site has wrong is not kept", async () => {
      site.set(PLAIN, () => new Response("<html>", { headers: { "Content-Type": "text/html" } }));
      await start();
      await ask(["memoryBytes"]);
      expect([...store.keys()]).toEqual([]);
    });

    test("that the site has none throws nothing away: another tab may show the version before", async () => {
      site.delete(PLAIN);
      store.set("https://site.example/app/assets/old.wasm", new Response("old"));
      await start();
      expect(await ask(["memoryBytes"])).toMatchObject([{ kind: "failed", outdated: true }]);
      expect(store.size).toBe(1);
      expect(deleted).toEqual([]);
    });

    test("a copy that does not start is thrown away, and why it did not is said", async () => {
      wasm.init = async () => Promise.reject(new WebAssembly.CompileError("it is damaged"));
      await start();
      expect(await ask(["memoryBytes"])).toEqual([failed(0, "it is damaged")]);
      expect(deleted).toEqual(["rewardscope-engine /app/"]);
    });
  });
});

describe("a browser that cannot run the engine", () => {
  test("without SIMD one sentence says so, and nothing is fetched", async () => {
    vi.mocked(WebAssembly.validate).mockReturnValue(false);
    await start();
    const [reply] = await ask(["openDevice", "auto"]);
    expect(reply).toMatchObject({ kind: "failed", deviceFailed: false });
    expect((reply as { message: string }).message).toMatch(/^This browser lacks WebAssembly SIMD; .* or newer\.$/);
    expect(fetched).toEqual([]);
  });

  test("without WebAssembly too", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    await start();
    const replies = await ask(["openDevice", "auto"]);
    expect((replies[0] as { message: string }).message).toMatch(/^This browser has no WebAssembly, .* or newer\.$/);
    expect(fetched).toEqual([]);
  });
});

test("what is left of a cancelled download does not end the worker", async () => {
  wasm.session = { run: async () => Promise.reject(new Error("cancelled")) };
  await start();
  const uncaught: unknown[] = [];
  const restore = scope.catchUnhandled((error) => uncaught.push(error));
  try {
    void Promise.reject(new DOMException("signal is aborted without reason", "AbortError"));
    expect(await ask(["run"])).toEqual([failed(0, "cancelled")]);
    expect(uncaught).toEqual([]);
    void Promise.reject(new Error("broken"));
    await settle();
    expect(uncaught).toEqual([new Error("broken")]);
  } finally {
    restore();
  }
});

describe("before the engine is there", () => {
  test("calls that are to be forgotten are not made", async () => {
    const slow = held();
    const made: unknown[] = [];
    wasm.session = { encodeMs: (tokens: number) => void made.push(tokens) };
    wasm.init = async () => {
      await slow.promise;
      return { memory: { buffer: new ArrayBuffer(8) } };
    };
    await start();
    await ask(["encodeMs", 1], ["encodeMs", 2], ["encodeMs", 3]);
    scope.take({ forget: [0, 2] });
    slow.done();
    expect(await ask()).toEqual([done(1)]);
    expect(made).toEqual([2]);
  });

  test("where it could not be fetched the next call tries again", async () => {
    let tries = 0;
    vi.stubGlobal("fetch", async () => {
      if (tries++ < 2) throw new TypeError("Failed to fetch");
      return new Response(MODULE, { headers: { "Content-Type": "application/wasm" } });
    });
    await start();
    expect(await ask(["memoryBytes"])).toEqual([failed(0, "Failed to fetch")]);
    scope.replies = [];
    expect(await ask(["memoryBytes"])).toEqual([done(0, 65_536)]);
  });
});

describe("engine and worker together", () => {
  /** Joins the worker's module and the page, with copies of messages between them. */
  class Joined {
    onmessage: ((event: MessageEvent) => void) | null = null;
    onerror: ((event: ErrorEvent) => void) | null = null;

    constructor(_address: URL, options: WorkerOptions) {
      expect(options.type).toBe("module");
      scope.onreply = (data) => setImmediate(() => this.onmessage?.(new MessageEvent("message", { data })));
    }

    postMessage(message: unknown) {
      const copy = structuredClone(message);
      setImmediate(() => scope.take(copy));
    }

    terminate() {}
  }

  test("a call goes there and back with its progress, and a failure as its sentence", async () => {
    wasm.session = {
      async run(progress: (now: number) => void) {
        for (const now of [1, 2, 3]) progress(now);
      },
      report: async () => Promise.reject(new Error("open a run first")),
      estimate: async () => Promise.reject(Object.assign(new Error("lost"), { name: "DeviceFailed" })),
      encodeMs: (tokens: number) => tokens + 1,
    };
    await start();
    vi.stubGlobal("Worker", Joined);
    const engine = new Engine(() => {});
    const told: unknown[] = [];
    const run = engine.call("run", [], (now) => told.push(now));
    const [report, estimate] = [engine.call("report", []), engine.call("estimate", [])];
    const many = Array.from({ length: 20 }, (_, i) => engine.call("encodeMs", [i]));
    await expect(report).rejects.toThrow("open a run first");
    await expect(estimate).rejects.toBeInstanceOf(EngineFailure);
    await expect(run).resolves.toBeUndefined();
    expect(told).toEqual([1, 2, 3]);
    expect(await Promise.all(many)).toEqual(many.map((_, i) => i + 1));
  });

  test("a trap fails every open call, and the page starts another worker", async () => {
    wasm.session = {
      run: () => new Promise(() => {}),
      report: () => {
        throw new WebAssembly.RuntimeError("unreachable");
      },
    };
    await start();
    const workers: Joined[] = [];
    vi.stubGlobal(
      "Worker",
      class extends Joined {
        constructor(address: URL, options: WorkerOptions) {
          super(address, options);
          workers.push(this);
        }
      },
    );
    const replaced: string[] = [];
    const engine = new Engine((reason) => replaced.push(reason));
    const restore = scope.catchUnhandled((error) => {
      const event = Object.assign(new Event("error"), { message: (error as Error).message });
      workers[0]?.onerror?.(event as ErrorEvent);
    });
    try {
      await engine.call("memoryBytes", []);
      const open = Promise.allSettled([engine.call("run", []), engine.call("report", [])]);
      for (const { reason } of (await open) as PromiseRejectedResult[]) expect(reason).toBeInstanceOf(EngineFailure);
    } finally {
      restore();
    }
    expect(replaced).toEqual(["unreachable"]);
    expect(workers).toHaveLength(2);
  });
});
