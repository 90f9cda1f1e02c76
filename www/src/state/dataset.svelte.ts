// The open rows, and what was said of them before they were opened.
import type { ColumnNames, DatasetReport } from "../wasm/rewardscope";
import type { Access, EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** Where rows come from; enough to open them again. */
export type DataSource =
  | { kind: "site"; manifest: string; file: string }
  /** Of several, each as much as another. With `rows`, such as `12-20`, these alone; `official` are RewardBench 2's. */
  | { kind: "hub"; ids: string[]; rows?: string | undefined; official?: boolean }
  | { kind: "files"; files: File[] };

/** The benchmark that the page begins with. */
const REWARD_BENCH_2 = "reward-bench-2";

export class DatasetState {
  report = $state<DatasetReport>();
  /** The benchmark that rows from elsewhere are of. */
  benchmark = $state(REWARD_BENCH_2);
  /** Where rows of one's own have what; empty names where they are as the benchmark has them. */
  columns = $state<ColumnNames>({ prompt: "", chosen: "", rejected: "", subset: "", more: "" });
  /** Which split of a folder, a repository or a file with several. */
  split = $state("");
  #work: WorkState;
  #engine: EngineState;
  /** A run over other rows is over. */
  #changed: () => void;
  #from:
    { source: DataSource; access: Access; benchmark: string | undefined; columns: ColumnNames | undefined } | undefined;

  constructor(work: WorkState, engine: EngineState, changed: () => void) {
    this.#work = work;
    this.#engine = engine;
    this.#changed = changed;
  }

  open(source: DataSource) {
    return this.#work.during("opening", async () => {
      const access = this.#engine.access();
      // Rows of the site and the official ones are RewardBench 2's form.
      const known = source.kind === "site" || (source.kind === "hub" && source.official === true);
      const benchmark = known ? REWARD_BENCH_2 : this.benchmark || undefined;
      const named = Object.values(this.columns).some((name) => name.trim() !== "");
      const columns = named && !known ? { ...this.columns } : undefined;
      this.report = await this.#open(source, access, benchmark, columns);
      this.#from = { source, access, benchmark, columns };
      this.#changed();
    });
  }

  close() {
    this.report = undefined;
    this.#from = undefined;
    this.#changed();
  }

  /** Whether there is anything for a new worker to open. */
  get isOpen() {
    return this.#from !== undefined;
  }

  /** Opens what was open in a new worker. */
  async restore() {
    if (!this.#from) return;
    const { source, access, benchmark, columns } = this.#from;
    this.report = await this.#open(source, access, benchmark, columns);
  }

  async #open(
    source: DataSource,
    { hub, token, keep }: Access,
    benchmark: string | undefined,
    columns: ColumnNames | undefined,
  ): Promise<DatasetReport> {
    const engine = this.#engine;
    await engine.call("configure", [hub, token, keep]);
    await engine.call("chooseBenchmark", [benchmark, columns, this.split.trim() || undefined]);
    return engine.loading(async (tell) => {
      if (source.kind === "site") return engine.call("openDataSite", [source.manifest, source.file], tell);
      if (source.kind === "hub") return engine.call("openDataHub", [source.ids, source.rows], tell);
      return engine.call("openDataFiles", [source.files]);
    });
  }
}
