import { beforeEach, expect, test, vi } from "vitest";
import { saveFile, saveReference } from "./save";

interface Saved {
  name: string;
  type: string;
  text: string;
}

let clicked: Promise<Saved>[];
let blobs: Map<string, Blob>;

beforeEach(() => {
  [clicked, blobs] = [[], new Map()];
  vi.useFakeTimers();
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    const address = `blob:${blobs.size}`;
    blobs.set(address, blob as Blob);
    return address;
  });
  vi.spyOn(URL, "revokeObjectURL").mockImplementation((address) => void blobs.delete(address));
  vi.stubGlobal("document", {
    createElement: () => ({
      href: "",
      download: "",
      click() {
        const blob = blobs.get(this.href);
        if (!blob) throw new Error(`${this.href} leads to nothing`);
        clicked.push(blob.text().then((text) => ({ name: this.download, type: blob.type, text })));
      },
    }),
  });
  return () => vi.useRealTimers();
});

test("a file is handed out with its name, type and content", async () => {
  saveFile("scores.jsonl", "application/jsonl", "{}\n");
  expect(await Promise.all(clicked)).toEqual([{ name: "scores.jsonl", type: "application/jsonl", text: "{}\n" }]);
});

test("bytes are handed out as they are", async () => {
  saveFile("head.safetensors", "application/octet-stream", new Uint8Array([104, 105]));
  expect((await clicked[0])?.text).toBe("hi");
});

test("its memory is given back, but not before the browser has read it", () => {
  saveFile("a", "text/plain", "a");
  saveFile("b", "text/plain", "b");
  vi.advanceTimersByTime(500);
  expect(blobs.size).toBe(2);
  vi.advanceTimersByTime(1000);
  expect(blobs.size).toBe(0);
});

test("a run is handed out under the reference evaluator's two names", async () => {
  saveReference({ scores: "[1]", summary: "[2]" });
  expect(await Promise.all(clicked)).toEqual([
    { name: "eval-set-scores.json", type: "application/json", text: "[1]" },
    { name: "eval-set.json", type: "application/json", text: "[2]" },
  ]);
});
