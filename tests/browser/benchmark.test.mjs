// Benchmark as a visitor uses it: which items run, what is said before and after, links, and runs that were left.
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { checkpoint, isAccessible, loadFiles, loadReward, show, url, using } from "./browsers.mjs";

const scratch = mkdtempSync(join(tmpdir(), "rewardscope-benchmark-"));
const runIsOver = () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null;

/** A file of preference pairs without subsets. */
function pairs(count) {
  const path = join(scratch, `pairs-${count}.jsonl`);
  const line = (i) => JSON.stringify({ prompt: `Question ${i}?`, chosen: `Answer ${i}.`, rejected: `Nothing, ${i}.` });
  writeFileSync(path, Array.from({ length: count }, (_, i) => line(i)).join("\n"));
  return path;
}

const radio = (browser, name) => browser.page.getByRole("radio", { name });

test("Chromium: one's own pairs run whole with one click, and a long run is estimated first", async () => {
  await using("Chromium", "benchmark-own", async (browser) => {
    const { page } = browser;
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await show(browser, "benchmark");
    await radio(browser, /Your own files/).check();
    await browser.pick("#data-file", pairs(50));
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
    assert.ok(await radio(browser, "All items").isChecked());
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await browser.until("the run", runIsOver);
    assert.match(await browser.text("#progress"), /^50 of 50 items/);
    assert.match(await browser.text("#run-about"), /^50 items/);
    assert.equal(await browser.exists("#not-on-board"), false, "pairs of one's own are no sample of a benchmark");
    // Many pairs take a while.
    await browser.pick("#data-file", pairs(60_000));
    await browser.until("the rows", () => /60,000 items/.test(document.querySelector("#dataset-report")?.textContent));
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await browser.until("the estimate", () => document.querySelector("#estimate") !== null);
    assert.match(
      await browser.text("#estimate"),
      /^60,000 items, 120,000 completions, about [\d,]+ tokens: about .* in [\d.]+ MB/,
    );
    assert.equal(await browser.exists("#pause-run"), false, "it waits");
    // The rows of a benchmark with subsets run quickly unless asked otherwise.
    await radio(browser, /Bundled sample/).check();
    assert.ok(await radio(browser, /Quick/).isChecked());
  });
});

test("Chromium: a file is picked first and its benchmark chosen after that", async () => {
  await using("Chromium", "benchmark-order", async (browser) => {
    await show(browser, "benchmark");
    await radio(browser, /Your own files/).check();
    await browser.page.locator("#benchmark").getByLabel("Benchmark", { exact: true }).selectOption("reward-bench-2");
    await browser.pick("#data-file", pairs(50));
    await browser.until("the refusal", () => document.querySelector("#error") !== null, undefined, {
      allowError: true,
    });
    await browser.page
      .locator("#benchmark")
      .getByLabel("Benchmark", { exact: true })
      .selectOption({ value: "preferences" });
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null, undefined, {
      allowError: true,
    });
    assert.match(await browser.text("#dataset-report"), /50 items/);
    assert.equal(await browser.exists("#error"), false);
    await isAccessible(browser, "one's own rows", "main");
  });
});

test("Chromium: a link that is opened in a tab that is open already is followed", async () => {
  await using("Chromium", "benchmark-link", async (browser) => {
    const { page } = browser;
    await show(browser, "benchmark");
    const link = "#benchmark?rows=hub&id=owner%2Fname&size=7&seed=3&benchmark=rm-bench&split=test";
    await page.evaluate((link) => (location.hash = link), link);
    await browser.until("the rows of the link", () => document.querySelector("#data-id")?.value === "owner/name");
    assert.ok(await radio(browser, /Hub or URL/).isChecked());
    assert.ok(await radio(browser, "Custom").isChecked());
    await browser.until("the benchmarks", () => document.querySelectorAll("#benchmark-name option").length > 2);
    assert.deepEqual(
      await page.evaluate(() =>
        ["limit", "seed", "benchmark-name", "split"].map((id) => document.getElementById(id).value),
      ),
      ["7", "3", "rm-bench", "test"],
    );
    assert.ok(page.url().endsWith(link), page.url());
    // Another one after it; what it does not say is as on a first visit.
    await page.evaluate(() => (location.hash = "#benchmark?rows=official&size=full"));
    await browser.until("the official rows", () => document.querySelector("#official-note") !== null);
    assert.ok(await radio(browser, "All items").isChecked());
    assert.equal(await page.evaluate(() => document.querySelector("#seed").value), "0");
    // The view's plain address changes nothing.
    await show(browser, "try");
    await show(browser, "benchmark");
    assert.ok(await radio(browser, /^RewardBench 2/).isChecked());
    assert.ok(await browser.exists("#official-note"));
  });
});

