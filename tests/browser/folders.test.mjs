// Model folders as people publish them, loaded in the page: the scores equal those of transformers, or a message says
// why the folder is refused.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { loadHub, show, startHub, using } from "./browsers.mjs";

const folders = new URL("../fixtures/model_files/", import.meta.url).pathname;
const expected = JSON.parse(readFileSync(join(folders, "expected.json"), "utf8"));
const hub = await startHub();

// Folders that are refused, and what the message must contain.
const REFUSED = { "12_lora_pissa": /init_lora_weights: "pissa"/ };
// Folders that are loaded with a notice, and what it must contain.
const NOTED = { "23a_is_causal_false_llama": /is_causal is false/ };

const turns = (row) => (row.messages ? row.messages.slice(0, -1) : [{ role: "user", content: row.prompt }]);
const completion = (row) => (row.messages ? row.messages.at(-1).content : row.completion);

test("Chromium: model folders score as in transformers", async () => {
  await using("Chromium", "folders", async (browser) => {
    await show(browser, "models");
    let worst = 0;
    for (const [name, { rows, transformers }] of Object.entries(expected.cases)) {
      assert.ok(existsSync(join(folders, name)), name);
      const error = await loadHub(browser, "cpu", `test/${name}`, hub, { allowError: true });
      if (REFUSED[name]) {
        assert.match(error, REFUSED[name]);
        continue;
      }
      assert.equal(error, "", name);
      if (NOTED[name]) assert.match(await browser.text("#model .notice"), NOTED[name]);
      for (const [place, row] of expected[rows].entries()) {
        const ask = ([turns, completion]) => window.rewardscope.call("score", [turns, [completion]]);
        const [{ score }] = await browser.evaluate(ask, [turns(row), completion(row)]);
        const off = Math.abs(score - transformers["5.24.0"][place]);
        assert.ok(off < 1e-4, `${name}: ${score} is not ${transformers["5.24.0"][place]}`);
        worst = Math.max(worst, off);
      }
    }
    console.log(`${Object.keys(expected.cases).length} folders, largest error ${worst.toExponential(1)}`);
  });
});
