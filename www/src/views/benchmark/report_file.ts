// A run's report as one HTML file: its card, all plots, the protocol and the first items.
import { mount, unmount } from "svelte";
import Report from "./Report.svelte";
import * as format from "../../lib/format";
import { copyOf, itemsOf, reportHtml, reportItems, type Facts } from "../../lib/report";
import { app } from "../../state.svelte";
import type { ItemReport } from "../../wasm/rewardscope";

/** Most ms that the plots may take to be drawn. */
const MOST_DRAWING_MS = 20_000;
/** Width in pixels that they are drawn for. */
const WIDTH = 1100;

/** Resolves when every plot below `place` is drawn. */
async function drawn(place: Element) {
  const until = performance.now() + MOST_DRAWING_MS;
  while (performance.now() < until) {
    const plots = [...place.querySelectorAll(".drawn")];
    if (plots.every((plot) => plot.childElementCount > 0)) return;
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** The whole report, with all its plots, made beside what is seen. */
async function wholeReport(rows: string, model: string): Promise<Element> {
  const place = document.createElement("div");
  place.inert = true;
  Object.assign(place.style, { position: "fixed", insetInlineStart: "-10000px", width: `${WIDTH}px` });
  document.body.append(place);
  const report = mount(Report, { target: place, props: { rows, model, whole: true } });
  try {
    await drawn(place);
    const copy = copyOf(place);
    copy.removeAttribute("style");
    copy.removeAttribute("inert");
    return copy;
  } finally {
    await unmount(report);
    place.remove();
  }
}

/** What the run was made under. */
function facts(rows: string, model: string): Facts {
  const loaded = app.models.loaded;
  const report = app.run.report;
  return [
    ["Model", loaded?.origin ?? model],
    ["Reward head", loaded?.head?.name],
    ["Dataset", `${rows} (${app.dataset.report?.name ?? ""})`],
    ["Attribution", app.dataset.report?.attribution],
    ["Weights", loaded && format.dtype(loaded.dtype)],
    ["Computed on", loaded?.device.name],
    ["Chat template", loaded?.template],
    ["Length limit", loaded && format.many(loaded.context_tokens, "token")],
    ["Protocol", loaded && (loaded.protocol || "as transformers computes")],
    ["Items", report && `${format.count(report.items_done)} of ${format.count(report.items_total)}`],
    ["Ended", app.run.endedAt === undefined ? undefined : new Date(app.run.endedAt).toISOString()],
  ];
}

/** The HTML of the report of the run that is shown. */
export async function runReport(rows: string, model: string): Promise<string> {
  const total = app.run.report?.items_done ?? 0;
  const items: ItemReport[] = [];
  for (let place = 0; place < reportItems(total); place++)
    items.push(await app.engine.call("exploreItem", ["run", undefined, place]));
  return reportHtml(`${model} on ${rows}`, facts(rows, model), [await wholeReport(rows, model), itemsOf(items, total)]);
}
