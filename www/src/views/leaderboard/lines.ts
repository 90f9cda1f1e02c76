// The lines of the board: published rows, contributed runs and the visitor's own, and which of them have a rank.
import * as format from "../../lib/format";
import type { Assessment, BoardRow, MadeUnder, OpenedRun, PublishedRow } from "../../wasm/rewardscope";

/** The benchmarks that the board has, as the engine's figures name them. */
export type Board = "reward_bench_2" | "reward_bench";

/** What is known of a benchmark's official rows. */
interface Official {
  title: string;
  /** The benchmark's name in runs. */
  name: string;
  /** The Hub dataset of the official rows. */
  repository: string;
  /** How many items they are. */
  items: number;
  cite: string;
}

export const BOARDS: Record<Board, Official> = {
  reward_bench_2: {
    title: "RewardBench 2",
    name: "reward-bench-2",
    repository: "allenai/reward-bench-2",
    items: 1865,
    cite: "@misc{malik2025rewardbench2, title={RewardBench 2: Advancing Reward Model Evaluation}, author={Malik, Saumya and Pyatkin, Valentina and Land, Sander and Morrison, Jacob and Smith, Noah A. and Hajishirzi, Hannaneh and Lambert, Nathan}, year={2025}, eprint={2506.01937}, archivePrefix={arXiv}}",
  },
  reward_bench: {
    title: "RewardBench",
    name: "reward-bench",
    repository: "allenai/reward-bench",
    items: 2985,
    cite: "@misc{lambert2024rewardbench, title={RewardBench: Evaluating Reward Models for Language Modeling}, author={Lambert, Nathan and Pyatkin, Valentina and Morrison, Jacob and Miranda, LJ and Lin, Bill Yuchen and Chandu, Khyathi and Dziri, Nouha and Kumar, Sachin and Zick, Tom and Choi, Yejin and Smith, Noah A. and Hajishirzi, Hannaneh}, year={2024}, eprint={2403.13787}, archivePrefix={arXiv}}",
  },
};

/** sha256 over the items of the sample that the site has. */
const SAMPLE_SHA256 = "6d86c30d0889421decc1585af8f20ad0a6f589dc40fd87c43fa512989ec6cc1b";

/** Where a line stands: own runs first, then contributed ones over other data, then all that has a rank. */
export type Place = "own" | "own-aside" | "contributed-aside" | "ranked";

/** One line of the board. */
export interface Line {
  key: string;
  model: string;
  place: Place;
  /** The kind of model; empty where the source does not say. */
  type: string;
  /** The overall mark, 0 to 1; none where parts of the benchmark are missing. */
  overall: number | undefined;
  marks: Record<string, number>;
  /** The rank by overall mark; none for a mark over other rows than the benchmark's. */
  rank: number | undefined;
  /** What the mark is of, where it is not a published one. */
  note: string;
  source: string;
  under: MadeUnder;
}

/** The facts of a run by which its mark is placed. */
export type Facts = Pick<
  BoardRow,
  "benchmark" | "dataset" | "dataset_sha256" | "limit_per_subset" | "items_total" | "items_missing"
>;

/** The board of a benchmark; none where it is not a published one. */
const boardOf = (benchmark: string) => Object.values(BOARDS).find(({ name }) => name === benchmark);

/** Whether a run is over all of its benchmark's official rows. `bundled` is the site's own file of them, if any. */
export function isWhole(run: Facts, bundled: string): boolean {
  const board = boardOf(run.benchmark);
  if (!board) return false;
  const isOfficial =
    run.dataset.startsWith(`${board.repository}@`) ||
    (bundled !== "" && run.dataset === bundled && boardOf(run.benchmark) === BOARDS.reward_bench_2);
  return isOfficial && run.items_total === board.items && run.items_missing === 0 && !run.limit_per_subset;
}

