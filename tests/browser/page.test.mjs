// The page in two real browsers. Scores come from the real engine in its real worker. A missing browser or adapter
// fails the tests.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import {
  all,
  checkpoint,
  countingGpu,
  inspect,
  loadFiles,
  loadLikelihood,
  modelsFrom,
  scored,
  scores,
  scoreTokens,
  show,
  texts,
  using,
} from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const fixtures = new URL("../fixtures/", import.meta.url).pathname;
const root = new URL("../../", import.meta.url).pathname;
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-page-"));

// At least one model of each architecture.
const CLASSIFIERS = [
  "llama_plain",
  "llama_gqa_tied",
  "llama_rope_scaled",
  "mistral_sliding",
  "qwen2",
  "qwen3",
  "gemma",
  "gemma2",
  "gemma3_text",
  "gpt_neox",
  "bert",
  "roberta",
  "deberta_v3",
  "modernbert_cls",
];

const expected = (name) => JSON.parse(readFileSync(join(fixtures, "parity", name, "expected.json")));
const smollm2 = JSON.parse(readFileSync(join(fixtures, "smollm2_logprobs.json"))).cases;

const largest = (found, want) => {
  assert.equal(found.length, want.length);
  return Math.max(...found.map((value, i) => Math.abs(value - want[i])));
};

/** The native command's marks of a score file. */
function nativeMarks(scores, benchmark = "reward-bench-2") {
  const path = join(scratch, "scores.jsonl");
  writeFileSync(path, scores);
  const command = join(target, "debug/rewardscope");
  const asked = ["metrics", "--benchmark", benchmark, "--scores", path, "--json"];
  return execFileSync(command, asked, { encoding: "utf8" }).trim();
}

async function marksEqualNative(browser) {
  const [scores, marks] = await browser.evaluate(async () => {
    const scores = await window.rewardscope.call("scoreFile", []);
    const { key } = await window.rewardscope.call("openRun", [
      new File([scores], "scores.jsonl"),
      "reward-bench-2",
      undefined,
      undefined,
    ]);
    return [scores, (await window.rewardscope.call("openedReport", [key])).json];
  });
  const native = nativeMarks(scores);
  const at = [...marks].findIndex((character, i) => character !== native[i]);
  assert.ok(
    marks === native,
    `the page's marks differ from ${at} on: ${marks.slice(at - 60, at + 30)} is not ${native.slice(at - 60, at + 30)}`,
  );
  return JSON.parse(marks);
}

const runIsOver = () => document.querySelector("#cancel-run") === null;

