// Runs that lose their tab, their worker or their GPU, and are continued.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { all, inspect, loadHub, loadLikelihood, startHub, using } from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const root = new URL("../../", import.meta.url).pathname;
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-survive-"));

// One Hub for all tests.
const hub = await startHub();

/** Rows of a run. The CPU needs more of them, so that the run is not over before it is disturbed. */
const ROWS = { cpu: 96, gpu: 24 };

function rows(count) {
  const subset = (file, count) =>
    readFileSync(join(root, "sample", file), "utf8")
      .split("\n")
      .slice(0, count);
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
  await browser.until(
    "the run to end",
    (n) =>
      document.querySelector("#progress")?.textContent.trim().startsWith(`${n} of`) &&
      document.querySelector("#cancel-run") === null,
    count,
  );
}

/** Waits until at least so many items of the run are done. */
const reached = (browser, items) =>
  browser.until(
    `${items} items`,
    (items) =>
      Number(
        document
          .querySelector("#progress")
          ?.textContent.trim()
          .match(/^(\d+)/)?.[1],
      ) >= items,
    items,
  );

/** For each journal the places of its items, in the journal's order. */
const journalled = (browser) =>
  browser.evaluate(async () => {
    const logs = await (
      await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")
    ).getDirectoryHandle("logs");
    const found = [];
    for await (const handle of logs.values()) {
      const lines = (await (await handle.getFile()).text())
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      found.push(lines.flatMap((line) => (line.item ? [line.item.item] : [])));
    }
    return found;
  });

/** The text of the run's journal. */
const journal = (browser) =>
  browser.evaluate(async () => {
    const logs = await (
      await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")
    ).getDirectoryHandle("logs");
    for await (const handle of logs.values()) return (await handle.getFile()).text();
    return "";
  });

/** Asserts that the journal still begins with its earlier text. */
async function goesOnFrom(browser, before) {
  assert.ok((await journal(browser)).startsWith(before), "the journal was begun anew");
}

/** The number of items after which the run went on, from an incident's text; -1 if it has none. */
const wentOn = (sentence) => Number(sentence.match(/the run went on after (\d+) items?/)?.[1] ?? -1);

/** The marks of a run without any failure. */
async function undisturbed(device, path) {
  let found;
  await using("Chromium", `undisturbed-${device}`, async (browser) => {
    await loadHub(browser, device, "test/llama_plain", hub);
    await openRows(browser, path);
    await startRun(browser);
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
    await startRun(browser);
    await reached(browser, 5);
    let before = await journal(browser);
    // The tab is closed during the run.
    const again = await browser.revisit();
    await again.until("the run in the list", () => document.querySelector("#stored-runs") !== null);
    assert.match(await again.text("#stored-runs"), /llama_plain(@[0-9a-f]{7})? on .*rows\.jsonl.* of 96/);
    await loadHub(again, "cpu", "test/llama_plain", hub);
    await openRows(again, path);
    await startRun(again);
    await reached(again, 10);
    await goesOnFrom(again, before);
    before = await journal(again);
    // Uncaught errors, as from a panic in wasm, several in a row.
    await again.inWorker(() => {
      for (let i = 0; i < 3; i++)
        setTimeout(() => {
          throw new Error("broken by a test");
        }, 0);
    });
    await again.until("the incident", () => document.querySelectorAll(".incident").length === 1);
    // Waits until the new worker continues the run. Items from before do not count.
    await again.until("the run to go on", () =>
      document.querySelector(".incident").textContent.includes("the run went on"),
    );
    const later = wentOn(await again.text(".incident")) + 5;
    await reached(again, later);
    await goesOnFrom(again, before);
    before = await journal(again);
    // The worker is ended from outside.
    await again.evaluate(() => window.rewardscope.replace("killed by a test"));
    await ran(again, ROWS.cpu);
    await goesOnFrom(again, before);
    const incidents = await again.evaluate(() => [...document.querySelectorAll(".incident")].map((p) => p.textContent));
    assert.equal(incidents.length, 2, incidents.join("\n"));
    assert.ok(incidents[0].includes("broken by a test") && wentOn(incidents[0]) >= 10, incidents[0]);
    assert.ok(incidents[1].includes("killed by a test") && wentOn(incidents[1]) >= later, incidents[1]);
    const earlier = Number((await again.text("#notice")).match(/(\d+) items were scored earlier/)?.[1]);
    assert.ok(earlier >= 5, `${earlier} items were scored earlier`);
    assert.equal(await marks(again), quiet);
    assert.deepEqual(await journalled(again), [[...Array(ROWS.cpu).keys()]]);
    // An item scored before the failures can be opened too.
    await inspect(again, 0);
    await again.until("the item", () => document.querySelectorAll("#explore-item li").length >= 2);
  });
});

test("Chromium: another worker joins a long run, dies in it, and the scores are those of one", async () => {
  // Long prompts, with which one worker would need most of a minute.
  const long = readFileSync(join(root, "docs/rows.md"), "utf8").slice(0, 2200);
  const lines = readFileSync(join(root, "sample/focus.jsonl"), "utf8").trim().split("\n");
  const path = join(scratch, "long.jsonl");
  const rows = lines.map((line, i) => ({
    ...JSON.parse(line),
    prompt: `${long.slice(i, 1200 + 50 * i)}\n\n${JSON.parse(line).prompt}`,
  }));
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  let found;
  await using("Chromium", "helpers", async (browser) => {
    await loadLikelihood(browser, "cpu");
    await openRows(browser, path);
    await startRun(browser);
    await browser.until("the helper", () =>
      /by 2 workers/.test(document.querySelector("#progress")?.textContent ?? ""),
    );
    const before = await browser.evaluate(() =>
      Number(
        document
          .querySelector("#progress")
          .textContent.trim()
          .match(/^(\d+)/)[1],
      ),
    );
    await reached(browser, before + 3);
    await browser.inWorker(
      () =>
        setTimeout(() => {
          throw new Error("broken by a test");
        }, 0),
      undefined,
      "helper",
    );
    await ran(browser, rows.length);
    // The run does not depend on the helper.
    assert.equal(await browser.evaluate(() => document.querySelectorAll(".incident").length), 0);
    assert.deepEqual(await journalled(browser), [[...rows.keys()]]);
    const lines = await browser.evaluate(() => window.rewardscope.call("scoreFile", []));
    found = lines
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).scores);
  });
  // Some items are scored by the command too, which alone would take minutes for all.
  const [out, few] = [join(scratch, "long"), join(scratch, "few.jsonl")];
  const compared = [...rows.keys()].filter((place) => place % (all ? 4 : 16) === 1);
  writeFileSync(few, compared.map((place) => `${JSON.stringify(rows[place])}\n`).join(""));
  const model = join(root, ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  const asked = [
    "eval",
    "--model",
    model,
    "--benchmark",
    "reward-bench-2",
    "--data",
    few,
    "--device",
    "cpu",
    "--out",
    out,
  ];
  execFileSync(join(target, "debug/rewardscope"), asked, { stdio: "ignore" });
  const { items } = JSON.parse(readFileSync(join(out, "run.json"), "utf8"));
  assert.deepEqual([items.length, found.length], [compared.length, rows.length]);
  const off = items.flatMap(({ scores }, i) =>
    scores.map((score, place) => Math.abs(score - found[compared[i]][place]) / Math.max(1, Math.abs(score))),
  );
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
    await startRun(browser);
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
