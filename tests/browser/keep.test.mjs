// Downloads from a faulty Hub, their storage in the browser, and a second visit offline, in two real browsers.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";

import { all, loadHub, loadLikelihood, modelsFrom, scored, scoreTokens, startHub, url, using } from "./browsers.mjs";

const root = new URL("../../", import.meta.url).pathname;
const fixtures = join(root, "tests/fixtures");
const smollm2 = JSON.parse(readFileSync(join(fixtures, "smollm2_logprobs.json"))).cases;
const shortest = smollm2.reduce((a, b) => (a.input_ids.length <= b.input_ids.length ? a : b));
const classifier = JSON.parse(readFileSync(join(fixtures, "parity/llama_plain/expected.json"))).conversations[0];

// One Hub for all tests.
const hub = await startHub();

/** Makes the Hub fail its next `times` answers for a path. Returns how many failures of the last fault were left. */
const misbehave = async (kind, times, path) =>
  Number(await (await fetch(`${hub}/faults?kind=${kind}&times=${times}&path=${path}`)).text());
const behave = () => misbehave("none", 0, "");

const emptied = (browser) =>
  browser.evaluate(async () => {
    for (const { key } of (await window.rewardscope.call("storage", [])).files)
      await window.rewardscope.call("removeFile", [key]);
  });

async function classifierIsRight(browser) {
  const [score] = await scoreTokens(browser, [classifier.input_ids], 1);
  assert.ok(Math.abs(score.score - classifier.score) < 1e-3, `${score.score} is not ${classifier.score}`);
}

async function smollm2IsRight(browser) {
  const [score] = await scoreTokens(browser, [shortest.input_ids], 1);
  const worst = Math.max(...score.token_scores.map((value, i) => Math.abs(value - shortest.token_logprobs[i])));
  assert.ok(worst < 2e-3, `${worst}`);
  return [...score.token_scores];
}

const PASSING = ["cut", "short", "wrong-range", "429", "503", "500", "changed", "drip", "no-cors"];

test("Chromium: models come by id through every passing fault", async () => {
  await using("Chromium", "faults", async (browser) => {
    for (const fault of PASSING) {
      await emptied(browser);
      // Changed content is noticed only at the end, by its hash, and so is a whole file that lacks its first byte: both
      // may come but once. A missing CORS header fails the probe after it too.
      const times = { changed: 1, drip: 1, "wrong-range": 2, "no-cors": 2 }[fault] ?? 3;
      await misbehave(fault, times, "/cdn/models/test/llama_plain/model.safetensors");
      await loadHub(browser, "cpu", "test/llama_plain", hub);
      assert.equal(await behave(), 0, `${fault} did not happen`);
      await classifierIsRight(browser);
    }
    const models = all ? ["test/smollm2", "test/smollm2-parts"] : ["test/smollm2-parts"];
    for (const model of models) {
      for (const fault of all ? PASSING : ["cut"]) {
        await emptied(browser);
        await misbehave(
          fault,
          { changed: 1, drip: 1, "wrong-range": 2, "no-cors": 2 }[fault] ?? 3,
          "SmolLM2-135M-Instruct.Q4_1.gguf",
        );
        await loadHub(browser, "cpu", model, hub);
        assert.equal(await behave(), 0, `${fault} did not happen`);
        await smollm2IsRight(browser);
      }
    }
  });
});

test("Chromium: a stored Hub model at its commit is opened again without a request", async () => {
  await using("Chromium", "keep-commit", async (browser) => {
    await behave();
    await emptied(browser);
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    const { sha } = await (await fetch(`${hub}/api/models/test/llama_plain/revision/main`)).json();
    assert.match(sha, /^[0-9a-f]{40}$/);
    const before = browser.requests.length;
    await loadHub(browser, "cpu", `test/llama_plain@${sha}`, hub);
    await classifierIsRight(browser);
    const asked = browser.requests.slice(before).filter((address) => address.startsWith(hub));
    assert.deepEqual(asked, []);
  });
});

