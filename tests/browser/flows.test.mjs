// Flows that the tour does not cover: copying and saving, a run that is given up; and by keyboard alone a second model,
// a queue, a comparison of two runs and a run file at an address.
import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { checkpoint, choose, loadFiles, scored, share, show, tabTo, texts, using } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const runIsOver = () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null;

test("Chromium: what is copied and saved is what is shown", async () => {
  await using("Chromium", "flows-copies", async (browser) => {
    const { page } = browser;
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const copied = async (selector, shown) => {
      await browser.evaluate(() => navigator.clipboard.writeText(""));
      await browser.click(selector);
      await browser.until("the copy", async () => (await navigator.clipboard.readText()) !== "");
      if (shown)
        await browser.until(
          "word of it",
          (shown) => /^Copied/.test(document.querySelector(shown)?.textContent.trim() ?? ""),
          shown,
        );
      return browser.evaluate(() => navigator.clipboard.readText());
    };
    const saved = async (selector, count = 1) => {
      const names = [];
      const all = new Promise((done) => {
        page.on("download", async (download) => {
          names.push([download.suggestedFilename(), readFileSync(await download.path(), "utf8")]);
          if (names.length === count) done();
        });
      });
      await browser.click(selector);
      await all;
      page.removeAllListeners("download");
      return names;
    };
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    // An example with a system turn; a turn is added and removed.
    await show(browser, "try");
    await page.getByRole("button", { name: "Tone" }).click();
    await scored(browser, 3);
    await page.getByRole("button", { name: "Turn", exact: true }).click();
    await browser.fill("#prompt", "They were in my pocket.");
    await browser.click('button[aria-label="Remove turn 3"]');
    await browser.until("two turns", () => document.querySelectorAll("#try .turn").length === 2);
    await browser.click("#score");
    await scored(browser, 3);
    const shown = await texts(browser);
    await share(browser, "#copy-json");
    const json = JSON.parse(await browser.evaluate(() => navigator.clipboard.readText()));
    assert.deepEqual(
      json.messages.map(({ role }) => role),
      ["system", "user"],
    );
    assert.deepEqual(
      json.completions.toSorted((a, b) => b.score - a.score).map(({ text }) => text),
      shown,
    );
    // The copied command gives the same scores.
    const folder = join(root, "tests/fixtures/parity/llama_plain");
    await page.click("#copy-command");
    await page.getByText("Copied.").waitFor();
    const line = (await browser.evaluate(() => navigator.clipboard.readText())).replace(
      "rewardscope score --model MODEL",
      `${join(target, "debug/rewardscope")} score --device cpu --model ${folder}`,
    );
    const native = JSON.parse(execSync(line, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim());
    assert.equal(native.scores.length, 3);
    native.scores.forEach((score, i) =>
      assert.ok(Math.abs(score - json.completions[i].score) < 1e-4, `${score} ${json.completions[i].score}`),
    );
    await page.keyboard.press("Escape");
    assert.match(await copied("#copy-device"), /flex/);
    await show(browser, "leaderboard");
    await browser.until("the rows", () => document.querySelectorAll("#board-rows tbody tr").length >= 50);
    await page.getByRole("button", { name: "Cite" }).click();
    assert.match(await copied('[role="dialog"] button'), /malik2025rewardbench2/);
    await page.keyboard.press("Escape");

    // A run: the page's title shows its progress; it is given up, run again and saved.
    await show(browser, "benchmark");
    await browser.click("#open-rows");
    await browser.until("the rows", () => document.querySelector("#run-subset")?.disabled === false);
    await page.getByRole("radio", { name: "All items" }).check();
    await browser.click("#run");
    await browser.until("its title", () => /^\d+\.\d % · Benchmark · Rewardscope$/.test(document.title));
    await browser.click("#cancel-run");
    await browser.until(
      "no run",
      () => document.querySelector("#cancel-run") === null && document.querySelector("#progress") === null,
    );
    assert.match(await browser.text("#notice"), /Cancelled\. What was scored is kept/);
    await page.getByRole("radio", { name: "Quick" }).check();
    await browser.click("#run");
    await browser.until("the run", runIsOver);
    await browser.until(
      "the plots",
      () => document.querySelectorAll("#scores-chart svg, #margin-distribution-chart svg").length >= 2,
    );
    const exported = async (selector, count) => {
      await page.getByRole("button", { name: "Export" }).click();
      return saved(selector, count);
    };
    // Files are named by what they hold.
    const [[runName, run]] = await exported("#save-run");
    assert.match(runName, /-on-sample-120-items-\d{4}-\d\d-\d\d-\d{4}\.run\.json$/);
    assert.equal(JSON.parse(run).items.length, 120);
    const [[scoresName, lines]] = await exported("#save-scores");
    assert.equal(scoresName, runName.replace("run.json", "scores.jsonl"));
    assert.equal(lines.trim().split("\n").length, 120);
    const reference = Object.fromEntries(await exported("#save-reference", 2));
    assert.equal(JSON.parse(reference["eval-set-scores.json"]).id.length, 120);
    assert.equal(typeof JSON.parse(reference["eval-set.json"]).Math, "number");
    // A chart's files look outside of the page as in it: no token is left, and title and legend are in the picture.
    const [[svgName, svg]] = await saved("#scores-chart button:nth-child(1)");
    assert.ok(svgName === "scores-chart.svg" && svg.startsWith("<svg"), svg.slice(0, 40));
    assert.doesNotMatch(svg, /var\(|currentColor|light-dark|<style/);
    assert.match(svg, /<title>Scores<\/title>.*>correct<.*>incorrect</s);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.locator("#scores-chart").getByRole("button", { name: "PNG" }).click(),
    ]);
    const png = readFileSync(await download.path());
    assert.equal(download.suggestedFilename(), "scores-chart.png");
    assert.equal(png.readUInt32BE(0), 0x89504e47);
    assert.ok(png.readUInt32BE(16) > 600 && png.length > 5000, `${png.readUInt32BE(16)} wide, ${png.length} bytes`);
    assert.match(await browser.text("#ties"), /correctness_preferred_hard/);
  });
});

