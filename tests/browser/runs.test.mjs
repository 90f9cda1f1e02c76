// Several runs: a queue of models, comparisons, run files and addresses, a hundred thousand items, and hostile texts.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { test } from "node:test";

import {
  checkpoint,
  inspect,
  isAccessible,
  loadFiles,
  modelsFrom,
  scored,
  scores,
  show,
  texts,
  url,
  using,
  watchTasks,
} from "./browsers.mjs";
import { startRun } from "./start_run.mjs";

const root = new URL("../../", import.meta.url).pathname;
const target = resolve(root, process.env.REWARDSCOPE_TARGET || "target");
const scratch = mkdtempSync(join(tmpdir(), "rewardscope-runs-"));
const command = (...args) =>
  execFileSync(join(target, "debug/rewardscope"), args, { encoding: "utf8", maxBuffer: 1 << 28 }).trim();
const write = (name, text) => {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
};
const call = (browser, name, ...args) =>
  browser.evaluate(([name, args]) => window.rewardscope.call(name, args), [name, args]);
const rows = (browser, selector) =>
  browser.evaluate(
    (s) => [...document.querySelectorAll(`${s} tbody tr`)].map((row) => row.textContent.replace(/\s+/g, " ").trim()),
    selector,
  );

/** Serves one text to every origin. */
async function serving(text) {
  const server = createServer((_request, response) => {
    response.writeHead(200, {
      "access-control-allow-origin": "*",
      "access-control-allow-headers": "range",
      "content-type": "application/json",
    });
    response.end(text);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // If a test fails, its open server must not keep the process alive.
  server.unref();
  return { address: `http://localhost:${server.address().port}/run.json`, close: () => server.close() };
}

test("Chromium: models run one after the other, and stand beside each other", async () => {
  await using("Chromium", "runs-queue", async (browser) => {
    for (const model of ["llama_plain", "llama_gqa_tied"]) {
      await loadFiles(browser, "cpu", checkpoint(model));
      await browser.evaluate(() => (document.querySelector("#queue").open = true));
      await browser.click("#queue-loaded");
    }
    await isAccessible(browser, "a queue");
    // Rows are opened before anything runs. The page notifies at the end if it is allowed to.
    await browser.page.context().grantPermissions(["notifications"]);
    await browser.evaluate(() => {
      window.told = [];
      window.Notification = class extends window.Notification {
        constructor(title, options) {
          super(title, options);
          window.told.push(options.body);
        }
      };
    });
    await browser.click("#notify");
    await browser.click("#open-rows");
    await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
    await browser.select("#size", "some");
    await browser.fill("#limit", "8");
    await browser.click("#queue-run");
    await browser.until("the first", () => document.querySelector("#cancel-run") !== null);
    await browser.until(
      "both runs",
      () => document.querySelectorAll("#runs tbody tr").length === 2 && document.querySelector("#cancel-run") === null,
    );
    assert.equal(await browser.exists("#queue-models"), false);
    const { subset_progress } = await call(browser, "report");
    assert.deepEqual(
      subset_progress.map(({ subset, done, total }) => [subset, done, total]),
      ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"].map((subset) => [subset, 8, 8]),
    );
    assert.match(await browser.text("#notice"), /The queue is done: 2 runs/);
    assert.deepEqual(await browser.evaluate(() => window.told), [await browser.text("#notice")]);
    await show(browser, "leaderboard");
    await browser.until("both on the board", () => document.querySelectorAll("#board-rows tr.own").length === 2);
    await browser.page
      .getByRole("button", { name: /^Source of/ })
      .first()
      .click();
    const source = browser.page.getByRole("dialog", { name: /^Source of/ });
    assert.match(
      await source.textContent(),
      /Weight type ?as stored ?Length limit ?(8,192|4,096) tokens ?Chat template/,
    );
    await browser.page.keyboard.press("Escape");
    assert.match(
      await browser.text("#board-unknown"),
      /^The weight type, length limit or chat template of 19\d rows is not known/,
    );
    await browser.until("both together", () => document.querySelectorAll(".together tbody tr").length === 3);

    // The page's comparison equals the command's.
    await show(browser, "explore");
    const keys = await browser.evaluate(() =>
      [...document.querySelectorAll("#explore-of option")]
        .map(({ value }) => value)
        .filter((value) => !["run", "dataset"].includes(value)),
    );
    assert.equal(keys.length, 2);
    const files = [];
    for (const key of keys) files.push(write(`${key}.json`, await call(browser, "runFile", key)));
    // A run file can only be opened as a run of its own benchmark, as with the command.
    const opened = await browser.evaluate(
      ([text]) =>
        Promise.all(
          [undefined, "rm-bench"].map((benchmark) =>
            window.rewardscope.call("openRun", [new File([text], "run.json"), benchmark, undefined, undefined]).then(
              ({ benchmark }) => benchmark,
              ({ message }) => message,
            ),
          ),
        ),
      [await call(browser, "runFile", keys[0])],
    );
    assert.equal(opened[0], "reward-bench-2");
    assert.match(opened[1], /it is a run of reward-bench-2, not of rm-bench/);
    const native = JSON.parse(command("compare", ...files, "--json"));
    const found = await call(browser, "compareRuns", ...keys);
    assert.deepEqual(JSON.parse(JSON.stringify(found.comparison)).subsets, native.subsets);
    assert.deepEqual({ ...found.together.agreement[0][1] }, native.agreement);
    assert.deepEqual(
      [found.together.average.score, found.together.average.ci95],
      [native.average.score, native.average.ci95],
    );
    await browser.select("#explore-of", keys[0]);
    await browser.select("#explore-against", keys[1]);
    await browser.until("the comparison", () => document.querySelectorAll("#comparison-table tbody tr").length === 7);
    // Agreement and average equal the command's.
    await show(browser, "leaderboard");
    const together = await rows(browser, ".together");
    assert.ok(
      together[2].includes((100 * native.average.score).toFixed(1)) &&
        together[0].includes(`${(100 * native.agreement.share).toFixed(1)} %`),
      together.join("\n"),
    );
    await show(browser, "explore");
    const overall = (await rows(browser, "#comparison-table")).at(-1);
    assert.ok(
      [native.overall.first, native.overall.second, native.overall.ci95.low].every((mark) =>
        overall.includes((100 * mark).toFixed(1).replace("-", "−")),
      ),
      overall,
    );
    // The filter finds exactly the items that the runs mark differently.
    await browser.page.getByRole("button", { name: "Disagreements" }).click();
    await browser.until(
      "them",
      (n) => document.querySelector("#explore-count")?.textContent.trim().startsWith(`${n} of`),
      native.disagreements.length,
    );
    await inspect(browser, 0);
    await browser.page.getByRole("list", { name: "Completions" }).getByText("Second run").first().waitFor();
    await browser.page.getByRole("button", { name: "Differences" }).click();
    await browser.page
      .getByRole("button", { name: /^Show tokens of completion/ })
      .first()
      .click();
    await browser.until("a trace", () => document.querySelector("#explore-item #trace-token") !== null);
    await isAccessible(browser, "two runs beside each other, an item open");

    // A run can be contributed to the leaderboard and saved for the reference evaluator's tools.
    await show(browser, "leaderboard");
    await browser.click("#runs .contribute");
    await browser.until("the row", () => document.querySelector("#contribution-text") !== null);
    await isAccessible(browser, "a run to contribute");
    const { file, json, text } = await call(browser, "contribution", keys[0]);
    assert.equal(
      await browser.evaluate(() => document.querySelector("#contribution code").textContent),
      `board/${file}`,
    );
    assert.equal(await browser.evaluate(() => document.querySelector("#contribution-text").textContent), text);
    const row = JSON.parse(json);
    const marks = JSON.parse(command("metrics", "--scores", files[0], "--json"));
    assert.equal(row.overall.score, marks.overall);
    assert.equal(row.format, "rewardscope board row 1");
    const reference = await call(browser, "referenceFiles");
    const again = JSON.parse(command("metrics", "--scores", write("eval-set-scores.json", reference.scores), "--json"));
    assert.equal(again.overall, JSON.parse(command("metrics", "--scores", files[1], "--json")).overall);

    // Runs stay open when the worker dies.
    await call(browser, "closeOpened", keys[0]);
    await browser.evaluate(() => window.rewardscope.replace("a test ended it"));
    await browser.until("the new one", () =>
      /was started again/.test(document.querySelector("#notice")?.textContent ?? ""),
    );
    assert.equal((await rows(browser, "#runs")).length, 2);
    assert.deepEqual({ ...(await call(browser, "compareRuns", ...keys)).together.agreement[0][1] }, native.agreement);

    // Run files are opened again by drag and drop and from an address.
    for (const key of keys)
      await browser.evaluate(() => document.querySelector('#runs button[aria-label^="Close"]').click(), key);
    await browser.until("none", () => document.querySelector("#runs-empty") !== null);
    await show(browser, "leaderboard");
    await browser.evaluate(
      (text) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([text], "run.json"));
        document
          .querySelector("#leaderboard")
          .dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
      },
      readFileSync(files[0], "utf8"),
    );
    await browser.until("the dropped file", () => document.querySelectorAll("#runs tbody tr").length === 1);
    const server = await serving(readFileSync(files[1]));
    await browser.fill("#board-run-address", server.address);
    await browser.click("#board-open-address");
    await browser.until("the address", () => document.querySelectorAll("#runs tbody tr").length === 2);
    server.close();
    assert.ok((await rows(browser, "#runs")).every((row) => row.includes(marks.items)));
    // If an address no longer answers when a new worker opens it, only that run is closed.
    await browser.evaluate(() => window.rewardscope.replace("a test ended it"));
    await browser.until("one run", () => document.querySelectorAll("#runs tbody tr").length === 1);
    await browser.until("a word of it", () =>
      /was started again\. The run http:\S+ was closed: .* could not be reached/.test(
        document.querySelector("#notice")?.textContent ?? "",
      ),
    );
    assert.match(await browser.text("header"), /CPU/, "the model is loaded still");
  });
});

