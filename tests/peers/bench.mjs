// Times Rewardscope and its peers in one browser, in turn, on the same weights and tokens, after
// their outputs were compared. `cargo xtask bench` runs it; times are of this machine, ratios are
// what to read.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { basename, join } from "node:path";

import { countingGpu, loadFiles, loadLikelihood, open, url } from "../browser/browsers.mjs";
import { MODELS, batch, compare as agree, inTurn } from "./ids.mjs";

const root = new URL("../../", import.meta.url).pathname;
const models = join(root, ".cache/peers");
const TIMES = 5;

const wanted = new Set(process.argv.slice(2));
const asked = (part) => wanted.size === 0 || wanted.has(part);

const machine = {
  processor: cpus()[0].model.trim(),
  cores: cpus().length,
  memory_bytes: totalmem(),
  date: new Date().toISOString().slice(0, 10),
  peers: JSON.parse(readFileSync(join(root, "tests/peers/package.json"), "utf8")).devDependencies,
};
const rows = [];
function row(name, values) {
  const shown = Object.entries(values).map(([key, value]) => `${key} ${typeof value === "number" ? +value.toPrecision(4) : JSON.stringify(value)}`);
  console.log(`${name.padEnd(64)} ${shown.join(", ")}`);
  rows.push({ name, ...values });
}

const files = (name) => readdirSync(join(models, name)).filter((file) => !["onnx", "expected.json"].includes(file)).map((file) => join(models, name, file));

async function load(browser, name, device, dtype) {
  await browser.evaluate(() => document.querySelector("#settings").setAttribute("open", ""));
  await browser.select("#dtype", dtype);
  await loadFiles(browser, device, files(name));
}

/** Ours: milliseconds and scores of token ids. */
const ours = (browser, ids, every = false) =>
  browser.evaluate(
    async ([ids, every]) => {
      const started = performance.now();
      const scores = await window.rewardscope.call("scoreTokens", [ids, 1, every]);
      return { ms: performance.now() - started, logits: scores.map(({ score }) => score) };
    },
    [ids, every],
  );
const peer = (page, call, args) => page.evaluate(([call, args]) => window.peer.call(call, args), [call, args]);

const compare = (name, who, score, within) =>
  agree(JSON.parse(readFileSync(join(models, name, "expected.json"), "utf8")), `${who} on ${name}`, score, within);

/** A row's values: what ours takes, at every token too, and the peer. */
const against = (version, { ours, every, peer }) => ({
  version,
  ours_ms: ours,
  peer_ms: peer,
  ratio: ours / peer,
  ...(every === undefined ? {} : { every_token_ms: every, every_token_ratio: every / peer }),
});

/** A browser with our page, and beside it the peers'. */
async function withBoth(name, work, options) {
  const browser = await open[name](options);
  try {
    const page = await browser.beside(new URL("peers/index.html", url).href);
    await work(browser, page);
  } finally {
    await browser.close();
  }
}

const onnx = (name) => new URL(`peers-models/${name}/onnx/model.onnx`, url).href;

/** ONNX Runtime Web's SIMD has no relaxed multiply-adds: ours is timed without them, and with them. */
async function processor() {
  for (const [name, { title, count, length }] of Object.entries(MODELS)) {
    for (const relaxed of [false, true]) {
      await withBoth(
        "Chromium",
        async (browser, page) => {
          await load(browser, name, "cpu", "auto");
          const { version } = await peer(page, "ortLoad", { address: onnx(name), provider: "wasm", threads: 1 });
          await compare(name, "Rewardscope", (ids) => ours(browser, ids), 1e-4);
          await compare(name, "ONNX Runtime Web", (ids) => peer(page, "ortRun", { ids }), 1e-3);
          const input = batch(count, length);
          const ms = await inTurn({
            ours: () => ours(browser, input),
            every: () => ours(browser, input, true),
            peer: () => peer(page, "ortRun", { ids: input }),
          }, TIMES);
          row(`${title} ${count} x ${length}, one thread, ${relaxed ? "relaxed SIMD" : "SIMD"}, against ONNX Runtime Web's wasm`, against(version, ms));
        },
        { relaxed },
      );
    }
  }
}

/** Eight items in two of our workers, as a run's helpers are, against two threads of the peer's. */
async function workers() {
  for (const [name, { title, count, length }] of Object.entries(MODELS)) {
    await withBoth(
      "Chromium",
      async (browser, page) => {
        await load(browser, name, "cpu", "auto");
        const { threads, version } = await peer(page, "ortLoad", { address: onnx(name), provider: "wasm", threads: 2 });
        if (threads !== 2) throw new Error(`ONNX Runtime Web has ${threads} threads`);
        const addresses = files(name).map((path) => new URL(`peers-models/${name}/${basename(path)}`, url).href);
        await browser.evaluate(async (addresses) => {
          const helper = new window.rewardscope.constructor(() => {}, "helper");
          const file = async (address) => new File([await (await fetch(address)).blob()], address.split("/").at(-1));
          const files = await Promise.all(addresses.map(file));
          await helper.call("loadFiles", ["helper", files, undefined, { device: "cpu", dtype: "auto", is_reference: false }]);
          window.helper = helper;
        }, addresses);
        const items = Array.from({ length: 8 }, () => batch(count, length));
        const both = () =>
          browser.evaluate(async (items) => {
            const started = performance.now();
            const left = [...items];
            const work = async (engine) => {
              for (let item = left.shift(); item; item = left.shift()) await engine.call("scoreTokens", [item, 1, false]);
            };
            await Promise.all([work(window.rewardscope), work(window.helper)]);
            return { ms: performance.now() - started };
          }, items);
        const threaded = async () => {
          let ms = 0;
          for (const ids of items) ms += (await peer(page, "ortRun", { ids })).ms;
          return { ms };
        };
        const ms = await inTurn({ ours: both, peer: threaded }, 3);
        const memory = await browser.evaluate(async () => Promise.all([window.rewardscope, window.helper].map((engine) => engine.call("memoryBytes", []))));
        row(`${title}, eight items of ${count} x ${length}, two workers, against ONNX Runtime Web's two threads`, {
          ...against(version, ms),
          memory_bytes: memory[0] + memory[1],
        });
      },
      { relaxed: false },
    );
  }
}

