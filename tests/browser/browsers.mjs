// Two real browsers with the same small interface: Chromium on SwiftShader through Playwright, and Firefox on lavapipe
// through Puppeteer. Environment variables give the paths of their programs.
import { deepEqual, ok } from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after } from "node:test";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run these tests with cargo xtask test`);
  return value;
}

/** Address of the page under test. */
export const url = required("REWARDSCOPE_URL");

/** Timeout in ms for anything on the page. It is long because software GPUs are slow. */
export const PATIENCE_MS = Number(process.env.REWARDSCOPE_PATIENCE_MS || 300_000);

/** Whether what takes long is tested, too. */
export const all = process.env.REWARDSCOPE_ALL === "1";
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
];

// Without these flags a machine without a GPU has no WebGPU adapter.
const WEBGPU_FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Picks files and waits for their `change` event, which browsers fire a little later. */
async function picking(page, selector, pick) {
  const taken = page.evaluate(
    (s) =>
      new Promise((done) =>
        document.querySelector(s).addEventListener("change", () => setTimeout(done, 0), { once: true }),
      ),
    selector,
  );
  await pick();
  await taken;
}

/** Shows the view that contains an element, as the link in the page's header does, and unfolds what hides it. */
async function reveal(page, selector) {
  // Views other than the first are fetched after the page is drawn.
  await page.waitForSelector(selector, { state: "attached" });
  await page.evaluate(async (s) => {
    const element = document.querySelector(s);
    // The summary of a fold is seen while that is closed.
    for (let fold = element?.closest("details"); fold; fold = fold.parentElement.closest("details"))
      if (!fold.firstElementChild.contains(element)) fold.open = true;
    const view = element?.closest("[data-view]");
    if (!view?.hidden) return;
    location.hash = view.dataset.view;
    while (view.hidden) await new Promise((done) => setTimeout(done, 5));
  }, selector);
}

/** Presses the radio button with that value, if the selector is a group of them. */
const press = (page, selector, value) =>
  page.evaluate(
    async ([s, value]) => {
      const group = document.querySelector(s);
      if (group?.getAttribute("role") !== "radiogroup") return false;
      const button = group.querySelector(`input[value="${value}"]`);
      while (button.matches(":disabled")) await new Promise((done) => setTimeout(done, 20));
      button.click();
      return true;
    },
    [selector, value],
  );

const common = (page, close) => ({
  page,
  close,
  /** Runs a function in the page with one argument, which must be serialisable as JSON. */
  evaluate: (work, argument) => page.evaluate(work, argument),
  async click(selector) {
    await reveal(page, selector);
    await page.click(selector);
  },
  text: (selector) =>
    page.evaluate((s) => document.querySelector(s)?.textContent?.replace(/\s+/g, " ").trim() ?? "", selector),
  exists: (selector) => page.evaluate((s) => document.querySelector(s) !== null, selector),
  /** Waits until `condition(argument)` is true in the page. An error shown there is thrown unless it is allowed. */
  async until(what, condition, argument, { allowError = false, timeout = PATIENCE_MS } = {}) {
    const deadline = Date.now() + timeout;
    for (;;) {
      if (await page.evaluate(condition, argument)) return;
      const error = await page.evaluate(() => document.querySelector("#error")?.textContent ?? "");
      if (error && !allowError) throw new Error(`waiting for ${what}, the page said: ${error}`);
      if (Date.now() > deadline) throw new Error(`waited ${timeout} ms for ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
  screenshot: (path) => page.screenshot({ path, fullPage: true }),
  /** Presses what is shown under a role and an accessible name. */
  async press(role, name) {
    if (page.getByRole) await page.getByRole(role, { name, exact: true }).click();
    else await page.locator(`::-p-aria([name="${name}"][role="${role}"])`).click();
  },
});

/**
 * Counts the WebGPU calls of the engine's worker from now on. The returned function gives the counts since it was last
 * called (dispatches, created pipelines, readbacks, bytes written by the queue, bytes of created buffers), and the
 * bytes of all existing buffers now and at their peak.
 */