test("Chromium: in a window that stores nothing, Pause and Cancel do not say that scores are kept", async () => {
  await using("Chromium", "benchmark-private", async (browser) => {
    const { page } = browser;
    // Site data is blocked: the engine's worker gets no private files.
    await page.context().route(/\/worker-[^/]*\.js$/, async (route) => {
      const response = await route.fetch();
      await route.fulfill({
        response,
        body: `StorageManager.prototype.getDirectory = undefined;\n${await response.text()}`,
      });
    });
    // A service worker would serve that file itself.
    await page.evaluate(async () => {
      for (const found of await navigator.serviceWorker.getRegistrations()) await found.unregister();
    });
    await page.reload();
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    const begin = async () => {
      await browser.click("#run");
      await browser.until("an item", () => Number(document.querySelector("#progress")?.textContent.match(/\d+/)) > 0);
    };
    await show(browser, "benchmark");
    await radio(browser, "All items").check();
    await begin();
    await page.getByRole("button", { name: "Pause" }).click();
    await browser.until("the pause", () => document.querySelector("#cancel-run") === null);
    assert.match(await browser.text("#notice"), /^Paused\. This window stores nothing/);
    await begin();
    await page.getByRole("button", { name: "Cancel" }).click();
    await browser.until("the end", () => document.querySelector("#cancel-run") === null);
    assert.match(await browser.text("#notice"), /^Cancelled\. This window stores nothing/);
  });
});

test("Chromium: a run that the browser has no room for is scored, and said not to last", async () => {
  await using("Chromium", "benchmark-full", async (browser) => {
    const { page } = browser;
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await show(browser, "benchmark");
    await radio(browser, "All items").check();
    await page.getByRole("button", { name: "Open dataset" }).click();
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
    const runs = () =>
      browser.evaluate(async () => (await window.rewardscope.call("storage", [])).runs.map(({ summary }) => summary));
    // No room for its first line.
    await browser.boundStorage(1);
    await browser.click("#run");
    await browser.until("the run", runIsOver);
    assert.match(await browser.text("#progress"), /^140 of 140 items/);
    assert.match(await browser.text("#not-kept"), /^The browser gives no more room, so this run lasts only until/);
    assert.deepEqual(await runs(), [], "nothing is listed of it");
    // Room for some of it.
    await browser.boundStorage(2e9);
    await browser.select("#size", "quick");
    const used = await browser.evaluate(async () => (await navigator.storage.estimate()).usage);
    await browser.boundStorage(used + 8192);
    await browser.click("#run");
    await browser.until("the run", runIsOver);
    assert.ok(await browser.exists("#not-kept"));
    const [stored] = await runs();
    const { items_done, items_total } = stored;
    assert.ok(items_done > 0 && items_done < items_total, `${items_done} of ${items_total} items are stored`);
  });
});

test("Chromium: notifications that are refused untick their box, and it is said why", async () => {
  await using("Chromium", "benchmark-notify", async (browser) => {
    await show(browser, "benchmark");
    await browser.evaluate(() => (window.Notification.requestPermission = async () => "denied"));
    const box = browser.page.getByRole("checkbox", { name: "Notify me when a run is done" });
    await box.click();
    await browser.until("the sentence", () =>
      /browser blocks notifications/.test(document.querySelector("#benchmark").textContent),
    );
    assert.equal(await box.isChecked(), false);
  });
});

test("Chromium: while a run goes on nothing moves under the pointer, and its report fills", async () => {
  await using("Chromium", "benchmark-still", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await show(browser, "benchmark");
    await radio(browser, "All items").check();
    await browser.evaluate(() => {
      window.places = new Map();
      window.moved = [];
      const watched = () => [
        ...document.querySelectorAll(
          "#pause-run, #cancel-run, #run, #notify, #setup > summary, #benchmark .subsets > table > tbody > tr",
        ),
      ];
      const look = () => {
        if (document.querySelector("#pause-run") && document.querySelector("#benchmark .subsets"))
          for (const element of watched()) {
            const name = element.id || element.tagName + element.textContent.slice(0, 12);
            const { left, top, width } = element.getBoundingClientRect();
            const place = [left, top, width].map(Math.round).join();
            if (window.places.has(name) && window.places.get(name) !== place)
              window.moved.push(`${name}: ${window.places.get(name)} to ${place}`);
            window.places.set(name, place);
          }
        requestAnimationFrame(look);
      };
      look();
    });
    await browser.click("#run");
    await browser.until("the run", runIsOver);
    const [moved, seen] = await browser.evaluate(() => [window.moved, [...window.places.keys()]]);
    assert.ok(seen.length >= 10, `seen: ${seen}`);
    assert.deepEqual(moved, []);
  });
});

test("Chromium: a run that was left goes on at the next visit with one click", async () => {
  await using("Chromium", "benchmark-resume", async (browser) => {
    await loadReward(browser, "cpu");
    await show(browser, "benchmark");
    await browser.click("#open-rows");
    await browser.until("the rows", () => document.querySelector("#run-subset")?.disabled === false);
    await browser.select("#run-subset", "Safety");
    await browser.click("#run");
    await browser.until("items", () => Number(document.querySelector("#progress")?.textContent.match(/\d+/)) >= 3);
    const again = await browser.revisit();
    await show(again, "benchmark");
    const resume = again.page.getByRole("button", { name: /^Resume SmolLM2-135M reward model on Bundled sample/ });
    await resume.waitFor();
    assert.match(await again.text("#unfinished"), /([3-9]|1\d) of 20 items, Safety, left /);
    await isAccessible(again, "an unfinished run", "main");
    // The visit may be opening the model that was used last.
    await again.until("the engine to be free", () => document.querySelector("#run:not(:disabled)") !== null);
    await resume.click();
    await again.until("the run to go on", () =>
      /^([4-9]|1\d|20) of 20/.test(document.querySelector("#progress")?.textContent.trim() ?? ""),
    );
    await again.until("the end", runIsOver);
    assert.match(await again.text("#progress"), /^20 of 20 items/);
    assert.match(await again.text("#marks"), /Safety/);
    assert.ok(again.page.url().startsWith(url));
  });
});
