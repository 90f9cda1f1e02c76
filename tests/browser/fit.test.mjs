// Reward heads in the page: fitted from clicks and from a file, used with the model, exported and imported again; and
// the site's own head with its figures.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { loadFiles, loadLikelihood, loadReward, scored, show, using } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-fit-"));
const plain = join(root, "tests/fixtures/parity/llama_plain");
const checkpoint = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].map((file) =>
  join(plain, file),
);
const heads = join(root, "heads/smollm2-135m-instruct");
const rows = readFileSync(join(heads, "preferences.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

const score = async (browser, prompt, completions) => {
  const scores = await browser.evaluate(
    ([p, c]) => window.rewardscope.call("score", [[{ role: "user", content: p }], c]),
    [prompt, completions],
  );
  return scores.map((found) => found.score);
};

/** Writes the last fitted head to a file. Returns its path. */
async function exported(browser) {
  const bytes = await browser.evaluate(async () => [...(await window.rewardscope.call("fittedHead", []))]);
  const path = join(scratch, `head-${Date.now()}.safetensors`);
  writeFileSync(path, Uint8Array.from(bytes));
  return path;
}

const fitted = () => document.querySelector("#fitted-name") !== null && document.querySelector("#cancel-fit") === null;

test("Chromium: a head is fitted from forty clicked pairs, used, exported and imported", async () => {
  await using("Chromium", "fit-clicks", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint);
    const before = await score(browser, "Say hello.", ["Hello!", "No."]);
    await show(browser, "try");
    const { page } = browser;
    for (let left = 5; left > 2; left--) await page.getByRole("button", { name: "Remove completion 3" }).click();
    // Each text is scored when it is asked for, not while it is typed.
    await page.getByRole("checkbox", { name: "Score while typing" }).uncheck();
    await page.getByRole("button", { name: "Best first" }).click();
    const pairs = rows.filter((row) => typeof row.chosen === "string").slice(0, 200);
    const prompts = [...new Set(pairs.map((row) => row.prompt))].slice(0, 20);
    let clicked = 0;
    for (const prompt of prompts) {
      for (const { chosen, rejected } of pairs.filter((row) => row.prompt === prompt).slice(0, 2)) {
        await browser.fill("#prompt", prompt);
        // The better completion is first and second in turn.
        const [first, second] = clicked % 2 ? [rejected, chosen] : [chosen, rejected];
        await page.getByRole("textbox", { name: "Completion 1" }).fill(first);
        await page.getByRole("textbox", { name: "Completion 2" }).fill(second);
        await page.getByRole("button", { name: `Mark as better: completion ${clicked % 2 ? 2 : 1}` }).click();
        clicked++;
      }
    }
    assert.equal(clicked, 40);
    assert.match(await browser.text("#choices-kept"), /^40 preferences kept/);
    await browser.fill("#fit-name", "clicked <b>head</b>");
    await browser.click("#fit-start");
    await browser.until("the head", fitted);
    assert.equal(await browser.text("#fitted-name"), "clicked <b>head</b>");
    assert.match(await browser.text("#fit .figures"), /Fitted on 40 preference pairs over 20 prompts/);
    assert.match(await browser.text("#fit .rivals"), /chance ?50.0 %.*the longest completion.*the shortest completion/);
    // The second fit uses cached features, and the same seed gives the same head.
    const first = readFileSync(await exported(browser));
    const started = Date.now();
    await browser.click("#fit-start");
    await browser.until("the same head", fitted);
    console.log(`forty pairs fitted again in ${Date.now() - started} ms`);
    assert.match(await browser.text("#computed"), /^0 completions computed/);
    const path = await exported(browser);
    assert.deepEqual(readFileSync(path), first);
    await browser.click("#use-head");
    await browser.until(
      "the head on the model",
      () =>
        document.querySelector("#model-report")?.textContent.includes("clicked <b>head</b>") &&
        !document.querySelector("#cancel-load"),
    );
    const used = await score(browser, "Say hello.", ["Hello!", "No."]);
    assert.notDeepEqual(used, before);
    // Imported on the same backbone, the head gives the same scores.
    await loadFiles(browser, "cpu", checkpoint);
    assert.deepEqual(await score(browser, "Say hello.", ["Hello!", "No."]), before);
    await loadFiles(browser, "cpu", checkpoint, path);
    assert.deepEqual(await score(browser, "Say hello.", ["Hello!", "No."]), used);
    assert.match(await browser.text("#head-figures"), /Accuracy of this head on held-out pairs: \d/);
    // The native command gives the same scores with the page's file.
    writeFileSync(
      join(scratch, "rows.jsonl"),
      `${JSON.stringify({ id: 1, prompt: "Say hello.", completions: ["Hello!", "No."] })}\n`,
    );
    const command = join(target, "debug/rewardscope");
    const said = execFileSync(
      command,
      [
        "score",
        "--device",
        "cpu",
        "--model",
        plain,
        "--head",
        path,
        "--input",
        join(scratch, "rows.jsonl"),
        "--output",
        "-",
      ],
      { encoding: "utf8" },
    );
    JSON.parse(said).scores.forEach((native, i) =>
      assert.ok(Math.abs(native - used[i]) < 1e-5, `${native} is not ${used[i]}`),
    );
    // Another backbone is refused with an error message.
    const other = join(root, "tests/fixtures/parity/llama_gqa_tied");
    await browser.pick(
      "#model-files",
      readdirSync(other)
        .filter((file) => !/expected|as_saved/.test(file))
        .map((file) => join(other, file)),
    );
    await browser.pick("#head-file", path);
    await browser.click("#load");
    await browser.until(
      "the refusal",
      () => document.querySelector("#error")?.textContent.includes("load the backbone that the head was fitted on"),
      undefined,
      { allowError: true },
    );
  });
});

