// What arrives, stays and survives, in two real browsers: downloads from a Hub that misbehaves, a
// second visit without a network, runs that lose their tab, their worker or their GPU.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { countingGpu, inspect, loadLikelihood, loadHub, scoreTokens, startHub, url, using } from "./browsers.mjs";

const all = process.env.REWARDSCOPE_ALL === "1";
const root = new URL("../../", import.meta.url).pathname;
const fixtures = join(root, "tests/fixtures");
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-keep-"));
const smollm2 = JSON.parse(readFileSync(join(fixtures, "smollm2_logprobs.json"))).cases;
const shortest = smollm2.reduce((a, b) => (a.input_ids.length <= b.input_ids.length ? a : b));
const classifier = JSON.parse(readFileSync(join(fixtures, "parity/llama_plain/expected.json"))).conversations[0];

// One Hub for all tests.
const hub = await startHub();

/** Spoils the next answers; says how many the last fault had still to spoil. */
const misbehave = async (kind, times, path) => Number(await (await fetch(`${hub}/faults?kind=${kind}&times=${times}&path=${path}`)).text());
const behave = () => misbehave("none", 0, "");

const emptied = (browser) =>
  browser.evaluate(async () => {
    for (const { key } of (await window.rewardscope.call("storage", [])).files) await window.rewardscope.call("removeFile", [key]);
  });

async function classifierIsRight(browser) {
  const [score] = await scoreTokens(browser, [classifier.input_ids], 1);
  assert.ok(Math.abs(score.score - classifier.score) < 1e-3, `${score.score} is not ${classifier.score}`);
}

async function smollm2IsRight(browser) {
  const [score] = await scoreTokens(browser, [shortest.input_ids], 1);
  const worst = Math.max(...score.token_scores.map((value, i) => Math.abs(value - shortest.token_logprobs[i])));
  assert.ok(worst < 2e-3, `${worst}`);
  return [...score.token_scores];
}

const PASSING = ["cut", "short", "wrong-range", "429", "503", "500", "changed", "drip", "no-cors"];

test("Chromium: models come by id through every passing fault", async () => {
  await using("Chromium", "faults", async (browser) => {
    for (const fault of PASSING) {
      await emptied(browser);
      // Changed content is seen by its hash alone; a missing CORS header takes its probe with it.
      const times = { changed: 1, drip: 1, "no-cors": 2 }[fault] ?? 3;
      await misbehave(fault, times, "/cdn/models/test/llama_plain/model.safetensors");
      await loadHub(browser, "cpu", "test/llama_plain", hub);
      assert.equal(await behave(), 0, `${fault} did not happen`);
      await classifierIsRight(browser);
    }
    const models = all ? ["test/smollm2", "test/smollm2-parts"] : ["test/smollm2-parts"];
    for (const model of models) {
      for (const fault of all ? PASSING : ["cut"]) {
        await emptied(browser);
        await misbehave(fault, { changed: 1, drip: 1, "no-cors": 2 }[fault] ?? 3, "SmolLM2-135M-Instruct.Q4_1.gguf");
        await loadHub(browser, "cpu", model, hub);
        assert.equal(await behave(), 0, `${fault} did not happen`);
        await smollm2IsRight(browser);
      }
    }
  });
});

