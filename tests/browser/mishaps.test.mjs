// Mishaps around the engine: work that is cancelled, browsers that lack something, controls that a browser refills, and
// new versions of the site.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { checkpoint, loadFiles, loadReward, modelsFrom, scoreRainbow, show, url, using } from "./browsers.mjs";

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
  await modelsFrom(browser, "Gallery");
}

/** Begins to load a model of the Hub at an address. */
async function beginHubLoad(browser, address) {
  await modelsFrom(browser, "From the Hub");
  await browser.select("#device", "cpu");
  await browser.fill("#hub-address", address);
  await browser.fill("#hub-id", "owner/name");
  await browser.click("#load");
}

/** Begins to load the site's model. */
async function beginLoad(browser) {
  await modelsFrom(browser, "Gallery");
  await browser.select("#device", "cpu");
  await browser.press("button", "Load SmolLM2-135M reward model");
}

const isThere = (browser) =>
  browser.until("the engine", () => window.rewardscope.call("memoryBytes", []).then((bytes) => bytes > 0));

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: loads end within a second of Cancel, whatever the servers do (timed)`, async () => {
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
          assert.equal((await scoreRainbow(browser)).length, 2);
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

test("Chromium: scoring of 5,000 tokens ends within a second of Cancel, and the model is opened again (timed)", async () => {
  await using("Chromium", "cancelled-scoring", async (browser) => {
    await showModels(browser);
    await loadReward(browser, "cpu");
    await show(browser, "try");
    const before = await scoreRainbow(browser);
    const long = "Reward models score completions of prompts. ".repeat(700);
    await browser.page.getByRole("textbox", { name: "Prompt" }).fill(long);
    // It is scored while it is typed.
    await new Promise((done) => setTimeout(done, 2000));
    await cancel(browser, "scoring of 5,000 tokens");
    await isOpenAgain(browser);
    assert.deepEqual(await scoreRainbow(browser), before);
  });
});

/** Makes the engine's worker see a browser in which `code` has run. */
const crippled = (code) =>
  mirror(async (request, response) => {
    if (!/\/worker-[^/]*\.js$/.test(request.url)) return false;
    response.writeHead(200, { "Content-Type": "text/javascript" });
    response.end(`${code}\n${await (await fetch(new URL(request.url, url))).text()}`);
    return true;
  });

for (const [what, code, sentence] of [
  ["SIMD", "WebAssembly.validate = () => false;", /^This browser lacks WebAssembly SIMD; Rewardscope needs .*\.$/],
  ["WebAssembly", "delete self.WebAssembly;", /^This browser has no WebAssembly, .*; Rewardscope needs .*\.$/],
]) {
  test(`Chromium: a browser without ${what} is told so in one sentence`, async () => {
    const site = await crippled(code);
    try {
      await using(
        "Chromium",
        `without-${what}`,
        async (browser) => {
          await browser.until("the sentence", () => document.querySelector("#error") !== null, undefined, {
            allowError: true,
          });
          assert.match(await browser.text("#error"), sentence);
        },
        { address: site.address },
      );
    } finally {
      site.stop();
    }
  });
}

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: what a browser refills after Back is what is computed`, async () => {
    await using(name, "refilled", async (browser) => {
      const { page } = browser;
      await browser.until("the fields", () => document.querySelector("textarea") !== null);
      const text = "Which metal is liquid at room temperature?";
      await show(browser, "benchmark");
      await browser.until("the view", () => document.querySelector("#seed") !== null);
      await browser.fill("#seed", "7");
      await show(browser, "models");
      await browser.until("the view", () => document.querySelector("#device") !== null);
      await browser.select("#device", "cpu");
      await show(browser, "try");
      const prompt = await page.waitForSelector("[data-view=try] textarea");
      await prompt.evaluate((element, text) => {
        element.value = text;
        element.dispatchEvent(new InputEvent("input", { bubbles: true }));
      }, text);
      // Without drafts and without the back/forward cache, as in a private window or after a crash.
      await browser.evaluate(() => {
        Storage.prototype.setItem = () => {};
        sessionStorage.clear();
        addEventListener("unload", () => {});
      });
      await page.goto(new URL("icon.svg", url).href);
      await page.goBack();
      await showModels(browser);
      const shown = await browser.evaluate(() => ({
        text: document.querySelector("[data-view=try] textarea").value,
        device: document.querySelector("#device").value,
        seed: document.querySelector("#seed").value,
      }));
      console.log(`${name} shows`, shown);
      // What the page asks of the engine.
      await browser.evaluate(() => {
        const { call } = window.rewardscope;
        window.asked = {};
        window.rewardscope.call = function (name, args, ...rest) {
          window.asked[name] = args;
          return call.call(this, name, args, ...rest);
        };
      });
      await loadFiles(browser, shown.device, checkpoint("llama_plain"));
      await show(browser, "try");
      await browser.click("#score");
      await show(browser, "benchmark");
      await browser.until("idle", () => !document.querySelector("#run").disabled);
      await browser.click("#run");
      await browser.until("the run", () => window.asked.plan !== undefined);
      const asked = await browser.evaluate(() => window.asked);
      assert.equal(asked.score[0].at(-1).content, shown.text);
      assert.equal(asked.loadFiles[3].device, shown.device);
      assert.equal(String(asked.plan[2]), shown.seed);
    });
  });
}

