// Mishaps around the engine: work that is cancelled, browsers that lack something, controls that a browser refills, and
// new versions of the site.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { checkpoint, loadFiles, loadReward, show, url, using } from "./browsers.mjs";

/** Cancelled work has to end within this many ms. */
const MOST_MS = 1000;

/** Starts a server for the duration of a test. Gives its address and how to stop it. */
function serve(answer) {
  const sockets = new Set();
  const server = createServer(answer);
  server.on("connection", (socket) => sockets.add(socket.on("close", () => sockets.delete(socket))));
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return new Promise((done) =>
    server.listen(0, "127.0.0.1", () => done({ address: `http://localhost:${server.address().port}/`, stop })),
  );
}

/** Serves the site; `instead` answers a request in its place by returning true. */
const mirror = (instead) =>
  serve(async (request, response) => {
    if (await instead(request, response)) return;
    const { range } = request.headers;
    const found = await fetch(new URL(request.url, url), { headers: range ? { range } : {} });
    const kept = ["content-type", "content-range", "accept-ranges"].flatMap((name) =>
      found.headers.has(name) ? [[name, found.headers.get(name)]] : [],
    );
    response.writeHead(found.status, Object.fromEntries(kept));
    response.end(Buffer.from(await found.arrayBuffer()));
  });

/** Accepts requests and never answers them. */
const silence = () => serve(() => {});

/** Presses Cancel. Gives how many ms later the page says that the work has ended. */
async function cancel(browser, what) {
  const ms = await browser.evaluate(async () => {
    const later = () => new Promise((done) => setTimeout(done, 10));
    const find = () =>
      [...document.querySelectorAll("button")].find(
        (button) => button.checkVisibility() && button.textContent.trim() === "Cancel",
      );
    while (!find()) await later();
    const began = performance.now();
    find().click();
    const hasEnded = () => /^(Cancelled|Paused)/.test(document.querySelector("#notice")?.textContent ?? "");
    while (!hasEnded() && performance.now() - began < 60_000) await later();
    return performance.now() - began;
  });
  console.log(`${browser.name}: ${what} ends ${ms.toFixed(0)} ms after Cancel`);
  assert.equal(await browser.text("#error"), "");
  assert.ok(ms < MOST_MS, `${what} ended after ${ms} ms`);
}

/** Waits until what was open is open again. */
const isOpenAgain = (browser) =>
  browser.until(
    "the model to be opened again",
    () =>
      document.querySelector("#notice")?.textContent.includes("again.") &&
      !document.querySelector("#notice").textContent.includes("Opening"),
  );

/** Shows Models, which comes after the page's first paint. */
async function showModels(browser) {
  await show(browser, "models");
  await browser.until("the view", () => document.querySelector("#load") !== null, undefined, { allowError: true });
}

/** Presses Load for a model of the Hub at an address. */
async function beginHubLoad(browser, address) {
  await showModels(browser);
  await browser.select("#model-source", "hub");
  await browser.select("#device", "cpu");
  await browser.evaluate(() => document.querySelector("#model details").setAttribute("open", ""));
  await browser.fill("#hub-address", address);
  await browser.fill("#hub-id", "owner/name");
  await browser.click("#load");
}

/** Presses Load for the site's model. */
async function beginLoad(browser) {
  await showModels(browser);
  await browser.select("#model-source", "default");
  await browser.select("#device", "cpu");
  await browser.click("#load");
}

const isThere = (browser) =>
  browser.until("the engine", () => window.rewardscope.call("memoryBytes", []).then((bytes) => bytes > 0));

const score = (browser) =>
  browser.evaluate(async () =>
    (
      await window.rewardscope.call("score", [
        [{ role: "user", content: "Name a colour of the rainbow." }],
        ["Violet.", "Brown."],
      ])
    ).map((score) => score.score),
  );

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: loads end within a second of Cancel, whatever the servers do`, async () => {
    const silent = await silence();
    let pieces = 0;
    let isSlow = true;
    // A piece of the model of 21 MB takes 20 seconds.
    const slow = await mirror((request, response) => {
      if (!isSlow || !request.url.includes(".gguf.")) return false;
      pieces++;
      response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": 20_971_520 });
      const timer = setInterval(() => response.write(Buffer.alloc(50_000)), 50);
      response.on("close", () => clearInterval(timer));
      return true;
    });
    try {
      await using(
        name,
        "cancelled-loads",
        async (browser) => {
          await isThere(browser);
          await beginHubLoad(browser, silent.address);
          await new Promise((done) => setTimeout(done, 1500));
          await cancel(browser, "a load from a silent server");
          await beginLoad(browser);
          while (pieces === 0) await new Promise((done) => setTimeout(done, 50));
          await new Promise((done) => setTimeout(done, 1500));
          await cancel(browser, "a load amid its bytes");
          assert.equal(await browser.exists("#model-report"), false);
          // The page works afterwards.
          await loadFiles(browser, "cpu", checkpoint("llama_plain"));
          assert.equal((await score(browser)).length, 2);
          isSlow = false;
        },
        { address: slow.address },
      );
    } finally {
      silent.stop();
      slow.stop();
    }
  });
}

test("Chromium: a load that is cancelled before the engine is there does not begin", async () => {
  let isHeld = true;
  let asked = 0;
  const site = await mirror(async (request) => {
    if (request.url.includes("/models/")) asked++;
    while (isHeld && request.url.includes(".wasm")) await new Promise((done) => setTimeout(done, 50));
    return false;
  });
  try {
    await using(
      "Chromium",
      "cancelled-early",
      async (browser) => {
        await beginLoad(browser);
        await new Promise((done) => setTimeout(done, 500));
        await cancel(browser, "a load before the engine is there");
        isHeld = false;
        await isThere(browser);
        await new Promise((done) => setTimeout(done, 1000));
        assert.equal(asked, 0);
        assert.equal(await browser.exists("#model-report"), false);
        await loadFiles(browser, "cpu", checkpoint("llama_plain"));
      },
      { address: site.address },
    );
  } finally {
    site.stop();
  }
});

test("Chromium: scoring of 5,000 tokens ends within a second of Cancel, and the model is opened again", async () => {
  await using("Chromium", "cancelled-scoring", async (browser) => {
    await showModels(browser);
    await loadReward(browser, "cpu");
    await show(browser, "try");
    const before = await score(browser);
    const long = "Reward models score completions of prompts. ".repeat(700);
    await browser.page.getByRole("textbox", { name: "Prompt" }).fill(long);
    // It is scored while it is typed.
    await new Promise((done) => setTimeout(done, 2000));
    await cancel(browser, "scoring of 5,000 tokens");
    await isOpenAgain(browser);
    assert.deepEqual(await score(browser), before);
  });
});
