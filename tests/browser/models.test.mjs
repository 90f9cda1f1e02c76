// Models: the gallery, files and folders that hold several models or none, progress, what is stored, the device card,
// links, and the sheet over another view.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";

import {
  checkpoint,
  isAccessible,
  loadFiles,
  loadHub,
  modelsFrom,
  scored,
  show,
  startHub,
  url,
  using,
} from "./browsers.mjs";

const scratch = mkdtempSync(join(tmpdir(), "rewardscope-models-"));
after(() => rmSync(scratch, { recursive: true }));
const gguf = new URL("../../crates/engine/selftest/selftest.gguf", import.meta.url).pathname;
const hub = await startHub();

/** Makes a folder with the files of a checkpoint. */
function folder(path, name) {
  const whole = join(scratch, path);
  mkdirSync(whole, { recursive: true });
  for (const file of checkpoint(name)) copyFileSync(file, join(whole, basename(file)));
  return whole;
}
const two = join(scratch, "two");
const [first, second] = [folder("two/plain", "llama_plain"), folder("two/tied", "llama_gqa_tied")];
const deep = join(scratch, "deep");
folder("deep/snapshots/abc", "llama_plain");
const empty = join(scratch, "nothing");
mkdirSync(empty);

/** Drops files and folders of the disk onto the page, as the system's file manager does. */
async function drop(browser, paths, items = []) {
  const { page } = browser;
  const client = await page.context().newCDPSession(page);
  const box = await page.locator("#model").boundingBox();
  const data = { items, files: paths, dragOperationsMask: 1 };
  const at = { x: box.x + 20, y: box.y + 20 };
  for (const type of ["dragEnter", "dragOver", "drop"])
    await client.send("Input.dispatchDragEvent", { type, ...at, data });
  await client.detach();
}

const isLoaded = () => document.querySelector("#self-test") !== null && !document.querySelector("#cancel-load");
const report = async (browser) => (await browser.text("#model-report")).split(" is loaded")[0];

test("Chromium: of two model folders in one pick or drop one is chosen", async () => {
  await using("Chromium", "models-two", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Your own files");
    await browser.select("#device", "cpu");
    const choices = page.getByRole("group", { name: "2 models were found. Which one?" }).getByRole("button");
    // A folder that holds two.
    await browser.pick("#model-folder", two);
    assert.deepEqual(await choices.allInnerTexts().then((all) => all.map((text) => text.split("\n")[0])), [
      "two/plain",
      "two/tied",
    ]);
    assert.match(await choices.first().innerText(), /\d+ kB|MB, \d files/);
    assert.equal(await browser.exists("#load"), false, "nothing loads both");
    await isAccessible(browser, "the choice of a model");
    await choices.nth(1).click();
    await browser.until("the chosen one", isLoaded);
    assert.equal(await report(browser), "tied");
    const tied = await browser.text("#model-report");
    // Two folders in one drop; the other one is another model.
    await drop(browser, [first, second]);
    await choices.first().click();
    await browser.until("the other one", () =>
      /^plain is loaded/.test(document.querySelector("#model-report")?.textContent),
    );
    assert.notEqual((await browser.text("#model-report")).split("loaded: ")[1], tied.split("loaded: ")[1]);
    // Two files.
    for (const name of ["q4.gguf", "q8.gguf"]) copyFileSync(gguf, join(scratch, name));
    await browser.pick("#model-files", [join(scratch, "q4.gguf"), join(scratch, "q8.gguf")]);
    await page.getByRole("button", { name: /^q8\.gguf/ }).click();
    // It has no tokenizer: the sentence tells which file was read.
    const isRead = () => /^reading q8\.gguf: a tokenizer/.test(document.querySelector("#error")?.textContent);
    await browser.until("the file", isRead, undefined, { allowError: true });
  });
});

