// The commands of the palette.
import { EXAMPLES } from "./examples";
import { bytes } from "./format";
import { TITLES, VIEWS, route } from "./route.svelte";
import { SITE_MODELS } from "./site";
import type { AppState } from "../state.svelte";
import type { Catalog } from "../wasm/rewardscope";

/** A command: what it is called, a note beside it, and what it does. */
export interface Command {
  title: string;
  note?: string | undefined;
  run: () => void;
}

/** All commands in groups. Models of the Hub are listed once the catalog is known; choosing one fetches nothing. */
export function commands(
  app: Pick<AppState, "sheet" | "models" | "visits" | "engine">,
  catalog: Catalog | undefined,
): { name: string; items: Command[] }[] {
  const go = (address: string) => (location.hash = address);
  return [
    { name: "Views", items: VIEWS.map((view) => ({ title: TITLES[view], run: () => go(route.to(view)) })) },
    {
      name: "Examples",
      items: EXAMPLES.map((example) => ({
        title: example.name,
        note: example.turns.at(-1)?.content,
        run: () => {
          app.sheet.take(example);
          go(route.to("try"));
        },
      })),
    },
    {
      name: "Models",
      items: [
        ...SITE_MODELS.map((model) => ({
          title: model.title,
          note: bytes(model.bytes),
          run: () => void app.models.load(model.source, app.models.settings),
        })),
        ...(catalog?.models ?? []).map(({ id, stored_bytes }) => ({
          title: id,
          note: bytes(stored_bytes),
          run: () => go(route.to("models", { model: id })),
        })),
      ],
    },
    {
      name: "Datasets",
      items: [
        { title: "Bundled sample", run: () => go(route.to("benchmark", { rows: "sample" })) },
        { title: "RewardBench 2, official rows", run: () => go(route.to("benchmark", { rows: "official" })) },
        { title: "A dataset of the Hub or an address", run: () => go(route.to("benchmark", { rows: "hub" })) },
        { title: "Your own files", run: () => go(route.to("benchmark", { rows: "own" })) },
      ],
    },
    {
      name: "Settings",
      items: [
        {
          title: app.visits.opens ? "Do not open the last model at a visit" : "Open the last model at a visit",
          run: () => app.visits.setOpens(!app.visits.opens),
        },
        {
          title: app.engine.keep ? "Do not keep downloaded files" : "Keep downloaded files on this device",
          run: () => (app.engine.keep = !app.engine.keep),
        },
        { title: "Device, weight type and protocol", run: () => go(route.to("models")) },
      ],
    },
  ];
}

/** How well a command matches what is searched for, 0 to 1: all of its words must occur; those that begin one count more. */
export function matching(command: string, search: string): number {
  const text = command.toLowerCase();
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  if (!words.every((word) => text.includes(word))) return 0;
  const begin = words.filter((word) => ` ${text}`.includes(` ${word}`));
  return (1 + begin.length) / (1 + words.length);
}