test("Chromium: bad preferences have their sentences", async () => {
  await using("Chromium", "fit-bad", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint);
    await browser.select("#fit-source", "file");
    const cases = [
      ["cut.jsonl", '{"prompt": "a', "cut.jsonl, row 1: not readable: expected an object with columns"],
      ["words.parquet", "words", "words.parquet: parquet, which begins with"],
      ["same.jsonl", '{"prompt": "p", "chosen": "a", "rejected": "a"}\n', "1 identical ones"],
      [
        "few.jsonl",
        '{"prompt": "p", "chosen": "a", "rejected": "b"}\n',
        "at least 10 different prompts were expected, 1 were found",
      ],
    ];
    for (const [name, text, named] of cases) {
      writeFileSync(join(scratch, name), text);
      await browser.pick("#preferences-file", join(scratch, name));
      await browser.click("#fit-start");
      await browser.until(name, (named) => document.querySelector("#error")?.textContent.includes(named), named, {
        allowError: true,
      });
      assert.equal(await browser.exists("#fitted-name"), false);
    }
    // The smallest number of prompts: points of the learning curve coincide. A subset may have the name `all`.
    const few = Array.from(
      { length: 10 },
      (_, i) => `${JSON.stringify({ prompt: `prompt ${i}`, chosen: "good", rejected: `bad ${i}`, subset: "all" })}\n`,
    );
    writeFileSync(join(scratch, "ten.jsonl"), few.join(""));
    await browser.pick("#preferences-file", join(scratch, "ten.jsonl"));
    await browser.click("#fit-start");
    await browser.until("a head from ten pairs", fitted);
    assert.equal(await browser.evaluate(() => document.querySelectorAll("#fit .held-out tbody tr").length), 2);
    // A features file of another backbone.
    writeFileSync(
      join(scratch, "features.bin"),
      '{"rewardscope_features":{"backbone":"other","layers":3,"pooling":"last-token","hidden_size":48,"has_likelihood":false}}\n',
    );
    await browser.pick("#features-file", join(scratch, "features.bin"));
    await browser.click("#fit-start");
    await browser.until(
      "other features",
      () => document.querySelector("#error")?.textContent.includes("features.bin: features of the backbone"),
      undefined,
      { allowError: true },
    );
  });
});