test("Chromium: folders that are empty or deep, and drops that are no files", async () => {
  await using("Chromium", "models-folders", async (browser) => {
    await modelsFrom(browser, "Gallery");
    await browser.select("#device", "cpu");
    const says = (text) =>
      browser.until(text, (text) => document.querySelector("#model-trouble")?.textContent === text, text);
    await drop(browser, [empty]);
    await says("The folder nothing is empty.");
    assert.equal(await browser.exists("#error"), false, "the message is where files are chosen");
    await drop(browser, [], [{ mimeType: "text/plain", data: "words" }]);
    await says("What was dropped is not a file or a folder.");
    await drop(browser, [deep]);
    await browser.until("the model", () => document.querySelector("#model-picked")?.textContent.includes("deep"));
    await browser.press("button", "Load");
    await browser.until("the model", isLoaded);
    assert.equal(await report(browser), "deep");
    // Loose files are called by what they are, and a run on the board is too.
    await loadFiles(browser, "cpu", checkpoint("llama_plain"));
    assert.equal(await report(browser), `config.json and ${checkpoint("llama_plain").length - 1} more files`);
  });
});

/** A proxy to the page that is slow once a connection has brought 12 MB: the page comes at once, the model does not. */
async function slowLine() {
  const { hostname, port } = new URL(url);
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    let brought = 0;
    far.on("data", (bytes) => {
      brought += bytes.length;
      near.write(bytes);
      if (brought < 12e6) return;
      far.pause();
      setTimeout(() => far.resume(), 50);
    });
    near.pipe(far);
    for (const socket of [near, far]) socket.on("error", () => {}).on("close", () => (near.destroy(), far.destroy()));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  after(() => server.close());
  return `http://localhost:${server.address().port}/`;
}

for (const name of ["Chromium", "Firefox"])
  test(`${name}: what is loaded is named, with its bytes and the time left, and can be cancelled`, async () => {
    const work = async (browser) => {
      await modelsFrom(browser, "Gallery");
      await browser.evaluate(() => {
        window.told = [];
        new MutationObserver(() => {
          const stage = document.querySelector("#load-stage")?.textContent.replace(/\s+/g, " ").trim();
          if (stage !== undefined && stage !== window.told.at(-1)) window.told.push(stage);
        }).observe(document.body, { subtree: true, childList: true, characterData: true });
      });
      await browser.press("button", "Load SmolLM2-135M reward model");
      await browser.until("the time left", () => window.told.some((text) => / left$/.test(text)));
      await browser.press("button", "Cancel");
      await browser.until(
        "the end",
        () => document.querySelector("#notice, #error") !== null && document.querySelector("#cancel-load") === null,
        undefined,
        { allowError: true },
      );
      const told = await browser.evaluate(() => window.told);
      assert.equal(told[0], "Opening SmolLM2-135M reward model");
      for (const text of told) assert.match(text, /^(Opening|Downloading|Checking stored files) [^\s:]/);
      assert.ok(
        told.some((text) => /: [\d.]+ MB of 98\.4 MB, \d+(\.\d)? (s|min) left$/.test(text)),
        told.at(-1),
      );
      assert.match(await browser.text("#model .status"), /No model is loaded/);
    };
    await using(name, "models-progress", work, { address: await slowLine() });
  });

test("Chromium: what is stored is listed, pinned and removed", async () => {
  await using("Chromium", "models-stored", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Gallery");
    await browser.until("the storage", () =>
      /Nothing is stored yet/.test(document.querySelector("#storage").textContent),
    );
    await modelsFrom(browser, "Your own files");
    await browser.press("button", "Choose a model");
    await browser.until("the gallery", () => document.querySelector("#catalog") !== null);
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await browser.until("the files", () => document.querySelector("#stored-files") !== null);
    assert.match(await browser.text("#stored-files tbody"), /test\/llama_plain.*model.*4 files.* kB|MB/);
    await isAccessible(browser, "stored models");
    const storage = page.getByRole("region", { name: "Stored on this device" });
    // Headless Chromium promises nothing by itself.
    await browser.evaluate(() => {
      navigator.storage.persist = async () => false;
    });
    await storage.getByRole("button", { name: "Pin", exact: true }).click();
    await browser.until("the answer", () => /did not promise/.test(document.querySelector("#notice")?.textContent));
    await storage.getByRole("button", { name: "Remove test/llama_plain" }).click();
    await browser.until("the removal", () => document.querySelector("#stored-files") === null);
  });
});

