// The views: by address and by keyboard, on narrow and wide screens, in light and dark mode; and what they show of a
// model, a run and the published marks.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { board } from "./board.mjs";
import {
  checkpoint,
  inspect,
  isAccessible,
  loadFiles,
  loadReward,
  scored,
  scores,
  show,
  tabTo,
  texts,
  url,
  using,
  watching,
  watchTasks,
} from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const root = new URL("../../", import.meta.url).pathname;
const shots = join(root, "test-output");
const VIEWS = ["try", "benchmark", "explore", "leaderboard", "models"];

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
    await browser.page.getByRole("rowheader", { name: /^Skywork\/Skywork-Reward-V2-Llama-3\.1-8B/ }).waitFor();
    await browser.until("the plot", () => document.querySelector("#downstream-chart svg") !== null);
    assert.match(await browser.text("#downstream-chart"), /17 reward models .* correlations 0\.72 and 0\.92/s);
    await browser.select("#downstream-mark", "Math");
    await browser.until("that of Math", () =>
      /14 reward models .* correlations 0\.85 and 0\.96/s.test(
        document.querySelector("#downstream-chart")?.textContent ?? "",
      ),
    );
    await browser.page.getByRole("searchbox", { name: "Search models" }).fill("skywork-reward-v2-qwen3-0.6b");
    const open = browser.page.getByRole("link", { name: /^Open, 1\.2 GB Skywork\/Skywork-Reward-V2-Qwen3-0\.6B/ });
    await open.click();
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
    await scored(browser, 5);
    const order = await scores(browser);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => b - a),
    );
    const [first] = await texts(browser);
    await tabTo(browser, 'button[aria-label="Tokens of completion 1"]');
    await keyboard.press("Enter");
    await browser.until("the trace", () => document.querySelector('#try [id$="-token"]') !== null);
    const shown = await browser.text('#try [id$="-tokens"]');
    assert.ok(shown.startsWith(first), `${shown} is not ${first}`);
    const before = await browser.text('#try [id$="-token"]');
    await browser.page.focus('#try [id$="-tokens"]');
    await keyboard.press("ArrowRight");
    assert.notEqual(await browser.text('#try [id$="-token"]'), before);
    // The tokens' texts make up the whole text, and there is one id per token.
    await browser.page.focus('#try [id$="-whole"]');
    await keyboard.press("Space");
    const [text, tokens] = await browser.evaluate(() => [
      document.querySelector('#try [id$="-tokens"]').textContent,
      document.querySelectorAll('#try [id$="-tokens"] .token').length,
    ]);
    assert.ok(text.includes("<|im_start|>user\nName a colour of the sky.<|im_end|>"), text);
    assert.equal((await browser.text('#try [id$="-ids"]')).split(" ").length, tokens);
    // The link has the text in its fragment; opening it shows the text.
    await browser.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await tabTo(browser, "#share", { back: true });
    await keyboard.press("Enter");
    await tabTo(browser, "#copy-link");
    await keyboard.press("Enter");
    await browser.until("the link", () => document.querySelector("#copied") !== null);
    const link = await browser.evaluate(() => navigator.clipboard.readText());
    assert.deepEqual(await refused(), []);
    assert.ok(new URL(link).hash.startsWith("#try?demo=1.") && new URL(link).search === "", link);
    await browser.page.goto("about:blank");
    await browser.page.goto(link);
    await browser.until("the text", () => document.querySelector("#prompt")?.value === "Name a colour of the sky.");
    // A malformed link says so.
    const hostile = `${url}#try?text=${encodeURIComponent(JSON.stringify({ turns: [{ role: "user", content: "<img src=x onerror=alert(1)>" }], completions: ["a", 7] }))}`;
    await browser.page.goto("about:blank");
    await browser.page.goto(hostile);
    await browser.page.getByText("This link cannot be shown: it has no completions").waitFor();
  });
});