/** The site, of which a second version can be deployed: its files have other names, and those of the first are gone. */
async function deployments() {
  const text = async (name) => (await fetch(new URL(name, url))).text();
  const manifest = await text("sw.js");
  const names = [...manifest.matchAll(/assets\/([\w.-]+-[\w-]{8}\.(?:js|css|safetensors))/g)].map(([, name]) => name);
  const worker = await text(`assets/${names.find((name) => /^worker-/.test(name))}`);
  names.push(...[...worker.matchAll(/rewardscope_(?:bg|relaxed)-[\w-]{8}\.wasm/g)].map(([name]) => name));
  const second = (name) => name.replace(/\.(\w+)$/, ".second.$1");
  let isSecond = false;
  const asked = [];
  const site = await mirror(async (request, response) => {
    const path = new URL(request.url, url).pathname;
    asked.push(path);
    if (!isSecond || !/^\/($|index\.html|sw\.js|assets\/)/.test(path)) return false;
    if (path.startsWith("/assets/") && !path.includes(".second.")) {
      response.writeHead(404, { "Content-Type": "text/plain" }).end("not found");
      return true;
    }
    const found = await fetch(new URL(path.replace(".second.", "."), url));
    const type = found.headers.get("content-type");
    response.writeHead(found.status, { "Content-Type": type });
    if (!/html|javascript|css/.test(type)) {
      response.end(Buffer.from(await found.arrayBuffer()));
      return true;
    }
    let body = await found.text();
    for (const name of names) body = body.replaceAll(name, second(name));
    response.end(body);
    return true;
  });
  return { ...site, asked, deploy: () => (isSecond = true) };
}

const isKept = (browser) =>
  browser.until(
    "the page to be kept",
    async () => (await navigator.serviceWorker.getRegistration())?.active?.state === "activated",
    undefined,
    { allowError: true },
  );
const isSecondShown = (page) => page.evaluate(() => document.querySelector("script[src]").src.includes(".second."));

test("Chromium: a new version is announced, taken when asked for, and the old one goes on in another tab", async () => {
  const site = await deployments();
  try {
    await using(
      "Chromium",
      "new-version",
      async (first) => {
        await isKept(first);
        const browser = await first.revisit();
        await isThere(browser);
        await showModels(browser);
        await loadFiles(browser, "cpu", checkpoint("llama_plain"));
        await browser.evaluate(() => (window.isOld = true));
        site.deploy();
        const other = await browser.page.context().newPage();
        await other.goto(site.address);
        assert.equal(await isSecondShown(other), false);
        const press = (page) => page.getByRole("button", { name: "Update", exact: true });
        await press(other).waitFor();
        await press(browser.page).waitFor();
        assert.equal(await browser.evaluate(() => window.isOld), true);
        await Promise.all([other.waitForEvent("load"), press(other).click()]);
        assert.equal(await isSecondShown(other), true);
        await other.waitForFunction(() => window.rewardscope.call("memoryBytes", []).then((bytes) => bytes > 0));
        // The old one is left as it is, and has what it fetches only now: the palette, and the engine for a new worker.
        assert.equal(await browser.evaluate(() => window.isOld), true);
        await press(browser.page).waitFor();
        await browser.page.bringToFront();
        await browser.page.keyboard.press("Control+k");
        await browser.page.getByRole("dialog").waitFor();
        await browser.page.keyboard.press("Escape");
        await browser.evaluate(() => window.rewardscope.replace("ended by a test"));
        await browser.until("the notice", () =>
          document.querySelector("#notice")?.textContent.includes("started again"),
        );
        assert.equal((await scoreRainbow(browser)).length, 2);
        const kept = () => other.evaluate(async () => (await caches.keys()).filter((name) => /page/.test(name)).length);
        assert.equal(await kept(), 2);
        await Promise.all([browser.page.waitForEvent("load"), press(browser.page).click()]);
        assert.equal(await isSecondShown(browser.page), true);
        // Once no tab shows the old version, its files go.
        await other.close();
        const last = await browser.revisit();
        assert.equal(await isSecondShown(last.page), true);
        await last.until(
          "the old files to go",
          async () => (await caches.keys()).filter((name) => /page/.test(name)).length === 1,
        );
      },
      { address: site.address },
    );
  } finally {
    site.stop();
  }
});

test("Chromium: where the site no longer has the engine of the kept page, the new version is taken", async () => {
  const site = await deployments();
  try {
    await using(
      "Chromium",
      "outdated",
      async (first) => {
        await isKept(first);
        await isThere(first);
        // As if the engine had never come, or the browser had made room.
        await first.evaluate(async () => {
          for (const name of await caches.keys()) if (name.startsWith("rewardscope-engine")) await caches.delete(name);
        });
        site.deploy();
        const browser = await first.revisit();
        await browser.page.waitForFunction(() => document.querySelector("script[src]")?.src.includes(".second."));
        await isThere(browser);
        assert.equal(await browser.text("#error"), "");
        assert.ok(site.asked.some((path) => /rewardscope_\w+-[\w-]+\.wasm$/.test(path)));
      },
      { address: site.address },
    );
  } finally {
    site.stop();
  }
});

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: the bundled sample opens without a network on a second visit`, async () => {
    const site = await mirror(() => false);
    try {
      await using(
        name,
        "offline-sample",
        async (browser) => {
          const open = async (page) => {
            await isThere(page);
            await show(page, "benchmark");
            await page.until("the view", () => document.querySelector("#open-rows")?.disabled === false);
            await page.click("#open-rows");
            await page.until("the rows", () => document.querySelector("#dataset-report") !== null);
          };
          await open(browser);
          await isKept(browser);
          site.stop();
          await open(await browser.revisit());
        },
        { address: site.address },
      );
    } finally {
      site.stop();
    }
  });
}