export async function countingGpu(browser) {
  await browser.inWorker(() => {
    const counts = { dispatches: 0, pipelines: 0, readbacks: 0, writtenBytes: 0, bufferBytes: 0, largestBuffer: 0 };
    self.gpuCounts = counts;
    self.gpuBytes = { live: 0, most: 0 };
    const before = (prototype, name, note) => {
      const own = prototype[name];
      prototype[name] = function (...args) {
        note(args);
        return own.apply(this, args);
      };
    };
    before(GPUComputePassEncoder.prototype, "dispatchWorkgroups", () => counts.dispatches++);
    before(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect", () => counts.dispatches++);
    before(GPUDevice.prototype, "createComputePipeline", () => counts.pipelines++);
    before(GPUDevice.prototype, "createComputePipelineAsync", () => counts.pipelines++);
    before(GPUBuffer.prototype, "mapAsync", ([mode]) => (counts.readbacks += mode === GPUMapMode.READ ? 1 : 0));
    before(GPUQueue.prototype, "writeBuffer", ([, , data, , size]) => (counts.writtenBytes += size ?? data.byteLength));
    before(GPUDevice.prototype, "createBuffer", ([{ size }]) => {
      counts.bufferBytes += size;
      counts.largestBuffer = Math.max(counts.largestBuffer, size);
      self.gpuBytes.live += size;
      self.gpuBytes.most = Math.max(self.gpuBytes.most, self.gpuBytes.live);
    });
    const destroyed = new WeakSet();
    const destroy = GPUBuffer.prototype.destroy;
    GPUBuffer.prototype.destroy = function () {
      if (!destroyed.has(this)) self.gpuBytes.live -= this.size;
      destroyed.add(this);
      return destroy.call(this);
    };
  });
  return () =>
    browser.inWorker(() => {
      const counts = { ...self.gpuCounts, liveBytes: self.gpuBytes.live, mostLiveBytes: self.gpuBytes.most };
      for (const name of Object.keys(self.gpuCounts)) self.gpuCounts[name] = 0;
      return counts;
    });
}

/** Flags that make pictures the same on every machine. */
const LOOKS_FLAGS = [
  "--font-render-hinting=none",
  "--disable-lcd-text",
  "--force-color-profile=srgb",
  "--hide-scrollbars",
];

/** `looks`: how a page is looked at, where pictures of it are compared. Its policy is off, for the tests' own font. */
async function openChromium({ webgpu = true, relaxed = true, onDisk = false, address = url, looks } = {}) {
  const options = {
    executablePath: required("REWARDSCOPE_CHROMIUM"),
    headless: true,
    args: [...CHROMIUM_FLAGS, ...(webgpu ? WEBGPU_FLAGS : []), ...(looks ? LOOKS_FLAGS : [])],
  };
  // A new context is a private window. Its files lie in another process's memory, which is slower than a disk.
  const profile = onDisk ? mkdtempSync(join(tmpdir(), "rewardscope-chromium-")) : undefined;
  const browser = profile ? await chromium.launchPersistentContext(profile, options) : await chromium.launch(options);
  const context = profile
    ? browser
    : await browser.newContext(
        looks && { ...looks, bypassCSP: true, reducedMotion: "reduce", serviceWorkers: "block" },
      );
  if (!relaxed) {
    // Makes the worker see a browser without relaxed SIMD.
    await context.route(/\/worker-[^/]*\.js$/, async (route) => {
      const response = await route.fetch();
      await route.fulfill({
        response,
        body: `WebAssembly.validate = (bytes) => !bytes.includes(133);\n${await response.text()}`,
      });
    });
  }
  /** The last started worker of that name. */
  const worker = async (page, wanted) => {
    for (
      const deadline = Date.now() + PATIENCE_MS;
      Date.now() < deadline;
      await new Promise((done) => setTimeout(done, 50))
    ) {
      for (const worker of page.workers().toReversed())
        if ((await worker.evaluate(() => self.name)) === wanted) return worker;
    }
    throw new Error(`there is no worker ${wanted}`);
  };
  const visit = async () => {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    /** Addresses that the page and its workers have fetched. */
    const requests = [];
    context.on("request", (request) => requests.push(request.url()));
    await page.goto(address);
    return {
      name: "Chromium",
      requests,
      ...common(page, () => browser.close()),
      revisit: async () => {
        await page.close();
        return visit();
      },
      async fill(selector, text) {
        await reveal(page, selector);
        await page.fill(selector, text);
      },
      async select(selector, value) {
        await reveal(page, selector);
        if (!(await press(page, selector, value))) await page.selectOption(selector, value);
      },
      pick: (selector, paths) => picking(page, selector, () => page.setInputFiles(selector, paths)),
      /** Runs a function in the engine's worker, or in the worker with that name. */
      inWorker: async (work, argument, name = "engine") => (await worker(page, name)).evaluate(work, argument),
      /** Opens another page in a second tab. */
      async beside(address) {
        const other = await context.newPage();
        other.setDefaultTimeout(PATIENCE_MS);
        await other.goto(address);
        return {
          evaluate: (work, argument) => other.evaluate(work, argument),
          inWorker: async (work, argument) => (await worker(other, "peers")).evaluate(work, argument),
        };
      },
      /** Limits the site's storage quota, in bytes. */
      async boundStorage(bytes) {
        const client = await context.newCDPSession(page);
        await client.send("Storage.overrideQuotaForOrigin", { origin: new URL(address).origin, quotaSize: bytes });
      },
    };
  };
  return visit();
}

async function openFirefox({ address = url } = {}) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: required("REWARDSCOPE_FIREFOX"),
    headless: true,
    // As Playwright's; at puppeteer's own 800 pixels the page is narrow.
    defaultViewport: { width: 1280, height: 720 },
    userDataDir: mkdtempSync(join(tmpdir(), "rewardscope-firefox-")),
    env: { ...process.env, VK_DRIVER_FILES: required("VK_DRIVER_FILES") },
    extraPrefsFirefox: { "dom.webgpu.enabled": true, "gfx.webgpu.ignore-blocklist": true },
    protocolTimeout: PATIENCE_MS,
  });
  const visit = async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(address);
    return {
      name: "Firefox",
      ...common(page, () => browser.close()),
      revisit: async () => {
        await page.close();
        return visit();
      },
      async fill(selector, text) {
        await reveal(page, selector);
        await page.locator(selector).fill(text);
      },
      async select(selector, value) {
        await reveal(page, selector);
        if (!(await press(page, selector, value))) await page.select(selector, value);
      },
      async pick(selector, paths) {
        const input = await page.$(selector);
        await picking(page, selector, () => input.uploadFile(...[paths].flat()));
      },
      /** Opens another page in a second tab. */
      async beside(address) {
        const other = await browser.newPage();
        other.setDefaultTimeout(PATIENCE_MS);
        await other.goto(address);
        return { evaluate: (work, argument) => other.evaluate(work, argument) };
      },
    };
  };
  return visit();
}

