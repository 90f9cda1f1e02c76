// The engine's worker: it instantiates the wasm and hands calls on. No logic of its own.
import init, { Session } from "../wasm/rewardscope";
import plainAddress from "../wasm/rewardscope_bg.wasm?url";
import relaxedAddress from "../wasm/rewardscope_relaxed.wasm?url";
import type { Reply, Request } from "./protocol";

/** Another copy of the site at the same host keeps its own. */
const CACHE = `rewardscope-engine ${new URL("..", self.location.href).pathname}`;

/** The engine's bytes, kept for visits without a network. Their address changes with them. */
async function kept(address: string): Promise<ArrayBuffer> {
  let cache: Cache | undefined;
  try {
    // While the page is worked on, addresses do not change with the bytes.
    if (!import.meta.env.DEV) cache = await caches.open(CACHE);
  } catch {
    // Private windows and insecure pages keep nothing.
  }
  const known = await cache?.match(address);
  if (known) return known.arrayBuffer();
  const response = await fetch(address);
  const kind = response.headers.get("Content-Type") ?? "";
  if (!response.ok || kind.startsWith("text/html")) {
    throw new Error(
      `fetching the engine: ${address} answered ${response.status} with ${kind || "no type"}; reload the page`,
    );
  }
  const bytes = await response.arrayBuffer();
  if (cache) {
    try {
      await cache.put(address, new Response(bytes));
      const here = new URL(address, self.location.href).href;
      for (const other of await cache.keys()) if (other.url !== here) await cache.delete(other);
    } catch {
      // Out of room: the next visit fetches it again.
    }
  }
  return bytes;
}

/** A module that is valid where there is relaxed SIMD: it multiplies and adds at once. */
const RELAXED_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 1, 253, 15, 65, 2, 253, 15, 65,
  3, 253, 15, 253, 133, 2, 11,
]);
const wasmAddress = WebAssembly.validate(RELAXED_SIMD) ? relaxedAddress : plainAddress;

const isWasm = (bytes: ArrayBuffer) => new DataView(bytes).getUint32(0) === 0x0061736d;

async function engine(): Promise<Response> {
  const headers = { "Content-Type": "application/wasm" };
  for (const { ending, format } of __WASM_FORMS__) {
    let unpacked;
    try {
      unpacked = new DecompressionStream(format as CompressionFormat);
    } catch {
      continue;
    }
    const bytes = await kept(wasmAddress + ending);
    // Some hosts say that it is compressed, and the browser has unpacked it already.
    if (isWasm(bytes)) return new Response(bytes, { headers });
    return new Response(new Blob([bytes]).stream().pipeThrough(unpacked), { headers });
  }
  return new Response(await kept(wasmAddress), { headers });
}

/** A copy that does not start is not kept. */
async function start() {
  try {
    return await init({ module_or_path: engine() });
  } catch (error) {
    await caches.delete(CACHE).catch(() => false);
    throw error;
  }
}

// Set when the module is in; calls wait for it.
const ready = start().then((wasm) => ({ memory: wasm.memory, session: new Session() }));

/** Calls a method of the session. Of those that tell of progress the last parameter is whom they tell. */
function called(
  { memory, session }: Awaited<typeof ready>,
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
    const engine = await ready;
    const tell = (progress: unknown) => post({ id, kind: "progress", progress });
    post({ id, kind: "done", result: await called(engine, request, tell) });
  } catch (error) {
    // A trap leaves the module unusable: let it reach the page, which starts a new worker.
    if (error instanceof WebAssembly.RuntimeError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    post({ id, kind: "failed", message, deviceFailed: error instanceof Error && error.name === "DeviceFailed" });
  }
}

self.onmessage = (event: MessageEvent<Request>) => void answer(event.data);
// A rejected promise is no error event by itself; the page listens for one.
self.addEventListener("unhandledrejection", (event) => {
  throw event.reason;
});