test("Chromium: two models score the same text", async () => {
  await using("Chromium", "runs-beside", async (browser) => {
    const turns = [{ role: "user", content: "Name a colour of the rainbow." }];
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    await show(browser, "try");
    const { page } = browser;
    const given = await texts(browser);
    const alone = (await call(browser, "score", turns, given)).map(({ score }) => Number(score.toFixed(2)));
    await page.getByRole("button", { name: "Compare models" }).click();
    await page.getByRole("combobox", { name: "Compare with" }).selectOption("loaded");
    await page.getByRole("button", { name: "Add model" }).click();
    await scored(browser, 10);
    await page.keyboard.press("Escape");
    await loadFiles(browser, "cpu", checkpoint("llama_gqa_tied"));
    await browser.click("#score");
    await scored(browser, 10);
    const shown = await texts(browser);
    const second = (await scores(browser)).filter((_, i) => i % 2 === 1);
    assert.deepEqual(
      Object.fromEntries(shown.map((text, i) => [text, second[i]])),
      Object.fromEntries(given.map((text, i) => [text, alone[i]])),
    );
    await isAccessible(browser, "two models beside each other");
    await page.getByRole("button", { name: "Compare models: 2" }).click();
    await page.getByRole("button", { name: /from the comparison$/ }).click();
    await page.getByRole("button", { name: "Compare models", exact: true }).waitFor();
  });
});