test("the module's constructors are not run again at every call", () => {
  // wasm-ld names the wrappers that call the constructors `.command_export`. The linked module still has its names.
  const linked = readFileSync(join(target, "wasm32-unknown-unknown/wasm/rewardscope_web.wasm"));
  assert.ok(linked.includes("__wasm_call_ctors"));
  assert.ok(!linked.includes(".command_export"));
});

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: classifiers agree with transformers on WebGPU at every token`, async () => {
    await using(name, "classifiers", async (browser) => {
      for (const fixture of CLASSIFIERS.slice(0, name === "Firefox" && !all ? 3 : CLASSIFIERS.length)) {
        await loadFiles(browser, "gpu", checkpoint(fixture));
        assert.match(await browser.text("#device-reason"), /^The GPU computes/);
        const scored = expected(fixture).conversations.filter((c) => c.input_ids);
        // A software GPU needs minutes for the long ones.
        const chosen = scored.filter((c) => all || c.input_ids.length < 120).slice(0, all ? scored.length : 6);
        assert.ok(chosen.length >= 4);
        const isEncoder = "prompt" in chosen[0];
        const score = (c) =>
          browser.evaluate(
            ([prompt, response]) => window.rewardscope.call("score", [[{ role: "user", content: prompt }], [response]]),
            [c.prompt, c.response],
          );
        const scores = [];
        if (isEncoder) {
          for (const conversation of chosen) scores.push((await score(conversation))[0]);
        } else {
          scores.push(
            ...(await scoreTokens(
              browser,
              chosen.map((c) => c.input_ids),
              1,
            )),
          );
        }
        let worst = 0;
        scores.forEach((score, i) => {
          assert.deepEqual([...score.input_ids], chosen[i].input_ids);
          worst = Math.max(worst, Math.abs(score.score - chosen[i].score));
          if (!isEncoder) worst = Math.max(worst, largest(score.token_scores, chosen[i].token_scores));
        });
        console.log(
          `${name}, ${fixture} on WebGPU: largest error ${worst.toExponential(1)} over ${chosen.length} conversations`,
        );
        assert.ok(worst < 1e-3, `${fixture}: ${worst}`);
      }
      if (name === "Chromium") {
        const first = await browser.evaluate(() => window.rewardscope.call("encodeMs", [32]));
        const again = await browser.evaluate(() => window.rewardscope.call("encodeMs", [32]));
        console.log(`encoding one layer: ${first.toFixed(1)} ms at first, ${again.toFixed(1)} ms afterwards`);
        // It would be several hundred ms if the constructors ran again at every call.
        assert.ok(again < 60, `encoding a layer took ${again} ms`);
      }
    });
  });

  test(
    `${name}: SmolLM2's log-probabilities agree on the CPU`,
    { skip: name === "Firefox" && !all && "with --all" },
    async () => {
      await using(name, "smollm2-cpu", async (browser) => {
        await loadLikelihood(browser, "cpu");
        assert.match(await browser.text("#model-report"), /likelihood baseline.*not rewards/);
        let worst = 0;
        for (const example of smollm2) {
          const [score] = await scoreTokens(browser, [example.input_ids], 1);
          worst = Math.max(worst, largest(score.token_scores, example.token_logprobs));
        }
        console.log(
          `${name}, SmolLM2 on the CPU: largest error ${worst.toExponential(1)} over ${smollm2.length} texts`,
        );
        assert.ok(worst < 2e-3, `${worst}`);
        // The same from text instead of token ids.
        const { prompt, completion, completion_mean, input_ids } = smollm2[0];
        const [typed] = await browser.evaluate(
          ([p, c]) => window.rewardscope.call("score", [[{ role: "user", content: p }], [c]]),
          [prompt, completion],
        );
        assert.deepEqual([...typed.input_ids], input_ids);
        assert.ok(Math.abs(typed.score - completion_mean) < 2e-3);
        assert.equal(typed.score, typed.log_probabilities.avg);
      });
    },
  );
}

test("Firefox: SmolLM2 agrees on WebGPU, loaded in little memory", async () => {
  await using("Firefox", "smollm2-gpu", async (browser) => {
    await loadLikelihood(browser, "gpu");
    const bytes = await browser.evaluate(() => window.rewardscope.call("memoryBytes", []));
    console.log(`Firefox, wasm memory after SmolLM2 loaded for the GPU: ${(bytes / 2 ** 20).toFixed(0)} MiB`);
    assert.ok(bytes < 256e6, `${bytes} bytes`);
    const shortest = smollm2.reduce((a, b) => (a.input_ids.length <= b.input_ids.length ? a : b));
    const [score] = await scoreTokens(browser, [shortest.input_ids], 1);
    const worst = largest(score.token_scores, shortest.token_logprobs);
    console.log(`Firefox, SmolLM2 on WebGPU: largest error ${worst.toExponential(1)}`);
    assert.ok(worst < 5e-3, `${worst}`);
  });
});

