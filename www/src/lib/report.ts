// Reports that travel: what a view shows, as one HTML file without scripts, which opens from a disk without a network.
import type { ItemReport } from "../wasm/rewardscope";

/** Most items of a report; the others are counted. */
const MOST_ITEMS = 200;
/** Most characters of one text of an item. */
const MOST_CHARACTERS = 4000;

/** What works only in the page: controls, what they open, and what is hidden. */
const LEFT_OUT =
  "button, select, input, progress, nav, [hidden], [role=dialog], [role=tablist], .end, .tools, .left-out, label.inline";

/** Makes an element with text or other nodes in it. Texts stay texts. */
export function element(name: string, attributes: Record<string, string>, ...content: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** A copy of what is shown, without controls. Text fields become their text. */
export function copyOf(shown: Element): Element {
  const copy = shown.cloneNode(true) as Element;
  const fields = shown.querySelectorAll("textarea");
  for (const [i, field] of copy.querySelectorAll("textarea").entries()) {
    const text = fields[i]?.value ?? "";
    field.replaceWith(element("div", { class: "text", dir: "auto" }, text || "(empty)"));
  }
  for (const control of copy.querySelectorAll(LEFT_OUT)) control.remove();
  // The data of a plot stay folded: they are long, and the plot shows them.
  for (const closed of copy.querySelectorAll("details:not(.chart details)")) closed.setAttribute("open", "");
  // Links within the page lead nowhere in a file.
  for (const link of copy.querySelectorAll("a[href^='#']")) link.replaceWith(...link.childNodes);
  // A region that scrolls keeps its place for the keyboard; other places need a script.
  for (const named of copy.querySelectorAll("[tabindex]:not([role=region])")) named.removeAttribute("tabindex");
  // In a file the report's title stands right above these headings.
  if (!copy.querySelector("h2"))
    for (const heading of copy.querySelectorAll("h3")) {
      const raised = element("h2", {}, ...heading.childNodes);
      if (heading.id) raised.id = heading.id;
      heading.replaceWith(raised);
    }
  return copy;
}

const bounded = (text: string) =>
  text.length > MOST_CHARACTERS
    ? `${text.slice(0, MOST_CHARACTERS)} … (${text.length - MOST_CHARACTERS} more characters)`
    : text || "(empty)";

/** One item: its conversation and its completions with their labels and scores. */
function itemOf({ subset, id, turns, completions, error, remarks }: ItemReport): HTMLElement {
  const cell = (...content: (Node | string)[]) => element("td", {}, ...content);
  const heading = (name: string) => element("th", { scope: "col" }, name);
  const row = (completion: ItemReport["completions"][number]) =>
    element(
      "tr",
      { class: completion.correct ? "correct" : "wrong" },
      cell(element("div", { class: "text", dir: "auto" }, bounded(completion.text))),
      cell(completion.correct ? "correct" : "incorrect"),
      cell(completion.score === undefined ? "–" : String(completion.score)),
      cell(completion.other_score === undefined ? "" : String(completion.other_score)),
    );
  const isCompared = completions.some(({ other_score }) => other_score !== undefined);
  return element(
    "details",
    {},
    element("summary", {}, `${subset}, item ${id}`),
    ...turns.flatMap(({ role, content }) => [
      element("p", { class: "muted small" }, role),
      element("div", { class: "text", dir: "auto" }, bounded(content)),
    ]),
    ...[error ?? "", ...remarks].filter((text) => text !== "").map((text) => element("p", { class: "notice" }, text)),
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          heading("Completion"),
          heading("Label"),
          heading("Score"),
          heading(isCompared ? "Score, second run" : ""),
        ),
      ),
      element("tbody", {}, ...completions.map(row)),
    ),
  );
}

/** The items of a report, of `total` in all. */
export function itemsOf(items: ItemReport[], total: number): HTMLElement {
  const shown = items.slice(0, MOST_ITEMS);
  const left = total - shown.length;
  return element(
    "section",
    { "aria-label": "Items" },
    element("h2", {}, "Items"),
    element("p", { class: "muted" }, left > 0 ? `The first ${shown.length} of ${total}.` : `All ${total}.`),
    ...shown.map(itemOf),
  );
}

/** How many items a report asks the engine for. */
export const reportItems = (total: number) => Math.min(total, MOST_ITEMS);

/** The page's styles, as one text. */
function styles(): string {
  const rules = [...document.styleSheets].flatMap((sheet) => {
    try {
      return [...sheet.cssRules].map((rule) => rule.cssText);
    } catch {
      // A style sheet of a browser's extension cannot be read, and is none of ours.
      return [];
    }
  });
  return rules.join("\n");
}

/** Facts on what a report shows, such as the model and the protocol: names and values. */
export type Facts = readonly (readonly [name: string, value: string | undefined])[];

/** The HTML of a report. It has no script, and its policy allows nothing but its own styles and images. */
export function reportHtml(title: string, facts: Facts, parts: Node[]): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  const list = facts.flatMap(([name, value]) => (value ? [element("dt", {}, name), element("dd", {}, value)] : []));
  const main = element(
    "main",
    { class: "report" },
    element("h1", {}, title),
    element("dl", { class: "small" }, ...list),
    ...parts,
    element("p", { class: "muted small" }, "Made by Rewardscope in a browser, without a server."),
  );
  const head = element("head", {});
  head.append(
    element("meta", { charset: "utf-8" }),
    element("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    element("title", {}, title),
    element("style", {}, styles(), ".report { max-width: 75rem; margin: 0 auto; padding: 1.5rem; }"),
  );
  return `<!doctype html>\n<html lang="en">${head.outerHTML}<body>${main.outerHTML}</body></html>\n`;
}
