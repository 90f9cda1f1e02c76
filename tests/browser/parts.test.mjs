// The page of parts: under development it shows every part in all its states; the built site does not have it.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createServer } from "vite";

import { isAccessible, using } from "./browsers.mjs";

const www = new URL("../../www/", import.meta.url).pathname;

test("Chromium: every part in every state is accessible, light and dark", async () => {
  const server = await createServer({ root: www, logLevel: "error", server: { port: 0, host: "localhost" } });
  await server.listen();
  const { port } = server.httpServer.address();
  try {
    for (const colorScheme of ["light", "dark"]) {
      await using(
        "Chromium",
        `parts-${colorScheme}`,
        async (browser) => {
          await browser.page.emulateMedia({ colorScheme });
          await browser.page.getByRole("heading", { name: "Parts" }).waitFor();
          await browser.until("the traces", () => document.querySelectorAll('[id$="-tokens"]').length === 5);
          await isAccessible(browser, `parts, ${colorScheme}`);
          // A part fits into a phone.
          await browser.page.setViewportSize({ width: 320, height: 800 });
          assert.ok((await browser.evaluate(() => document.documentElement.scrollWidth)) <= 320);
        },
        { address: `http://localhost:${port}/#parts` },
      );
    }
  } finally {
    await server.close();
  }
});

test("the built site has no page of parts", () => {
  const assets = join(www, "dist/assets");
  const scripts = readdirSync(assets).filter((name) => name.endsWith(".js"));
  assert.ok(scripts.length > 3);
  for (const name of scripts)
    assert.ok(!readFileSync(join(assets, name), "utf8").includes("Parts · Rewardscope"), name);
});