test("Chromium: a hundred thousand items are filtered, sorted and scrolled without a stutter (timed)", async () => {
  await using("Chromium", "runs-many", async (browser) => {
    const MANY = 100_000;
    const subset = (i) => ["Math", "Safety", "Focus", "Factuality"][i % 4];
    const items = [];
    const scores = [];
    for (let i = 0; i < MANY; i++) {
      const prompt = `Question ${i}: which of these ${i % 97} is it, and why would anybody ask so long a question about it?`;
      const rejected = [0, 1, 2].map((k) => `Wrong answer ${k} of ${i}, in some more words than it needs.`);
      items.push(
        JSON.stringify({
          id: String(i),
          subset: subset(i),
          prompt,
          chosen: [`Right answer ${i}.`],
          rejected,
          num_correct: 1,
          num_incorrect: 3,
          total_completions: 4,
          models: [],
        }),
      );
      // Arbitrary but reproducible scores.
      const of = (k) => Number(Math.sin(i * 12.9898 + k * 78.233).toFixed(6));
      scores.push(
        JSON.stringify({ id: String(i), subset: subset(i), num_correct: 1, scores: [of(0), of(1), of(2), of(3)] }),
      );
    }
    await browser.select("#dataset", "own");
    await browser.pick("#data-file", write("many.jsonl", items.join("\n")));
    await browser.until(
      "the rows",
      () =>
        document.querySelector("#dataset-report")?.textContent.includes("100,000 items") &&
        !document.querySelector("#run-subset").disabled,
    );
    await show(browser, "explore");
    await browser.pick("#explore-run-file", write("many-scores.jsonl", scores.join("\n")));
    await browser.until("the scores", () => document.querySelectorAll("#explore-of option").length === 2);
    const key = await browser.evaluate(() => document.querySelectorAll("#explore-of option")[1].value);
    await browser.select("#explore-of", key);
    await browser.until(
      "the list",
      () =>
        /^100,000 of 100,000/.test(document.querySelector("#explore-count")?.textContent.trim() ?? "") &&
        document.querySelectorAll(".list-row .prompt").length > 5,
    );

    const client = await browser.page.context().newCDPSession(browser.page);
    const heap = async () => {
      await client.send("HeapProfiler.collectGarbage");
      return (await client.send("Runtime.getHeapUsage")).usedSize;
    };
    const before = await heap();
    const tasks = await watchTasks(browser);
    const counted = async (what, count) => {
      await browser.until(
        what,
        (count) => document.querySelector("#explore-count")?.textContent.trim().startsWith(`${count} of 100,000`),
        count,
      );
      await browser.until("its rows", () => document.querySelector(".list-row .id")?.textContent);
    };
    const button = (name) => browser.page.getByRole("button", { name, exact: true });
    await button("Filter").click();
    await button("Safety").click();
    await browser.page.keyboard.press("Escape");
    await counted("a subset", "25,000");
    await browser.page.getByLabel("Sort by").selectOption("Margin");
    await browser.until("the order", () => /−1\.9/.test(document.querySelector(".list-row .number")?.textContent));
    await button("Narrow").click();
    await browser.until(
      "the narrow ones",
      () => !document.querySelector("#explore-count").textContent.trim().startsWith("25,000"),
    );
    await button("Narrow").click();
    await button("Remove filter Safety").click();
    await counted("all again", "100,000");
    await browser.fill("#explore-text", "RIGHT ANSWER 4242");
    await counted("a text", "11");
    await browser.fill("#explore-text", "");
    await counted("all again", "100,000");
    await browser.select("#explore-order", "place");
    // Scrolls through the whole list in jumps, then in small steps.
    for (let i = 0; i < 60; i++) {
      await browser.evaluate(
        (share) => {
          const list = document.querySelector("#explore-list");
          list.scrollTop = share * list.scrollHeight;
        },
        i < 30 ? i / 29 : 0.5 + (i - 30) * 1e-4,
      );
      await new Promise((done) => setTimeout(done, 30));
    }
    await browser.page.focus("#explore-list");
    await browser.page.keyboard.press("End");
    await browser.until(
      "the last",
      () => document.querySelector('.list-row[aria-selected="true"]')?.getAttribute("aria-posinset") === "100000",
    );
    assert.match(await browser.text('.list-row[aria-selected="true"]'), /^Question 99999: .* Factuality 99999 /);
    await browser.until("its texts", () =>
      /Right answer 99999/.test(document.querySelector("#explore-item")?.textContent ?? ""),
    );
    for (let i = 0; i < 20; i++) await browser.page.keyboard.press("ArrowUp");
    await browser.until(
      "twenty before it",
      () => document.querySelector('.list-row[aria-selected="true"]')?.getAttribute("aria-posinset") === "99980",
    );
    const longest = await tasks();
    const grown = (await heap()) - before;
    const shown = await browser.evaluate(() => document.querySelectorAll(".list-row").length);
    console.log(
      `100,000 items: the page's longest task ${longest.toFixed(0)} ms, its heap grew by ${(grown / 1e6).toFixed(1)} MB from ${(before / 1e6).toFixed(1)} MB, ${shown} rows are in the page`,
    );
    assert.ok(longest <= 100, `a task of ${longest} ms`);
    assert.ok(grown < 20e6, `${grown} bytes`);
    assert.ok(shown < 100);
  });
});