test("Chromium: the whole sample runs on WebGPU, cancelled once on the way", async () => {
  await using("Chromium", "sample", async (browser) => {
    await loadFiles(browser, "gpu", checkpoint("llama_plain"));
    assert.match(await browser.text("#sample-note"), /not RewardBench 2/);
    await browser.select("#size", "full");
    await startRun(browser);
    await browser.until(
      "three items",
      () => Number(document.querySelector("#progress")?.textContent?.match(/(\d+) of/)?.[1]) >= 3,
    );
    await browser.click("#pause-run");
    await browser.until("the run to stop", runIsOver);
    assert.match(await browser.text("#notice"), /Paused; what was scored stays/);
    const stopped = Number((await browser.text("#progress")).match(/^(\d+) of 140/)[1]);
    assert.ok(stopped >= 3 && stopped < 140, `stopped at ${stopped}`);
    const partial = await marksEqualNative(browser);
    assert.equal(partial.overall, null);
    assert.equal(await browser.text("#run"), "Resume");
    await browser.click("#run");
    await browser.until("the run to end", runIsOver, undefined, { timeout: 1_200_000 });
    assert.match(await browser.text("#progress"), /^140 of 140 items/);
    const marks = await marksEqualNative(browser);
    assert.equal(typeof marks.overall, "number");
    assert.equal(Object.keys(marks.subsets).length, 6);
    // Every mark has its interval, its chance level and the marks of the shortest and the longest completion.
    assert.match(await browser.text("#marks"), /95 % interval.*Chance.*Shortest.*Longest/s);
    assert.equal(marks.subsets.Math.chance, 0.25);
    const rows = await browser.evaluate(() =>
      [...document.querySelectorAll("#marks tbody tr")].map((row) => row.textContent.trim()),
    );
    for (const [name, mark] of Object.entries(marks.subsets)) {
      const row = rows.find((text) => text.startsWith(name));
      assert.ok(row?.includes(mark.score.toFixed(4)) && row.includes(mark.ci95[1].toFixed(4)), `${name}: ${row}`);
    }
    assert.equal(await browser.text("#overall"), marks.overall.toFixed(4));
    // An opened item shows its prompt and its completions.
    await inspect(browser, 0);
    const completions = browser.page.getByRole("list", { name: "Completions" }).getByRole("listitem");
    await completions.nth(3).waitFor();
    assert.equal(await completions.count(), 4);
    const item = await browser.text("#explore-item");
    assert.match(item, /What is the capital of Australia\?/);
    assert.match(item, /correct/);
  });
});

test("Chromium: score files of several benchmarks are marked as the command marks them, without a model", async () => {
  await using("Chromium", "score-files", async (browser) => {
    const read = (name) => JSON.parse(readFileSync(join(fixtures, "metrics", name)));
    const ties = read("rb2_ties.json")
      .cases.find((one) => one.name === "mixed")
      .rows.map((row) => ({ ...row, subset: "Ties" }));
    const files = [
      ["rm-bench", JSON.stringify(read("rmbench.json").rows)],
      ["reward-bench-2", ties.map((row) => JSON.stringify(row)).join("\n")],
    ];
    await browser.click("#score-file summary");
    await browser.until("the benchmarks", () => document.querySelectorAll("#scores-benchmark option").length === 10);
    for (const [benchmark, text] of files) {
      const path = join(scratch, `${benchmark}.json`);
      writeFileSync(path, text);
      await browser.select("#scores-benchmark", benchmark);
      await browser.pick("#scores-file", path);
      await browser.until(
        "the marks",
        (name) => document.querySelector("#marked-name")?.textContent === name,
        `${benchmark}.json`,
      );
      const native = nativeMarks(text, benchmark);
      const marked = await browser.evaluate(
        async ([text, benchmark]) => {
          const { key } = await window.rewardscope.call("openRun", [
            new File([text], "x.json"),
            benchmark,
            undefined,
            undefined,
          ]);
          return (await window.rewardscope.call("openedReport", [key])).json;
        },
        [text, benchmark],
      );
      assert.equal(marked, native);
      const overall = JSON.parse(native).overall;
      const [name, mark] = Object.entries(JSON.parse(native).subsets)[0];
      const table = await browser.text("#scores-marks");
      assert.ok(table.includes(name) && table.includes(mark.score.toFixed(4)), table);
      assert.equal(await browser.text("#scores-overall"), overall === null ? "needs all parts" : overall.toFixed(4));
    }
    // The file of another benchmark is refused with a message.
    await browser.select("#scores-benchmark", "reward-bench");
    await browser.pick("#scores-file", join(scratch, "rm-bench.json"));
    await browser.until(
      "the refusal",
      () => /has no subset/.test(document.querySelector("#error")?.textContent ?? ""),
      undefined,
      { allowError: true },
    );
  });
});

