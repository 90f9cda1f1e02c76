// A model of 1.19 GB, streamed from a Hub onto the device. Runs only with --all.
import assert from "node:assert/strict";
import { test } from "node:test";

import { all, countingGpu, loadHub, startHub, using } from "./browsers.mjs";

// The Hub generates the weights on request.
const hub = all ? await startHub() : "";

// Bytes on the device of the 0.6 billion weights of Qwen3-0.6B: the packed ones and the few that stay f32.
const DTYPES = { auto: 1.192e9, f32: 2.384e9, f16: 1.192e9, q8: 0.6707e9, q4: 0.3874e9 };
for (const [dtype, deviceBytes] of Object.entries(DTYPES)) {
  test(
    `Chromium: 1.19 GB of bf16 stream onto the device in little memory, as ${dtype}`,
    { skip: !all && "with --all" },
    async () => {
      await using(
        "Chromium",
        `large-${dtype}`,
        async (browser) => {
          // The tests' Hub hashes its files at their first listing, which must not count as loading time.
          await (await fetch(`${hub}/api/models/test/qwen3-0.6b-sized/revision/main?blobs=true`)).text();
          const plain = await browser.evaluate(async (address) => {
            const started = performance.now();
            let bytes = 0;
            for await (const chunk of (await fetch(address)).body) bytes += chunk.byteLength;
            return { bytes, ms: performance.now() - started };
          }, `${hub}/test/qwen3-0.6b-sized/resolve/00112233445566778899aabbccddeeff00112233/model.safetensors`);
          const counts = await countingGpu(browser);
          await browser.evaluate(() => document.querySelector("#settings").setAttribute("open", ""));
          await browser.select("#dtype", dtype);
          const started = Date.now();
          await loadHub(browser, "gpu", "test/qwen3-0.6b-sized", hub);
          const ms = Date.now() - started;
          const bytes = await browser.evaluate(() => window.rewardscope.call("memoryBytes", []));
          const { mostLiveBytes } = await counts();
          const rate = (bytes, ms) => `${(bytes / ms / 1e3).toFixed(0)} MB/s`;
          console.log(
            `${await browser.text("#model-report")} From the click in ${(ms / 1e3).toFixed(1)} s, ${rate(plain.bytes, ms)}; plain ${rate(plain.bytes, plain.ms)}; peak wasm memory ${(bytes / 1e6).toFixed(0)} MB; at most ${(mostLiveBytes / 1e6).toFixed(0)} MB in buffers`,
          );
          assert.ok(bytes < 256e6, `${bytes} bytes`);
          assert.ok(mostLiveBytes > 0.9 * deviceBytes, `${mostLiveBytes} bytes on the device: the model did not come`);
          assert.ok(mostLiveBytes < 1.15 * deviceBytes, `${mostLiveBytes} bytes on the device`);
        },
        { onDisk: true },
      );
    },
  );
}