test("Chromium: a head is fitted from a file with SmolLM2's features prepared natively", async () => {
  const file = join(scratch, "pairs.jsonl");
  // Rows with short texts: two each of up to fifteen prompts of Ties.
  const short = rows.filter((row) => row.subset === "Ties");
  const prompts = [...new Set(short.map((row) => row.prompt))].slice(0, 15);
  const taken = prompts.flatMap((prompt) => short.filter((row) => row.prompt === prompt).slice(0, 2));
  writeFileSync(file, taken.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const sample = join(scratch, "one-item.jsonl");
  writeFileSync(
    sample,
    `${readFileSync(join(root, "sample/ties.jsonl"), "utf8").split("\n").slice(0, 2).join("\n")}\n`,
  );
  const out = join(scratch, "native");
  const model = join(root, ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  const options = ["--layers", "18", "--pooling", "mean", "--benchmark-data", sample, "--name", "native"];
  execFileSync(
    join(target, "debug/rewardscope"),
    ["fit", "--device", "cpu", "--model", model, "--preferences", file, "--out", out, ...options],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  await using("Chromium", "fit-file", async (browser) => {
    await loadLikelihood(browser, "cpu");
    await browser.select("#fit-source", "file");
    await browser.pick("#preferences-file", file);
    await browser.pick("#features-file", join(out, "features.bin"));
    await browser.fill("#fit-name", "native");
    await browser.select("#fit-pooling", "completion-mean");
    await browser.fill("#fit-layers", "18");
    const started = Date.now();
    await browser.click("#fit-start");
    await browser.until("the head", fitted);
    console.log(`${taken.length} pairs with prepared features fitted in ${Date.now() - started} ms`);
    assert.match(await browser.text("#computed"), /^0 completions computed/);
    assert.match(await browser.text("#fit .rivals"), /the backbone's likelihood/);
    // The page's head has the same weights as the command's.
    const weights = (path) => {
      const bytes = readFileSync(path);
      return [
        ...new Float32Array(
          bytes.buffer.slice(bytes.byteOffset + bytes.length - 4 * 576, bytes.byteOffset + bytes.length),
        ),
      ];
    };
    const path = await exported(browser);
    const native = weights(join(out, "head.safetensors"));
    const worst = Math.max(...weights(path).map((weight, i) => Math.abs(weight - native[i])));
    assert.ok(worst <= 1e-6 * Math.max(...native.map(Math.abs)), `${worst}`);
    await browser.click("#use-head");
    await browser.until(
      "the head on the model",
      () =>
        document.querySelector("#model-report")?.textContent.includes("native") &&
        !document.querySelector("#cancel-load"),
    );
    const { prompt, chosen, rejected } = taken[0];
    const used = await score(browser, prompt, [chosen, rejected]);
    await loadLikelihood(browser, "cpu", path);
    assert.deepEqual(await score(browser, prompt, [chosen, rejected]), used);
  });
});

test("Chromium: the site's own reward model ranks and shows its figures", async () => {
  await using("Chromium", "reward-model", async (browser) => {
    await loadReward(browser, "cpu");
    assert.match(
      await browser.text("#model-report"),
      /has the reward head SmolLM2-135M reward.*its scores are rewards/,
    );
    await browser.evaluate(() => document.querySelector("#head-figures").setAttribute("open", ""));
    const report = JSON.parse(readFileSync(join(heads, "report.json"), "utf8"));
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    assert.ok((await browser.text("#head-figures .held-out")).includes(`3,108${percent(report.accuracy.value)}`));
    const [own, ...others] = report.benchmark.scorers;
    const marks = await browser.text("#head-figures .benchmark-marks");
    assert.ok(marks.includes(percent(own.mean)), marks);
    for (const other of others) {
      assert.ok(other.lead_interval.low > 0, `${other.name}: ${other.lead_interval.low}`);
      assert.ok(marks.includes(percent(other.lead)), marks);
    }
    await browser.click("#score");
    await scored(browser, 5);
    assert.match(await browser.text("#try-status"), /^Scored by SmolLM2-135M reward. Highest reward/);
  });
});
