// The open dataset, and the settings that the next one is opened with.
import type { ColumnNames, DatasetReport } from "../wasm/rewardscope";
import type { Access, EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** Where a dataset comes from, with all that is needed to open it again. */
export type DataSource =
  | { kind: "site"; manifest: string; file: string }
  /** Several `ids` are one dataset. `rows`, such as `12-20`, selects rows of each. `official`: RewardBench 2's rows. */
  | { kind: "hub"; ids: string[]; rows?: string | undefined; official?: boolean }
  | { kind: "files"; files: File[] };

/** The benchmark of the site's rows and the official ones. */
const REWARD_BENCH_2 = "reward-bench-2";

/** The open dataset. A new worker can open it again. */
export class DatasetState {
  /** What the engine says of the open dataset. */
  report = $state<DatasetReport>();
  /** The benchmark of the visitor's own rows and those of the Hub; empty to detect it from the columns. */
  benchmark = $state("");
  /** Which columns hold an item's fields; empty names where they are named as in the benchmark. */
  columns = $state<ColumnNames>({ prompt: "", chosen: "", rejected: "", subset: "", more: "" });
  /** The split to open, where a folder, a repository or a file has several. */
  split = $state("");
  #work: WorkState;
  #engine: EngineState;
  /** Called when other rows are open or none: a run over the old ones no longer applies. */
  #changed: () => void;
  /** The visitor's files that were picked last, whether or not they could be opened. */
  picked = $state.raw<File[]>();
  /** What the open dataset was opened with. */
  #from:
    | {
        source: DataSource;
        access: Access;
        benchmark: string | undefined;
        columns: ColumnNames | undefined;
        split: string;
      }
    | undefined;

  constructor(work: WorkState, engine: EngineState, changed: () => void) {
    this.#work = work;
    this.#engine = engine;
    this.#changed = changed;
  }

  /** Opens a dataset in place of the open one. */
  open(source: DataSource) {
    this.picked = source.kind === "files" ? source.files : undefined;
    return this.#work.during("opening", async () => {
      const access = this.#engine.access();
      // The site's rows and the official ones are in RewardBench 2's format.
      const known = source.kind === "site" || (source.kind === "hub" && source.official === true);
      const benchmark = known ? REWARD_BENCH_2 : this.benchmark || undefined;
      const named = Object.values(this.columns).some((name) => name.trim() !== "");
      const columns = named && !known ? { ...this.columns } : undefined;
      const split = this.split.trim();
      this.report = await this.#open(source, access, benchmark, columns, split);
      this.#from = { source, access, benchmark, columns, split };
      this.#changed();
    });
  }

  /** Closes the dataset. */
  close() {
    this.picked = undefined;
    this.#close();
  }

  /** Closes the dataset, because it will be read otherwise. Picked files stay and can be read again. */
  outdate() {
    this.#close();
  }

  /**
   * Opens the picked files again with the benchmark, columns and split that are chosen now. A dataset from elsewhere is
   * closed: it would be fetched again, which is for the visitor to ask.
   */
  async reread() {
    const files = this.picked;
    this.#close();
    if (files) await this.open({ kind: "files", files });
  }

  #close() {
    this.report = undefined;
    this.#from = undefined;
    this.#changed();
  }

  /** Where the open dataset came from and how it was read, to open it again. */
  get from() {
    return this.#from;
  }

  /** Whether a dataset is open. */
  get isOpen() {
    return this.#from !== undefined;
  }

  /** Opens the same dataset in a new worker. */
  async restore() {
    if (!this.#from) return;
    const { source, access, benchmark, columns, split } = this.#from;
    this.report = await this.#open(source, access, benchmark, columns, split);
  }

  async #open(
    source: DataSource,
    { hub, token, keep }: Access,
    benchmark: string | undefined,
    columns: ColumnNames | undefined,
    split: string,
  ): Promise<DatasetReport> {
    const engine = this.#engine;
    await engine.call("configure", [hub, token, keep]);
    await engine.call("chooseBenchmark", [benchmark, columns, split || undefined]);
    return engine.loading(async (tell) => {
      if (source.kind === "site") return engine.call("openDataSite", [source.manifest, source.file], tell);
      if (source.kind === "hub") return engine.call("openDataHub", [source.ids, source.rows], tell);
      return engine.call("openDataFiles", [source.files]);
    });
  }
}
