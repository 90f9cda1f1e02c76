// What the device's storage has of a model.
import type { Storage } from "../wasm/rewardscope";

/** Whether a model's files are on this device, so that nothing is fetched. */
export function isStored(storage: Storage | undefined, repository: string): boolean {
  const files = (storage?.files ?? []).filter(({ of }) => of === repository);
  const isWeights = ({ name }: { name: string }) => /\.(safetensors|gguf)/i.test(name);
  return files.some(isWeights) && files.every(({ is_complete }) => is_complete);
}