test("Chromium: hostile text shows as text and changes nothing else", async () => {
  await using("Chromium", "runs-hostile", async (browser) => {
    const markup = '<img src=x onerror="document.title=`hit`"><script>document.title="hit"</script>';
    const nasty = [
      markup,
      "\u202egnihtyreve sesrever\u202c",
      "\u0000\u001b[31m\u0007",
      "javascript:alert(1)",
      "word ".repeat(220_000),
    ];
    const refused = await browser.evaluate(() => {
      window.refused = [];
      addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
      return window.refused;
    });
    assert.deepEqual(refused, []);
    // Hostile text as the name of a model and a dataset, as id, subset, prompt and completion.
    const folder = join(scratch, "<img src=x onerror=alert(1)>");
    mkdirSync(folder);
    for (const path of checkpoint("llama_plain")) copyFileSync(path, join(folder, basename(path)));
    await modelsFrom(browser, "Your own files");
    await browser.select("#device", "cpu");
    await browser.pick("#model-folder", folder);
    await browser.click("#load");
    await browser.until(
      "the model",
      () => document.querySelector("#self-test") !== null && !document.querySelector("#cancel-load"),
    );
    assert.match(await browser.text("#model-report"), /<img src=x onerror=alert\(1\)>/);
    const lines = nasty.map((text, i) =>
      JSON.stringify({
        id: `${i}${text.slice(0, 90)}`,
        subset: i % 2 ? `Math${text.slice(0, 40)}` : "Math",
        prompt: text,
        chosen: [text],
        rejected: [`${text} no`],
      }),
    );
    await browser.select("#dataset", "own");
    await browser.select("#benchmark-name", "preferences");
    await browser.pick("#data-file", write("<b onmouseover=alert(1)>.jsonl", lines.join("\n")));
    await browser.until(
      "the rows or their refusal",
      () => document.querySelector("#dataset-report, #error") !== null,
      undefined,
      { allowError: true },
    );
    assert.equal(await browser.text("#error"), "");
    await startRun(browser);
    await browser.until(
      "the run",
      () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
    );
    // An unpaired surrogate: scored when typed, but refused in a file of rows, which cannot contain it (see below).
    const [{ score }] = await browser.evaluate(() =>
      window.rewardscope.call("score", [[{ role: "user", content: "\ud800 alone" }], ["\udfff"]]),
    );
    assert.ok(Number.isFinite(score));
    await show(browser, "explore");
    await browser.until("the items", (n) => document.querySelectorAll(".list-row .id").length === n, nasty.length);
    for (let i = 0; i < nasty.length; i++) {
      await inspect(browser, i);
      await browser.until(
        "the item",
        (id) => document.querySelector("#item-heading")?.textContent.includes(`item ${id}`),
        i,
      );
    }
    await inspect(browser, 0);
    await browser.until("the first", () => document.querySelector("#item-heading")?.textContent.includes("item 0"));
    assert.ok((await browser.text("#explore-item")).includes(markup));
    await browser.click("#differences");
    await browser.until("the differences", () => document.querySelector("#explore-item ins") !== null);
    // A run file from somebody else, with hostile text in place of names.
    const key = await browser.evaluate(() => [...document.querySelectorAll("#explore-of option")].at(-1).value);
    const run = JSON.parse(await call(browser, "runFile", key));
    run.protocol.model = markup.repeat(2000);
    run.protocol.dataset = nasty[1];
    run.protocol.host = markup;
    run.assessment.remarks = [markup];
    await browser.pick("#explore-run-file", write(`${"x".repeat(100)}<i>.json`, JSON.stringify(run)));
    await browser.until("the file", () => document.querySelectorAll("#runs tbody tr").length === 2);
    assert.ok((await rows(browser, "#runs"))[1].includes(markup));
    assert.ok((await browser.text("#runs")).length < 3000);
    const trouble = async (file, text, said) => {
      await browser.pick("#explore-run-file", write(file, text));
      // What fails is said where the file was opened.
      await browser.until(
        file,
        (said) => document.querySelector("#explore-run-error")?.textContent.includes(said),
        said,
      );
    };
    await isAccessible(browser, "hostile text");
    await trouble("deep.json", "[".repeat(100_000), "deep.json");
    await trouble("other.json", JSON.stringify({ ...run, benchmark: markup }), "there is none of that name");
    await trouble("words.json", markup, "a score file was expected");
    await browser.pick(
      "#data-file",
      write("half.jsonl", '{"id": "1", "prompt": "\\ud800", "chosen": ["a"], "rejected": ["b"]}'),
    );
    await browser.until(
      "half a character",
      () => document.querySelector("#error")?.textContent.includes("half.jsonl: a JSON object was expected"),
      undefined,
      { allowError: true },
    );
    // Hostile links: what they name is not requested unless the visitor asks for it.
    const asked = [];
    browser.page.on("request", (request) => asked.push(request.url()));
    for (const hash of [
      `#explore?text=${encodeURIComponent(markup)}&subset=${encodeURIComponent(nasty[1])}`,
      `#leaderboard?run=${encodeURIComponent("https://example.org/run.json")}&sort=${encodeURIComponent(markup)}`,
      `#models?model=${encodeURIComponent(markup)}`,
      "#nowhere?%%%",
    ]) {
      await browser.page.goto("about:blank");
      await browser.page.goto(`${url}${hash}`);
      await browser.until("the page", () => document.querySelector("#device-reason") !== null, undefined, {
        allowError: true,
      });
      assert.equal(
        await browser.evaluate(
          () => /hit/.test(document.title) || document.querySelector("main img, main script") !== null,
        ),
        false,
        hash,
      );
    }
    assert.deepEqual(
      asked.filter((address) => new URL(address).hostname === "example.org"),
      [],
    );
    assert.equal(await browser.evaluate(() => document.querySelector("[data-view=try]").hidden), false);
    // The page's policy blocks a script even if one is inserted.
    await browser.evaluate(() => {
      window.refused = [];
      addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
      const script = document.createElement("script");
      script.textContent = "document.title = 'hit'";
      document.body.append(script);
      const image = document.createElement("div");
      image.innerHTML = "<img src='data:,' onerror=\"document.title='hit'\">";
      document.body.append(image);
    });
    await browser.until(
      "the refusals",
      () => window.refused.filter((directive) => directive.startsWith("script-src")).length >= 2,
    );
    assert.equal(await browser.evaluate(() => document.title), "Try · Rewardscope");
  });
});