test("Chromium: a second model, a queue, two runs and a file at an address go by the keyboard alone", async () => {
  await using("Chromium", "flows-keyboard", async (browser) => {
    const { keyboard } = browser.page;
    const press = async (selector, key = "Enter") => {
      await tabTo(browser, selector);
      await keyboard.press(key);
    };
    const go = async (view) => {
      await tabTo(browser, `nav a[href="#${view}"]`, { back: true });
      await keyboard.press("Enter");
      await browser.until(view, (view) => document.activeElement?.dataset.view === view, view);
    };
    // Files are picked in a dialog of the system, which tests cannot control by keyboard.
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await go("try");
    await press("#compare-models");
    await tabTo(browser, "#other-model");
    await choose(browser, "loaded");
    await press("#add-model");
    await scored(browser, 10);
    await keyboard.press("Escape");
    await go("benchmark");
    await press("#queue summary");
    await press("#queue-loaded");
    await tabTo(browser, "#queue-id");
    await keyboard.type("nobody/none");
    await keyboard.press("Enter");
    await browser.until("two models", () => document.querySelectorAll("#queue-models li").length === 2);
    await press("#queue-models li:nth-child(2) button");
    await browser.until("one model", () => document.querySelectorAll("#queue-models li").length === 1);
    await tabTo(browser, "#queue-run", { back: true });
    await keyboard.press("Enter");
    await browser.until(
      "the run's end",
      () => document.querySelectorAll("#runs tbody tr").length === 1 && document.querySelector("#cancel-run") === null,
    );
    const first = await browser.evaluate(() =>
      window.rewardscope.call("runFile", [[...document.querySelectorAll("#explore-of option")].at(-1).value]),
    );
    await loadFiles(browser, "cpu", checkpoint("llama_gqa_tied"));
    await go("try");
    await press("#score");
    await scored(browser, 10);
    await tabTo(browser, "#compare-models", { back: true });
    await keyboard.press("Enter");
    await press('button[aria-label$="from the comparison"]');
    await keyboard.press("Escape");
    await press("#score");
    await scored(browser, 5);
    await go("benchmark");
    await press("#run");
    await browser.until(
      "the second run",
      () => document.querySelectorAll("#runs tbody tr").length === 2 && document.querySelector("#cancel-run") === null,
    );
    // One run is closed and opened again from an address.
    await go("leaderboard");
    await press('#runs tbody tr:first-child button[aria-label^="Close"]');
    await browser.until("one run", () => document.querySelectorAll("#runs tbody tr").length === 1);
    const server = createServer((_request, response) => {
      response.writeHead(200, { "access-control-allow-origin": "*", "access-control-allow-headers": "range" });
      response.end(first);
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    await tabTo(browser, "#board-run-address");
    await keyboard.type(`http://localhost:${server.address().port}/run.json`);
    await press("#board-open-address");
    await browser.until("two runs", () => document.querySelectorAll("#runs tbody tr").length === 2);
    server.close();
    // The two runs are compared.
    await go("explore");
    await tabTo(browser, "#explore-against");
    await choose(
      browser,
      await browser.evaluate(() => document.querySelector("#explore-against option:last-child").value),
    );
    await browser.until("the comparison", () => document.querySelectorAll("#comparison-table tbody tr").length === 7);
    // What they disagree on is one key away.
    await browser.page.getByRole("button", { name: "Disagreements" }).focus();
    await keyboard.press("Enter");
    await tabTo(browser, "#explore-list");
    await keyboard.press("ArrowDown");
    await browser.page.getByRole("list", { name: "Completions" }).getByText("Second run").first().waitFor();
  });
});
