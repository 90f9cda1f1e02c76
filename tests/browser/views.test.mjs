// The views: by address and by keyboard, on narrow and wide screens, in light and dark mode; and what they show of a
// model, a run and the published marks.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { checkpoint, inspect, isAccessible, loadFiles, loadReward, show, url, using, watchTasks } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const shots = join(root, "test-output");
const VIEWS = ["try", "benchmark", "explore", "leaderboard", "models"];
/** Collects what the page's policy blocks from now on. The returned function gives it. */
async function watching(browser) {
  await browser.evaluate(() => {
    window.refused = [];
    addEventListener("securitypolicyviolation", (event) =>
      window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
    );
  });
  return () => browser.evaluate(() => window.refused);
}

async function pictures(browser, state) {
  const fits = async (view, width) => {
    const wide = await browser.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.ok(wide <= 0, `${view} is ${wide} pixels too wide at ${width}`);
  };
  for (const width of [320, 2560]) {
    await browser.page.setViewportSize({ width, height: 900 });
    for (const view of VIEWS) {
      await show(browser, view);
      await fits(view, width);
    }
  }
  for (const [width, scheme] of [
    [1440, "light"],
    [1440, "dark"],
    [390, "light"],
    [390, "dark"],
  ]) {
    await browser.page.setViewportSize({ width, height: 900 });
    await browser.page.emulateMedia({ colorScheme: scheme });
    for (const view of VIEWS) {
      await show(browser, view);
      // Plots are drawn again for the new width.
      await new Promise((done) => setTimeout(done, 200));
      await fits(view, width);
      await isAccessible(browser, `${view}, ${state}, ${scheme}, ${width}`);
      await browser.page.screenshot({
        path: join(shots, `view-${view}-${state}-${scheme}-${width}.png`),
        fullPage: true,
      });
    }
  }
  await browser.page.setViewportSize({ width: 1280, height: 720 });
}

