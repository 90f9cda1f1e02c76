// The site's own module on Dawn, Chromium's WebGPU, without a browser, beside ONNX Runtime's WebGPU
// on the same card. `cargo xtask bench --gpu` runs it; everything was built beforehand.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import ort from "onnxruntime-node";
import { create, globals } from "webgpu";

import { MODELS, batch, compare, feed, inTurn } from "./ids.mjs";

const root = new URL("../../", import.meta.url).pathname;
const models = join(root, ".cache/peers");

// What the module asks of a browser's worker.
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]), onLine: true, hardwareConcurrency: 1 }, configurable: true });
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = class {
  static [Symbol.hasInstance]() {
    return true;
  }
};
const { default: init, Session } = await import(join(root, "www/src/wasm/rewardscope.js"));
await init({ module_or_path: readFileSync(join(root, "www/src/wasm/rewardscope_bg.wasm")) });

const session = new Session();
const device = await session.openDevice("gpu");
const versions = JSON.parse(readFileSync(join(root, "tests/peers/package.json"), "utf8")).devDependencies;
const machine = { adapter: device.name, software: device.software, node: process.version, date: new Date().toISOString().slice(0, 10), versions };
console.log(JSON.stringify(machine));
const rows = [];

// The shapes that the page is timed on, and what a card is made for.
const LARGE = { minilm: [[64, 256]], smollm2: [[16, 512]], llama: [[8, 512]] };

for (const [name, large] of Object.entries(LARGE)) {
  const shape = MODELS[name];
  const usual = shape ? [[shape.count, shape.length]] : [];
  // An adapter in software shows that it runs; a few tokens are enough for that.
  const shapes = device.software ? usual.map(([count]) => [count, 16]) : [...usual, ...large];
  const times = device.software ? 1 : 11;
  if (!shapes.length || !existsSync(join(models, name))) continue;
  const folder = join(models, name);
  const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")).slice(0, device.software ? 1 : 2);
  const paths = readdirSync(folder).filter((file) => !["onnx", "expected.json"].includes(file));
  const files = paths.map((file) => new File([readFileSync(join(folder, file))], file));
  const peer = await ort.InferenceSession.create(join(folder, "onnx/model.onnx"), { executionProviders: ["webgpu"] }).catch((error) => {
    console.log(`ONNX Runtime's WebGPU does not take ${name}: ${error.message}`);
  });
  const theirs = async (ids) => {
    const started = performance.now();
    const { logits } = await peer.run(feed(ort.Tensor, peer.inputNames, ids));
    const values = [...(await logits.getData())];
    return { ms: performance.now() - started, logits: values };
  };
  if (peer) await compare(expected, `ONNX Runtime on ${name}`, theirs, 1e-3);
  for (const dtype of ["f32", "f16", "q8", "q4"]) {
    await session.loadFiles(name, files, undefined, { device: "gpu", dtype, is_reference: false }, () => {});
    const ours = async (ids) => {
      const started = performance.now();
      const scores = await session.scoreTokens(ids, 1, false);
      return { ms: performance.now() - started, logits: scores.map(({ score }) => score) };
    };
    if (dtype === "f32") await compare(expected, `Rewardscope on ${name}`, ours, 1e-3);
    for (const [count, tokens] of shapes) {
      const input = batch(count, tokens);
      const ms = await inTurn({ ours: () => ours(input), ...(peer ? { peer: () => theirs(input) } : {}) }, times);
      const title = `${name} ${count} x ${tokens}, ${dtype}, Dawn`;
      const row = { machine, name: title, ours_ms: ms.ours, peer_ms: ms.peer, ratio: ms.peer && ms.ours / ms.peer };
      console.log(title, JSON.stringify({ ...row, machine: undefined }));
      rows.push(row);
    }
  }
  await peer?.release();
}
mkdirSync(join(root, "target/bench"), { recursive: true });
writeFileSync(join(root, "target/bench/gpu.json"), JSON.stringify(rows, undefined, 2) + "\n");
console.log("written to target/bench/gpu.json");
// Dawn's threads would keep the process.
process.exit(0);
