// The models among files that were picked or dropped. One pick may hold several: they are told apart by their folders.
import { pathOf } from "./drop";
import { many } from "./format";

/** A model among picked files. */
export interface PickedModel {
  /** What it is called: its folder, its file, or its first file and how many more there are. */
  name: string;
  files: File[];
  bytes: number;
}

const folderOf = (file: File) => pathOf(file).split("/").slice(0, -1).join("/");
const isWithin = (folder: string, parent: string) =>
  parent === "" || folder === parent || folder.startsWith(`${parent}/`);
const endsWith = (end: string) => (file: File) => file.name.toLowerCase().endsWith(end);
const isSafetensors = endsWith(".safetensors");
const isGguf = endsWith(".gguf");

/** The name that the parts of one split .gguf file have in common. */
const wholeName = (file: File) => file.name.replace(/-\d{5}-of-(\d{5})\.gguf$/i, " ($1 parts).gguf");

/** What files are called that were picked together. */
export function nameOf(files: File[]): string {
  const tops = new Set(files.map((file) => folderOf(file).split("/")[0] ?? ""));
  const [top] = tops;
  if (tops.size === 1 && top) return top;
  const first = files.find(({ name }) => name === "config.json") ?? files.find(isGguf) ?? files[0];
  if (!first) return "";
  return files.length === 1 ? first.name : `${first.name} and ${many(files.length - 1, "more file")}`;
}

/** The folders that hold a model: weights, or a config.json with no weights above or below it. */
function modelFolders(files: File[]): string[] {
  const all = (wanted: (file: File) => boolean) => [...new Set(files.filter(wanted).map(folderOf))];
  const weights = all((file) => isSafetensors(file) || isGguf(file));
  const configs = all(({ name }) => name === "config.json").filter(
    (folder) => !weights.some((other) => isWithin(folder, other) || isWithin(other, folder)),
  );
  // A folder within another one of these, such as 1_Pooling, belongs to it.
  return [...weights, ...configs.filter((folder) => !configs.some((top) => top !== folder && isWithin(folder, top)))];
}

/** The files of the model in `folder`: its own, then those that belong to it under names that it does not have. */
function filesIn(folder: string, folders: string[], files: File[]): File[] {
  // A file belongs to the nearest model above it. Where there is one model, everything belongs to it.
  const ownerOf = (file: File) =>
    folders.length === 1
      ? folder
      : folders.filter((one) => isWithin(folderOf(file), one)).sort((a, b) => b.length - a.length)[0];
  const own = files.filter((file) => folderOf(file) === folder);
  const names = new Set(own.map(({ name }) => name));
  // The engine knows files by their names alone, so a second one of a name would take the first one's place.
  for (const file of files) {
    if (names.has(file.name) || ownerOf(file) !== folder) continue;
    names.add(file.name);
    own.push(file);
  }
  return own;
}

/** The models among one folder's files: each .gguf file is one, and a checkpoint is another. `of`: a file's name. */
function split(files: File[]): { of: string; files: File[] }[] {
  const rest = files.filter((file) => !isGguf(file));
  const wholes = [...new Set(files.filter(isGguf).map(wholeName))];
  const isCheckpoint = rest.some(isSafetensors);
  if (wholes.length + Number(isCheckpoint) < 2) return [{ of: "", files }];
  const ggufs = wholes.map((of) => ({ of, files: files.filter((file) => isGguf(file) && wholeName(file) === of) }));
  return [...(isCheckpoint ? [{ of: "", files: rest }] : []), ...ggufs];
}

/** The models among picked or dropped files. Files without one are taken as one: the engine says what they lack. */
export function pickedModels(files: File[]): PickedModel[] {
  if (files.length === 0) return [];
  const folders = modelFolders(files);
  const found = folders.flatMap((folder) =>
    split(filesIn(folder, folders, files)).map((model) => ({ folder, ...model })),
  );
  if (found.length === 0) found.push({ folder: "", of: "", files });
  return found.map(({ folder, of, files: ones }) => {
    const own = ones.filter((file) => folderOf(file) === folder);
    // One model is called after what was picked; each of several after its own folder and file.
    const name =
      found.length === 1 ? nameOf(own.length > 0 ? own : ones) : [folder, of].filter(Boolean).join("/") || nameOf(ones);
    return { name, files: ones, bytes: ones.reduce((sum, { size }) => sum + size, 0) };
  });
}

/** A name that two of the files have: then they are not of one model. */
export function doubleName(files: File[]): string | undefined {
  const names = files.map(({ name }) => name);
  return names.find((name, i) => names.indexOf(name) !== i);
}