/** Opens a browser on the page, by the browser's name. */
export const open = { Chromium: openChromium, Firefox: openFirefox };

// Actions on the page.

const fixtures = new URL("../fixtures/", import.meta.url).pathname;

/** Paths of the files of a checkpoint in a folder of the fixtures. */
export function checkpoint(name, within = "parity") {
  const parts = readdirSync(join(fixtures, within, name)).filter(
    (file) => !["expected.json", "config.as_saved_by_v5.json"].includes(file),
  );
  return parts.map((file) => join(fixtures, within, name, file));
}

/** Shows a view. */
export async function show(browser, view) {
  await browser.evaluate((view) => (location.hash = view), view);
  await browser.until(view, (view) => document.querySelector(`[data-view="${view}"]`)?.hidden === false, view, {
    allowError: true,
  });
}

/** Opens an item by its place in the list of Explore. */
export async function inspect(browser, place) {
  await show(browser, "explore");
  await browser.until("the row", (place) => document.querySelector(`#row-${place} .id`) !== null, place);
  await browser.click(`#row-${place}`);
  await browser.until("the item", () => document.querySelector("#explore-item") !== null);
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Asserts that axe finds no accessibility violation in what is shown, or in a part of it; `runOnly` names its rules. */
export async function isAccessible(browser, what, within = "html", runOnly = undefined) {
  // Added through the browser's protocol, because the page's policy blocks added scripts.
  await browser.page.evaluate(axe);
  const violations = await browser.evaluate(
    async ([within, options]) => {
      // Half-way from one colour to another, none is that of the page. A transition that is cut short is over too.
      const moving = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
      await Promise.allSettled(moving.map(({ finished }) => finished));
      const { violations } = await window.axe.run(within, options);
      const targets = (nodes) => nodes.slice(0, 5).map(({ target }) => target.join(" "));
      return violations.map(({ id, nodes }) => `${id}: ${targets(nodes).join("; ")}`);
    },
    [within, { resultTypes: ["violations"], ...(runOnly && { runOnly }) }],
  );
  deepEqual(violations, [], what);
}

/** Collects what the page's policy blocks from now on. The returned function gives it. */
export async function watching(browser) {
  await browser.evaluate(() => {
    window.refused = [];
    addEventListener("securitypolicyviolation", (event) =>
      window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
    );
  });
  return () => browser.evaluate(() => window.refused);
}

/** Presses Tab (or Shift+Tab) until the element has the focus. */
export async function tabTo(browser, selector, { back = false } = {}) {
  const tries = await browser.evaluate(
    () => document.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]").length,
  );
  for (let i = 0; i <= tries; i++) {
    if (await browser.evaluate((s) => document.activeElement?.matches(s) ?? false, selector)) return;
    await browser.page.keyboard.press(back ? "Shift+Tab" : "Tab");
  }
  throw new Error(`the keyboard does not come to ${selector}`);
}