/** Whether others could run a run's rows too: only such runs are offered as a contribution. */
export function isPublic(run: Facts, bundled: string): boolean {
  if (!boardOf(run.benchmark)) return false;
  const { dataset } = run;
  const isHub = dataset.split(", ").every((part) => /^[^/@\s:]+\/[^/@\s]+@[0-9a-f]{40}(:|$)/.test(part));
  const isAddress = /^https:\/\/(?!localhost|127\.|\[|192\.168\.|10\.)/.test(dataset);
  return isHub || isAddress || run.dataset_sha256 === SAMPLE_SHA256 || (bundled !== "" && dataset === bundled);
}

/** What a run's rows are called. */
function rowsOf(dataset: string, sha256: string | undefined): string {
  if (sha256 === SAMPLE_SHA256) return "bundled sample";
  return format.origin(format.dataset(dataset)) || "unnamed rows";
}

/** The types under one name each: sources write them differently. */
const TYPES: Record<string, string> = {
  "seq. classifier": "Sequence classifier",
  "custom classifier": "Custom classifier",
  generative: "Generative",
  "generative rm": "Generative",
};
const typeName = (type: string) => TYPES[type.toLowerCase()] ?? type;

const marksOf = ({ subsets, sections }: Assessment): Record<string, number> =>
  Object.fromEntries([...subsets, ...sections].map(({ name, figure }) => [name, figure.score]));

/** The lines of one benchmark's published rows and of the contributed runs over all of its rows. */
export function publicLines(
  board: Board,
  published: readonly PublishedRow[],
  contributed: readonly BoardRow[],
  bundled: string,
): Line[] {
  const rows = published.map((row, i): Line => ({
    key: `published ${i}`,
    model: row.model,
    place: "ranked",
    type: typeName(row.model_type),
    overall: row.overall,
    marks: Object.fromEntries(row.parts),
    rank: undefined,
    note: "",
    source: row.source,
    under: row.under,
  }));
  const runs = contributed
    .filter((row) => row.benchmark === BOARDS[board].name)
    .map((row, i): Line => {
      const isRanked = row.overall !== undefined && isWhole(row, bundled);
      const rows = rowsOf(row.dataset, row.dataset_sha256);
      const items = format.many(row.items_total - row.items_missing, "item");
      return {
        key: `contributed ${i}`,
        model: row.head ?? row.model,
        place: isRanked ? "ranked" : "contributed-aside",
        type: row.reader ?? (row.is_reward_model ? "" : "Likelihood"),
        overall: row.overall?.score,
        marks: Object.fromEntries(row.parts.map(({ name, score }) => [name, score])),
        rank: undefined,
        note: isRanked ? "contributed" : `${rows}, ${items}`,
        source: `Contributed run over ${rows} (${items}), ${row.dtype}, on ${row.devices.join(", ")}`,
        under: { dtype: row.dtype, length_limit: row.context_tokens, template: row.template },
      };
    });
  return [...rows, ...runs];
}

/** A run of the visitor's, or one that the visitor opened. */
export type OwnRun = Pick<OpenedRun, "key" | "model" | "name" | "dataset" | "is_own" | "under" | "assessment"> & {
  facts: Facts | undefined;
  /** When the run was made here, in words; empty for files. */
  when: string;
  /** Whether items are still being scored. */
  isRunning?: boolean;
};

/** The line of an own run. It has a rank only if it is known to be over all of the benchmark's rows. */
export function ownLine(run: OwnRun, bundled: string): Line {
  const { assessment, facts } = run;
  const isRanked = !run.isRunning && assessment.overall !== undefined && !!facts && isWhole(facts, bundled);
  const board = boardOf(assessment.benchmark);
  const rows = isRanked ? (board?.title ?? "") : rowsOf(run.dataset, facts?.dataset_sha256);
  const items = run.isRunning
    ? `${format.many(assessment.items, "item")} so far`
    : `${format.many(assessment.items, "item")}`;
  const from = run.is_own ? run.when : run.name;
  const partial =
    !assessment.overall && assessment.partial
      ? ` The mean of the parts that were run is ${percent(assessment.partial.score)}.`
      : "";
  return {
    key: `own ${run.key}`,
    model: run.model.replace(/@[0-9a-f]{40}/, "") || run.name,
    place: isRanked ? "own" : "own-aside",
    type: "",
    overall: assessment.overall?.score,
    marks: marksOf(assessment),
    rank: undefined,
    note: [rows, items, from].filter((part) => part).join(", "),
    source: `${run.is_own ? "Your run" : `The file ${run.name}`}, over ${rows}, ${items}.${partial}`,
    under: run.under,
  };
}

/**
 * A row's overall mark, computed as a run computes it. For RewardBench that is the mean of the four sections: the
 * published mark counts the prior sets too, for models that have them.
 */
function likeARuns(board: Board, { overall, marks }: Line): number {
  const sections = ["Chat", "Chat Hard", "Safety", "Reasoning"].map((name) => marks[name]);
  if (board === "reward_bench_2" || sections.some((mark) => mark === undefined)) return overall ?? 0;
  return sections.reduce<number>((sum, mark) => sum + (mark ?? 0), 0) / sections.length;
}

/** The lines with their ranks by overall mark; equal marks share the better one. */
export function ranked(board: Board, lines: readonly Line[]): Line[] {
  const among = lines.filter(({ place }) => place === "ranked");
  const marks = among.map(({ overall }) => overall ?? 0).toSorted((a, b) => b - a);
  const alike = among.map((line) => likeARuns(board, line));
  const rankOf = ({ overall, place }: Line) => {
    if (overall === undefined) return undefined;
    if (place === "ranked") return marks.findIndex((mark) => mark <= overall) + 1;
    return place === "own" ? alike.filter((mark) => mark > overall).length + 1 : undefined;
  };
  return lines.map((line) => {
    const rank = rankOf(line);
    // The same object where nothing changed, so that its row is not drawn again.
    return rank === line.rank ? line : { ...line, rank };
  });
}

const exact = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 4, useGrouping: false });

/** A mark in percent, with one decimal as the field writes it, or with all that it has. */
export function percent(mark: number | undefined, isExact = false): string {
  if (mark === undefined) return "–";
  return isExact ? exact.format(100 * mark) : (100 * mark).toFixed(1);
}

/** The model's page on the Hub; none for names that are no Hub ids: models behind an API, training runs, cut names. */
export function hubPage(model: string): string | undefined {
  const id = /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(model) && !model.endsWith("...");
  const elsewhere = /^(openai\/gpt-[34]|anthropic\/|google\/(gemini|flame)|ai2\/|PoLL\/)|\/open_instruct_dev-/i;
  return id && !elsewhere.test(model) ? `https://huggingface.co/${model}` : undefined;
}

/** Classes of size, by billions of parameters. */
export const SIZES = {
  small: "Under 3B",
  medium: "3B to 13B",
  large: "Over 13B",
  unknown: "Not stated",
} as const;
export type Size = keyof typeof SIZES;

/** The class of size of a model, from its name or its number of parameters. */
export function sizeOf(model: string, parameters: number | undefined): Size {
  const said = /(?:^|[-_ /])(\d+(?:\.\d+)?)\s*([bm])(?:$|[-_ .])/i.exec(model);
  const billions = said
    ? Number(said[1]) / (said[2]?.toLowerCase() === "m" ? 1000 : 1)
    : parameters === undefined
      ? undefined
      : Number(parameters) / 1e9;
  if (billions === undefined) return "unknown";
  return billions < 3 ? "small" : billions <= 13 ? "medium" : "large";
}
