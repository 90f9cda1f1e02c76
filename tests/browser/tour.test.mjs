// A visit from beginning to end: once by keyboard alone, once recorded as a video (with --all), and its main steps in
// Firefox. The recorded model is the site's own, on the CPU.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import {
  all,
  checkpoint,
  choose,
  inspect,
  loadFiles,
  loadReward,
  record,
  scored,
  scores,
  share,
  show,
  tabTo,
  using,
} from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const shots = new URL("../../test-output/", import.meta.url).pathname;
const runIsOver = () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null;

test("Chromium: every flow goes by the keyboard alone", async () => {
  await using("Chromium", "tour-keyboard", async (browser) => {
    const { keyboard } = browser.page;
    const go = async (view) => {
      // Through the link in the page's header.
      await tabTo(browser, `nav a[href="#${view}"]`, { back: true });
      await keyboard.press("Enter");
      await browser.until(view, (view) => document.activeElement?.dataset.view === view, view);
    };
    const press = async (selector, key = "Enter") => {
      await tabTo(browser, selector);
      await keyboard.press(key);
    };
    await browser.page.focus("header h1, nav a");
    // Models: load, measure the device.
    await go("models");
    await press("#settings > summary");
    await tabTo(browser, "#device");
    await choose(browser, "cpu");
    await press('button[aria-label="Load SmolLM2-135M reward model"]');
    await browser.until(
      "the model",
      () => document.querySelector("#self-test") !== null && !document.querySelector("#cancel-load"),
    );
    await press("#device-card > summary");
    await press("#calibrate");
    await browser.until("the trial's end", () => document.querySelector("#calibrate:not(:disabled)") !== null);
    assert.match(await browser.text("#calibration"), /CPU [1-9]/);
    // Try: an example, typing, a trace, a link.
    await go("try");
    await press('[aria-label="Examples"] button:nth-child(2)');
    await scored(browser, 4);
    await tabTo(browser, "#prompt");
    await keyboard.press("Control+End");
    await keyboard.type(" Name it.");
    await scored(browser, 4);
    await press('button[aria-label="Tokens of completion 1"]');
    await tabTo(browser, '#try [id$="-tokens"]');
    await keyboard.press("Home");
    const token = await browser.text('#try [id$="-token"]');
    await keyboard.press("ArrowRight");
    assert.notEqual(await browser.text('#try [id$="-token"]'), token);
    // Benchmark: open the rows, run one subset, pause, resume.
    await go("benchmark");
    await press("#open-rows");
    await browser.until(
      "the rows",
      () => document.querySelector("#dataset-report") !== null && !document.querySelector("#run-subset").disabled,
    );
    await tabTo(browser, "#run-subset", { back: true });
    await choose(browser, "Math");
    await browser.until("the choice", () => document.querySelector("#run:not(:disabled)") !== null);
    await tabTo(browser, "#run", { back: true });
    await keyboard.press("Enter");
    await browser.until(
      "two items",
      () => Number(document.querySelector("#progress")?.textContent.match(/(\d+) of/)?.[1]) >= 2,
    );
    await press("#pause-run");
    await browser.until(
      "the pause",
      () => document.querySelector("#run:not(:disabled)")?.textContent.trim() === "Resume",
    );
    await tabTo(browser, "#run", { back: true });
    await keyboard.press("Enter");
    await browser.until("the end", runIsOver);
    // Explore: sort, step, open, show differences.
    await go("explore");
    await tabTo(browser, "#explore-order");
    await choose(browser, "margin");
    await tabTo(browser, "#explore-list");
    await browser.until("the list", () =>
      /^20 of 20/.test(document.querySelector("#explore-count")?.textContent.trim()),
    );
    await browser.until("its rows", () => document.querySelectorAll(".list-row .id").length > 5);
    await keyboard.press("ArrowDown");
    await browser.until("an item", () => document.querySelector("#explore-item") !== null);
    const item = await browser.text("#item-heading");
    await keyboard.press("ArrowDown");
    await browser.until(
      "the next",
      (item) => document.querySelector("#item-heading")?.textContent.trim() !== item,
      item,
    );
    await press("#differences", "Space");
    await browser.until("its differences", () => document.querySelector("#explore-item ins") !== null);
    // Leaderboard: sort, filter, close the run.
    await go("leaderboard");
    await browser.until("the rows", () => document.querySelectorAll("#board-rows tbody tr").length >= 50);
    await tabTo(browser, "#board-name");
    await keyboard.type("llama");
    await press("#board-rows thead th:nth-child(5) button");
    assert.equal(
      await browser.page.getByRole("columnheader", { name: "Precise IF" }).getAttribute("aria-sort"),
      "descending",
    );
    // A run over one subset is no row for the board.
    assert.equal(await browser.exists("#runs .contribute"), false);
    await press('#runs button[aria-label^="Close"]');
    await browser.until("no open run", () => document.querySelector("#runs") === null);
    // Models: remove the stored run.
    await go("models");
    await press("#stored-runs button");
    await browser.until("no run", () => document.querySelector("#stored-runs") === null);
  });
});

