// How a model is loaded unless the visitor chooses otherwise.
import type { LoadSettings } from "../wasm/rewardscope";

export const DEFAULT_SETTINGS: Readonly<LoadSettings> = {
  device: "auto",
  dtype: "auto",
  is_reference: false,
  format: undefined,
  label: undefined,
  date: undefined,
};
