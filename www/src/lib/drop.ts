// Drag and drop of files and folders.

/** The file itself, or the files of a folder and its subfolders, at most `depth` levels deep. */
async function filesOf(entry: FileSystemEntry, depth: number): Promise<File[]> {
  if (entry.isFile) {
    return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file((file) => resolve([file]), reject));
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  for (;;) {
    // A reader returns a folder in parts. An empty part is the end.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return files;
    for (const inner of part) if (inner.isFile || depth > 1) files.push(...(await filesOf(inner, depth - 1)));
  }
}

/**
 * Ignores drops outside of drop targets. By default the browser would open the file in place of the page and so end a
 * long run.
 */
export function ignoreStrayDrops() {
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
}

/**
 * A Svelte action that makes `node` a drop target. `take` gets the dropped files, those of folders to `depth` levels;
 * `failed` gets the error when they cannot be read.
 */
export function dropFiles(
  node: HTMLElement,
  { take, failed, depth = 1 }: { take: (files: File[]) => void; failed: (error: unknown) => void; depth?: number },
) {
  const over = (event: DragEvent) => {
    event.preventDefault();
    node.classList.add("over");
  };
  const leave = () => node.classList.remove("over");
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    leave();
    const items = [...(event.dataTransfer?.items ?? [])];
    const entries = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
    // Files that do not come from a file system have no entry.
    const plain = [...(event.dataTransfer?.files ?? [])];
    try {
      const files =
        entries.length > 0 ? (await Promise.all(entries.map((entry) => filesOf(entry, depth)))).flat() : plain;
      if (files.length > 0) take(files);
    } catch (error) {
      failed(error);
    }
  };
  node.addEventListener("dragover", over);
  node.addEventListener("dragleave", leave);
  node.addEventListener("drop", drop);
  return {
    destroy() {
      node.removeEventListener("dragover", over);
      node.removeEventListener("dragleave", leave);
      node.removeEventListener("drop", drop);
    },
  };
}