test("Chromium: a layer takes few dispatches and a batch one readback, whatever the batch", async () => {
  await using("Chromium", "dispatches", async (browser) => {
    // Most dispatches per layer; stock burn needs 38. `others` are outside the layers: embedding, last queries, head.
    const most = { llama_plain: 14, qwen3: 16, bert: 12 };
    const others = 16;
    const sequence = (length, first) => Array.from({ length }, (_, i) => ((first + i * 37) % 200) + 5);
    const item = [1, 2, 3, 4, 5, 6].map((n) => [...sequence(9, 1), ...sequence(3 * n, n)]);
    const counts = await countingGpu(browser);
    for (const [name, each] of Object.entries(most)) {
      await loadFiles(browser, "gpu", checkpoint(name));
      const layers = JSON.parse(readFileSync(join(fixtures, "parity", name, "config.json"), "utf8")).num_hidden_layers;
      const { pipelines } = await counts();
      if (name === "llama_plain")
        assert.ok(pipelines > 5, `${pipelines} pipelines were made while the weights arrived`);
      await browser.evaluate((item) => window.rewardscope.call("scoreTokens", [item, 1, false]), item);
      const first = await counts();
      console.log(`${name}, the first item: ${JSON.stringify(first)}`);
      assert.ok(first.pipelines <= 2, `${first.pipelines} pipelines were not ready`);
      for (const sequences of [[sequence(12, 1)], item]) {
        await browser.evaluate((sequences) => window.rewardscope.call("scoreTokens", [sequences, 1, true]), sequences);
        await counts();
        await browser.evaluate((sequences) => window.rewardscope.call("scoreTokens", [sequences, 1, true]), sequences);
        const found = await counts();
        console.log(`${name}, ${layers} layers, ${sequences.length} sequences: ${JSON.stringify(found)}`);
        assert.ok(found.dispatches > 0 && found.dispatches <= each * layers + others, `${found.dispatches} dispatches`);
        assert.equal(found.readbacks, 1);
        assert.equal(found.pipelines, 0, "nothing is compiled twice");
      }
    }
  });
});

test("Chromium: four ref/tied pairs run with SmolLM2 on the CPU", async () => {
  await using("Chromium", "ties", async (browser) => {
    await loadLikelihood(browser, "cpu");
    const rows = readFileSync(join(root, "sample/ties.jsonl"), "utf8").split("\n").slice(0, 8);
    const path = join(scratch, "four-pairs.jsonl");
    writeFileSync(path, `${rows.join("\n")}\n`);
    await browser.select("#dataset", "own");
    await browser.pick("#data-file", path);
    await browser.until("the dataset", () => document.querySelector("#dataset-report") !== null);
    await browser.click("#run");
    await browser.until(
      "the run to end",
      () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
    );
    const marks = await marksEqualNative(browser);
    assert.deepEqual(Object.keys(marks.subsets), ["Ties"]);
    assert.equal(marks.subsets.Ties.per_prompt.length, 4);
    assert.equal(await browser.text("#overall"), "needs all parts");
    console.log(
      `SmolLM2 on four pairs: Ties ${marks.subsets.Ties.score.toFixed(4)}; ${await browser.text("#progress")}`,
    );
  });
});