test("Chromium: a run is drawn, explored and set among the published rows, and the page stays quick (timed)", async () => {
  await using("Chromium", "views-run", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    const refused = await watching(browser);
    const tasks = await watchTasks(browser);
    await browser.select("#dataset", "sample");
    await startRun(browser);
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
    await browser.page.getByRole("button", { name: "Mistakes" }).click();
    await browser.page.getByLabel("Sort by").selectOption("Margin");
    await inspect(browser, 0);
    await browser.page.getByRole("list", { name: "Completions" }).getByRole("listitem").nth(1).waitFor();
    await show(browser, "leaderboard");
    await browser.until("the own row", () => document.querySelector("#board-rows tr.own:not(.group)") !== null);
    // A run over the sample is pinned on top, says what it is of, and has no rank.
    const { cells, groupOf } = await board(browser);
    assert.match((await cells("Model"))[0], /bundled sample, \d+ items, \d\d:\d\d$/);
    assert.match(await groupOf("bundled sample"), /^Your runs .* not ranked$/);
    assert.equal((await cells("Rank"))[0], "");
    // It is saved under a name that says what it holds.
    const { page } = browser;
    const runs = page.getByRole("region", { name: "Your runs", exact: true });
    const [saved] = await Promise.all([
      page.waitForEvent("download"),
      runs.getByRole("button", { name: /^Save the run of/ }).click(),
    ]);
    assert.match(saved.suggestedFilename(), /^[\w.-]+_sample\.json$/);
    assert.equal(await runs.getByRole("button", { name: /^Contribute the run of/ }).count(), 1);
    // A run over somebody's own pairs is not offered as a contribution.
    const run = JSON.parse(readFileSync(await saved.path(), "utf8"));
    run.protocol.dataset = "pairs.jsonl";
    run.protocol.dataset_sha256 = "0".repeat(64);
    const opening = (name, text) =>
      runs
        .getByLabel("Open run files")
        .setInputFiles({ name, mimeType: "application/json", buffer: Buffer.from(text) });
    await opening("private.json", JSON.stringify(run));
    await runs
      .getByRole("button", { name: /^Close the run of/ })
      .nth(1)
      .waitFor();
    assert.equal(await runs.getByRole("button", { name: /^Contribute the run of/ }).count(), 1);
    assert.ok((await cells("Model")).some((name) => /pairs\.jsonl, \d+ items, private\.json$/.test(name)));
    // What fails is said where it was asked for.
    await opening("broken.json", "no run");
    await runs.getByRole("alert").getByText("broken.json").waitFor();
    assert.equal(await browser.exists("#error"), false);
    await runs
      .getByRole("button", { name: /^Close the run of/ })
      .nth(1)
      .click();
    await pictures(browser, "run");
    assert.deepEqual(await refused(), []);
    assert.ok(longest <= 100, `a task of ${longest} ms`);
  });
});

