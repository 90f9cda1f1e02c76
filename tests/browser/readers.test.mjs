// Readers: a verdict from a few rows of the vocabulary, and the values of steps, on WebGPU and in the views.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { checkpoint, isAccessible, loadFiles, modelsFrom, scored, show, using } from "./browsers.mjs";

const expected = (kind) =>
  JSON.parse(readFileSync(new URL(`../fixtures/kinds/${kind}/expected.json`, import.meta.url), "utf8"));
const call = (browser, name, args) =>
  browser.evaluate(([name, args]) => window.rewardscope.call(name, args), [name, args]);

/** Opens the settings and sets what reads the score. */
async function readBy(browser, reader, instruction = "") {
  await modelsFrom(browser, "Your own files");
  await browser.evaluate(() => (document.querySelector("#settings").open = true));
  await browser.until("the readers", () => document.querySelector("#reader option[value=criterion]") !== null);
  const isOwn = reader.startsWith("{");
  await browser.select("#reader", isOwn ? "own" : reader);
  if (isOwn) await browser.fill("#reader-json", reader);
  await browser.fill("#instruction", instruction);
}

test("Chromium: a reader's scores on WebGPU are transformers', and are called what they are", async () => {
  await using("Chromium", "readers", async (browser) => {
    const { page } = browser;
    const { reader, rows } = expected("reader_difference");
    const { instruction } = rows[0].input;
    await readBy(browser, JSON.stringify({ ...reader, gives: "criterion" }), instruction);
    await loadFiles(browser, "gpu", checkpoint("reader_difference", "kinds"));
    assert.match(await browser.text("#model-report"), /read by own reader.*criterion, not rewards/s);
    assert.match(await browser.text("#model-reader"), /"difference"/);
    let worst = 0;
    for (const { input, score, probability } of rows.filter(({ input }) => input.instruction === instruction)) {
      const turns = [{ role: "user", content: input.prompt }];
      const [found] = await call(browser, "score", [turns, [input.completion]]);
      worst = Math.max(worst, Math.abs(found.score - score), Math.abs(found.probability - probability));
    }
    console.log(`reader_difference on WebGPU: largest error ${worst.toExponential(1)}`);
    assert.ok(worst < 1e-3, `${worst}`);
    await show(browser, "try");
    await browser.click("#score");
    await scored(browser, 5);
    assert.match(await browser.text("#likelihood-note"), /a criterion's scores, not rewards/);
    assert.match(await page.locator("#try-status").textContent(), /Highest criterion's score/);
    await page.getByRole("button", { name: "Exact input of completion 1" }).click();
    assert.match(await page.locator("#try li.card dl").first().innerText(), /As a probability\s+[\d.]+ %/);
    // Its own output again, which is a likelihood.
    await readBy(browser, "none");
    await loadFiles(browser, "gpu", checkpoint("reader_difference", "kinds"));
    assert.match(await browser.text("#model-report"), /likelihood baseline/);
    // A reader that is none is refused, and the sentence says what is wrong with it.
    await readBy(browser, '{ "tokens": ["yes"], "combine": "difference" }');
    await browser.pick("#model-files", checkpoint("reader_difference", "kinds"));
    await browser.press("button", "Load");
    await browser.until("the refusal", () => document.querySelector("#error") !== null, undefined, {
      allowError: true,
    });
    assert.match(await browser.text("#error"), /a difference of two, of 1 output/);
  });
});

test("Chromium: steps have a value each", async () => {
  await using("Chromium", "readers-steps", async (browser) => {
    const { page } = browser;
    await readBy(browser, "");
    await loadFiles(browser, "gpu", checkpoint("prm_two_layer", "kinds"));
    assert.match(await browser.text("#model-report"), /read by qwen-prm, as the smallest of the steps.*rewards/s);
    let worst = 0;
    for (const { input, step_scores } of expected("prm_two_layer").rows) {
      if (input.steps.some((step) => step.includes("\n\n"))) continue;
      const turns = [
        { role: "system", content: input.system },
        { role: "user", content: input.prompt },
      ];
      const [found] = await call(browser, "score", [turns, [input.steps.join("\n\n")]]);
      assert.equal(found.steps.scores.length, step_scores.length);
      found.steps.scores.forEach((value, at) => (worst = Math.max(worst, Math.abs(value - step_scores[at]))));
      assert.equal(found.score, found.steps.min);
    }
    console.log(`prm_two_layer on WebGPU: largest error ${worst.toExponential(1)}`);
    assert.ok(worst < 1e-3, `${worst}`);
    await show(browser, "try");
    const first = page.getByRole("textbox", { name: "Completion 1" });
    await first.fill("Red is one.\n\nBlue is one.\n\nSo two.");
    await browser.click("#score");
    await scored(browser, 5);
    const steps = page.getByRole("list", { name: /^Steps of completion/ });
    const counts = await steps.evaluateAll((lists) => lists.map((list) => list.children.length));
    assert.equal(Math.max(...counts), 3);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await isAccessible(browser, `steps, ${colorScheme}`, "#try");
    }
  });
});
