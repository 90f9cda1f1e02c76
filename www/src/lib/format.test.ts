import { describe, expect, test } from "vitest";
import { seeded } from "../testing/random";
import * as format from "./format";

const numbers = (seed: number, count: number, most: number) => {
  const { unit } = seeded(seed);
  // As many small ones as large ones.
  return Array.from({ length: count }, () => Math.exp(unit() * Math.log(most))).sort((a, b) => a - b);
};

describe("scores", () => {
  test.each([
    [undefined, "–"],
    [0, "0.0000"],
    [1, "1.0000"],
    [-2.5, "-2.5000"],
    [0.12344, "0.1234"],
    [0.12346, "0.1235"],
    [0.99996, "1.0000"],
    [9.99996, "10.0000"],
    [999.99996, "1000.0000"],
    [NaN, "NaN"],
    [Infinity, "Infinity"],
    [-Infinity, "-Infinity"],
  ])("the score %s reads %s", (value, text) => expect(format.score(value)).toBe(text));

  test("a score is off by no more than half of its last digit", () => {
    const { unit } = seeded(1);
    for (let i = 0; i < 500; i++) {
      const value = (unit() - 0.5) * 200;
      expect(Math.abs(Number(format.score(value)) - value)).toBeLessThanOrEqual(0.5001e-4);
    }
  });

  test("a higher score never reads as a lower one", () => {
    const { unit } = seeded(2);
    const sorted = Array.from({ length: 500 }, () => unit() / 100).sort((a, b) => a - b);
    const read = sorted.map((value) => Number(format.score(value)));
    expect(read).toEqual([...read].sort((a, b) => a - b));
  });
});

describe("names", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";

  test("a commit is shown by seven digits", () => {
    expect(format.origin(`owner/name@${commit}`)).toBe("owner/name@0123456");
    expect(format.origin(`owner/name@${commit}:file.gguf`)).toBe("owner/name@0123456:file.gguf");
  });

  test("each commit of several is", () => {
    expect(format.origin(`a/b@${commit}, c/d@${commit}`)).toBe("a/b@0123456, c/d@0123456");
  });

  test.each(["owner/name", "owner/name@main", "owner/name@0123456", `owner/name@${commit}8`, commit, ""])(
    "%j is no id with a commit and stays",
    (name) => expect(format.origin(name)).toBe(name),
  );

  test("a dataset goes by the names of its files", () => {
    expect(format.dataset("owner/name@main/data/test.parquet")).toBe("test.parquet");
    expect(format.dataset("a/b/one.jsonl, c/two.jsonl, three.csv")).toBe("one.jsonl, two.jsonl, three.csv");
  });

  test("a name that ends in a slash is shown whole", () => {
    expect(format.dataset("owner/name/")).toBe("owner/name/");
    expect(format.dataset("")).toBe("");
  });

  test("a model goes by its head, else by its Hub id without the revision, else by its file", () => {
    const [name, origin, head] = ["model.gguf", `owner/name@${commit}:model.gguf`, { name: "Helpful" }];
    expect(format.model({ name, origin, head })).toBe("Helpful");
    expect(format.model({ name, origin, head: undefined })).toBe("owner/name:model.gguf");
    expect(format.model({ name, origin: "owner/name" })).toBe("owner/name");
    expect(format.model({ name, origin: undefined })).toBe("model.gguf");
  });
});

describe("counts", () => {
  test.each([
    [0, "0"],
    [999, "999"],
    [1000, "1,000"],
    [1_234_567, "1,234,567"],
    [-1000, "-1,000"],
    [NaN, "NaN"],
  ])("%s reads %s", (value, text) => expect(format.count(value)).toBe(text));

  test("without its commas a count is the number", () => {
    for (const value of numbers(3, 300, 2 ** 53).map(Math.floor)) {
      const text = format.count(value);
      expect(text).toMatch(/^\d{1,3}(,\d{3})*$/);
      expect(Number(text.replaceAll(",", ""))).toBe(value);
    }
  });

  test.each([
    [0, "0 items"],
    [1, "1 item"],
    [2, "2 items"],
    [1001, "1,001 items"],
  ])("%s of items reads %s", (value, text) => expect(format.many(value, "item")).toBe(text));

  test("a plural of its own is used", () => {
    expect(format.many(1, "row was", "rows were")).toBe("1 row was");
    expect(format.many(21, "row was", "rows were")).toBe("21 rows were");
  });
});

