// Drag and drop of files and folders.

/** The paths of dropped files: a browser gives a picked folder's files their path, but not a dropped folder's. */
const paths = new WeakMap<File, string>();

/** The path of a picked or dropped file, from the folder that was picked or dropped; of a loose file, its name. */
export const pathOf = (file: File) => paths.get(file) ?? (file.webkitRelativePath || file.name);

/** What was found in a dropped entry. `isCut`: there are folders below the ones that were opened. */
interface Found {
  files: File[];
  isCut: boolean;
}

/** The file itself, or the files of a folder and its subfolders, at most `depth` levels deep. */
async function filesOf(entry: FileSystemEntry, depth: number): Promise<Found> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    paths.set(file, (entry.fullPath || file.name).replace(/^\/+/, ""));
    return { files: [file], isCut: false };
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Found = { files: [], isCut: false };
  for (;;) {
    // A reader returns a folder in parts. An empty part is the end.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return found;
    for (const inner of part) {
      if (!inner.isFile && depth <= 1) {
        found.isCut = true;
        continue;
      }
      const { files, isCut } = await filesOf(inner, depth - 1);
      found.files.push(...files);
      found.isCut ||= isCut;
    }
  }
}

/** What was dropped: its files. Throws where there is none, and says why. */
async function dropped(transfer: DataTransfer | null, depth: number): Promise<File[]> {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  // Files that do not come from a file system have no entry.
  if (entries.length === 0) {
    const plain = [...(transfer?.files ?? [])];
    if (plain.length === 0) throw new Error("What was dropped is not a file or a folder.");
    return plain;
  }
  const found = await Promise.all(entries.map((entry) => filesOf(entry, depth)));
  const files = found.flatMap(({ files }) => files);
  if (files.length > 0) return files;
  const names = entries.map(({ name }) => name).join(", ");
  const one = entries.length === 1;
  throw new Error(
    found.some(({ isCut }) => isCut)
      ? `The ${one ? "folder" : "folders"} ${names} ${one ? "has" : "have"} no files in the first ${depth === 1 ? "level" : `${depth} levels`}. Drop the folder that holds them.`
      : `The ${one ? "folder" : "folders"} ${names} ${one ? "is" : "are"} empty.`,
  );
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
 * `failed` gets the error when there are none or they cannot be read.
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
    try {
      take(await dropped(event.dataTransfer, depth));
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