/** Chooses an option of the focused select by keyboard. */
export async function choose(browser, value) {
  for (let i = 0; i < 50; i++) {
    const [at, to] = await browser.evaluate((value) => {
      const select = document.activeElement;
      return [
        select.selectedIndex,
        [...select.options].findIndex((option) => option.value === value || option.textContent === value),
      ];
    }, value);
    ok(to >= 0, `${value} is no option`);
    if (at === to) return;
    await browser.page.keyboard.press(to > at ? "ArrowDown" : "ArrowUp");
  }
  throw new Error(`${value} is not reached`);
}

/** Observes the page's long tasks from now on. The returned function gives the longest one in ms. */
export async function watchTasks(browser) {
  await browser.evaluate(() => {
    window.longestTask = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longestTask = Math.max(window.longestTask, entry.duration);
    }).observe({ entryTypes: ["longtask"] });
  });
  return () => browser.evaluate(() => window.longestTask);
}

/** Shows where models come from: `Gallery`, `From the Hub` or `Your own files`. */
export async function modelsFrom(browser, source) {
  await show(browser, "models");
  await browser.until("Models", () => document.querySelector("#model [role=tab]") !== null, undefined, {
    allowError: true,
  });
  await browser.press("tab", source);
}

/** Loads the site's reward model. */
export async function loadReward(browser, device) {
  await modelsFrom(browser, "Gallery");
  await browser.select("#device", device);
  await load(browser, "Load SmolLM2-135M reward model");
}

/** Loads the site's model without its reward head, or with the head of a given file. */
export async function loadLikelihood(browser, device, head) {
  await modelsFrom(browser, "Gallery");
  await browser.select("#device", device);
  await pickHead(browser, head);
  await load(browser, "Load SmolLM2-135M-Instruct");
}

async function pickHead(browser, head) {
  // The last one stays picked until it is removed.
  if (await browser.exists("#head-picked")) {
    await browser.evaluate(() => document.querySelector("#own-head").setAttribute("open", ""));
    await browser.press("button", "Remove head");
  }
  if (!head) return;
  await browser.evaluate(() => document.querySelector("#own-head").setAttribute("open", ""));
  await browser.pick("#head-file", head);
  await browser.until("the picked head", () => document.querySelector("#head-picked") !== null);
}

/** Starts the tests' Hub for the duration of a test file. Returns its address. */
export async function startHub() {
  const target = resolve(new URL("../../", import.meta.url).pathname, process.env.REWARDSCOPE_TARGET || "target");
  // The Hub ends when its standard input is closed.
  const hub = spawn(join(target, "debug/test-hub"), { stdio: ["pipe", "pipe", "inherit"] });
  after(() => hub.kill());
  return new Promise((done, failed) => {
    hub.stdout.once("data", (line) => done(String(line).trim()));
    hub.once("error", failed);
    hub.once("exit", (code) => failed(new Error(`test-hub ended with ${code}; cargo xtask test builds it`)));
  });
}

/** Loads a model by its id from the Hub at an address. Returns the page's error, which is empty on success. */
export async function loadHub(browser, device, id, hub, { token = "", allowError = false } = {}) {
  await modelsFrom(browser, "From the Hub");
  await browser.select("#device", device);
  await browser.fill("#hub-address", hub);
  await browser.fill("#hub-id", id);
  await browser.fill("#hub-token", token);
  await browser.click("#load");
  const settled = () =>
    !document.querySelector("#cancel-load") && document.querySelector("#self-test, #error") !== null;
  await browser.until("the model", settled, undefined, { allowError });
  return browser.text("#error");
}

/** Loads a model from files, with the reward head of a file if one is given. */
export async function loadFiles(browser, device, paths, head) {
  await modelsFrom(browser, "Your own files");
  await browser.select("#device", device);
  await browser.pick("#model-files", paths);
  await browser.until("the picked files", () => !document.querySelector("#load").disabled);
  await pickHead(browser, head);
  await load(browser, "Load");
}