test("Chromium: a tour of the page is recorded", { skip: !all && "with --all" }, async () => {
  await using("Chromium", "tour-record", async (browser) => {
    await browser.page.setViewportSize({ width: 1280, height: 720 });
    await loadReward(browser, "cpu");
    await show(browser, "try");
    const still = (ms) => new Promise((done) => setTimeout(done, ms));
    const stop = await record(browser, { width: 1280, height: 720 });
    await still(1000);
    await browser.click("#score");
    await scored(browser, 5);
    await still(1500);
    await browser.page.focus("#try li.card:last-child textarea");
    await browser.page.keyboard.press("Control+A");
    await browser.page.keyboard.type("Indigo, between blue and violet.", { delay: 40 });
    await scored(browser, 5);
    await browser.evaluate(() => document.activeElement.blur());
    await still(2000);
    const tokens = 'button[aria-label="Tokens of completion 1"]';
    await browser.click(tokens);
    const traced = '#try [id$="-tokens"]';
    await browser.until("the trace", (traced) => document.querySelector(traced) !== null, traced);
    await browser.page.focus(traced);
    for (let i = 0; i < 3; i++) {
      await still(400);
      await browser.page.keyboard.press("ArrowRight");
    }
    await browser.evaluate(() => scrollTo(0, 0));
    await browser.screenshot(join(shots, "readme-try.png"));
    await show(browser, "benchmark");
    await still(500);
    await browser.click("#open-rows");
    await browser.until(
      "the rows",
      () => document.querySelector("#dataset-report") !== null && !document.querySelector("#run-subset").disabled,
    );
    await browser.select("#run-subset", "Focus");
    await startRun(browser);
    await browser.until("the end", runIsOver);
    await browser.until("the plots", () => document.querySelectorAll("#benchmark .chart svg").length >= 2);
    await browser.evaluate(() => document.querySelector("#overall-percent").scrollIntoView({ block: "start" }));
    await still(1500);
    await browser.evaluate(() => document.querySelector(".charts").scrollIntoView({ block: "start" }));
    await still(1500);
    await browser.evaluate(() => scrollTo(0, 0));
    await browser.screenshot(join(shots, "readme-benchmark.png"));
    await inspect(browser, 0);
    await browser.page.focus("#explore-list");
    for (let i = 0; i < 3; i++) {
      await still(500);
      await browser.page.keyboard.press("ArrowDown");
    }
    await browser.click("#differences");
    await browser.until("the differences", () => document.querySelector("#explore-item ins") !== null);
    await still(1500);
    await browser.evaluate(() => scrollTo(0, 0));
    await browser.screenshot(join(shots, "readme-explore.png"));
    await show(browser, "leaderboard");
    await browser.until("the board", () => document.querySelector("#downstream-chart svg") !== null);
    await still(2000);
    const bytes = await stop(join(shots, "tour.webm"));
    console.log(`the tour: ${bytes} bytes`);
    assert.equal(statSync(join(shots, "tour.webm")).size, bytes);
    // The file begins with the container's magic number and has content.
    assert.equal(readFileSync(join(shots, "tour.webm")).readUInt32BE(0), 0x1a45dfa3);
    assert.ok(bytes > 100_000 && bytes < 3e6, `${bytes} bytes`);
  });
});

test("Firefox: a text is scored, a run made and explored, and a link opens to the same view", async () => {
  const shared = {};
  await using("Chromium", "tour-link", async (browser) => {
    await browser.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await browser.fill("#prompt", "Name a river.");
    await browser.click("#score");
    await scored(browser, 5);
    await share(browser, "#copy-link");
    shared.link = await browser.evaluate(() => navigator.clipboard.readText());
    shared.scores = await scores(browser);
  });
  await using("Firefox", "tour", async (browser) => {
    await browser.page.goto(shared.link);
    await browser.page.reload();
    await browser.until("the text", () => document.querySelector("#prompt")?.value === "Name a river.");
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await browser.click("#score");
    await scored(browser, 10);
    // The sender's scores stand beside those of this browser.
    const both = await scores(browser);
    assert.deepEqual(
      both.filter((_, i) => i % 2 === 0),
      shared.scores,
    );
    assert.deepEqual(
      both.filter((_, i) => i % 2 === 1),
      shared.scores,
    );
    await show(browser, "benchmark");
    await startRun(browser);
    await browser.until("the run", runIsOver);
    await browser.until("the plots", () => document.querySelectorAll("#benchmark .chart svg").length >= 2);
    await inspect(browser, 3);
    await browser.until("the item", () => document.querySelectorAll("#explore-item li").length >= 2);
    await show(browser, "leaderboard");
    await browser.until("the own row", () => document.querySelector("#board-rows tr.own") !== null);
  });
});
