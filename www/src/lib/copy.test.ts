import { expect, test, vi } from "vitest";
import { copyText } from "./copy";

test("a text is copied", async () => {
  const writeText = vi.fn(async () => {});
  vi.stubGlobal("navigator", { clipboard: { writeText } });
  expect(await copyText("a text")).toBe(true);
  expect(writeText).toHaveBeenCalledWith("a text");
});

test("where the browser refuses, that is told", async () => {
  vi.stubGlobal("navigator", { clipboard: { writeText: async () => Promise.reject(new DOMException("no")) } });
  expect(await copyText("a text")).toBe(false);
  vi.stubGlobal("navigator", {
    clipboard: {
      writeText: () => {
        throw new TypeError("at once");
      },
    },
  });
  expect(await copyText("a text")).toBe(false);
});

test("where there is no clipboard too", async () => {
  vi.stubGlobal("navigator", {});
  expect(await copyText("a text")).toBe(false);
});
