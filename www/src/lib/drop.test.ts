import { beforeEach, describe, expect, test, vi } from "vitest";
import { settle } from "../testing/worker";
import { dropFiles, ignoreStrayDrops, pathOf } from "./drop";

const file = (name: string) => new File([name], name);

const fileEntry = (name: string, fullPath = `/${name}`) =>
  ({ isFile: true, fullPath, file: (done: (file: File) => void) => done(file(name)) }) as unknown as FileSystemEntry;

/** A folder that its reader hands out so many entries at a time. */
const folder = (entries: FileSystemEntry[], atOnce = 100, name = "folder") =>
  ({
    isFile: false,
    name,
    createReader() {
      let from = 0;
      return {
        readEntries(done: (part: FileSystemEntry[]) => void) {
          done(entries.slice(from, (from += atOnce)));
        },
      };
    },
  }) as unknown as FileSystemEntry;

class Node extends EventTarget {
  classes = new Set<string>();
  classList = { add: (name: string) => this.classes.add(name), remove: (name: string) => this.classes.delete(name) };
}

let node: Node;
let taken: string[][];
let failed: unknown[];

beforeEach(() => {
  node = new Node();
  [taken, failed] = [[], []];
});

const listen = (depth?: number) =>
  dropFiles(node as unknown as HTMLElement, {
    take: (files) => taken.push(files.map(({ name }) => name)),
    failed: (error) => failed.push(error),
    ...(depth === undefined ? {} : { depth }),
  });

function send(kind: string, dataTransfer?: unknown): Event {
  const event = Object.assign(new Event(kind, { cancelable: true }), { dataTransfer });
  node.dispatchEvent(event);
  return event;
}

/** Drops entries of a file system, and files that have none. */
async function drop(entries: (FileSystemEntry | null)[], files: File[] = []) {
  const event = send("drop", { items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })), files });
  await settle();
  return event;
}

describe("while something is dragged over an element", () => {
  test("the element shows it, and the browser lets it be dropped", () => {
    listen();
    expect(send("dragover").defaultPrevented).toBe(true);
    expect([...node.classes]).toEqual(["over"]);
    send("dragleave");
    expect([...node.classes]).toEqual([]);
  });

  test("a drop ends it, and does not open the file in the page's place", async () => {
    listen();
    send("dragover");
    expect((await drop([fileEntry("a")])).defaultPrevented).toBe(true);
    expect([...node.classes]).toEqual([]);
  });

  test("nothing is listened to any more when the element goes", async () => {
    listen().destroy();
    expect(send("dragover").defaultPrevented).toBe(false);
    send("dragleave");
    await drop([fileEntry("a")]);
    expect(node.classes.size).toBe(0);
    expect(taken).toEqual([]);
  });
});

describe("what is dropped", () => {
  test("files are taken in their order", async () => {
    listen();
    await drop([fileEntry("b"), fileEntry("a"), fileEntry("c")]);
    expect(taken).toEqual([["b", "a", "c"]]);
  });

  test("files without an entry are taken as they are", async () => {
    listen();
    await drop([null, null], [file("a"), file("b")]);
    expect(taken).toEqual([["a", "b"]]);
  });

  const said = () => failed.map((error) => (error as Error).message);

  test("text is no file, and that is said", async () => {
    listen();
    await drop([null]);
    send("drop");
    await settle();
    const sentence = "What was dropped is not a file or a folder.";
    expect([taken, said()]).toEqual([[], [sentence, sentence]]);
  });

  test("a folder that is empty says so, by its name", async () => {
    listen(8);
    await drop([folder([], 100, "weights")]);
    await drop([folder([folder([])], 100, "a"), folder([], 100, "b")]);
    expect([taken, said()]).toEqual([[], ["The folder weights is empty.", "The folders a, b are empty."]]);
  });

  test("a folder whose files lie deeper than is looked says so", async () => {
    listen();
    await drop([folder([folder([fileEntry("deep")])])]);
    expect(taken).toEqual([]);
    expect(said()[0]).toMatch(/^The folder folder has no files in the first level/);
  });

  test("a dropped file's path is known, as a picked folder's is", async () => {
    const paths: string[][] = [];
    dropFiles(node as unknown as HTMLElement, {
      take: (files) => paths.push(files.map(pathOf)),
      failed: (error) => failed.push(error),
      depth: 8,
    });
    await drop([folder([folder([fileEntry("config.json", "/top/snapshots/config.json")])]), fileEntry("loose")]);
    expect([paths, failed]).toEqual([[["top/snapshots/config.json", "loose"]], []]);
    const picked = Object.defineProperty(file("a"), "webkitRelativePath", { value: "my/a" });
    expect([pathOf(picked as File), pathOf(file("b"))]).toEqual(["my/a", "b"]);
  });

  test("a large folder is read to its end, though it is handed out in parts", async () => {
    listen();
    const names = Array.from({ length: 250 }, (_, i) => `${i}.safetensors`);
    await drop([folder(names.map((name) => fileEntry(name)))]);
    expect(taken).toEqual([names]);
  });

  const nested = () =>
    folder([fileEntry("top"), folder([fileEntry("middle"), folder([fileEntry("deep")])]), fileEntry("last")]);

  test.each([
    [undefined, ["top", "last"]],
    [1, ["top", "last"]],
    [2, ["top", "middle", "last"]],
    [3, ["top", "middle", "deep", "last"]],
    [8, ["top", "middle", "deep", "last"]],
  ])("folders are opened until depth %s", async (depth, names) => {
    listen(depth);
    await drop([nested()]);
    expect(taken).toEqual([names]);
  });

  test("folders and files together are one", async () => {
    listen(2);
    await drop([fileEntry("first"), nested(), fileEntry("end")]);
    expect(taken).toEqual([["first", "top", "middle", "last", "end"]]);
  });

  test("a file that cannot be read is told, and nothing is taken", async () => {
    listen();
    const refusal = new DOMException("gone", "NotFoundError");
    const gone = { isFile: true, file: (_: unknown, no: (error: unknown) => void) => no(refusal) };
    await drop([fileEntry("a"), gone as unknown as FileSystemEntry]);
    expect([taken, failed]).toEqual([[], [refusal]]);
  });

  test("a folder that cannot be read is told, and nothing is taken", async () => {
    listen();
    const refusal = new DOMException("no", "NotReadableError");
    const reader = { readEntries: (_: unknown, no: (error: unknown) => void) => no(refusal) };
    await drop([{ isFile: false, createReader: () => reader } as unknown as FileSystemEntry]);
    expect([taken, failed]).toEqual([[], [refusal]]);
  });
});

test("a file that misses its place does not replace the page", () => {
  const window = new EventTarget();
  vi.stubGlobal("window", window);
  ignoreStrayDrops();
  for (const kind of ["dragover", "drop"]) {
    const event = new Event(kind, { cancelable: true });
    window.dispatchEvent(event);
    expect(event.defaultPrevented).toBe(true);
  }
});