test("Chromium: rows and a queued model come by id", async () => {
  await using("Chromium", "keep-ids", async (browser) => {
    await behave();
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await browser.select("#dataset", "hub");
    await browser.fill("#data-id", "test/sample:sample.parquet");
    await browser.click("#open-rows");
    await browser.until("the rows", () => document.querySelector("#dataset-report")?.textContent.includes("140 items") && !document.querySelector("#run-subset").disabled);
    const kept = new URLSearchParams((await browser.evaluate(() => location.hash)).split("?")[1]);
    assert.deepEqual([kept.get("rows"), kept.get("id")], ["hub", "test/sample:sample.parquet"]);
    await browser.select("#run-subset", "Math");
    await browser.evaluate(() => (document.querySelector("#queue").open = true));
    await browser.fill("#queue-id", "test/llama_plain");
    await browser.click("#queue-add");
    await browser.click("#queue-run");
    await browser.until("the run", () => document.querySelectorAll("#runs tbody tr").length === 1 && document.querySelector("#cancel-run") === null);
    const row = await browser.text("#runs tbody tr");
    assert.match(row, /test\/llama_plain@0011223.*reward-bench-2 ?20/);
    // The run's file says which commit of which repositories it was.
    const commit = "00112233445566778899aabbccddeeff00112233";
    const key = await browser.evaluate(() => [...document.querySelectorAll("#explore-of option")].map(({ value }) => value).find((value) => !["run", "dataset"].includes(value)));
    const { protocol } = JSON.parse(await browser.evaluate((key) => window.rewardscope.call("runFile", [key]), key));
    assert.deepEqual([protocol.model, protocol.dataset], [`test/llama_plain@${commit}`, `test/sample@${commit}:sample.parquet`]);
    // A few rows alone, which a link may say too.
    await browser.fill("#data-rows", "3-4");
    await browser.click("#open-rows");
    await browser.until("two rows", () => document.querySelector("#dataset-report")?.textContent.includes("2 items"));
    assert.equal(new URLSearchParams((await browser.evaluate(() => location.hash)).split("?")[1]).get("only"), "3-4");
    await browser.fill("#data-rows", "4-3");
    await browser.click("#open-rows");
    await browser.until("a sentence", () => /choosing rows: numbers from 1/.test(document.querySelector("#error")?.textContent ?? ""), undefined, { allowError: true });
  });
});

test("Chromium: what was packed while it was loaded is kept, and loaded from there", async () => {
  await using("Chromium", "kept-packed", async (first) => {
    let browser = first;
    const load = async (dtype) => {
      await browser.evaluate(() => document.querySelector("#settings").setAttribute("open", ""));
      await browser.select("#dtype", dtype);
      await loadHub(browser, "cpu", "test/llama_plain", hub);
      return scoreTokens(browser, [classifier.input_ids], 1);
    };
    const names = async () => (await browser.evaluate(() => window.rewardscope.call("storage", []))).files.map(({ name }) => name);
    await emptied(browser);
    const scores = { auto: await load("auto") };
    assert.ok(!(await names()).some((name) => name.includes(" as ")), "what stays as it is stored is not kept twice");
    for (const dtype of ["f16", "q8", "q4"]) {
      scores[dtype] = await load(dtype);
      assert.ok((await names()).includes(`model.safetensors as ${dtype}`), `${await names()}`);
    }
    assert.notDeepEqual(scores.q4, scores.auto);
    const fingerprint = await browser.text("#model-report");
    // The full-size file goes; whatever comes of it now is what was kept.
    await browser.evaluate(async () => {
      const { files } = await window.rewardscope.call("storage", []);
      await window.rewardscope.call("removeFile", [files.find(({ name }) => name === "model.safetensors").key]);
    });
    browser = await browser.revisit();
    await misbehave("503", 1e9, "/cdn/models/test/llama_plain/model.safetensors");
    for (const dtype of ["f16", "q8", "q4"]) assert.deepEqual(await load(dtype), scores[dtype], dtype);
    await behave();
    assert.ok(fingerprint.includes("llama_plain"));
    // Damage is found, and the model packed anew.
    await browser.evaluate(async () => {
      const { files } = await window.rewardscope.call("storage", []);
      const { key } = files.find(({ name }) => name === "model.safetensors as q4");
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope");
      const folder = await (await root.getDirectoryHandle("files")).getDirectoryHandle(key);
      const writable = await (await folder.getFileHandle("data")).createWritable({ keepExistingData: true });
      await writable.write({ type: "write", position: 5000, data: new Uint8Array(64) });
      await writable.close();
    });
    browser = await browser.revisit();
    assert.deepEqual(await load("q4"), scores.q4);
  });
});

