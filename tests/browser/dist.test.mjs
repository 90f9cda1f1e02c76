// The built folder on a plain static server: at a sub-path, without range requests, compression or any header except
// Content-Type. The page must load, score, and work again offline.
import assert from "node:assert/strict";
import { createReadStream, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { test } from "node:test";

import { inspect, loadLikelihood, scoreRainbow, show, using } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const folder = resolve(root, process.env.REWARDSCOPE_DIST || "dist");
const PREFIX = "/some/where/";
const WASM_DELAY_MS = 3000;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json" };

/** Serves the built folder. With `plain`, the worker finds no relaxed SIMD in this browser. */
function serve({ plain }) {
  const strays = [];
  const modules = new Set();
  const sockets = new Set();
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    if (!path.startsWith(PREFIX)) strays.push(path);
    const name = normalize(path.slice(PREFIX.length) || "index.html");
    const file = join(folder, name);
    if (!path.startsWith(PREFIX) || name.startsWith("..") || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    if (name.includes(".wasm")) modules.add(name.replace(/^.*rewardscope_(\w+)-.*$/, "$1"));
    const send = () => {
      response.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "application/octet-stream" });
      if (plain && /worker-.*\.js$/.test(name))
        response.write("WebAssembly.validate = (bytes) => !bytes.includes(133);\n");
      createReadStream(file).pipe(response);
    };
    // The wasm is delayed, because the page must appear before the engine is there.
    setTimeout(send, name.includes(".wasm") ? WASM_DELAY_MS : 0);
  });
  server.on("connection", (socket) => sockets.add(socket.on("close", () => sockets.delete(socket))));
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () =>
      done({
        address: `http://localhost:${server.address().port}${PREFIX}`,
        strays,
        modules,
        stop() {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
      }),
    );
  });
}

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: the built folder works at a sub-path of a plain server, and without it afterwards`, async () => {
    const plain = name === "Firefox";
    const server = await serve({ plain });
    await using(
      name,
      "dist",
      async (browser) => {
        const paint = await browser.evaluate(
          () =>
            new Promise((done) => {
              const found = performance.getEntriesByName("first-contentful-paint")[0];
              if (found) done(found.startTime);
              else
                new PerformanceObserver((list) => done(list.getEntries()[0].startTime)).observe({
                  type: "paint",
                  buffered: true,
                });
            }),
        );
        await browser.until("the engine", () => document.querySelector("#device-reason") !== null);
        const engine = await browser.evaluate(() => performance.now());
        console.log(
          `${name}: first paint after ${paint.toFixed(0)} ms, the engine, held back by ${WASM_DELAY_MS} ms, after ${engine.toFixed(0)} ms`,
        );
        assert.ok(paint < WASM_DELAY_MS && engine > WASM_DELAY_MS);
        await loadLikelihood(browser, "cpu");
        assert.deepEqual([...server.modules], [plain ? "bg" : "relaxed"]);
        const online = await scoreRainbow(browser);
        // Rows that were opened once are stored.
        await browser.click("#open-rows");
        await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
        await browser.until(
          "the shell to be kept",
          async () => (await navigator.serviceWorker.getRegistration())?.active?.state === "activated",
        );
        assert.deepEqual(
          server.strays.filter((path) => path !== "/favicon.ico"),
          [],
        );
        // Other files of the folder are served as they are; the service worker does not replace them with the page.
        const licences = await browser.evaluate(async () => (await fetch("THIRD-PARTY-LICENCES.txt")).text());
        assert.match(licences, /under their licences/);
        server.stop();
        const again = await browser.revisit();
        await loadLikelihood(again, "cpu");
        assert.deepEqual(await scoreRainbow(again), online);
        if (plain) return;
        // The slow rest is tested in one browser only.
        await show(again, "benchmark");
        await again.click("#open-rows");
        await again.until("the rows", () => document.querySelector("#run-subset")?.disabled === false);
        await again.select("#run-subset", "Focus");
        await again.click("#run");
        await again.until(
          "the run",
          () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
        );
        await again.until("its plots", () => document.querySelectorAll(".chart svg").length >= 4);
        await inspect(again, 2);
        await again.click("#differences");
        await again.until("the differences", () => document.querySelector("#explore-item ins") !== null);
        await show(again, "leaderboard");
        await again.until("the board", () => document.querySelector("#board-rows tbody tr") !== null);
      },
      { address: server.address },
    );
  });
}

test("the built folder has its licences and no file that a host refuses", () => {
  const files = readdirSync(folder, { recursive: true })
    .map((name) => [String(name), statSync(join(folder, String(name)))])
    .filter(([, found]) => found.isFile());
  const names = files.map(([name]) => name);
  for (const name of [
    "index.html",
    "sw.js",
    "THIRD-PARTY-LICENCES.txt",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "models/smollm2-135m-instruct/parts.json",
    "data/parts.json",
  ]) {
    assert.ok(names.includes(name), name);
  }
  const [largest, found] = files.toSorted((a, b) => b[1].size - a[1].size)[0];
  const brotli = files.filter(([name]) => name.endsWith(".wasm.br")).map(([, { size }]) => size);
  console.log(
    `the largest of ${files.length} files is ${largest} with ${found.size} bytes; the wasm travels in ${brotli.join(" or ")} bytes of brotli`,
  );
  assert.equal(brotli.length, 2);
  assert.ok(found.size <= 25e6 && Math.max(...brotli) <= 3.5e6);
});