test("Chromium: items are narrowed by chips, found by text, and opened by links; Back leads to the list", async () => {
  await using("Chromium", "views-explore", async (browser) => {
    const { page } = browser;
    const refused = await watching(browser);
    const button = (name) => page.getByRole("button", { name, exact: true });
    const heading = (name) => page.getByRole("heading", { name, exact: true });
    const found = (count) =>
      browser.until(
        count,
        (count) => document.querySelector("#explore-count")?.textContent.trim().startsWith(count),
        count,
      );
    await show(browser, "explore");
    await button("Open the bundled sample").click();
    await found("140 of 140 items");
    // Without scores there is nothing to say of mistakes.
    assert.equal(await button("Mistakes").count(), 0);
    await button("Filter").click();
    await isAccessible(browser, "the filters");
    await button("Math").click();
    await page.keyboard.press("Escape");
    await found("20 of 140");
    await page.getByLabel("Search id and text").fill("HOW many");
    await browser.until("the search", () =>
      /^[1-9] of/.test(document.querySelector("#explore-count").textContent.trim()),
    );
    const first = page.getByRole("listbox", { name: "Items" }).getByRole("option").first();
    assert.equal((await first.locator("mark").first().textContent()).toLowerCase(), "how many");
    await first.click();
    await page.locator("#explore-item mark").first().waitFor();
    const link = await browser.evaluate(() => location.href);
    assert.match(link, /#explore\?subset=Math&text=HOW\+many&item=\d+&of=Math$/);
    const title = await page.getByRole("heading", { name: /^Math, item \d+$/ }).textContent();
    // A chip is removed; the item stays open, with its place in the longer list.
    await button("Remove filter Math").click();
    await page.getByLabel("Search id and text").fill("");
    await found("140 of 140");
    await browser.until("its place", () => /of 140/.test(document.querySelector("#explore-item").textContent));
    await button("Next item").click();
    await browser.until("the next", (title) => document.querySelector("#item-heading")?.textContent !== title, title);
    await button("Previous item").click();
    await heading(title).waitFor();
    // A link is followed in a tab that is open already, and what it names and is not there is said.
    await browser.evaluate(() => (location.hash = "#explore?subset=Safety&item=3&of=Safety"));
    await heading("Safety, item 3").waitFor();
    await found("20 of 140");
    await browser.evaluate(() => (location.hash = "#explore?subset=Safety&item=nowhere&of=Safety"));
    await page.getByText("The item of this link, nowhere, is not in the list.").waitFor();
    assert.deepEqual(await refused(), []);
    await page.goto("about:blank");
    await page.goto(link);
    await button("Open the bundled sample").click();
    await heading(title).waitFor();
    // The item goes into Try by a link.
    const address = await page.getByRole("link", { name: "Open in Try" }).getAttribute("href");
    const carried = JSON.parse(new URLSearchParams(address.slice("#try?".length)).get("text"));
    assert.ok(/how many/i.test(carried.turns[0].content) && carried.completions.length === 4, address);
    // On a phone the item takes the list's place; Back, in the page or the browser, leads to the list.
    await page.setViewportSize({ width: 390, height: 844 });
    const list = page.getByRole("listbox", { name: "Items" });
    assert.equal(await list.isVisible(), false);
    await button("Back to the list").click();
    await list.waitFor();
    await browser.until("the focus", () => document.activeElement?.id === "explore-list");
    await page.keyboard.press("ArrowDown");
    await heading(title).waitFor();
    await browser.until("the focus", () => document.activeElement?.id === "item-heading");
    assert.equal(await list.isVisible(), false);
    await isAccessible(browser, "an item on a phone");
    await page.goBack();
    await list.waitFor();
    assert.equal(await heading(title).count(), 0);
    assert.match(await browser.evaluate(() => location.hash), /^#explore\?subset=Math&text=HOW\+many$/);
  });
});

test("Chromium: a trace shows each character once, and its keys run with the text", async () => {
  await using("Chromium", "views-trace", async (browser) => {
    const { page } = browser;
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    const rows = [
      { id: "1", prompt: "A crab?", chosen: ["A 🦀 and a 👩🏽‍💻."], rejected: ["No"] },
      { id: "2", prompt: "שלום?", chosen: ["שלום לכולם, מה שלומכם"], rejected: ["לא"] },
    ];
    mkdirSync(shots, { recursive: true });
    const path = join(shots, "characters.jsonl");
    writeFileSync(path, rows.map((row) => JSON.stringify({ ...row, subset: "Own" })).join("\n"));
    await browser.select("#dataset", "own");
    await browser.select("#benchmark-name", "preferences");
    await browser.pick("#data-file", path);
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
    const tokens = page.getByRole("group", { name: /^Tokens of completion 1/ });
    const details = () => browser.text("#trace-token");
    const traced = async (place) => {
      await inspect(browser, place);
      await page.getByRole("button", { name: "Show tokens of completion 1" }).click();
      await tokens.focus();
    };
    await traced(0);
    const pieces = await tokens.locator(".token").allTextContents();
    assert.ok(pieces.join("").startsWith("A 🦀 and a 👩🏽‍💻."), pieces.join("|"));
    assert.ok(
      !pieces.join("").includes("\ufffd") && pieces.slice(0, -1).every((piece) => piece !== ""),
      pieces.join("|"),
    );
    const crab = pieces.findIndex((piece) => piece.includes("🦀"));
    for (let i = 0; i < crab; i++) await page.keyboard.press("ArrowRight");
    assert.match(await details(), /^Tokens \d+–\d+ of \d+, ids? .*🦀.* One character of \d tokens, with /);
    await page.keyboard.press("End");
    const last = await details();
    await page.keyboard.press("ArrowRight");
    assert.equal(await details(), last);
    await page.keyboard.press("Home");
    assert.match(await details(), /“A”/);
    // What raises and what lowers the reward differs in more than its hue.
    const styles = await tokens
      .locator(".token")
      .evaluateAll((all) =>
        all.map((token) => [token.classList.contains("down"), getComputedStyle(token).borderBottomStyle]),
      );
    assert.deepEqual(
      new Set(styles.map(([down, style]) => `${down} ${style}`)),
      new Set(["false solid", "true dotted"]),
    );
    await isAccessible(browser, "a trace");
    // In Hebrew the next token lies to the left.
    await traced(1);
    assert.equal(await tokens.evaluate((box) => getComputedStyle(box).direction), "rtl");
    const start = await details();
    await page.keyboard.press("ArrowRight");
    assert.equal(await details(), start);
    const box = async () => (await tokens.locator(".token.chosen").boundingBox()).x;
    const before = await box();
    await page.keyboard.press("ArrowLeft");
    assert.notEqual(await details(), start);
    assert.ok((await box()) < before);
    // Where the system replaces colours, the chosen token and what is selected are outlined.
    await page.emulateMedia({ forcedColors: "active" });
    for (const chosen of ["#trace-tokens .token.chosen", '#explore-list [aria-selected="true"]'])
      assert.equal(await page.locator(chosen).evaluate((one) => getComputedStyle(one).outlineStyle), "solid", chosen);
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
  assert.ok(initial.length > 0 && bytes <= 110_000, `${initial}: ${bytes}`);
});
