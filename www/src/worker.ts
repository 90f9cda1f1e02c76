// The engine's worker: it instantiates the wasm and hands calls on. No logic of its own.
import init, { Session } from "./wasm/rewardscope";
import plainAddress from "./wasm/rewardscope_bg.wasm?url";
import relaxedAddress from "./wasm/rewardscope_relaxed.wasm?url";
import type { CallName, Calls, Reply, Request } from "./protocol";

/** Another copy of the site at the same host keeps its own. */
const CACHE = `rewardscope-engine ${new URL("..", self.location.href).pathname}`;

/** The engine's bytes, kept for visits without a network. Their address changes with them. */
async function kept(address: string): Promise<ArrayBuffer> {
  let cache: Cache | undefined;
  try {
    cache = await caches.open(CACHE);
  } catch {
    // Private windows and insecure pages keep nothing.
  }
  const known = await cache?.match(address);
  if (known) return known.arrayBuffer();
  const response = await fetch(address);
  const kind = response.headers.get("Content-Type") ?? "";
  if (!response.ok || kind.startsWith("text/html")) {
    throw new Error(`fetching the engine: ${address} answered ${response.status} with ${kind || "no type"}; reload the page`);
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
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 1, 253, 15, 65, 2, 253, 15, 65, 3, 253, 15, 253, 133, 2, 11,
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

type Handler<K extends CallName> = (
  engine: Awaited<typeof ready>,
  tell: (progress: unknown) => void,
  ...args: Calls[K]["args"]
) => Calls[K]["result"] | Promise<Calls[K]["result"]>;

const handlers: { [K in CallName]: Handler<K> } = {
  openDevice: ({ session }, _tell, choice) => session.openDevice(choice),
  configure: ({ session }, _tell, endpoint, token, keep) => session.configure(endpoint, token, keep),
  catalog: ({ session }, _tell, choice, dtype) => session.catalog(choice, dtype),
  loadSite: ({ session }, tell, manifest, head, settings) => session.loadSite(manifest, head, settings, tell),
  loadHub: ({ session }, tell, id, head, settings) => session.loadHub(id, head, settings, tell),
  loadFiles: ({ session }, tell, name, files, head, settings) => session.loadFiles(name, files, head, settings, tell),
  readHead: ({ session }, _tell, bytes) => session.readHead(bytes),
  fit: ({ session }, tell, preferences, features, options) => session.fit(preferences, features, options, tell),
  fittedHead: ({ session }) => session.fittedHead(),
  officialRows: ({ session }) => session.officialRows(),
  openDataSite: ({ session }, tell, manifest, file) => session.openDataSite(manifest, file, tell),
  openDataHub: ({ session }, tell, ids, rows) => session.openDataHub(ids, rows, tell),
  benchmarks: ({ session }) => session.benchmarks(),
  chooseBenchmark: ({ session }, _tell, name, columns, split) => session.chooseBenchmark(name, columns, split),
  badRows: ({ session }) => session.badRows(),
  openRun: ({ session }, _tell, file, benchmark, variant, key) => session.openRun(file, benchmark, variant, key),
  openRunAddress: ({ session }, tell, address) => session.openRunAddress(address, tell),
  keepRun: ({ session }) => session.keepRun(),
  closeOpened: ({ session }, _tell, key) => session.closeOpened(key),
  openedReport: ({ session }, _tell, key) => session.openedReport(key),
  runFile: ({ session }, _tell, key) => session.runFile(key),
  contribution: ({ session }, _tell, key) => session.contribution(key),
  referenceFiles: ({ session }) => session.referenceFiles(),
  runsTogether: ({ session }, _tell, keys) => session.runsTogether(keys),
  compareRuns: ({ session }, _tell, first, second) => session.compareRuns(first, second),
  explore: ({ session }, _tell, of, against, query) => session.explore(of, against, query),
  exploreRows: ({ session }, _tell, of, from, count) => session.exploreRows(of, from, count),
  exploreItem: ({ session }, _tell, of, against, place) => session.exploreItem(of, against, place),
  openDataFiles: ({ session }, _tell, files) => session.openDataFiles(files),
  plan: ({ session }, _tell, subset, limit, seed, anew) => session.plan(subset, limit, seed, anew),
  estimate: ({ session }) => session.estimate(),
  run: ({ session }, tell) => session.run(tell),
  claim: ({ session }, _tell, helpers) => session.claim(helpers),
  release: ({ session }, _tell, place) => session.release(place),
  bring: ({ session }, _tell, outcome) => session.bring(outcome),
  scoreClaim: ({ session }, _tell, claim) => session.scoreClaim(claim),
  cancel: ({ session }) => session.cancel(),
  report: ({ session }) => session.report(),
  scoreFile: ({ session }) => session.scoreFile(),
  marksJson: ({ session }) => session.marksJson(),
  score: ({ session }, _tell, prompt, completions) => session.score(prompt, completions),
  trace: ({ session }, _tell, prompt, completion) => session.trace(prompt, completion),
  insight: ({ session }) => session.insight(),
  published: ({ session }) => session.published(),
  calibrate: ({ session }) => session.calibrate(),
  scoreTokens: ({ session }, _tell, ids, first, every) => session.scoreTokens(ids, first, every),
  storage: ({ session }) => session.storage(),
  removeFile: ({ session }, _tell, key) => session.removeFile(key),
  removeRun: ({ session }, _tell, key) => session.removeRun(key),
  closeRun: ({ session }) => session.closeRun(),
  encodeMs: ({ session }, _tell, tokens) => session.encodeMs(tokens),
  memoryBytes: ({ memory }) => memory.buffer.byteLength,
};

const post = (reply: Reply) => self.postMessage(reply);

async function answer<K extends CallName>({ id, call, args }: Request<K>) {
  try {
    const engine = await ready;
    const tell = (progress: unknown) => post({ id, kind: "progress", progress });
    const handler: Handler<K> = handlers[call];
    post({ id, kind: "done", result: await handler(engine, tell, ...args) });
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
