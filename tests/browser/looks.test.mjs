// How the page looks: screenshots of its views and states, light and dark, narrow and wide, against those of the
// repository. The font is the tests' own and digits are masked, so that a picture differs only where the page does.
// With another version of the browser the boxes of elements are compared instead, because pixels differ then.
//
// After a meant change: REWARDSCOPE_LOOKS=write node --test tests/browser/looks.test.mjs, and look at what changed.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import pixelmatch from "pixelmatch";
import { PNG } from "pngjs";

import { all, checkpoint, isAccessible, loadFiles, show, using } from "./browsers.mjs";

const folder = new URL("looks/", import.meta.url).pathname;
const output = new URL("../../test-output/", import.meta.url).pathname;
const writes = process.env.REWARDSCOPE_LOOKS === "write";

/** Share of pixels that may differ: edges, and letters that the tests’ font lacks, are not the same everywhere. */
const MOST_PIXELS = 0.004;
/** Pixels by which a box may be elsewhere in another version of the browser. */
const MOST_SHIFT = 4;
const MOST_BYTES = 5_000_000;
const SIZES = { narrow: { width: 390, height: 844 }, wide: { width: 1440, height: 900 } };

const require = createRequire(import.meta.url);
const font = (weight) =>
  readFileSync(require.resolve(`@fontsource/inter/files/inter-latin-${weight}-normal.woff2`)).toString("base64");
const STYLE = `
  @font-face { font-family: Test; font-weight: 400; src: url(data:font/woff2;base64,${font(400)}); }
  @font-face { font-family: Test; font-weight: 600; src: url(data:font/woff2;base64,${font(600)}); }
  :root { --font: Test !important; --mono: Test !important; }
  * { caret-color: transparent !important; font-family: Test !important; scrollbar-width: none !important; }`;

const recorded = (name) => {
  const path = join(folder, name);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
};
const known = { version: recorded("browser.json")?.version, boxes: recorded("boxes.json") ?? {} };
const written = { boxes: {} };

/** Masks numbers and places on axes, which differ from run to run. */
const mask = (browser) =>
  browser.evaluate(() => {
    window.masked = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const bare = node.data.replace(/\d[\d.,]*/g, "0");
      if (bare !== node.data) window.masked.push([node, node.data]);
      node.data = bare;
    }
    for (const placed of document.querySelectorAll("[style*='--at']")) placed.style.setProperty("--at", "0.5");
  });

/** Puts the numbers back, so that names and texts agree again. */
const unmask = (browser) =>
  browser.evaluate(() => {
    for (const [node, data] of window.masked) node.data = data;
  });

/** The boxes of what can be seen, by role or name of the element. */
const boxesOf = (browser) =>
  browser.evaluate(() =>
    [...document.querySelectorAll("h1, h2, h3, a, button, select, input, textarea, table, li, summary")]
      .map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return [element.localName, Math.round(x), Math.round(y), Math.round(width), Math.round(height)];
      })
      .filter(
        ([, x, y, width, height]) => width > 0 && height > 0 && x < innerWidth && y < innerHeight && y + height > 0,
      )
      .slice(0, 150),
  );

/** Compares what is shown with the repository's picture of that name. Returns a sentence where they differ. */
async function compare(browser, name, version) {
  const boxes = await boxesOf(browser);
  written.boxes[name] = boxes;
  const bytes = await browser.page.screenshot({ animations: "disabled", caret: "hide" });
  const path = join(folder, `${name}.png`);
  if (writes) {
    writeFileSync(path, bytes);
    return [];
  }
  if (!existsSync(path)) return [`${name}: there is no picture of it`];
  if (version !== known.version) {
    const before = known.boxes[name] ?? [];
    const same =
      before.length === boxes.length &&
      before.every(
        ([kind, ...box], i) =>
          kind === boxes[i][0] && box.every((at, k) => Math.abs(at - boxes[i][k + 1]) <= MOST_SHIFT),
      );
    return same ? [] : [`${name}: its elements lie elsewhere: ${JSON.stringify(boxes)} for ${JSON.stringify(before)}`];
  }
  const [found, wanted] = [PNG.sync.read(bytes), PNG.sync.read(readFileSync(path))];
  if (found.width !== wanted.width || found.height !== wanted.height) return [`${name}: it has another size`];
  const diff = new PNG({ width: wanted.width, height: wanted.height });
  const count = pixelmatch(found.data, wanted.data, diff.data, wanted.width, wanted.height, { threshold: 0.2 });
  if (count <= MOST_PIXELS * wanted.width * wanted.height) return [];
  writeFileSync(join(output, `looks-${name}.png`), bytes);
  writeFileSync(join(output, `looks-${name}-differs.png`), PNG.sync.write(diff));
  return [`${name}: ${count} pixels differ; see test-output/looks-${name}-differs.png`];
}