test("Chromium: the device card has words that people know, and its text where nothing can be copied", async () => {
  await using("Chromium", "models-device", async (browser) => {
    const { page } = browser;
    await show(browser, "models");
    await browser.until("the device", () => document.querySelector("#device-name") !== null);
    await browser.click("#device-card > summary");
    assert.equal(await browser.text("#device-name"), "CPU");
    const copy = page.getByRole("button", { name: "Copy for a bug report" });
    const text = page.getByRole("textbox", { name: "Device report" });
    for (const clipboard of ["absent", "refused"]) {
      await browser.evaluate((clipboard) => {
        const writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        Object.defineProperty(navigator, "clipboard", {
          configurable: true,
          value: clipboard === "absent" ? undefined : { writeText },
        });
      }, clipboard);
      await copy.click();
      assert.match(await text.inputValue(), /"program": "Rewardscope"/, clipboard);
      assert.equal(await browser.evaluate(() => getSelection().toString().includes("Rewardscope")), true, "selected");
      await browser.evaluate(() => {
        Object.defineProperty(navigator, "clipboard", { configurable: true, value: { writeText: async () => {} } });
      });
      await copy.click();
      await text.waitFor({ state: "detached" });
    }
    assert.equal(await browser.exists("#error"), false);
  });
});

test("Chromium: a link is followed in a tab that is open, and fetches nothing", async () => {
  await using("Chromium", "models-link", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Gallery");
    await page.waitForLoadState("networkidle");
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    const id = page.getByRole("textbox", { name: "Model id on the Hugging Face Hub" });
    for (const model of ["owner/first", "owner/second@abc"]) {
      await page.evaluate((hash) => (location.hash = hash), `models?model=${encodeURIComponent(model)}`);
      await browser.until(model, (model) => document.querySelector("#hub-id")?.value === model, model);
    }
    await id.fill("owner/typed");
    // The sheet shows the same view anew: what was typed stays.
    await page.getByRole("link", { name: "Try" }).click();
    await page.locator("#loaded").click();
    await page.getByRole("dialog", { name: "Models" }).waitFor();
    assert.equal(await id.inputValue(), "owner/typed");
    await page.keyboard.press("Escape");
    await page.evaluate((hash) => (location.hash = hash), `models?model=${"a".repeat(501)}`);
    await browser.until("the refusal", () =>
      /longer than 500 characters/.test(document.querySelector("#model-trouble")?.textContent),
    );
    assert.deepEqual(
      asked.filter((address) => new URL(address).origin !== new URL(url).origin),
      [],
    );
  });
});

test("Chromium: in the sheet a model is chosen, loaded and shown, and so is an error", async () => {
  await using("Chromium", "models-sheet", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Gallery");
    await browser.select("#device", "cpu");
    await show(browser, "try");
    await page.locator("#loaded").click();
    const sheet = page.getByRole("dialog", { name: "Models" });
    await sheet.getByRole("tab", { name: "Your own files" }).click();
    const notes = join(scratch, "notes.txt");
    writeFileSync(notes, "hello");
    await browser.pick("#model-files", notes);
    await sheet.getByRole("button", { name: "Load", exact: true }).click();
    await sheet.getByRole("alert").filter({ hasText: "a .gguf file, or a folder with config.json" }).waitFor();
    await browser.pick("#model-files", checkpoint("llama_plain"));
    await sheet.getByRole("button", { name: "Load", exact: true }).click();
    await sheet.getByRole("heading", { name: /^config\.json and/ }).waitFor();
    assert.equal(await sheet.getByRole("alert").filter({ hasText: "gguf" }).count(), 0);
    await isAccessible(browser, "the sheet");
    await page.keyboard.press("Escape");
    assert.equal(await browser.evaluate(() => location.hash), "#try");
    assert.match(await browser.text("#loaded"), /^config\.json and \d more files/);
  });
});

