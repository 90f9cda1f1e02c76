// What is chosen for the next run: rows, size and seed. The form, the address and stored runs all set it here.
import type { DataSource, DatasetState } from "../../state/dataset.svelte";
import type { RunState, Selection } from "../../state/run.svelte";
import type { WorkState } from "../../state/work.svelte";
import type { DatasetReport } from "../../wasm/rewardscope";
import { type Choices, type Size, type Source, isSame, isSameData, readLink } from "./link";

/** Items per subset of a quick run. */
export const QUICK = 20;

/** Quick is for benchmarks with subsets; one subset, or one's own pairs, runs whole. */
export function defaultSize(
  source: Source,
  benchmark: string,
  report?: Pick<DatasetReport, "benchmark" | "subsets">,
): Size {
  if (source === "sample" || source === "official") return "quick";
  const named = report?.benchmark ?? benchmark;
  const hasSubsets = report ? report.subsets.length > 1 : named !== "";
  return hasSubsets && named !== "preferences" ? "quick" : "full";
}

/** How many items a selection of an open dataset has. */
export function countItems(report: Pick<DatasetReport, "subsets">, { subset, limit }: Selection): number {
  return report.subsets
    .filter((known) => subset === undefined || known.subset === subset)
    .reduce((sum, { count }) => sum + Math.min(count, limit ?? count), 0);
}

/** The parts of the state that the choice uses. */
interface Parts {
  work: Pick<WorkState, "now" | "notice">;
  dataset: DatasetState;
  run: Pick<RunState, "forget">;
  /** Where the official rows are. */
  official: () => Promise<DataSource>;
  /** The bundled sample. */
  sample: DataSource;
}

/** The choice of what is run. */
export class Setup {
  id = $state("");
  only = $state("");
  some = $state(100);
  seed = $state(0);
  subset = $state("");
  #source = $state<Source>("sample");
  #size = $state<Size>();
  #parts: Parts;

  constructor(parts: Parts, params: URLSearchParams) {
    this.#parts = parts;
    this.#take(readLink(params));
  }

  /** Where the rows come from. Another choice closes the open dataset. */
  get source() {
    return this.#source;
  }
  set source(source: Source) {
    if (source === this.#source) return;
    this.#source = source;
    this.subset = "";
    this.#parts.dataset.close();
  }

  readonly #ownSize = $derived.by(() =>
    defaultSize(this.#source, this.#parts.dataset.benchmark, this.#parts.dataset.report),
  );
  /** How many items of each subset run. The dataset decides until the visitor has chosen otherwise. */
  get size(): Size {
    return this.#size ?? this.#ownSize;
  }
  set size(size: Size) {
    if (size === this.size) return;
    this.#size = size === this.#ownSize ? undefined : size;
    this.#parts.run.forget();
  }

  /** Which items run. */
  get selection(): Selection {
    const limit = this.size === "quick" ? QUICK : this.size === "some" ? this.some : undefined;
    return { subset: this.subset || undefined, limit, seed: this.seed };
  }

  /** Whether the numbers that were typed can be used. */
  get limitIsWhole() {
    return this.size !== "some" || (Number.isInteger(this.some) && this.some >= 1 && this.some <= 999_999);
  }
  get seedIsWhole() {
    return Number.isInteger(this.seed) && this.seed >= 0 && this.seed <= 4294967295;
  }
  /** Whether rows are open or can be opened. */
  get hasRows() {
    if (this.#parts.dataset.report) return true;
    if (this.#source === "own") return this.#parts.dataset.picked !== undefined;
    return this.#source !== "hub" || this.id.trim() !== "";
  }
  get canStart() {
    return this.limitIsWhole && this.seedIsWhole && this.hasRows;
  }

  /** What a link to this choice carries. */
  get choices(): Choices {
    const { benchmark, split } = this.#parts.dataset;
    const { id, only, some, seed } = this;
    return { source: this.#source, id, only, size: this.#size, some, seed, benchmark, split };
  }

  /** Follows a link that was opened in a tab that is open already. Returns whether it changed anything. */
  follow(params: URLSearchParams): boolean {
    const choices = readLink(params);
    if (isSame(choices, this.choices)) return false;
    if (this.#parts.work.now !== "idle") {
      this.#parts.work.notice = "The engine is busy, so the link was not followed. Open it again when it has finished.";
      return false;
    }
    const isOtherData = !isSameData(choices, this.choices);
    this.subset = "";
    this.#take(choices);
    if (isOtherData) this.#parts.dataset.close();
    else this.#parts.run.forget();
    return true;
  }

  #take({ source, id, only, size, some, seed, benchmark, split }: Choices) {
    this.#source = source;
    Object.assign(this, { id, only, some, seed });
    this.#size = size;
    Object.assign(this.#parts.dataset, { benchmark, split });
  }

  /** Sets the choice to that of a stored run. */
  restore(choices: Choices, subset: string) {
    this.#take(choices);
    this.subset = subset;
  }

  /** Sets size and seed to those of a stored run. */
  chooseLimit(limit: number | undefined, seed: number) {
    if (limit !== undefined) this.some = limit;
    this.#size = limit === undefined ? "full" : limit === QUICK ? "quick" : "some";
    this.seed = seed;
  }

  /** Opens the chosen rows; files are those that were picked last. */
  async openRows() {
    const { dataset } = this.#parts;
    if (this.#source === "sample") await dataset.open(this.#parts.sample);
    else if (this.#source === "official") await dataset.open(await this.#parts.official());
    else if (this.#source === "own") await dataset.reread();
    else await dataset.open({ kind: "hub", ids: this.id.trim().split(/\s+/), rows: this.only.trim() || undefined });
  }

  /** Opens the visitor's files. Even if they cannot be opened, the dataset that was open is not run instead. */
  async take(files: File[]) {
    if (files.length === 0 || this.#parts.work.now !== "idle") return;
    this.source = "own";
    this.subset = "";
    await this.#parts.dataset.open({ kind: "files", files });
  }
}
