import type { ReferenceFiles } from "../wasm/rewardscope";

/** Hands the visitor a file that was made here. */
export function saveFile(name: string, type: string, content: BlobPart) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Hands the visitor the run as the reference evaluator writes it. */
export function saveReference({ scores, summary }: ReferenceFiles) {
  saveFile("eval-set-scores.json", "application/json", scores);
  saveFile("eval-set.json", "application/json", summary);
}