async function load(browser, button) {
  await browser.press("button", button);
  await browser.until(
    "the model",
    () => document.querySelector("#self-test") !== null && !document.querySelector("#cancel-load"),
  );
}

/** The scores that Try shows, in the order of its cards. */
export const scores = (browser) =>
  browser.evaluate(() =>
    [...document.querySelectorAll("[data-score]")].map((shown) => Number(shown.textContent.replace("−", "-"))),
  );

/** Waits until Try shows this many scores, all of the text that is shown. */
export const scored = (browser, count) =>
  browser.until(
    "the scores",
    (count) =>
      document.querySelectorAll("[data-score]").length === count &&
      document.querySelector("#try .stale") === null &&
      document.querySelector("#score")?.disabled === false,
    count,
  );

/** The texts of Try's cards, in the order that they are shown in. */
export const texts = (browser) =>
  browser.evaluate(() => [...document.querySelectorAll("#try li.card textarea")].map(({ value }) => value));

/** Opens Share and presses one of its buttons. */
export async function share(browser, selector) {
  await browser.click("#share");
  await browser.until("Share", (selector) => document.querySelector(selector) !== null, selector);
  await browser.page.click(selector);
  await browser.until("the copy", () => document.querySelector("#copied") !== null);
}

/** The engine's scores of two completions of one prompt. */
export const scoreRainbow = (browser) =>
  browser.evaluate(async () =>
    (
      await window.rewardscope.call("score", [
        [{ role: "user", content: "Name a colour of the rainbow." }],
        ["Violet.", "Brown."],
      ])
    ).map((score) => score.score),
  );

/** The engine's scores of token ids, with the value at every token from `first` on. */
export const scoreTokens = (browser, ids, first) =>
  browser.evaluate(([ids, first]) => window.rewardscope.call("scoreTokens", [ids, first, true]), [ids, first]);

/**
 * Records what Chromium shows from now on. The returned function writes the recording as a .webm file and returns its
 * size in bytes. A second page encodes the frames, because no registry that the tests may use has a program for that.
 */
export async function record(browser, { width, height }) {
  const studio = await browser.page.context().newPage();
  await studio.goto(url);
  await studio.evaluate(
    ([width, height]) => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d");
      const recorder = new MediaRecorder(canvas.captureStream(8), {
        mimeType: "video/webm;codecs=vp8",
        videoBitsPerSecond: 800_000,
      });
      const parts = [];
      recorder.ondataavailable = ({ data }) => parts.push(data);
      let latest;
      // A page that does not change sends no frames, so the last one is repeated.
      const timer = setInterval(() => latest && context.drawImage(latest, 0, 0, width, height), 125);
      recorder.start(500);
      window.studio = {
        async take(base64) {
          const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
          latest = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
        },
        async stop() {
          clearInterval(timer);
          const stopped = new Promise((done) => (recorder.onstop = done));
          recorder.stop();
          await stopped;
          const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
          let text = "";
          for (let at = 0; at < bytes.length; at += 32_768)
            text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
          return btoa(text);
        },
      };
    },
    [width, height],
  );
  await browser.page.bringToFront();
  const client = await browser.page.context().newCDPSession(browser.page);
  client.on("Page.screencastFrame", ({ data, sessionId }) => {
    client.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
    studio.evaluate((data) => window.studio.take(data), data).catch(() => {});
  });
  await client.send("Page.startScreencast", {
    format: "jpeg",
    quality: 92,
    maxWidth: width,
    maxHeight: height,
    everyNthFrame: 1,
  });
  return async (path) => {
    await client.send("Page.stopScreencast");
    const bytes = Buffer.from(await studio.evaluate(() => window.studio.stop()), "base64");
    await studio.close();
    writeFileSync(path, bytes);
    return bytes.length;
  };
}

const shots = new URL("../../test-output/", import.meta.url).pathname;
mkdirSync(shots, { recursive: true });

/** Opens a browser, does the work and closes it. Saves a screenshot whether or not the work succeeds. */
export async function using(name, title, work, options) {
  const browser = await open[name](options);
  try {
    await work(browser);
  } finally {
    await browser.screenshot(join(shots, `${name}-${title}.png`.replaceAll(" ", "-"))).catch(() => {});
    await browser.close();
  }
}
