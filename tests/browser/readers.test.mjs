// Readers, implicit rewards and pairs: a verdict from a few rows of the vocabulary, the values of steps, a policy against
// its reference, and completions that are compared, on WebGPU and in the views.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";

import {
  all,
  checkpoint,
  isAccessible,
  loadFiles,
  loadHub,
  loadLikelihood,
  modelsFrom,
  scored,
  scoreTokens,
  show,
  startHub,
  using,
} from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const hub = await startHub();

const root = new URL("../../", import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-readers-"));
after(() => rmSync(scratch, { recursive: true }));

const runIsOver = () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null;
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

test("Chromium: a reader takes the rows that were published, whatever was kept packed", async () => {
  await using("Chromium", "readers-packed", async (browser) => {
    const own = JSON.stringify({ tokens: [5, 6], combine: "difference", template: "{{ prompt }} {{ completion }}" });
    const scoreBy = async (reader) => {
      await readBy(browser, reader);
      await browser.select("#format", "tulu");
      await browser.select("#dtype", "q8");
      assert.equal(await loadHub(browser, "cpu", "test/causal", hub), "");
      const [{ score }] = await call(browser, "score", [[{ role: "user", content: "Why?" }], ["So it is."]]);
      return score;
    };
    const before = await scoreBy(own);
    await scoreBy("none");
    const { files } = await call(browser, "storage", []);
    assert.ok(files.some(({ name }) => name === "model.safetensors as q8"));
    assert.equal(await scoreBy(own), before);
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

/** The marks that the command gives the sample, by a model of the fixtures. */
function nativeMarks(model, options) {
  const out = join(scratch, model.replaceAll("/", "-"));
  execFileSync(
    join(resolve(root, process.env.REWARDSCOPE_TARGET || "target"), "debug/rewardscope"),
    [
      "eval",
      "--device",
      "cpu",
      "--model",
      join(root, "tests/fixtures", model),
      "--data",
      join(root, "sample/sample.parquet"),
    ].concat(["--out", out], options),
    { stdio: "pipe" },
  );
  return JSON.parse(readFileSync(join(out, "marks.json"), "utf8"));
}

/** Runs the sample in the page, and compares its mark with the command's. */
async function markedAlike(browser, model, options) {
  await show(browser, "benchmark");
  await browser.until("the sample", () => document.querySelector("#run:not(:disabled)") !== null);
  await browser.select("#size", "full");
  await startRun(browser);
  await browser.until("the run's end", runIsOver, undefined, { timeout: 600_000 });
  assert.match(await browser.text("#progress"), /^140 of 140 items/);
  const marks = nativeMarks(model, options);
  assert.equal(await browser.text("#overall"), marks.overall.toFixed(4), model);
  console.log(`${model}: ${marks.overall.toFixed(4)} in page and command`);
}

/** Opens the settings and names the model that rewards are measured against. */
async function against(browser, reference, { beta = 1, protocol = "false" } = {}) {
  await readBy(browser, "");
  await browser.select("#format", "tulu");
  await browser.select("#protocol", protocol);
  await browser.fill("#reference", reference);
  if (reference !== "") await browser.fill("#beta", String(beta));
}

test("Chromium: implicit rewards on WebGPU are those of transformers' log-probabilities", async () => {
  await using("Chromium", "implicit", async (browser) => {
    await against(browser, "test/dpo-reference");
    assert.equal(await loadHub(browser, "gpu", "test/dpo-policy", hub), "");
    assert.match(await browser.text("#model-report"), /implicit rewards, measured against.*dpo-reference.*beta 1/s);
    let worst = 0;
    const { conversations } = JSON.parse(readFileSync(join(root, "tests/fixtures/parity/dpo_llama/expected.json")));
    for (const conversation of conversations) {
      for (const layout of ["chat", "rewardbench"]) {
        const { input_ids, response_start, policy_logprobs, reference_logprobs } = conversation[layout];
        const [found] = await scoreTokens(browser, [input_ids], response_start);
        assert.equal(found.token_scores.length, policy_logprobs.length);
        found.token_scores.forEach((share, at) => {
          worst = Math.max(worst, Math.abs(share - (policy_logprobs[at] - reference_logprobs[at])));
        });
      }
    }
    console.log(`implicit rewards on WebGPU: largest error of a token ${worst.toExponential(1)}`);
    assert.ok(worst < 1e-3, `${worst}`);
    await show(browser, "try");
    await browser.click("#score");
    await scored(browser, 5);
    assert.match(await browser.page.locator("#try-status").textContent(), /Highest implicit reward/);
    await browser.page.getByRole("button", { name: "Exact input of completion 1" }).click();
    const exact = await browser.page.locator("#try li.card dl").first().innerText();
    const [reward, own, other] = exact.match(/-?\d+\.\d+/g).map(Number);
    assert.match(exact, /^Implicit reward\s/);
    assert.ok(Math.abs(reward - (own - other)) < 1e-9, exact);
    // A model of another vocabulary is refused by name, and so is a classifier.
    await against(browser, "test/llama_plain");
    assert.match(
      await loadHub(browser, "gpu", "test/dpo-policy", hub, { allowError: true }),
      /a language model was expected as the reference, .*llama_plain/,
    );
    await against(browser, "");
    assert.equal(await loadHub(browser, "gpu", "test/dpo-policy", hub), "");
    assert.match(await browser.text("#model-report"), /likelihood baseline/);
    // The reference may be files of one's own.
    await against(browser, "");
    await browser.pick("#reference-files", checkpoint("dpo_llama/reference"));
    await loadFiles(browser, "gpu", checkpoint("dpo_llama/policy"));
    assert.match(await browser.text("#model-report"), /measured against.*config\.json and \d+ more files.*beta 1/s);
    const { input_ids, response_start, policy_logprobs, reference_logprobs } = conversations[0].chat;
    const [found] = await scoreTokens(browser, [input_ids], response_start);
    found.token_scores.forEach((share, at) =>
      assert.ok(Math.abs(share - (policy_logprobs[at] - reference_logprobs[at])) < 1e-3, `${share} at ${at}`),
    );
  });
});

test("Chromium: the sample's marks by an implicit reward are the command's", async () => {
  await using("Chromium", "implicit-sample", async (browser) => {
    await against(browser, "test/dpo-reference", { beta: 0.5, protocol: "dpo" });
    assert.equal(await loadHub(browser, "cpu", "test/dpo-policy", hub), "");
    await markedAlike(
      browser,
      "parity/dpo_llama/policy",
      ["--reference", join(root, "tests/fixtures/parity/dpo_llama/reference"), "--beta", "0.5"].concat([
        ..."--protocol rewardbench-dpo --format tulu".split(" "),
      ]),
    );
  });
});

test("Chromium: comparisons on WebGPU are llm-blender's, and the page says who beats whom", async () => {
  await using("Chromium", "pairs", async (browser) => {
    const { page } = browser;
    await loadFiles(browser, "gpu", checkpoint("pairrm", "kinds"));
    assert.match(await browser.text("#model-report"), /pairwise reward model: its scores are win rates/);
    let worst = 0;
    for (const { input, protocol, pairs, win_rate } of expected("pairrm").rows) {
      if (protocol !== "default" || pairs.some(({ input_ids }) => input_ids.length > 500)) continue;
      const found = await call(browser, "score", [input.messages, input.completions]);
      for (const { first, second, logit } of pairs) {
        const duel = found[first].duels.find(({ against }) => against === second);
        worst = Math.max(worst, Math.abs(duel.first - logit));
      }
      found.forEach(({ score }, at) => (worst = Math.max(worst, Math.abs(score - win_rate[at]))));
    }
    console.log(`comparisons on WebGPU: largest error of a logit ${worst.toExponential(1)}`);
    assert.ok(worst < 1e-3, `${worst}`);
    await show(browser, "try");
    await browser.click("#score");
    await scored(browser, 5);
    assert.match(await page.locator("#try-status").textContent(), /Highest win rate/);
    assert.equal(await page.getByRole("list", { name: "Comparisons of completion 1" }).locator("li").count(), 4);
    assert.match(await browser.text("#position-bias"), /decides which one wins in \d+ of 10 pairs/);
    // What has no value at a token offers none.
    assert.equal(await page.getByRole("button", { name: /^Tokens of|^Token trace/ }).count(), 0);
    await isAccessible(browser, "completions that were compared", "main");
  });
});

test("Chromium: the sample's marks by comparisons are the command's", { skip: !all && "with --all" }, async () => {
  await using("Chromium", "pairs-sample", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("pairrm", "kinds"));
    await markedAlike(browser, "kinds/pairrm", []);
    assert.match(await browser.text("#benchmark"), /position bias: in \d+ of \d+ pairs/);
  });
});

test("Chromium: the sample's marks by a reader and by steps are the command's", async () => {
  await using("Chromium", "readers-sample", async (browser) => {
    const { reader } = expected("reader_difference");
    const file = join(scratch, "reader.json");
    writeFileSync(file, JSON.stringify(reader));
    const question = "Does the document answer the query?";
    for (const [kind, chosen, instruction, aggregate, options] of [
      ["reader_difference", JSON.stringify(reader), question, "", ["--reader", file, "--instruction", question]],
      ["prm_two_layer", "", "", "last", ["--aggregate", "last"]],
    ]) {
      await readBy(browser, chosen, instruction);
      await browser.page.selectOption("#step-aggregate", aggregate === "" ? { index: 0 } : aggregate);
      await loadFiles(browser, "cpu", checkpoint(kind, "kinds"));
      await markedAlike(browser, `kinds/${kind}`, options);
    }
  });
});

test("Chromium: real models' word on a criterion is transformers'", async () => {
  await using("Chromium", "readers-criterion", async (browser) => {
    const { rows } = JSON.parse(readFileSync(join(root, "tests/fixtures/criteria.json"), "utf8"));
    const [{ instruction }] = rows;
    const smollm2 = () => loadLikelihood(browser, "cpu");
    // It has its own terms, so that only --all fetches it; and no chat template.
    const gemma3 = async () => {
      await browser.select("#format", "tulu");
      await loadFiles(browser, "cpu", [join(root, ".cache/packages/gemma-3-270m.Q4_K_M.gguf")]);
    };
    const models = all ? { smollm2, gemma3 } : { smollm2 };
    for (const [model, load] of Object.entries(models)) {
      for (const reader of ["criterion", "criterion-digit"]) {
        await readBy(browser, reader, instruction);
        await load();
        assert.match(await browser.text("#model-report"), /a criterion|of a criterion/);
        const own = rows.filter(
          (row) => row.model === model && row.reader === reader && row.instruction === instruction,
        );
        assert.equal(own.length, 2);
        for (const { prompt, completion, score } of own) {
          const [found] = await call(browser, "score", [[{ role: "user", content: prompt }], [completion]]);
          assert.ok(Math.abs(found.score - score) < 1e-3, `${model}, ${reader}: ${found.score} is not ${score}`);
          // An expected digit comes with its distribution.
          assert.equal(found.probabilities?.length ?? 0, reader === "criterion" ? 0 : 5);
        }
      }
    }
  });
});