test("Chromium: the gallery lists the kinds of scores with what they give", async () => {
  await using("Chromium", "models-kinds", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Gallery");
    const kinds = page.getByRole("group", { name: "What the scores are" });
    await kinds.getByRole("button", { name: "Steps" }).click();
    assert.match(await browser.text("#kind-gives"), /^A reward for each step of a solution/);
    const cards = page.getByRole("list", { name: "Models" }).getByRole("heading");
    assert.deepEqual(await cards.allTextContents().then((all) => all.map((text) => text.replace(/\s+/g, " ").trim())), [
      "Skywork / o1-Open-PRM-Qwen-2.5-1.5B",
      "Qwen / Qwen2.5-Math-PRM-7B",
    ]);
    // A kind that needs no model of its own says what to load.
    await kinds.getByRole("button", { name: "Criteria" }).click();
    assert.match(await browser.text("#kind-gives"), /not a reward. Load any instruct model with the reader criterion/);
    assert.equal(await cards.count(), 0);
    await isAccessible(browser, "a kind of scores", "#model");
    await kinds.getByRole("button", { name: "All kinds" }).click();
    assert.ok((await cards.count()) > 15);
    assert.equal(await browser.exists("#kind-gives"), false);
  });
});

test("Chromium: settings are one line while they are folded, and axe finds nothing in any source", async () => {
  await using("Chromium", "models-settings", async (browser) => {
    const { page } = browser;
    await modelsFrom(browser, "Gallery");
    const line = () => browser.text("#settings-changed");
    assert.equal(await line(), "· all default");
    await browser.select("#device", "cpu");
    await browser.select("#dtype", "q4");
    await page.getByRole("checkbox", { name: "Open the last model when the page opens" }).uncheck();
    assert.equal(await line(), "· CPU, 4 bits, last model not opened");
    assert.equal(await browser.evaluate(() => localStorage.getItem("rewardscope.open-last-model")), "no");
    for (const source of ["Gallery", "From the Hub", "Your own files"]) {
      await modelsFrom(browser, source);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await isAccessible(browser, `${source}, ${colorScheme}`);
      }
    }
    for (const width of [320, 390, 2560]) {
      await page.setViewportSize({ width, height: 800 });
      for (const source of ["Gallery", "From the Hub", "Your own files"]) {
        await modelsFrom(browser, source);
        const over = await browser.evaluate(() => {
          for (const fold of document.querySelectorAll("[data-view=models] details")) fold.open = true;
          return document.documentElement.scrollWidth - innerWidth;
        });
        assert.ok(over <= 0, `${source} is ${over} px too wide at ${width}`);
      }
    }
    await browser.press("button", "Reset to default");
    assert.equal(await line(), "· all default");
    assert.equal(await page.getByLabel("Device", { exact: true }).inputValue(), "auto");
  });
});

test("Chromium: heads of other classes and encoders score on WebGPU as transformers does", async () => {
  await using("Chromium", "models-heads", async (browser) => {
    for (const [kind, about] of [
      ["xlm_roberta", /XLMRobertaForSequenceClassification/],
      ["distilbert", /DistilBertForSequenceClassification/],
      ["electra", /ElectraForSequenceClassification/],
      ["albert", /AlbertForSequenceClassification/],
      ["rm_two_layer", /read by the head score/],
      ["internlm2", /read by the head v_head, read at a token that is appended/],
      ["armorm", /read by the head gating, gated objectives/],
    ]) {
      await loadFiles(browser, "gpu", checkpoint(kind, "kinds"));
      assert.match(await browser.text("#model-report"), about);
      const path = new URL(`../fixtures/kinds/${kind}/expected.json`, import.meta.url);
      const { rows } = JSON.parse(readFileSync(path, "utf8"));
      let worst = 0;
      for (const { input, score } of rows.slice(0, 3)) {
        const turns = input.messages?.slice(0, -1) ?? [{ role: "user", content: input.prompt }];
        const text = input.messages?.at(-1).content ?? input.completion;
        const found = await browser.evaluate(
          ([turns, text]) => window.rewardscope.call("score", [turns, [text]]),
          [turns, text],
        );
        worst = Math.max(worst, Math.abs(found[0].score - score));
        assert.equal(found[0].objectives?.length ?? 0, kind === "armorm" ? 19 : 0);
      }
      console.log(`${kind} on WebGPU: largest error ${worst.toExponential(1)}`);
      assert.ok(worst < 1e-3, `${kind}: ${worst}`);
    }
    await show(browser, "try");
    await browser.click("#score");
    await scored(browser, 5);
    await browser.page.getByRole("button", { name: "Exact input of completion 1" }).click();
    const details = await browser.page.locator("#try li.card dl").first().innerText();
    assert.match(details, /Objectives: rewards and their weights\s+1: .* × .*, 2: /);
  });
});
