// Failures: broken files, a cancelled load, a dead worker, no WebGPU.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { checkpoint, loadFiles, modelsFrom, PATIENCE_MS, scored, using } from "./browsers.mjs";

const fixtures = new URL("../fixtures/", import.meta.url).pathname;
const root = new URL("../../", import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-faults-"));

test("Chromium: bad files have their sentences, and results stay", async () => {
  await using("Chromium", "bad-input", async (browser) => {
    const file = (name, bytes) => {
      const path = join(scratch, name);
      writeFileSync(path, bytes);
      return path;
    };
    const broken = (name, bytes) =>
      checkpoint("llama_plain")
        .filter((path) => !path.endsWith(`/${name}`))
        .concat(file(name, bytes));
    const config = readFileSync(join(fixtures, "parity/llama_plain/config.json"), "utf8");
    const shorter = config.replace('"max_position_embeddings": 8192', '"max_position_embeddings": 512');
    await loadFiles(browser, "cpu", broken("config.json", shorter));
    const rows = readFileSync(join(root, "sample/math.jsonl"), "utf8").split("\n").slice(0, 2);
    const longer = JSON.parse(rows[0]);
    longer.id = "long";
    longer.rejected[0] = "word ".repeat(900);
    longer.rejected[1] = "";
    await browser.select("#dataset", "own");
    await browser.pick("#data-file", file("rows.jsonl", `${rows.join("\n")}\n${JSON.stringify(longer)}\n`));
    await browser.until("the dataset", () => document.querySelector("#dataset-report") !== null);
    await browser.click("#run");
    await browser.until(
      "the run",
      () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
    );
    const marks = await browser.text("#marks");
    const remarks = await browser.text("#remarks");
    assert.match(
      remarks,
      /Math\/long, completion 2: [\d,]+ tokens were found, the context holds 512; the last \d+ were cut off/,
    );
    assert.match(remarks, /Math\/long, completion 3: a text was expected, an empty one was found/);

    const sentence = async (what, named) => {
      await browser.until(what, (named) => document.querySelector("#error")?.textContent.includes(named), named, {
        allowError: true,
      });
      assert.equal(await browser.text("#marks"), marks, `after ${what} the results are still there`);
    };
    const sample = readFileSync(join(root, "sample/sample.parquet"));
    const data = async (name, bytes, named) => {
      await browser.pick("#data-file", file(name, bytes));
      await sentence(name, named);
    };
    await data("cut.parquet", sample.subarray(0, sample.length / 2), "cut.parquet: a whole parquet file was expected");
    const footer = sample.length - 8 - sample.readUInt32LE(sample.length - 8);
    const renamed = Buffer.from(sample);
    for (let at = renamed.indexOf("prompt", footer); at >= 0; at = renamed.indexOf("prompt", footer))
      renamed.write("wished", at);
    await data("columns.parquet", renamed, "columns.parquet: the columns prompt were expected");
    await data("words.parquet", "these are words", "words.parquet: parquet, which begins with");
    await data("other.jsonl", '{"question": "?"}\n', "other.jsonl: the columns chosen");

    const gguf = readFileSync(join(root, "crates/engine/selftest/selftest.gguf"));
    const model = async (paths, named) => {
      await modelsFrom(browser, "Your own files");
      await browser.pick("#model-files", paths);
      await browser.until("the picked files", () => !document.querySelector("#load").disabled, undefined, {
        allowError: true,
      });
      await browser.click("#load");
      await sentence(named, named);
    };
    await model([file("picture.gguf", "\x89PNG picture and some more bytes")], "picture.gguf: a GGUF file");
    await model([file("cut.gguf", gguf.subarray(0, gguf.length - 5000))], "it is truncated");
    await model([file("notes.txt", "hello")], "a .gguf file, or a folder with config.json");
    await model(
      broken("config.json", config.replace("LlamaForSequenceClassification", "GPT2LMHeadModel")),
      "GPT2LMHeadModel is not supported",
    );
    await model(
      broken("config.json", config.replace('"hidden_size": 48', '"hidden_size": 64')),
      "should have the shape",
    );
    await model(broken("model.safetensors", "PK this is no safetensors file"), "a safetensors header was expected");
    // The page still works afterwards.
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await browser.click("#score");
    await scored(browser, 5);
  });
});

test("Chromium: a load can be cancelled, and a worker that dies is replaced", async () => {
  await using("Chromium", "worker", async (browser) => {
    await modelsFrom(browser, "Gallery");
    await browser.select("#device", "cpu");
    await browser.press("button", "Load SmolLM2-135M reward model");
    await browser.until("the weights", () => document.querySelector("#load-stage")?.textContent.includes("weights"));
    await browser.click("#cancel-load");
    await browser.until("the notice", () => document.querySelector("#notice")?.textContent.includes("Cancelled"));
    assert.equal(await browser.exists("#model-report"), false);
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await browser.evaluate(() => window.rewardscope.replace("killed by a test"));
    await browser.until("the notice", () =>
      document.querySelector("#notice")?.textContent.includes("killed by a test"),
    );
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await browser.click("#score");
    await scored(browser, 5);
  });
});

test("Chromium: without WebGPU the CPU computes and the page says why", async () => {
  await using(
    "Chromium",
    "no-webgpu",
    async (browser) => {
      await browser.until("the reason", () => document.querySelector("#device-reason") !== null);
      assert.match(await browser.text("#device-reason"), /^The CPU computes, because .*(no adapter|no WebGPU)/);
      await loadFiles(browser, "auto", checkpoint("llama_plain"));
      assert.match(await browser.text("#device-reason"), /^The CPU computes, because/);
      await browser.select("#device", "gpu");
      await browser.click("#load");
      await browser.until(
        "the refusal",
        () => document.querySelector("#error")?.textContent.includes("opening the GPU"),
        undefined,
        { allowError: true, timeout: PATIENCE_MS },
      );
    },
    { webgpu: false },
  );
});

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: calls that open the GPU at the same time share it`, async () => {
    await using(name, "gpu-twice", async (browser) => {
      const names = await browser.evaluate(async () => {
        const both = await Promise.all([
          window.rewardscope.call("openDevice", ["gpu"]),
          window.rewardscope.call("catalog", ["gpu", "f32"]),
        ]);
        return [both[0].name, both[1].device.name];
      });
      assert.ok(names[0].length > 0);
      assert.equal(names[0], names[1]);
    });
  });
}