/** The states that are looked at: a name, and what brings the page there. */
const STATES = [
  ["try-first", (browser) => show(browser, "try")],
  [
    "try-sent",
    async (browser) => {
      await browser.evaluate((link) => (location.hash = link), SENT);
      await browser.page.getByText("These scores were sent with the link").waitFor();
    },
  ],
  ["models", (browser) => show(browser, "models")],
  [
    "leaderboard",
    (browser) =>
      show(browser, "leaderboard").then(() => browser.page.locator("#leaderboard table tbody tr").nth(20).waitFor()),
  ],
  ["benchmark", (browser) => show(browser, "benchmark")],
  ["explore-empty", (browser) => show(browser, "explore")],
  [
    "palette",
    async (browser) => {
      await show(browser, "try");
      await browser.page.keyboard.press("Control+k");
      await browser.page.getByRole("combobox", { name: "Commands" }).waitFor();
      await browser.page.waitForTimeout(300);
    },
  ],
  [
    "sheet",
    async (browser) => {
      await browser.page.keyboard.press("Escape");
      await browser.page.locator("#loaded").click();
      await browser.page.getByRole("dialog", { name: "Models" }).waitFor();
      await browser.page.waitForTimeout(300);
    },
  ],
  [
    "benchmark-report",
    async (browser) => {
      await browser.page.keyboard.press("Escape");
      await loadFiles(browser, "cpu", checkpoint("llama_plain"));
      await show(browser, "benchmark");
      await browser.click("#open-rows");
      await browser.until("the rows", () => document.querySelector("#dataset-report") !== null);
      await browser.click("#run");
      await browser.until(
        "the end",
        () => document.querySelector("#marks") !== null && document.querySelector("#cancel-run") === null,
      );
    },
  ],
  [
    "explore-item",
    async (browser) => {
      await show(browser, "explore");
      await browser.until("the list", () => document.querySelector("#row-0 .id") !== null);
      await browser.click("#row-0");
      await browser.until("the item", () => document.querySelector("#explore-item") !== null);
    },
  ],
  [
    "try-scored",
    async (browser) => {
      await browser.evaluate(() => (location.hash = "#try"));
      await show(browser, "try");
      await browser.page.getByRole("button", { name: "Rainbow" }).click();
      await browser.until("the scores", () => document.querySelectorAll("[data-score]").length === 5);
    },
  ],
];

/** The address of a demonstration with scores. */
const SENT = `#try?text=${encodeURIComponent(
  JSON.stringify({
    turns: [{ role: "user", content: "Name a colour of the rainbow." }],
    completions: ["Red", "Violet", "Brown"],
    sent: { by: "A reward model", fingerprint: "f", dtype: "f32", is_reward: true, scores: [1.23, 1.76, 0.45] },
  }),
)}`;

for (const scheme of ["light", "dark"]) {
  // In dark only the colours are others, and every part is checked in them (parts.test.mjs).
  const skip = scheme === "dark" && !all && !writes && "with --all";
  test(`Chromium: the page looks as it is meant to, ${scheme}`, { skip }, async () => {
    mkdirSync(folder, { recursive: true });
    await using(
      "Chromium",
      `looks-${scheme}`,
      async (browser) => {
        const { page } = browser;
        const version = page.context().browser().version();
        await page.addStyleTag({ content: STYLE });
        await page.evaluate(() => document.fonts.ready);
        const wrong = [];
        for (const [state, bring] of STATES) {
          await page.setViewportSize(SIZES.wide);
          await bring(browser);
          for (const [size, viewport] of Object.entries(SIZES)) {
            await page.setViewportSize(viewport);
            await page.evaluate(() => scrollTo(0, 0));
            // Widths that are measured, lists that are virtual and charts follow the window.
            await page.waitForTimeout(400);
            // In dark only the colours are others.
            await isAccessible(
              browser,
              `${state}, ${size}`,
              "html",
              scheme === "dark" ? ["color-contrast"] : undefined,
            );
            await mask(browser);
            wrong.push(...(await compare(browser, `${state}-${scheme}-${size}`, version)));
            await unmask(browser);
          }
        }
        if (writes) writeFileSync(join(folder, "browser.json"), `${JSON.stringify({ version })}\n`);
        else if (version !== known.version)
          console.log(`Chromium ${version}, not ${known.version}: boxes were compared`);
        assert.deepEqual(wrong, []);
      },
      { looks: { colorScheme: scheme } },
    );
  });
}

test("the pictures take less than 5 MB", () => {
  if (writes) writeFileSync(join(folder, "boxes.json"), `${JSON.stringify(written.boxes)}\n`);
  const bytes = readdirSync(folder).reduce((all, name) => all + statSync(join(folder, name)).size, 0);
  console.log(`${readdirSync(folder).length} files of looks, ${bytes} bytes`);
  assert.ok(bytes < MOST_BYTES, `${bytes} bytes`);
});