async function llama() {
  await withBoth("Chromium", async (browser, page) => {
    await loadLikelihood(browser, "cpu");
    const address = new URL("peers-gguf/SmolLM2-135M-Instruct.Q4_1.gguf", url).href;
    const { version } = await peer(page, "wllamaLoad", { address, threads: 1 });
    const input = batch(1, 512);
    const ms = await inTurn({ ours: () => ours(browser, input), peer: () => peer(page, "wllamaRun", { ids: input[0] }) }, TIMES);
    row("SmolLM2 1 x 512 from its 4-bit GGUF, one thread, against wllama", against(version, ms));
  });
}

async function graphics() {
  const [name, { title, count, length }] = Object.entries(MODELS)[0];
  const input = batch(count, length);
  for (const browserName of ["Firefox", "Chromium"]) {
    await withBoth(browserName, async (browser, page) => {
      const peerCounts = browser.inWorker && (await countingGpu(page));
      const { version } = await peer(page, "ortLoad", { address: onnx(name), provider: "webgpu", threads: 1 });
      const run = () => peer(page, "ortRun", { ids: input });
      await compare(name, "ONNX Runtime Web", (ids) => peer(page, "ortRun", { ids }), 1e-3);
      for (const dtype of ["auto", "q8"]) {
        const counts = browser.inWorker && (await countingGpu(browser));
        await load(browser, name, "gpu", dtype);
        await compare(name, "Rewardscope", (ids) => ours(browser, ids), dtype === "auto" ? 1e-3 : 0.05);
        const ms = await inTurn({ ours: () => ours(browser, input), every: () => ours(browser, input, true), peer: run }, browserName === "Firefox" ? TIMES : 1);
        row(`${title} ${count} x ${length}, ${dtype === "auto" ? "f32" : dtype}, ${browserName}'s WebGPU, against ONNX Runtime Web's f32`, against(version, ms));
        if (counts) {
          await counts();
          await peerCounts();
          await ours(browser, input);
          await run();
          row(`${title} ${count} x ${length}, ${dtype}, counted: one call of ours`, await counts());
          row(`${title} ${count} x ${length}, counted: one call of ONNX Runtime Web's`, await peerCounts());
        }
      }
    });
  }
}

/** Conversations of the sample's own, through templates and tokenizers, to scores. */
async function ties() {
  const items = JSON.parse(readFileSync(join(models, "ties.json"), "utf8"));
  await withBoth("Chromium", async (browser, page) => {
    await load(browser, "smollm2", "cpu", "auto");
    const { version } = await peer(page, "transformersLoad", { folder: "/peers-models/", name: "smollm2", device: "wasm", threads: 1 });
    const ours = (item) =>
      browser.evaluate(
        async ([prompt, completions]) => {
          const started = performance.now();
          const scores = await window.rewardscope.call("score", [[{ role: "user", content: prompt }], completions]);
          return { ms: performance.now() - started, scores: scores.map(({ score }) => score) };
        },
        [item.messages.at(-1).content, item.completions],
      );
    const theirs = (item) => peer(page, "transformersScore", { prompt: item.messages, completions: item.completions });
    const taken = { ours: [], peer: [] };
    let tokens = 0;
    for (const item of items.slice(0, 10)) {
      const [mine, other] = [await ours(item), await theirs(item)];
      const off = Math.max(...mine.scores.map((score, i) => Math.abs(score - other.scores[i]) / Math.max(1, Math.abs(score))));
      if (!(off < 1e-3)) throw new Error(`item ${item.id}: ${mine.scores} is not ${other.scores}`);
      taken.ours.push(mine.ms);
      taken.peer.push(other.ms);
      tokens += other.tokens;
    }
    const sum = (values) => values.reduce((a, b) => a + b, 0) / 1e3;
    row("Ten items of Ties end to end, SmolLM2, one thread, against transformers.js", {
      version,
      items: taken.ours.length,
      tokens,
      ours_items_a_second: taken.ours.length / sum(taken.ours),
      peer_items_a_second: taken.peer.length / sum(taken.peer),
      faster: sum(taken.peer) / sum(taken.ours),
    });
  });
}

console.log(JSON.stringify(machine));
for (const [name, part] of Object.entries({ cpu: processor, workers, ties, wllama: llama, webgpu: graphics })) if (asked(name)) await part();
mkdirSync(join(root, "target/bench"), { recursive: true });
writeFileSync(join(root, "target/bench/peers.json"), JSON.stringify({ machine, rows }, undefined, 2) + "\n");
console.log("written to target/bench/peers.json");
