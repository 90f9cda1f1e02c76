// The models of the gallery: the site's own, then well-known ones of the Hub.
import { TYPE_NAMES } from "../../lib/format";
import { SAMPLE_ITEMS, SITE_LICENCE, SITE_MODELS } from "../../lib/site";
import type { ModelSource } from "../../state/models.svelte";
import type { GalleryOrder } from "../../state/choice.svelte";
import type { Catalog, DeviceReport, Dtype, PublishedRow, ScoreKind } from "../../wasm/rewardscope";

/** The weight types that the gallery gives sizes for, from the largest. */
export const TYPES = ["auto", "f16", "q8", "q4"] as const satisfies readonly Dtype[];

/** The catalog as the engine gives it for each weight type. */
export type Catalogs = Partial<Record<Dtype, Catalog>>;

/** Marks of a model, 0 to 1. */
export interface CardMarks {
  /** The benchmark, or the sample of it. A sample's mark is not comparable with the benchmark's. */
  of: string;
  isSample: boolean;
  overall: number;
  best?: readonly [string, number] | undefined;
  parts: (readonly [string, number])[];
}

/** A model's size in one weight type, and why it does not fit, if it does not. */
export interface CardSize {
  type: Dtype;
  name: string;
  bytes: number;
  tooLarge: string | undefined;
}

/** A model of the gallery. */
export interface Card {
  /** Its id on the Hub, or its title. */
  title: string;
  owner: string;
  name: string;
  about: string;
  /** What its scores are. */
  kind: ScoreKind;
  source: ModelSource;
  /** Bytes to fetch. */
  stored_bytes: number;
  sizes: CardSize[];
  /** The weight type that its button loads it in; absent where it fits in none. */
  type: Dtype | undefined;
  marks: CardMarks | undefined;
  licence: string;
  architecture: string;
  parameters: number | undefined;
  /** One line about its certificate, where it has one. */
  certificate?: string;
  /** The name under which the device's storage lists its files. */
  repository: string;
}

/** A size without digits that nobody needs: 340 kB, 98 MB, 1.2 GB. */
export function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** A sentence of the engine with sizes and weight types as people write them. */
export const plainly = (sentence: string) =>
  sentence
    .replace(/\b(\d{6,}) bytes\b/g, (_, found: string) => size(Number(found)))
    .replace(/\bat most (\d{6,})\b/g, (_, found: string) => `at most ${size(Number(found))}`)
    .replace(/\bas (f32|f16|q8|q4)\b/g, (_, type: Dtype) => `in ${TYPE_NAMES[type]}`);

/** The site's models. */
function siteCards(chosen: Dtype): Card[] {
  return SITE_MODELS.map((model) => ({
    title: model.title,
    owner: "",
    name: model.title,
    about: model.about,
    kind: model.name,
    source: model.source,
    stored_bytes: model.bytes,
    sizes: [{ type: "auto", name: "as stored (4 bits)", bytes: model.bytes, tooLarge: undefined }],
    // So small that it fits in every type.
    type: chosen,
    marks: {
      of: `the bundled sample, ${SAMPLE_ITEMS} items`,
      isSample: true,
      overall: model.sample.overall,
      best: model.sample.best,
      parts: [],
    },
    licence: SITE_LICENCE,
    architecture: "Llama",
    parameters: 134_515_008,
    repository: model.source.manifest.split("/").at(-2) ?? "",
  }));
}

/** What a model was published to get on RewardBench 2. */
function marksOf(id: string, overall: number | undefined, published: readonly PublishedRow[]): CardMarks | undefined {
  const row = published.find(({ model }) => model === id);
  const found = row?.overall ?? overall;
  if (found === undefined) return undefined;
  const parts = row?.parts ?? [];
  const best = parts.toSorted((a, b) => b[1] - a[1])[0];
  return { of: "RewardBench 2", isSample: false, overall: found, best, parts };
}

/** The sizes of the model at a place of the catalog. A type that takes the same bytes as another is not listed twice. */
function sizesOf(catalogs: Catalogs, place: number): CardSize[] {
  const sizes: CardSize[] = [];
  for (const type of TYPES) {
    const model = catalogs[type]?.models[place];
    if (!model) continue;
    const same = sizes.find(({ bytes }) => bytes === model.memory_bytes);
    if (same) same.name = `${same.name} (${TYPE_NAMES[type]})`;
    else sizes.push({ type, name: TYPE_NAMES[type], bytes: model.memory_bytes, tooLarge: model.does_not_fit });
  }
  return sizes;
}

/** The type that a model is loaded in: the chosen one if it fits, else the largest below it that does. */
export function loadType(catalogs: Catalogs, place: number, chosen: Dtype): Dtype | undefined {
  const fits = (type: Dtype) => {
    const model = catalogs[type]?.models[place];
    return model !== undefined && model.does_not_fit === undefined;
  };
  const types: readonly Dtype[] = TYPES;
  // The gallery does not ask about 32 bits: whoever chose them gets them.
  if (!types.includes(chosen)) return chosen;
  return types.slice(types.indexOf(chosen)).find(fits);
}

/** The gallery's models in the chosen order; the site's come first. */
export function cards(
  catalogs: Catalogs,
  published: readonly PublishedRow[],
  {
    chosen,
    order,
    onlyFitting,
    kind,
  }: { chosen: Dtype; order: GalleryOrder; onlyFitting: boolean; kind?: ScoreKind | undefined },
): Card[] {
  const hub = (catalogs.auto?.models ?? []).map((model, place): Card => {
    const [id = "", revision = ""] = model.id.split("@");
    return {
      title: model.id,
      owner: id.split("/")[0] ?? "",
      // An owner's name at the beginning is not said twice.
      name: id
        .split("/")
        .slice(1)
        .join("/")
        .replace(`${id.split("/")[0]}-`, ""),
      about: revision && `revision ${revision}`,
      kind: model.kind,
      source: { kind: "hub", id: model.id },
      stored_bytes: model.stored_bytes,
      sizes: sizesOf(catalogs, place),
      type: loadType(catalogs, place, chosen),
      marks: marksOf(id, model.reward_bench_2, published),
      licence: model.licence,
      architecture: model.architecture.replace(/For[A-Z].*$/, ""),
      parameters: model.parameters,
      repository: id,
    };
  });
  // Models without published marks come last.
  if (order === "mark") hub.sort((a, b) => (b.marks?.overall ?? -1) - (a.marks?.overall ?? -1));
  const all = [...siteCards(chosen), ...hub.filter(({ type }) => !onlyFitting || type !== undefined)];
  return all.filter((card) => kind === undefined || card.kind === kind);
}

/** A device as people know it. */
export const deviceName = ({ kind, name, software }: Pick<DeviceReport, "kind" | "name" | "software">) =>
  kind === "cpu" ? "CPU" : `${name || "GPU"}, by WebGPU${software ? ", emulated on the CPU" : ""}`;