test("Chromium: every view says what to do before anything is loaded, and axe finds nothing", async () => {
  await using("Chromium", "views-empty", async (browser) => {
    const refused = await watching(browser);
    await show(browser, "leaderboard");
    await browser.until("the published rows", () => document.querySelectorAll("#board-rows tbody tr").length === 50);
    const marks = () =>
      browser.evaluate(() =>
        [...document.querySelectorAll("#board-rows tbody tr")].map((row) => row.cells[4].textContent),
      );
    await browser.click("#board-rows thead th:nth-child(5) button");
    const sorted = await marks();
    assert.deepEqual(
      sorted,
      sorted.toSorted((a, b) => Number(b) - Number(a)),
      "sorted by Math",
    );
    assert.match(await browser.evaluate(() => location.hash), /^#leaderboard\?sort=/);
    await browser.until("the plot", () => document.querySelector("#downstream-chart svg") !== null);
    assert.match(await browser.text("#downstream-chart"), /17 reward models .* correlations 0\.72 and 0\.92/s);
    await browser.select("#downstream-mark", "Math");
    await browser.until("that of Math", () =>
      /14 reward models .* correlations 0\.85 and 0\.96/s.test(
        document.querySelector("#downstream-chart")?.textContent ?? "",
      ),
    );
    await browser.fill("#board-name", "skywork-reward-v2-qwen3-0.6b");
    assert.equal(await browser.evaluate(() => document.querySelectorAll("#board-rows tbody tr").length), 1);
    await browser.click("#board-rows tbody a");
    await browser.until(
      "its id where models are loaded",
      () => document.querySelector("#hub-id")?.value === "Skywork/Skywork-Reward-V2-Qwen3-0.6B",
    );
    await browser.click('nav a[href="#explore"]');
    assert.match(await browser.text("#explore"), /Nothing is open yet/);
    await pictures(browser, "empty");
    assert.deepEqual(await refused(), []);
  });
});

test("Chromium: scores come while one types, token by token, and go into a link", async () => {
  await using("Chromium", "views-try", async (browser) => {
    const refused = await watching(browser);
    await loadReward(browser, "cpu");
    await show(browser, "try");
    // By keyboard alone from here.
    const { keyboard } = browser.page;
    await browser.page.focus("#prompt");
    await keyboard.press("Control+A");
    await keyboard.type("Name a colour of the sky.");
    await browser.until("the scores", () => document.querySelectorAll("#try-scores tbody tr").length === 5);
    await browser.until("those of what was typed last", () =>
      document.querySelector("#try-scores caption").textContent.includes("Name a colour of the sky."),
    );
    const order = await browser.evaluate(() =>
      [...document.querySelectorAll("#try-scores tbody td:nth-child(2)")].map((cell) => Number(cell.textContent)),
    );
    assert.deepEqual(
      order,
      order.toSorted((a, b) => b - a),
    );
    await browser.page.locator(".trace-button").first().focus();
    await keyboard.press("Enter");
    await browser.until("the trace", () => document.querySelector("#trace-token") !== null);
    const [shown, first] = await browser.evaluate(() => [
      document.querySelector("#trace-tokens").textContent,
      document.querySelector("#try-scores tbody td .text").textContent,
    ]);
    assert.ok(shown.startsWith(first), `${shown} is not ${first}`);
    const before = await browser.text("#trace-token");
    await browser.page.focus("#trace-tokens");
    await keyboard.press("ArrowRight");
    assert.notEqual(await browser.text("#trace-token"), before);
    // The tokens' texts make up the whole text, and there is one id per token.
    await browser.page.focus("#trace-whole");
    await keyboard.press("Space");
    const [text, tokens] = await browser.evaluate(() => [
      document.querySelector("#trace-tokens").textContent,
      document.querySelectorAll("#trace-tokens .token").length,
    ]);
    assert.ok(text.includes("<|im_start|>user\nName a colour of the sky.<|im_end|>"), text);
    assert.equal(
      (await browser.evaluate(() => document.querySelector("#trace-ids").textContent)).split(" ").length,
      tokens,
    );
    // The link has the text in its fragment; opening it shows the text.
    await browser.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await browser.page.focus("#copy-link");
    await keyboard.press("Enter");
    await browser.until("the link", () => document.querySelector("#copied") !== null);
    const link = await browser.evaluate(() => navigator.clipboard.readText());
    assert.deepEqual(await refused(), []);
    assert.ok(new URL(link).hash.startsWith("#try?text=") && new URL(link).search === "", link);
    await browser.page.goto("about:blank");
    await browser.page.goto(link);
    await browser.until("the text", () => document.querySelector("#prompt")?.value === "Name a colour of the sky.");
    // A malformed link is ignored.
    const hostile = `${url}#try?text=${encodeURIComponent(JSON.stringify({ turns: [{ role: "user", content: "<img src=x onerror=alert(1)>" }], completions: ["a", 7] }))}`;
    await browser.page.goto("about:blank");
    await browser.page.goto(hostile);
    await browser.until("the page", () => document.querySelector("#prompt")?.value === "Name a colour of the rainbow.");
  });
});

test("Chromium: a run is drawn, explored and set among the published rows, and the page stays quick", async () => {
  await using("Chromium", "views-run", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    const refused = await watching(browser);
    const tasks = await watchTasks(browser);
    await browser.select("#dataset", "sample");
    await browser.click("#run");
    await browser.until("the run", () => document.querySelector("#cancel-run") !== null);
    await browser.until(
      "its end",
      () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
    );
    const longest = await tasks();
    console.log(`the longest task of the page during the run: ${longest.toFixed(0)} ms`);
    // The charts are drawn when their tab is shown.
    const tabs = {
      Calibration: ["calibration-chart", "margins-chart"],
      Length: ["length-chart"],
      "Best of N": ["best-of-n-chart"],
      Distributions: ["scores-chart", "margin-distribution-chart"],
    };
    for (const [tab, charts] of Object.entries(tabs)) {
      await browser.page.getByRole("tab", { name: tab }).click();
      for (const chart of charts) {
        await browser.until(chart, (chart) => document.querySelector(`#${chart} svg`) !== null, chart);
        assert.ok(
          await browser.evaluate((chart) => document.querySelectorAll(`#${chart} tbody tr`).length > 1, chart),
          `${chart} has its figures`,
        );
      }
    }
    // The card's figures are those of the table with all digits, in percent.
    const card = await browser.evaluate(() => [
      document.querySelector("#overall-percent").textContent,
      document.querySelector("#overall").textContent,
    ]);
    assert.equal(card[0], (100 * Number(card[1])).toFixed(1));
    assert.match(await browser.text("#not-on-board"), /A sample of 120 items is not RewardBench 2/);
    await isAccessible(browser, "the report", "main");
    const [download] = await Promise.all([
      browser.page.waitForEvent("download"),
      browser.page.locator("#scores-chart").getByRole("button", { name: "CSV" }).click(),
    ]);
    const csv = readFileSync(await download.path(), "utf8")
      .trim()
      .split("\n");
    assert.equal(csv[0], "from,to,completions,count");
    const counted = csv.slice(1).reduce((sum, line) => sum + Number(line.split(",").at(-1)), 0);
    const items = await browser.evaluate(() =>
      window.rewardscope.call("report", []).then(({ items_done }) => items_done),
    );
    assert.ok(counted > 4 * items - 200, `${counted} completions are drawn of ${items} items`);
    await show(browser, "explore");
    await browser.select("#explore-verdict", "wrong");
    await browser.select("#explore-order", "margin");
    await inspect(browser, 0);
    await browser.until("the item", () => document.querySelectorAll("#explore-item table tbody tr").length >= 2);
    await show(browser, "leaderboard");
    await browser.until("the own row", () => document.querySelector("#board-rows tr.own") !== null);
    assert.match(await browser.text("#board-rows tr.own"), /your run over sample\.parquet/);
    await pictures(browser, "run");
    assert.deepEqual(await refused(), []);
    assert.ok(longest <= 100, `a task of ${longest} ms`);
  });
});

test("Chromium: the page can be installed", async () => {
  await using("Chromium", "views-installable", async (browser) => {
    const client = await browser.page.context().newCDPSession(browser.page);
    const { url: address, errors, data } = await client.send("Page.getAppManifest");
    assert.deepEqual(errors, []);
    assert.equal(new URL(address).pathname.split("/").pop(), "manifest.webmanifest");
    const manifest = JSON.parse(data);
    assert.equal(manifest.name, "Rewardscope");
    for (const { src } of manifest.icons) {
      const icon = await fetch(new URL(src, address));
      assert.ok(
        icon.ok && /svg/.test(icon.headers.get("Content-Type")),
        `${src}: ${icon.status} ${icon.headers.get("Content-Type")}`,
      );
    }
  });
});

test("the page's own scripts are small until they are needed", () => {
  const assets = join(root, "www/dist/assets");
  const html = readFileSync(join(root, "www/dist/index.html"), "utf8");
  const initial = readdirSync(assets).filter((name) => name.endsWith(".js") && html.includes(name));
  const bytes = initial.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).length, 0);
  console.log(`initial JavaScript: ${bytes} bytes compressed`);
  assert.ok(initial.length > 0 && bytes <= 150_000, `${initial}: ${bytes}`);
});
