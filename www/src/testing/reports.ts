// What the engine's calls return, with the fields that the page's state looks at.
import type {
  DatasetReport,
  DeviceReport,
  Estimate,
  HeadReport,
  Insight,
  LoadProgress,
  ModelReport,
  OpenedRun,
  RunProgress,
  RunReport,
  Storage,
} from "../wasm/rewardscope";

export { DEFAULT_SETTINGS as SETTINGS } from "../lib/settings";

export type Model = ModelReport;
export type Progress = RunProgress;

/** A report of which the rest does not matter. */
const some = <T>(fields: Partial<T>) => fields as T;

export const device = (over: Partial<DeviceReport> = {}) =>
  some<DeviceReport>({ kind: "cpu", name: "a processor", ...over });

export const model = (over: Partial<ModelReport> = {}) =>
  some<ModelReport>({ name: "model.gguf", fingerprint: "f1", device_bytes: 5000, device: device(), ...over });

export const headConfig = (name: string) => some<NonNullable<ModelReport["head"]>>({ name });

export const head = (name: string) => some<HeadReport>({ config: headConfig(name) });

export const dataset = (over: Partial<DatasetReport> = {}) =>
  some<DatasetReport>({ name: "rows.parquet", items: 10, ...over });

export const load = (over: Partial<LoadProgress> = {}) =>
  some<LoadProgress>({ name: "model.gguf", bytes_done: 1, bytes_total: 2, ...over });

export const progress = (items_done: number, over: Partial<RunProgress> = {}) =>
  some<RunProgress>({ items_done, items_total: 10, ms_left: undefined, is_kept: true, ...over });

export const estimate = () => some<Estimate>({ items: 10, ms: 5000 });

export const assessment = (items: number) => some<RunReport["assessment"]>({ items });

export const report = (items_done: number, over: Partial<RunReport> = {}) =>
  some<RunReport>({ assessment: assessment(items_done), items_done, items_total: 10, ...over });

export const insight = () => some<Insight>({ points: [] });

export const openRun = (key: string, over: Partial<OpenedRun> = {}) =>
  some<OpenedRun>({ key, name: `${key}.json`, is_own: false, ...over });

export const storage = (over: Partial<Storage> = {}) => some<Storage>({ usage_bytes: 0, is_persisted: false, ...over });
