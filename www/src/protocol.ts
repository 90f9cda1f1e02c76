// The one protocol between page and worker: calls by name, answered once, with progress between.
// Argument and result types are those that the Rust side declares.
import type {
  BenchmarkEntry,
  Catalog,
  ColumnNames,
  Contribution,
  DatasetReport,
  DeviceCalibration,
  DeviceChoice,
  DeviceReport,
  Dtype,
  Estimate,
  ExploreQuery,
  FitOptions,
  FitProgress,
  Found,
  HeadReport,
  Insight,
  ItemReport,
  ItemSummary,
  LoadProgress,
  LoadSettings,
  ModelReport,
  OfficialRows,
  OpenedReport,
  OpenedRun,
  PublishedFigures,
  ReferenceFiles,
  Report,
  RunComparison,
  RunsTogether,
  RunProgress,
  Score,
  Storage,
  Trace,
  Turn,
} from "./wasm/rewardscope";

export interface Calls {
  openDevice: { args: [choice: DeviceChoice]; result: DeviceReport };
  catalog: { args: [choice: DeviceChoice, dtype: Dtype]; result: Catalog };
  configure: { args: [endpoint: string | undefined, token: string | undefined, keep: boolean]; result: void };
  loadSite: { args: [manifest: string, head: Uint8Array | undefined, settings: LoadSettings]; result: ModelReport; progress: LoadProgress };
  loadHub: { args: [id: string, head: Uint8Array | undefined, settings: LoadSettings]; result: ModelReport; progress: LoadProgress };
  loadFiles: {
    args: [name: string, files: File[], head: Uint8Array | undefined, settings: LoadSettings];
    result: ModelReport;
    progress: LoadProgress;
  };
  readHead: { args: [bytes: Uint8Array]; result: HeadReport };
  fit: { args: [preferences: File, features: File | undefined, options: FitOptions]; result: HeadReport; progress: FitProgress };
  fittedHead: { args: []; result: Uint8Array };
  officialRows: { args: []; result: OfficialRows };
  openDataSite: { args: [manifest: string, file: string]; result: DatasetReport; progress: LoadProgress };
  openDataHub: { args: [ids: string[], rows?: string | undefined]; result: DatasetReport; progress: LoadProgress };
  benchmarks: { args: []; result: BenchmarkEntry[] };
  chooseBenchmark: { args: [name: string | undefined, columns: ColumnNames | undefined, split: string | undefined]; result: void };
  badRows: { args: []; result: string };
  openRun: { args: [file: File, benchmark: string | undefined, variant: string | undefined, key: string | undefined]; result: OpenedRun };
  openRunAddress: { args: [address: string]; result: OpenedRun; progress: LoadProgress };
  keepRun: { args: []; result: OpenedRun };
  closeOpened: { args: [key: string]; result: void };
  openedReport: { args: [key: string]; result: OpenedReport };
  runFile: { args: [key: string]; result: string };
  contribution: { args: [key: string]; result: Contribution };
  referenceFiles: { args: []; result: ReferenceFiles };
  runsTogether: { args: [keys: string[]]; result: RunsTogether };
  compareRuns: { args: [first: string, second: string]; result: RunComparison };
  explore: { args: [of: string, against: string | undefined, query: ExploreQuery]; result: Found };
  exploreRows: { args: [of: string, from: number, count: number]; result: ItemSummary[] };
  exploreItem: { args: [of: string, against: string | undefined, place: number]; result: ItemReport };
  openDataFiles: { args: [files: File[]]; result: DatasetReport };
  plan: { args: [subset: string | undefined, limit: number | undefined, seed: number, anew: boolean]; result: RunProgress };
  estimate: { args: []; result: Estimate };
  run: { args: []; result: void; progress: RunProgress };
  claim: { args: [helpers: number]; result: string | undefined };
  release: { args: [place: number]; result: void };
  bring: { args: [outcome: string]; result: void };
  scoreClaim: { args: [claim: string]; result: string };
  cancel: { args: []; result: void };
  report: { args: []; result: Report };
  scoreFile: { args: []; result: string };
  marksJson: { args: []; result: string };
  score: { args: [prompt: Turn[], completions: string[]]; result: Score[] };
  trace: { args: [prompt: Turn[], completion: string]; result: Trace };
  insight: { args: []; result: Insight };
  published: { args: []; result: PublishedFigures };
  calibrate: { args: []; result: DeviceCalibration };
  scoreTokens: { args: [inputIds: number[][], firstCompletionToken: number, everyToken: boolean]; result: Score[] };
  storage: { args: []; result: Storage };
  removeFile: { args: [key: string]; result: void };
  removeRun: { args: [key: string]; result: boolean };
  closeRun: { args: []; result: void };
  encodeMs: { args: [tokens: number]; result: number };
  memoryBytes: { args: []; result: number };
}

export type CallName = keyof Calls;
export type ProgressOf<K extends CallName> = Calls[K] extends { progress: infer P } ? P : never;

export interface Request<K extends CallName = CallName> {
  id: number;
  call: K;
  args: Calls[K]["args"];
}

export type Reply =
  | { id: number; kind: "done"; result: unknown }
  | { id: number; kind: "progress"; progress: unknown }
  | { id: number; kind: "failed"; message: string; deviceFailed: boolean };
