// Preference files as people have them, opened in the page and detected from their columns: the table of
// tests/fixtures/intake, and how skipped rows are shown.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { loadReward, show, using } from "./browsers.mjs";

const intake = new URL("../fixtures/intake/", import.meta.url).pathname;
const table = JSON.parse(readFileSync(join(intake, "table.json"), "utf8"));

/** Opens files as the visitor's own dataset. Returns the page's messages about them. */
async function open(browser, paths, benchmark) {
  // Selecting another source closes the open dataset.
  await browser.select("#dataset", "sample");
  await browser.select("#dataset", "own");
  await browser.select("#benchmark-name", benchmark);
  await browser.pick("#data-file", paths);
  await browser.until(
    "the rows or their refusal",
    () => document.querySelector("#dataset-report, #error") !== null && document.querySelector("#cancel-run") === null,
    undefined,
    { allowError: true },
  );
  return {
    error: await browser.text("#error"),
    remarks: await browser.text("#dataset-remarks"),
    bad: await browser.text("#bad-rows"),
  };
}

/** The items of the open dataset. */
const items = (browser) =>
  browser.evaluate(async () => {
    const query = { subset: "", verdict: "any", text: "", order: "place", reversed: false };
    const { items } = await window.rewardscope.call("explore", ["dataset", undefined, query]);
    const all = [];
    for (let place = 0; place < items; place++) {
      const { turns, completions } = await window.rewardscope.call("exploreItem", ["dataset", undefined, place]);
      const texts = (correct) =>
        completions.filter((completion) => completion.correct === correct).map(({ text }) => text);
      all.push({ messages: turns, chosen: texts(true), rejected: texts(false) });
    }
    return all;
  });

test("Chromium: the table of preference files holds in the page", async () => {
  await using("Chromium", "intake", async (browser) => {
    await show(browser, "benchmark");
    for (const { path, expected, skipped = 0, benchmark = "", said } of table) {
      const whole = join(intake, path);
      const files = statSync(whole).isDirectory() ? readdirSync(whole).map((name) => join(whole, name)) : [whole];
      const told = await open(browser, files, benchmark);
      if (!expected) {
        assert.notEqual(told.error, "", `${path} is refused`);
        continue;
      }
      assert.equal(told.error, "", path);
      const plain = JSON.parse(readFileSync(join(intake, expected), "utf8")).map(({ messages, chosen, rejected }) => ({
        messages,
        chosen,
        rejected,
      }));
      assert.deepEqual(await items(browser), plain, path);
      if (said)
        assert.ok(told.remarks.includes(said) || told.bad.includes(said), `${path}: ${told.remarks} ${told.bad}`);
      if (skipped > 0) assert.match(told.bad, new RegExp(`^${skipped} rows? (was|were) skipped`), path);
    }
  });
});

test("Chromium: columns are named, a split is chosen, and the list of skipped rows is saved", async () => {
  await using("Chromium", "intake-columns", async (browser) => {
    await show(browser, "benchmark");
    const path = join(tmpdir(), `rewardscope-intake-${process.pid}.json`);
    const rows = [
      { q: "Why?", one: "Because.", two: "No.", best: "second" },
      { q: "When?", one: "Now.", two: "Never.", best: "neither" },
    ];
    writeFileSync(path, JSON.stringify({ train: rows, test: rows.slice(1) }));
    assert.match((await open(browser, [path], "")).error, /--split|Split/);
    await browser.evaluate(() => (document.querySelector("#columns").open = true));
    await browser.fill("#split", "train");
    await browser.fill("#column-prompt", "q");
    await browser.fill("#column-chosen", "one");
    await browser.fill("#column-rejected", "two");
    await browser.fill("#column-more", "chosen_if=best:first:second:neither");
    const told = await open(browser, [path], "");
    assert.equal(told.error, "");
    assert.deepEqual(await items(browser), [
      { messages: [{ role: "user", content: "Why?" }], chosen: ["No."], rejected: ["Because."] },
    ]);
    assert.match(told.bad, /^1 row was skipped/);
    await browser.evaluate(() => (document.querySelector("#bad-rows").open = true));
    const saved = browser.page.waitForEvent("download");
    await browser.click("#save-bad-rows");
    const lines = readFileSync(await (await saved).path(), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ row, reason }) => [row, reason]),
      [[2, "tie"]],
    );
  });
});

test("Chromium: what is fetched is named", async () => {
  await using("Chromium", "intake-names", async (browser) => {
    await show(browser, "models");
    await browser.evaluate(() => {
      window.told = new Set();
      new MutationObserver(() =>
        window.told.add(document.querySelector("#load-stage")?.textContent.replace(/\s+/g, " ").trim() ?? ""),
      ).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await loadReward(browser, "cpu");
    const told = await browser.evaluate(() => [...window.told]);
    assert.ok(
      told.some((text) => /^(Downloading|Checking stored files) [^\s:]+.*: [\d.]+ \S+ of/.test(text)),
      told.join(" | "),
    );
    assert.ok(!told.some((text) => /Downloading\s*:/.test(text)), told.join(" | "));
  });
});