test("Chromium: rows of one's own under any names, from an address", async () => {
  await using("Chromium", "columns", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    const rows = [
      { question: "Name a colour.", answers: { better: "Blue.", worse: "Monday." }, topic: "colours" },
      { question: "Name a day.", answers: { better: "Monday.", worse: "Blue." }, topic: "days" },
    ];
    // A host without range requests that allows every origin.
    const server = createServer((_request, response) => {
      response.writeHead(200, { "access-control-allow-origin": "*", "access-control-allow-headers": "range" });
      response.end(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    // If a test fails, its open server must not keep the process alive.
    server.unref();
    await browser.select("#dataset", "hub");
    await browser.select("#benchmark-name", "preferences");
    await browser.evaluate(() => (document.querySelector("#columns").open = true));
    const names = { prompt: "question", chosen: "answers.better", rejected: "answers.worse", subset: "topic" };
    for (const [column, name] of Object.entries(names)) await browser.fill(`#column-${column}`, name);
    await browser.fill("#data-id", `http://localhost:${server.address().port}/rows.jsonl?x=1`);
    await browser.click("#run");
    await browser.until(
      "the run to end",
      () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
    );
    assert.match(await browser.text("#dataset-report"), /2 items \(colours 1, days 1\)/);
    assert.match(await browser.text("#marks"), /colours/);
    // Several files are one dataset. For PPE, each file's name is its subset.
    await browser.select("#dataset", "own");
    for (const column of Object.keys(names)) await browser.fill(`#column-${column}`, "");
    await browser.select("#benchmark-name", "ppe");
    const answered = JSON.stringify({
      question_id: "q1",
      model_name: "m",
      prompt: "1+1?",
      response_1: "2",
      response_2: "3",
      scores: [true, false],
    });
    const sets = ["PPE-MATH.jsonl", "PPE-GPQA.jsonl"].map((name) => join(scratch, name));
    for (const path of sets) writeFileSync(path, answered);
    await browser.pick("#data-file", sets);
    await browser.until("both", () =>
      /^PPE-MATH.jsonl, PPE-GPQA.jsonl: 2 items \(PPE-MATH 1, PPE-GPQA 1\)/.test(
        document.querySelector("#dataset-report")?.textContent.trim() ?? "",
      ),
    );
    await browser.click("#run");
    await browser.until(
      "that run",
      () =>
        /PPE-GPQA/.test(document.querySelector("#marks")?.textContent ?? "") &&
        document.querySelector("#cancel-run") === null,
    );
    assert.match(await browser.text("#marks"), /Partial mean/, "two sets of five");
    server.close();
  });
});

test("Chromium: Try ranks completions, empty and hostile ones too", async () => {
  await using("Chromium", "try-it", async (browser) => {
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    assert.equal(
      await browser.evaluate(() => document.querySelector("#prompt").value),
      "Name a colour of the rainbow.",
    );
    const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    await show(browser, "try");
    await browser.page.getByRole("textbox", { name: "Completion 1" }).fill(hostile);
    await browser.page.getByRole("textbox", { name: "Completion 2" }).fill("");
    await browser.click("#score");
    await scored(browser, 5);
    const shown = await scores(browser);
    assert.deepEqual(
      shown,
      [...shown].sort((a, b) => b - a),
    );
    assert.ok((await texts(browser)).includes(hostile));
    assert.ok((await texts(browser)).includes(""));
    assert.equal(await browser.exists("#try img, #try script"), false);
    assert.equal(await browser.evaluate(() => document.title), "Try · Rewardscope");
  });
});

test("Chromium: the catalog says what fits, and settings change how conversations are scored", async () => {
  await using("Chromium", "settings", async (browser) => {
    const { page } = browser;
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await modelsFrom(browser, "Gallery");
    const card = (name) => page.locator("#catalog-models > li").filter({ hasText: name });
    const cards = () => page.locator("#catalog-models > li").count();
    await browser.until("the catalog", () => document.querySelectorAll("#catalog-models > li").length === 19);
    const text = async (name) => (await card(name).innerText()).replace(/\s+/g, " ");
    await browser.select("#device", "cpu");
    await browser.until("that of the CPU", () => /Load in 4 bits/.test(document.querySelector("#catalog").textContent));
    assert.match(
      await text("Reward-V2-Qwen3-0.6B"),
      /^Skywork \/ Reward-V2-Qwen3-0.6B 61\.3 RewardBench 2 best at Safety, 84\.4 as stored \(16 bits\) 1\.2 GB 8 bits 671 MB 4 bits 373 MB Load Downloads 1\.2 GB once\./,
    );
    // What does not fit as it is stored is loaded in the largest type that does.
    assert.match(
      await text("Reward-V2-Qwen3-4B"),
      /75\.5 .*8\.0 GB too large 8 bits 4\.5 GB too large 4 bits 2\.5 GB Load in 4 bits/,
    );
    assert.match(
      await text("Reward-V2-Llama-3.1-8B"),
      /Too large for this device\. Its weights need 15\.0 GB as stored, the CPU path here has at most 3\.8 GB; choose the GPU/,
    );
    await card("Reward-V2-Qwen3-0.6B").locator("summary").click();
    assert.match(
      await text("Reward-V2-Qwen3-0.6B"),
      /Licence apache-2\.0 Architecture Qwen3 Parameters 596 M .*Ties 34\.0/,
    );
    await browser.press("button", "Only what fits");
    assert.equal(await cards(), 15);
    await browser.press("button", "Only what fits");
    await browser.press("button", "Best first");
    assert.match(await page.locator("#catalog-models > li").nth(2).innerText(), /Reward-V2-Llama-3\.1-8B/);
    // Browsers do not report GPU memory, and large matrices are split into several buffers, so every model may fit.
    await browser.select("#device", "gpu");
    await browser.until("the catalog of the GPU", () =>
      /Browsers do not say/.test(document.querySelector("#catalog").textContent),
    );
    assert.ok(!/too large/i.test(await browser.text("#catalog-models")));
    assert.deepEqual(
      asked.filter((address) => new URL(address).hostname !== "localhost"),
      [],
      "nothing was fetched",
    );

    await browser.evaluate(() => document.querySelector("#settings").setAttribute("open", ""));
    await browser.until("the formats", () => document.querySelectorAll("#format option").length === 12);
    await browser.select("#protocol", "true");
    await browser.select("#format", "tulu");
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    assert.match(
      await browser.text("#model-report"),
      /context 2,048 tokens.*Protocol: BOS kept and masked as RewardBench's, format tulu\./,
    );
    const [prompt, completion] = ["Name a colour.", "Red, I should say."];
    const [score] = await browser.evaluate(
      ([p, c]) => window.rewardscope.call("score", [[{ role: "user", content: p }], [c]]),
      [prompt, completion],
    );
    const rows = join(scratch, "settings.jsonl");
    writeFileSync(rows, `${JSON.stringify({ id: 1, prompt, completion })}\n`);
    const options = ["--device", "cpu", "--protocol", "reference", "--format", "tulu", "--per-token"];
    const model = join(fixtures, "parity/llama_plain");
    const native = execFileSync(
      join(target, "debug/rewardscope"),
      ["score", "--model", model, "--input", rows, "--output", "-", ...options],
      { encoding: "utf8" },
    );
    const said = JSON.parse(native);
    assert.deepEqual([...score.input_ids], said.input_ids);
    assert.ok(Math.abs(score.score - said.score) < 1e-5, `${score.score} is not ${said.score}`);

    await browser.fill("#label", "3");
    await browser.click("#load");
    const refused = () => document.querySelector("#error")?.textContent.includes("no label or label 0 was expected");
    await browser.until("the refusal", refused, undefined, { allowError: true });
    await browser.fill("#label", "");
    await browser.click("#load");
    await browser.until("the model", () => document.querySelector("#self-test") !== null);
  });
});