test("Chromium: rows and a queued model come by id", async () => {
  await using("Chromium", "keep-ids", async (browser) => {
    await behave();
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await browser.select("#dataset", "hub");
    await browser.fill("#data-id", "test/sample:sample.parquet");
    await browser.click("#open-rows");
    await browser.until(
      "the rows",
      () =>
        document.querySelector("#dataset-report")?.textContent.includes("140 items") &&
        !document.querySelector("#run-subset").disabled,
    );
    const kept = new URLSearchParams((await browser.evaluate(() => location.hash)).split("?")[1]);
    assert.deepEqual([kept.get("rows"), kept.get("id")], ["hub", "test/sample:sample.parquet"]);
    await browser.select("#run-subset", "Math");
    await browser.evaluate(() => (document.querySelector("#queue").open = true));
    await browser.fill("#queue-id", "test/llama_plain");
    await browser.click("#queue-add");
    await browser.click("#queue-run");
    await browser.until(
      "the run",
      () => document.querySelectorAll("#runs tbody tr").length === 1 && document.querySelector("#cancel-run") === null,
    );
    const row = await browser.text("#runs tbody tr");
    assert.match(row, /test\/llama_plain@0011223.*reward-bench-2 ?20/);
    // The run file has the commits of both repositories.
    const commit = "00112233445566778899aabbccddeeff00112233";
    const key = await browser.evaluate(() =>
      [...document.querySelectorAll("#explore-of option")]
        .map(({ value }) => value)
        .find((value) => !["run", "dataset"].includes(value)),
    );
    const { protocol } = JSON.parse(await browser.evaluate((key) => window.rewardscope.call("runFile", [key]), key));
    assert.deepEqual(
      [protocol.model, protocol.dataset],
      [`test/llama_plain@${commit}`, `test/sample@${commit}:sample.parquet`],
    );
    // A range of rows, which the address contains too.
    await browser.fill("#data-rows", "3-4");
    await browser.click("#open-rows");
    await browser.until("two rows", () => document.querySelector("#dataset-report")?.textContent.includes("2 items"));
    assert.equal(new URLSearchParams((await browser.evaluate(() => location.hash)).split("?")[1]).get("only"), "3-4");
    await browser.fill("#data-rows", "4-3");
    await browser.click("#open-rows");
    await browser.until(
      "a sentence",
      () => /choosing rows: numbers from 1/.test(document.querySelector("#error")?.textContent ?? ""),
      undefined,
      { allowError: true },
    );
  });
});

test("Chromium: what was packed while it was loaded is kept, and loaded from there", async () => {
  await using("Chromium", "kept-packed", async (first) => {
    let browser = first;
    const load = async (dtype) => {
      await modelsFrom(browser, "From the Hub");
      await browser.select("#dtype", dtype);
      await loadHub(browser, "cpu", "test/llama_plain", hub);
      return scoreTokens(browser, [classifier.input_ids], 1);
    };
    const names = async () =>
      (await browser.evaluate(() => window.rewardscope.call("storage", []))).files.map(({ name }) => name);
    await emptied(browser);
    const scores = { auto: await load("auto") };
    assert.ok(!(await names()).some((name) => name.includes(" as ")), "what stays as it is stored is not kept twice");
    for (const dtype of ["f16", "q8", "q4"]) {
      scores[dtype] = await load(dtype);
      assert.ok((await names()).includes(`model.safetensors as ${dtype}`), `${await names()}`);
    }
    assert.notDeepEqual(scores.q4, scores.auto);
    const fingerprint = await browser.text("#model-report");
    // The original file is removed, so what loads now is the packed copy.
    await browser.evaluate(async () => {
      const { files } = await window.rewardscope.call("storage", []);
      await window.rewardscope.call("removeFile", [files.find(({ name }) => name === "model.safetensors").key]);
    });
    browser = await browser.revisit();
    await misbehave("503", 1e9, "/cdn/models/test/llama_plain/model.safetensors");
    for (const dtype of ["f16", "q8", "q4"]) assert.deepEqual(await load(dtype), scores[dtype], dtype);
    await behave();
    assert.ok(fingerprint.includes("llama_plain"));
    // A damaged copy is noticed, and the model is packed again.
    await browser.evaluate(async () => {
      const { files } = await window.rewardscope.call("storage", []);
      const { key } = files.find(({ name }) => name === "model.safetensors as q4");
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope");
      const folder = await (await root.getDirectoryHandle("files")).getDirectoryHandle(key);
      const writable = await (await folder.getFileHandle("data")).createWritable({ keepExistingData: true });
      await writable.write({ type: "write", position: 5000, data: new Uint8Array(64) });
      await writable.close();
    });
    browser = await browser.revisit();
    assert.deepEqual(await load("q4"), scores.q4);
  });
});

