// Reports that travel: one HTML file that opens from a disk in both browsers without a network.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { checkpoint, isAccessible, loadFiles, show, using } from "./browsers.mjs";

const scratch = mkdtempSync(join(tmpdir(), "rewardscope-reports-"));
const HOSTILE = "</style></div><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>";

/** Presses a button and keeps the file that the page saves. */
export async function saved(page, press) {
  const [download] = await Promise.all([page.waitForEvent("download"), press()]);
  const path = join(scratch, download.suggestedFilename());
  await download.saveAs(path);
  return path;
}

/** Opens a report in a browser without a network: it must show these texts, do nothing, and be accessible. */
async function opens(name, path, texts) {
  await using(
    name,
    `report-${name}`,
    async (browser) => {
      if (name === "Chromium") await browser.page.context().setOffline(true);
      const said = await browser.evaluate(() => document.body.textContent);
      for (const text of texts) assert.ok(said.includes(text), `${text} in ${said.slice(0, 2000)}`);
      const found = await browser.evaluate(() => ({
        pwned: window.pwned,
        active: document.querySelectorAll("script, img, iframe, button, input, textarea").length,
        outside: [...document.querySelectorAll("[src], link")].length,
      }));
      assert.deepEqual(found, { pwned: undefined, active: 0, outside: 0 });
      await isAccessible(browser, path);
    },
    { address: pathToFileURL(path).href },
  );
}

test("a sheet of Try is saved as one file", async () => {
  let path;
  await using("Chromium", "report-try", async (browser) => {
    const { page } = browser;
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await show(browser, "try");
    await page.getByRole("textbox", { name: "Completion 1" }).fill(HOSTILE);
    await page.getByRole("button", { name: "Score", exact: true }).click();
    await browser.until("the scores", () => document.querySelectorAll("[data-score]").length === 5);
    await page.getByRole("button", { name: "Share" }).click();
    path = await saved(page, () => page.getByRole("button", { name: "Save as HTML" }).click());
  });
  console.log(`${path}: ${readFileSync(path).length} bytes`);
  assert.match(path, /try_Name-a-colour-of-the-rainbow\.html$/);
  for (const name of ["Chromium", "Firefox"])
    await opens(name, path, [HOSTILE, "Green", "Name a colour of the rainbow.", "Chat template", "rewards"]);
});

test("a run and a comparison are saved as one file each", async () => {
  const files = {};
  await using("Chromium", "report-run", async (browser) => {
    const { page } = browser;
    const row = (id, prompt) => JSON.stringify({ id, prompt, chosen: ["Yes."], rejected: [HOSTILE], subset: "Own" });
    const rows = join(scratch, "hostile.jsonl");
    writeFileSync(rows, `${row("a", HOSTILE)}\n${row("b", "Why?")}\n${row("c", "How?")}\n`);
    const run = async (name) => {
      await loadFiles(browser, "cpu", checkpoint(name));
      await browser.click("#run");
      await browser.until(
        "the end",
        () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
      );
    };
    await browser.select("#dataset", "own");
    await browser.pick("#data-file", rows);
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
    await run("llama_plain");
    await page.getByRole("button", { name: "Export" }).click();
    files.run = await saved(page, () => page.getByRole("button", { name: "Report (HTML)" }).click());
    await run("llama_gqa_tied");
    await show(browser, "explore");
    const runs = page.getByRole("combobox", { name: "Source" });
    await runs.selectOption({ index: (await runs.locator("option").count()) - 1 });
    await page.getByRole("combobox", { name: "Compare with" }).selectOption({ index: 1 });
    const save = page.getByRole("button", { name: "Save as HTML" });
    await save.waitFor();
    files.comparison = await saved(page, () => save.click());
  });
  for (const [what, path] of Object.entries(files)) console.log(`${what}: ${path}, ${readFileSync(path).length} bytes`);
  for (const name of ["Chromium", "Firefox"]) {
    await opens(name, files.run, [HOSTILE, "Own, item a", "Chat template", "All 3."]);
    await opens(name, files.comparison, ["First run", "Second run", "The runs mark"]);
  }
});