describe("bytes", () => {
  test.each([
    [0, "0.0 kB"],
    [1, "0.0 kB"],
    [999.95, "1.0 kB"],
    [1000, "1.0 kB"],
    [1949, "1.9 kB"],
    [99_949, "99.9 kB"],
    [99_999, "100.0 kB"],
    [100_000, "0.1 MB"],
    [999_960, "1.0 MB"],
    [98_000_000, "98.0 MB"],
    [999_960_000, "1000.0 MB"],
    [1e9, "1.0 GB"],
    [9_999_999_999, "10.0 GB"],
    [1e10, "10.0 GB"],
    [1.26e12, "1260.0 GB"],
  ])("%s bytes read %s", (value, text) => expect(format.bytes(value)).toBe(text));

  const UNITS: Record<string, number> = { kB: 1e3, MB: 1e6, GB: 1e9 };
  const size = (text: string) => {
    const [, number, unit = ""] = /^(\d+\.\d) (kB|MB|GB)$/.exec(text) ?? [];
    return Number(number) * (UNITS[unit] ?? NaN);
  };

  test("more bytes never read as fewer, and are off by no more than half of the last digit", () => {
    let before = 0;
    for (const value of numbers(4, 2000, 1e13)) {
      const shown = size(format.bytes(value));
      const unit = value < 1e5 ? 1e3 : value < 1e9 ? 1e6 : 1e9;
      expect(shown).toBeGreaterThanOrEqual(before);
      expect(Math.abs(shown - value)).toBeLessThanOrEqual(0.0501 * unit);
      before = shown;
    }
  });
});

describe("durations", () => {
  test.each([
    [-5000, "0.0 s"],
    [-Infinity, "0.0 s"],
    [0, "0.0 s"],
    [49, "0.0 s"],
    [950, "0.9 s"],
    [999.95, "1.0 s"],
    [9940, "9.9 s"],
    [9999, "10.0 s"],
    [10_000, "10 s"],
    [59_400, "59 s"],
    [59_900, "60 s"],
    [89_499, "89 s"],
    [89_500, "2 min"],
    [90_000, "2 min"],
    [149_000, "2 min"],
    [150_000, "3 min"],
    [89 * 60_000, "89 min"],
    [89.5 * 60_000, "1 h 30 min"],
    [90 * 60_000, "1 h 30 min"],
    [119.4 * 60_000, "1 h 59 min"],
    [119.6 * 60_000, "2 h 0 min"],
    [25 * 3_600_000 + 60_000, "25 h 1 min"],
  ])("%s ms read %s", (value, text) => expect(format.duration(value)).toBe(text));

  const seconds = (text: string) => {
    const [, s, min, h, rest] = /^(?:([\d.]+) s|(\d+) min|(\d+) h ([1-5]?\d) min)$/.exec(text) ?? [];
    return s ? Number(s) : min ? 60 * Number(min) : 3600 * Number(h) + 60 * Number(rest);
  };

  test("longer never reads as shorter, sixty minutes are an hour, and the last digit is rounded", () => {
    let before = 0;
    for (const value of numbers(5, 3000, 1e9)) {
      const shown = seconds(format.duration(value));
      const step = value < 10_000 ? 0.1 : value < 89_500 ? 1 : 61;
      expect(shown, format.duration(value)).toBeGreaterThanOrEqual(before);
      expect(Math.abs(shown - value / 1000)).toBeLessThanOrEqual(step / 2 + 1e-6);
      before = shown;
    }
  });
});

describe("shares", () => {
  test.each([
    [0, "0.0 %"],
    [0.5, "50.0 %"],
    [0.99949, "99.9 %"],
    [0.99951, "100.0 %"],
    [1, "100.0 %"],
    [-0.25, "-25.0 %"],
    [1.5, "150.0 %"],
    [NaN, "–"],
    [Infinity, "–"],
  ])("the share %s reads %s", (value, text) => expect(format.percent(value)).toBe(text));

  test("an interval of a share has its unit once", () => {
    expect(format.interval({ low: 0.1234, high: 0.99951 })).toBe("12.3 to 100.0 %");
    expect(format.interval({ low: -0.05, high: 0 })).toBe("-5.0 to 0.0 %");
  });

  test("an interval of a mark has a mark's digits", () => {
    expect(format.markInterval({ low: 0.1, high: 0.99996 })).toBe("0.1000 to 1.0000");
  });

  test("the ends of an interval are read as the share alone", () => {
    const { unit } = seeded(6);
    for (let i = 0; i < 200; i++) {
      const [low, high] = [unit(), unit()];
      expect(format.interval({ low, high })).toBe(`${format.percent(low).slice(0, -2)} to ${format.percent(high)}`);
    }
  });
});