test("Chromium: what cannot be mended is one sentence", async () => {
  await using("Chromium", "refusals", async (browser) => {
    const cases = [
      ["web-page", "/cdn/", /model\.safetensors: a file was expected, the server sent a web page/],
      ["long-wait", "/cdn/", /asks to come back in 3600 s/],
      ["changed", "/cdn/", /should hash to [0-9a-f]{64}/],
      ["no-cors", "/cdn/", /sends no CORS headers that allow http:\/\/localhost/],
      ["web-page", "/api/", /test\/llama_plain: .*a web page/],
    ];
    for (const [fault, path, named] of cases) {
      await emptied(browser);
      await browser.evaluate(async () => (await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")).removeEntry("documents", { recursive: true }).catch(() => {}));
      await misbehave(fault, 1e9, path === "/cdn/" ? "/cdn/models/test/llama_plain/model.safetensors" : path);
      const said = await loadHub(browser, "cpu", "test/llama_plain", hub, { allowError: true });
      await behave();
      assert.match(said, named);
      assert.equal(await browser.exists("#model-report"), false);
    }
    assert.match(await loadHub(browser, "cpu", "test/gated", hub, { allowError: true }), /gated.*access token/);
    assert.match(await loadHub(browser, "cpu", "test/nothing", hub, { allowError: true }), /no such repository, or it is private/);
    assert.match(await loadHub(browser, "cpu", "nonsense", hub, { allowError: true }), /owner\/name.* was expected/);
    await loadHub(browser, "cpu", "test/gated", hub, { token: "hf_test_token" });
    await classifierIsRight(browser);
    // The token is nowhere but in memory.
    const kept = await browser.evaluate(async () => {
      const texts = [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), document.cookie, location.href];
      const walk = async (folder) => {
        for await (const handle of folder.values()) {
          if (handle.kind === "directory") await walk(handle);
          else texts.push(await (await handle.getFile()).text());
        }
      };
      await walk(await navigator.storage.getDirectory());
      return texts.some((text) => text.includes("hf_test_token"));
    });
    assert.equal(kept, false);
  });
});

test("Chromium: no room, damage and removal are said and mended", async () => {
  await using("Chromium", "storage", async (browser) => {
    const refused = async () => {
      await browser.select("#device", "cpu");
      await browser.click("#load");
      await browser.until("the refusal", () => document.querySelector("#error") !== null, undefined, { allowError: true });
      return browser.text("#error");
    };
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await browser.select("#model-source", "default");
    // What the browser says of its room before anything is fetched.
    await browser.inWorker(() => {
      self.realEstimate = StorageManager.prototype.estimate;
      StorageManager.prototype.estimate = () => Promise.resolve({ usage: 1e6, quota: 51e6 });
    });
    const early = await refused();
    assert.match(early, /storing smollm2-135m-instruct: it needs 98\.4 MB more, the browser gives this site 50\.0 MB; remove test\/llama_plain\/\S+ \(/);
    await browser.inWorker(() => {
      StorageManager.prototype.estimate = self.realEstimate;
    });
    // And what it says in the middle.
    await browser.boundStorage(60e6);
    assert.match(await refused(), /storing smollm2-135m-instruct\/SmolLM2\S+: the browser gives this site no more room; remove test\/llama_plain/);
    assert.equal(await browser.exists("#model-report"), false, "a half-stored model does not load");
    await browser.click("#keep-files");
    await loadLikelihood(browser, "cpu");
    await smollm2IsRight(browser);
    await browser.click("#keep-files");
    await browser.boundStorage(2e9);

    // A stored file that is damaged is fetched again once.
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    const damage = () =>
      browser.evaluate(async () => {
        const { files } = await window.rewardscope.call("storage", []);
        const { key } = files.find((file) => file.name === "model.safetensors");
        const folder = await (await (await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")).getDirectoryHandle("files")).getDirectoryHandle(key);
        const stream = await (await folder.getFileHandle("data")).createWritable({ keepExistingData: true });
        await stream.write({ type: "write", position: 70_000, data: new Uint8Array(64) });
        await stream.close();
      });
    await damage();
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await classifierIsRight(browser);
    await damage();
    await misbehave("changed", 1e9, "/cdn/models/test/llama_plain/model.safetensors");
    assert.match(await loadHub(browser, "cpu", "test/llama_plain", hub, { allowError: true }), /should hash to/);
    await behave();
    assert.equal(await browser.exists("#model-report"), false);

    const rows = () => browser.evaluate(() => document.querySelectorAll("#stored-files tbody tr").length);
    await browser.until("the list", () => document.querySelector("#stored-files") !== null, undefined, { allowError: true });
    const before = await rows();
    await browser.click("#stored-files tbody tr:first-child button");
    await browser.until("the removal", (n) => document.querySelectorAll("#stored-files tbody tr").length === n - 1, before, { allowError: true });
    await browser.click("#keep");
    await browser.until("an answer", () => document.querySelector("#notice") !== null || document.querySelector("#keep") === null, undefined, { allowError: true });
  });
});

/** The page through a line that can be cut: its own address, and a way to end it. */
async function cuttableLine() {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.on("error", () => to.destroy()).on("close", () => open.delete(from));
      from.pipe(to);
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    address: `http://localhost:${server.address().port}/`,
    cut() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: a second visit scores with the network off`, async () => {
    const line = await cuttableLine();
    await using(
      name,
      "offline",
      async (browser) => {
        await loadLikelihood(browser, "cpu");
        const online = await smollm2IsRight(browser);
        await browser.until("the shell to be kept", async () => (await navigator.serviceWorker.getRegistration())?.active?.state === "activated");
        line.cut();
        await assert.rejects(fetch(line.address));
        const again = await browser.revisit();
        await loadLikelihood(again, "cpu");
        assert.deepEqual(await smollm2IsRight(again), online);
        await again.click("#score");
        await again.until("scores", () => document.querySelectorAll("#try-scores tbody tr").length === 5);
      },
      { address: line.address },
    );
  });
}

/** Rows of a run; on the CPU it takes many for a run to be still going on when it is disturbed. */
const ROWS = { cpu: 96, gpu: 24 };

function rows(count) {
  const subset = (file, count) => readFileSync(join(root, "sample", file), "utf8").split("\n").slice(0, count);
  const path = join(scratch, "rows.jsonl");
  const files = ["math.jsonl", "safety.jsonl", "focus.jsonl", "factuality.jsonl", "precise-if.jsonl", "ties.jsonl"];
  writeFileSync(path, `${files.flatMap((file) => subset(file, count / files.length)).join("\n")}\n`);
  return path;
}

async function openRows(browser, path) {
  await browser.select("#dataset", "own");
  await browser.pick("#data-file", path);
  await browser.until("the dataset", () => document.querySelector("#dataset-report") !== null);
}

const marks = (browser) => browser.evaluate(() => window.rewardscope.call("marksJson", []));

async function ran(browser, count) {
  await browser.until("the run to end", (n) => document.querySelector("#progress")?.textContent.trim().startsWith(`${n} of`) && document.querySelector("#cancel-run") === null, count);
}

/** Waits until so many items are done, in a run that goes on. */
const reached = (browser, items) =>
  browser.until(`${items} items`, (items) => Number(document.querySelector("#progress")?.textContent.trim().match(/^(\d+)/)?.[1]) >= items, items);

/** The places of the items in the run's journal, in its order. */
const journalled = (browser) =>
  browser.evaluate(async () => {
    const logs = await (await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")).getDirectoryHandle("logs");
    const found = [];
    for await (const handle of logs.values()) {
      const lines = (await (await handle.getFile()).text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
      found.push(lines.flatMap((line) => (line.item ? [line.item.item] : [])));
    }
    return found;
  });

/** The text of the run's journal. */
const journal = (browser) =>
  browser.evaluate(async () => {
    const logs = await (await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")).getDirectoryHandle("logs");
    for await (const handle of logs.values()) return (await handle.getFile()).text();
    return "";
  });

/** What was on disk before is there still, to the last digit. */
async function goesOnFrom(browser, before) {
  assert.ok((await journal(browser)).startsWith(before), "the journal was begun anew");
}

/** After how many items an incident says that the run went on. */
const wentOn = (sentence) => Number(sentence.match(/the run went on after (\d+) items/)?.[1] ?? -1);

/** A run without trouble, for its marks. */
async function undisturbed(device, path) {
  let found;
  await using("Chromium", `undisturbed-${device}`, async (browser) => {
    await loadHub(browser, device, "test/llama_plain", hub);
    await openRows(browser, path);
    await browser.click("#run");
    await ran(browser, ROWS[device]);
    found = await marks(browser);
  });
  return found;
}

test("Chromium: a run survives a closed tab and killed workers", async () => {
  const path = rows(ROWS.cpu);
  const quiet = await undisturbed("cpu", path);
  await using("Chromium", "killed", async (browser) => {
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await openRows(browser, path);
    await browser.click("#run");
    await reached(browser, 5);
    let before = await journal(browser);
    // The tab is closed in mid-run.
    const again = await browser.revisit();
    await again.until("the run in the list", () => document.querySelector("#stored-runs") !== null);
    assert.match(await again.text("#stored-runs"), /llama_plain(@[0-9a-f]{7})? on .*rows\.jsonl.* of 96/);
    await loadHub(again, "cpu", "test/llama_plain", hub);
    await openRows(again, path);
    await again.click("#run");
    await reached(again, 10);
    await goesOnFrom(again, before);
    before = await journal(again);
    // Errors that nobody catches, as a panic in wasm is, and more of them after it.
    await again.inWorker(() => {
      for (let i = 0; i < 3; i++) setTimeout(() => { throw new Error("broken by a test"); }, 0);
    });
    await again.until("the incident", () => document.querySelectorAll(".incident").length === 1);
    // Replaced and going on: what was done before does not count.
    await again.until("the run to go on", () => document.querySelector(".incident").textContent.includes("the run went on"));
    const later = wentOn(await again.text(".incident")) + 5;
    await reached(again, later);
    await goesOnFrom(again, before);
    before = await journal(again);
    // The worker ends from outside.
    await again.evaluate(() => window.rewardscope.replace("killed by a test"));
    await ran(again, ROWS.cpu);
    await goesOnFrom(again, before);
    const incidents = await again.evaluate(() => [...document.querySelectorAll(".incident")].map((p) => p.textContent));
    assert.equal(incidents.length, 2, incidents.join("\n"));
    assert.ok(incidents[0].includes("broken by a test") && wentOn(incidents[0]) >= 10, incidents[0]);
    assert.ok(incidents[1].includes("killed by a test") && wentOn(incidents[1]) >= later, incidents[1]);
    const earlier = Number((await again.text("#notice")).match(/(\d+) items of it were scored earlier/)?.[1]);
    assert.ok(earlier >= 5, `${earlier} items were scored earlier`);
    assert.equal(await marks(again), quiet);
    assert.deepEqual(await journalled(again), [[...Array(ROWS.cpu).keys()]]);
    // Items of before open like those of after.
    await inspect(again, 0);
    await again.until("the item", () => document.querySelectorAll("#explore-item table tbody tr").length >= 2);
  });
});

test("Chromium: another worker joins a long run, dies in it, and the scores are those of one", async () => {
  // Long prompts: with one worker it would take the better part of a minute.
  const long = readFileSync(join(root, "docs/rows.md"), "utf8").slice(0, 4000);
  const lines = readFileSync(join(root, "sample/focus.jsonl"), "utf8").trim().split("\n");
  const path = join(scratch, "long.jsonl");
  const rows = lines.map((line, i) => ({ ...JSON.parse(line), prompt: `${long.slice(i, 2400 + 100 * i)}\n\n${JSON.parse(line).prompt}` }));
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  let found;
  await using("Chromium", "helpers", async (browser) => {
    await loadLikelihood(browser, "cpu");
    await openRows(browser, path);
    await browser.click("#run");
    await browser.until("the helper", () => /by 2 workers/.test(document.querySelector("#progress")?.textContent ?? ""));
    const before = await browser.evaluate(() => Number(document.querySelector("#progress").textContent.trim().match(/^(\d+)/)[1]));
    await reached(browser, before + 3);
    await browser.inWorker(() => setTimeout(() => { throw new Error("broken by a test"); }, 0), undefined, "helper");
    await ran(browser, rows.length);
    // The run does not depend on it.
    assert.equal(await browser.evaluate(() => document.querySelectorAll(".incident").length), 0);
    assert.deepEqual(await journalled(browser), [[...rows.keys()]]);
    const lines = await browser.evaluate(() => window.rewardscope.call("scoreFile", []));
    found = lines.trim().split("\n").map((line) => JSON.parse(line).scores);
  });
  const out = join(scratch, "long");
  const model = join(root, ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  const asked = ["eval", "--model", model, "--benchmark", "reward-bench-2", "--data", path, "--device", "cpu", "--out", out];
  execFileSync(join(target, "debug/rewardscope"), asked, { stdio: "ignore" });
  const { items } = JSON.parse(readFileSync(join(out, "run.json"), "utf8"));
  assert.equal(items.length, found.length);
  const off = items.flatMap(({ scores }, i) => scores.map((score, place) => Math.abs(score - found[i][place]) / Math.max(1, Math.abs(score))));
  console.log(`largest difference to the command's scores ${Math.max(...off).toExponential(1)}`);
  assert.ok(Math.max(...off) < 1e-4);
});

test("Chromium: a run survives its GPU", async () => {
  const path = rows(ROWS.gpu);
  const quiet = await undisturbed("gpu", path);
  await using("Chromium", "gpu-lost", async (browser) => {
    const remember = () => {
      const original = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...options) {
        self.lastDevice = await original.apply(this, options);
        return self.lastDevice;
      };
    };
    await browser.until("the worker", () => document.querySelector("#device-reason") !== null);
    await browser.inWorker(remember);
    await loadHub(browser, "gpu", "test/llama_plain", hub);
    await openRows(browser, path);
    await browser.click("#run");
    await reached(browser, 6);
    const before = await journal(browser);
    await browser.inWorker(() => self.lastDevice.destroy());
    await browser.until("the incident", () => document.querySelectorAll(".incident").length === 1);
    await ran(browser, ROWS.gpu);
    await goesOnFrom(browser, before);
    console.log(await browser.text(".incident"));
    assert.ok(wentOn(await browser.text(".incident")) >= 6);
    assert.equal(await marks(browser), quiet);
    assert.deepEqual(await journalled(browser), [[...Array(ROWS.gpu).keys()]]);
  });
});

// The 0.6 billion weights of Qwen3-0.6B: bytes on the device, of the packed form and of the few that stay f32.
const DTYPES = { auto: 1.192e9, f32: 2.384e9, f16: 1.192e9, q8: 0.6707e9, q4: 0.3874e9 };
for (const [dtype, deviceBytes] of Object.entries(DTYPES)) {
  test(`Chromium: 1.19 GB of bf16 stream onto the device in little memory, as ${dtype}`, { skip: !all && "with --all" }, async () => {
    await using("Chromium", `large-${dtype}`, async (browser) => {
      // The Hub of the tests hashes its files when they are first listed.
      await (await fetch(`${hub}/api/models/test/qwen3-0.6b-sized/revision/main?blobs=true`)).text();
      const plain = await browser.evaluate(async (address) => {
        const started = performance.now();
        let bytes = 0;
        for await (const chunk of (await fetch(address)).body) bytes += chunk.byteLength;
        return { bytes, ms: performance.now() - started };
      }, `${hub}/test/qwen3-0.6b-sized/resolve/00112233445566778899aabbccddeeff00112233/model.safetensors`);
      const counts = await countingGpu(browser);
      await browser.evaluate(() => document.querySelector("#settings").setAttribute("open", ""));
      await browser.select("#dtype", dtype);
      const started = Date.now();
      await loadHub(browser, "gpu", "test/qwen3-0.6b-sized", hub);
      const ms = Date.now() - started;
      const bytes = await browser.evaluate(() => window.rewardscope.call("memoryBytes", []));
      const { mostLiveBytes } = await counts();
      const rate = (bytes, ms) => `${(bytes / ms / 1e3).toFixed(0)} MB/s`;
      console.log(
        `${await browser.text("#model-report")} From the click in ${(ms / 1e3).toFixed(1)} s, ${rate(plain.bytes, ms)}; plain ${rate(plain.bytes, plain.ms)}; peak wasm memory ${(bytes / 1e6).toFixed(0)} MB; at most ${(mostLiveBytes / 1e6).toFixed(0)} MB in buffers`,
      );
      assert.ok(bytes < 256e6, `${bytes} bytes`);
      assert.ok(mostLiveBytes < 1.15 * deviceBytes, `${mostLiveBytes} bytes on the device`);
    }, { onDisk: true });
  });
}

test("the built site has every part that its manifests name", () => {
  const folder = join(root, ".cache/site/models/smollm2-135m-instruct");
  const { files } = JSON.parse(readFileSync(join(folder, "parts.json")));
  const there = new Set(readdirSync(folder));
  assert.ok(files[0].parts.length > 1 && files[0].parts.every((part) => there.has(part.name) && part.bytes <= 20 * 2 ** 20));
});
