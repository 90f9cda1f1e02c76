// Files that the page makes and the visitor downloads.
import type { ReferenceFiles } from "../wasm/rewardscope";

/** Downloads `content` as a file. */
export function saveFile(name: string, type: string, content: BlobPart) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Downloads a run as the reference evaluator's two files. */
export function saveReference({ scores, summary }: ReferenceFiles) {
  saveFile("eval-set-scores.json", "application/json", scores);
  saveFile("eval-set.json", "application/json", summary);
}