test("Chromium: what cannot be mended is one sentence", async () => {
  await using("Chromium", "refusals", async (browser) => {
    const cases = [
      ["web-page", "/cdn/", /model\.safetensors: a file was expected, the server sent a web page/],
      ["long-wait", "/cdn/", /asks to come back in 3600 s/],
      ["changed", "/cdn/", /should hash to [0-9a-f]{64}/],
      ["no-cors", "/cdn/", /sends no CORS headers that allow http:\/\/localhost/],
      ["web-page", "/api/", /test\/llama_plain: .*a web page/],
    ];
    for (const [fault, path, named] of cases) {
      await emptied(browser);
      await browser.evaluate(async () =>
        (await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope"))
          .removeEntry("documents", { recursive: true })
          .catch(() => {}),
      );
      await misbehave(fault, 1e9, path === "/cdn/" ? "/cdn/models/test/llama_plain/model.safetensors" : path);
      const said = await loadHub(browser, "cpu", "test/llama_plain", hub, { allowError: true });
      await behave();
      assert.match(said, named);
      assert.equal(await browser.exists("#model-report"), false);
    }
    assert.match(await loadHub(browser, "cpu", "test/gated", hub, { allowError: true }), /gated.*access token/);
    assert.match(
      await loadHub(browser, "cpu", "test/nothing", hub, { allowError: true }),
      /no such repository, or it is private/,
    );
    assert.match(await loadHub(browser, "cpu", "nonsense", hub, { allowError: true }), /owner\/name.* was expected/);
    await loadHub(browser, "cpu", "test/gated", hub, { token: "hf_test_token" });
    await classifierIsRight(browser);
    // The token is only in memory.
    const kept = await browser.evaluate(async () => {
      const texts = [
        JSON.stringify({ ...localStorage }),
        JSON.stringify({ ...sessionStorage }),
        document.cookie,
        location.href,
      ];
      const walk = async (folder) => {
        for await (const handle of folder.values()) {
          if (handle.kind === "directory") await walk(handle);
          else texts.push(await (await handle.getFile()).text());
        }
      };
      await walk(await navigator.storage.getDirectory());
      return texts.some((text) => text.includes("hf_test_token"));
    });
    assert.equal(kept, false);
  });
});

test("Chromium: no room, damage and removal are said and mended", async () => {
  await using("Chromium", "storage", async (browser) => {
    const refused = async () => {
      await browser.select("#device", "cpu");
      await browser.press("button", "Load SmolLM2-135M reward model");
      await browser.until("the refusal", () => document.querySelector("#error") !== null, undefined, {
        allowError: true,
      });
      return browser.text("#error");
    };
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await modelsFrom(browser, "Gallery");
    // The browser reports too little space before the download starts.
    await browser.inWorker(() => {
      self.realEstimate = StorageManager.prototype.estimate;
      StorageManager.prototype.estimate = () => Promise.resolve({ usage: 1e6, quota: 51e6 });
    });
    const early = await refused();
    assert.match(
      early,
      /storing smollm2-135m-instruct: it needs 98\.4 MB more, the browser gives this site 50\.0 MB; remove test\/llama_plain\/\S+ \(/,
    );
    await browser.inWorker(() => {
      StorageManager.prototype.estimate = self.realEstimate;
    });
    // The space runs out during the download.
    await browser.boundStorage(60e6);
    assert.match(
      await refused(),
      /storing smollm2-135m-instruct\/SmolLM2\S+: the browser gives this site no more room; remove test\/llama_plain/,
    );
    assert.equal(await browser.exists("#model-report"), false, "a half-stored model does not load");
    await browser.click("#keep-files");
    await loadLikelihood(browser, "cpu");
    await smollm2IsRight(browser);
    await browser.click("#keep-files");
    await browser.boundStorage(2e9);

    // A damaged stored file is downloaded again, once.
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    const damage = () =>
      browser.evaluate(async () => {
        const { files } = await window.rewardscope.call("storage", []);
        const { key } = files.find((file) => file.name === "model.safetensors");
        const folder = await (
          await (
            await (await navigator.storage.getDirectory()).getDirectoryHandle("rewardscope")
          ).getDirectoryHandle("files")
        ).getDirectoryHandle(key);
        const stream = await (await folder.getFileHandle("data")).createWritable({ keepExistingData: true });
        await stream.write({ type: "write", position: 70_000, data: new Uint8Array(64) });
        await stream.close();
      });
    await damage();
    await loadHub(browser, "cpu", "test/llama_plain", hub);
    await classifierIsRight(browser);
    await damage();
    await misbehave("changed", 1e9, "/cdn/models/test/llama_plain/model.safetensors");
    assert.match(await loadHub(browser, "cpu", "test/llama_plain", hub, { allowError: true }), /should hash to/);
    await behave();
    assert.equal(await browser.exists("#model-report"), false);

    const rows = () => browser.evaluate(() => document.querySelectorAll("#stored-files tbody tr").length);
    await browser.until("the list", () => document.querySelector("#stored-files") !== null, undefined, {
      allowError: true,
    });
    const before = await rows();
    await browser.click("#stored-files tbody tr:first-child button");
    await browser.until(
      "the removal",
      (n) => document.querySelectorAll("#stored-files tbody tr").length === n - 1,
      before,
      { allowError: true },
    );
    await browser.click("#keep");
    await browser.until(
      "an answer",
      () => document.querySelector("#notice") !== null || document.querySelector("#keep") === null,
      undefined,
      { allowError: true },
    );
  });
});

/** A proxy to the page: its address, and a function that cuts all connections. */
async function cuttableLine() {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      open.add(from);
      from.on("error", () => to.destroy()).on("close", () => open.delete(from));
      from.pipe(to);
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    address: `http://localhost:${server.address().port}/`,
    cut() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

for (const name of ["Chromium", "Firefox"]) {
  test(`${name}: a second visit scores with the network off`, async () => {
    const line = await cuttableLine();
    await using(
      name,
      "offline",
      async (browser) => {
        await loadLikelihood(browser, "cpu");
        const online = await smollm2IsRight(browser);
        await browser.until(
          "the shell to be kept",
          async () => (await navigator.serviceWorker.getRegistration())?.active?.state === "activated",
        );
        line.cut();
        await assert.rejects(fetch(line.address));
        const again = await browser.revisit();
        await loadLikelihood(again, "cpu");
        assert.deepEqual(await smollm2IsRight(again), online);
        await again.click("#score");
        await scored(again, 5);
      },
      { address: line.address },
    );
  });
}

test("the built site has every part that its manifests name", () => {
  const folder = join(root, ".cache/site/models/smollm2-135m-instruct");
  const { files } = JSON.parse(readFileSync(join(folder, "parts.json")));
  const there = new Set(readdirSync(folder));
  assert.ok(
    files[0].parts.length > 1 && files[0].parts.every((part) => there.has(part.name) && part.bytes <= 20 * 2 ** 20),
  );
});
