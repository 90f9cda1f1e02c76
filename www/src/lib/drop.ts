// Files dropped on an element, folders opened.

/** Of a folder the files in it, and in folders below it until so deep. */
async function filesOf(entry: FileSystemEntry, depth: number): Promise<File[]> {
  if (entry.isFile) {
    return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file((file) => resolve([file]), reject));
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  for (;;) {
    // A reader hands out a folder in parts until a part is empty.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return files;
    for (const inner of part) if (inner.isFile || depth > 1) files.push(...(await filesOf(inner, depth - 1)));
  }
}

/** Elsewhere a dropped file would replace the page, and a long run with it. */
export function ignoreStrayDrops() {
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
}

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
    // What does not come from a file system has no entry.
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
