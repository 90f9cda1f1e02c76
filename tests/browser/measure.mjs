// Prints the page's sizes, times and memory. Times hold for this machine and its software adapters; they say nothing
// about a real GPU.
import { readFileSync, readdirSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { checkpoint, loadLikelihood, loadFiles, open, url, watchTasks } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const assets = join(root, "www/dist/assets");
const machine = [
  ["machine", `${cpus().length} x ${cpus()[0].model.trim()}`],
  ["date", new Date().toISOString().slice(0, 10)],
];
const row = (name, value) => {
  console.log(`${name.padEnd(62)} ${value}`);
};
for (const [name, value] of machine) row(name, value);

const wasm = readFileSync(
  join(
    assets,
    readdirSync(assets).find((file) => file.endsWith(".wasm")),
  ),
);
row("wasm, bytes", wasm.length);
row("wasm, gzip -9, bytes", gzipSync(wasm, { level: 9 }).length);
const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: wasm.length } };
row("wasm, brotli -11, bytes", brotliCompressSync(wasm, brotli).length);

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const milliseconds = (values) =>
  `${median(values).toFixed(0)} ms (median of ${values.length}: ${values.map((v) => v.toFixed(0)).join(", ")})`;

const initial = readdirSync(assets).filter(
  (name) => name.endsWith(".js") && readFileSync(join(assets, "../index.html"), "utf8").includes(name),
);
row(
  "initial JavaScript, gzip -9, bytes",
  initial.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name)), { level: 9 }).length, 0),
);

let version;
const paints = [];
const arrivals = [];
const longest = [];
const firstScores = [];
for (let i = 0; i < 5; i++) {
  const browser = await open.Chromium();
  version ??= browser.page.context().browser().version();
  await browser.until("the page", () => performance.getEntriesByName("first-contentful-paint").length > 0);
  paints.push(await browser.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
  const started = await browser.evaluate(() => performance.timeOrigin);
  await loadLikelihood(browser, "cpu");
  await browser.evaluate(() =>
    window.rewardscope.call("score", [[{ role: "user", content: "Name a colour of the rainbow." }], ["Violet."]]),
  );
  firstScores.push(Date.now() - started);
  // From the worker's resource timings, converted to the page's time.
  const arrival = await browser.inWorker(() => {
    const [wasm] = performance.getEntriesByType("resource").filter(({ name }) => name.includes(".wasm"));
    return performance.timeOrigin + wasm.responseEnd;
  });
  arrivals.push(arrival - started);
  await loadFiles(browser, "cpu", checkpoint("llama_plain"));
  const tasks = await watchTasks(browser);
  await browser.click("#run");
  await browser.until(
    "the run",
    () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
  );
  longest.push(await tasks());
  await browser.close();
}
row("Chromium", version);
row("first contentful paint", milliseconds(paints));
row("the wasm has arrived", milliseconds(arrivals));
row("the page's longest task during a run of 120 items (0: none over 50 ms)", milliseconds(longest));
row("from opening the page to SmolLM2's first score on the CPU", milliseconds(firstScores));

const browser = await open.Chromium();
await loadFiles(browser, "gpu", checkpoint("llama_plain"));
const encode = (tokens) => browser.evaluate((tokens) => window.rewardscope.call("encodeMs", [tokens]), tokens);
await encode(32);
const encodings = [];
for (let i = 0; i < 5; i++) encodings.push(await encode(32));
row("encoding one layer's dispatches, WebGPU", `${median(encodings).toFixed(2)} ms (median of 5)`);
await browser.close();

for (const name of ["Chromium", "Firefox"]) {
  const browser = await open[name]();
  await loadLikelihood(browser, "gpu");
  const bytes = await browser.evaluate(() => window.rewardscope.call("memoryBytes", []));
  row(`peak wasm memory, SmolLM2 loaded for the GPU, ${name}`, `${(bytes / 1e6).toFixed(0)} MB`);
  await browser.close();
}
console.log(`measured at ${url}`);
