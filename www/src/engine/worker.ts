// The engine's worker: instantiates the wasm and passes calls on to its session. It has no logic of its own.
import init, { Session } from "../wasm/rewardscope";
import plainAddress from "../wasm/rewardscope_bg.wasm?url";
import relaxedAddress from "../wasm/rewardscope_relaxed.wasm?url";
import type { Forget, Reply, Request } from "./protocol";

/** The site no longer has the engine that this version of the page asks for. */
class Outdated extends Error {}

/** The cache's name has the site's path in it, because several copies of the site may lie on one host. */
const CACHE = `rewardscope-engine ${new URL("..", self.location.href).pathname}`;

/** The bytes of the engine's file, from the cache or the network. Its address contains a hash of its content. */
async function kept(address: string): Promise<ArrayBuffer> {
  let cache: Cache | undefined;
  try {
    // The development server's addresses have no hash, so its files are not cached.
    if (!import.meta.env.DEV) cache = await caches.open(CACHE);
  } catch {
    // Private windows and insecure pages have no cache.
  }
  const known = await cache?.match(address);
  if (known) return known.arrayBuffer();
  const response = await fetch(address);
  const kind = response.headers.get("Content-Type") ?? "";
  if (!response.ok || kind.startsWith("text/html")) {
    const what = `fetching the engine: ${address} answered ${response.status} with ${kind || "no type"}; reload the page`;
    // Some hosts answer with their page for files that they do not have.
    throw [200, 404, 410].includes(response.status) ? new Outdated(what) : new Error(what);
  }
  const bytes = await response.arrayBuffer();
  if (cache) {
    try {
      await cache.put(address, new Response(bytes));
      // The newest before this one stays: a tab with the version before may ask for it when its worker starts again.
      for (const older of (await cache.keys()).slice(0, -2)) await cache.delete(older);
    } catch {
      // The storage is full. The next visit downloads the file again.
    }
  }
  return bytes;
}

/** A module with one relaxed SIMD instruction (a fused multiply-add), valid only where the browser supports these. */
const RELAXED_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 1, 253, 15, 65, 2, 253, 15, 65,
  3, 253, 15, 253, 133, 2, 11,
]);
/** A module with one instruction of plain SIMD (i8x16.splat). */
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** Why the engine cannot run in this browser; empty if it can. */
function lack(): string {
  const needs = "Rewardscope needs Chrome 110, Firefox 115, Safari 16.4 or newer";
  if (typeof WebAssembly === "undefined")
    return `This browser has no WebAssembly, or has switched it off, as in a lockdown mode; ${needs}.`;
  return WebAssembly.validate(SIMD) ? "" : `This browser lacks WebAssembly SIMD; ${needs}.`;
}

/** Whether the bytes begin with the magic number of wasm. */
const isWasm = (bytes: ArrayBuffer) => new DataView(bytes).getUint32(0) === 0x0061736d;

/** The wasm module, decompressed where the site has it compressed only. */
async function engine(): Promise<Response> {
  const wasmAddress = WebAssembly.validate(RELAXED_SIMD) ? relaxedAddress : plainAddress;
  const headers = { "Content-Type": "application/wasm" };
  for (const { ending, format } of __WASM_FORMS__) {
    let unpacked;
    try {
      unpacked = new DecompressionStream(format as CompressionFormat);
    } catch {
      continue;
    }
    const bytes = await kept(wasmAddress + ending);
    // Some hosts send a Content-Encoding header, so the browser has decompressed the file already.
    if (isWasm(bytes)) return new Response(bytes, { headers });
    return new Response(new Blob([bytes]).stream().pipeThrough(unpacked), { headers });
  }
  return new Response(await kept(wasmAddress), { headers });
}

/** Instantiates the wasm. A cached file that fails to start is deleted. */
async function start() {
  const why = lack();
  if (why) throw new Error(why);
  const fetched = await engine();
  try {
    const { memory } = await init({ module_or_path: fetched });
    return { memory, session: new Session() };
  } catch (error) {
    await caches.delete(CACHE).catch(() => false);
    throw error;
  }
}

let started: ReturnType<typeof start> | undefined;
/** Resolves when the module is instantiated. Calls wait for it; after a failure the next call tries again. */
function ready() {
  started ??= start();
  started.catch(() => (started = undefined));
  return started;
}
void ready();

/** Calls that came before the engine was there, and that nobody waits for any more. */
const forgotten = new Set<number>();

/** Calls a method of the session. If it has one parameter more than arguments, `tell` is its progress callback. */
function called(
  { memory, session }: Awaited<ReturnType<typeof start>>,
  { call, args }: Request,
  tell: (progress: unknown) => void,
): unknown {
  if (call === "memoryBytes") return memory.buffer.byteLength;
  const method = session[call] as (...args: unknown[]) => unknown;
  return method.apply(session, args.length < method.length ? [...args, tell] : args);
}

const post = (reply: Reply) => self.postMessage(reply);

async function answer(request: Request) {
  const { id } = request;
  try {
    const engine = await ready();
    if (forgotten.delete(id)) return;
    const tell = (progress: unknown) => post({ id, kind: "progress", progress });
    post({ id, kind: "done", result: await called(engine, request, tell) });
  } catch (error) {
    // A trap leaves the module unusable. Rethrown, it reaches the page, which starts a new worker.
    if (typeof WebAssembly !== "undefined" && error instanceof WebAssembly.RuntimeError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    const deviceFailed = error instanceof Error && error.name === "DeviceFailed";
    post({ id, kind: "failed", message, deviceFailed, ...(error instanceof Outdated && { outdated: true }) });
  }
}

self.onmessage = ({ data }: MessageEvent<Request | Forget>) => {
  if ("forget" in data) for (const id of data.forget) forgotten.add(id);
  else void answer(data);
};
// A rejected promise does not raise the error event that the page listens for, so it is thrown again here.
self.addEventListener("unhandledrejection", ({ reason }) => {
  // What is left of a download that was cancelled; its call is answered by itself.
  if (reason instanceof DOMException && reason.name === "AbortError") return;
  throw reason;
});
