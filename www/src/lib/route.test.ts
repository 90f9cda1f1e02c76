import { beforeEach, describe, expect, test, vi } from "vitest";
import { seeded } from "../testing/random";
import { TITLES, VIEWS, route, type View } from "./route.svelte";

// The module under test makes the page's route as soon as it is loaded.
vi.hoisted(() => {
  globalThis.location ??= { hash: "" } as Location;
  globalThis.addEventListener ??= () => {};
});

/** An address with a history of one step, as far as a fragment needs it. */
let address: URL;
let replaced: string[];
let listeners: (() => void)[];

/** A route of a page that is opened at an address. */
function at(hash: string) {
  address.hash = hash;
  return Reflect.construct(route.constructor, []) as typeof route;
}

/** The visitor follows a link, or edits the address. */
function go(hash: string) {
  address.hash = hash;
  for (const listener of listeners) listener();
}

beforeEach(() => {
  address = new URL("https://site.example/app/");
  [replaced, listeners] = [[], []];
  vi.stubGlobal("location", {
    get hash() {
      return address.hash;
    },
  });
  vi.stubGlobal("history", {
    state: "kept",
    replaceState(state: unknown, _title: string, to: string) {
      expect(state).toBe("kept");
      replaced.push(to);
      address = new URL(to, address);
    },
  });
  vi.stubGlobal("addEventListener", (kind: string, listener: () => void) => {
    expect(kind).toBe("hashchange");
    listeners.push(listener);
  });
});

describe("views", () => {
  test("every view has a title", () => {
    expect(Object.keys(TITLES)).toEqual([...VIEWS]);
    expect(new Set(Object.values(TITLES)).size).toBe(VIEWS.length);
  });

  test.each([...VIEWS])("the address of %s leads to it, when the page opens and later", (view) => {
    const route = at(`#${view}`);
    expect(route.view).toBe(view);
    expect(route.to(view)).toBe(`#${view}`);
    go("#explore?subset=Focus");
    go(route.to(view));
    expect(route.view).toBe(view);
    expect([...route.params]).toEqual([]);
  });

  test("whatever a view puts into its address comes back", () => {
    const route = at("");
    const { pick, text, whole } = seeded(7);
    for (let i = 0; i < 500; i++) {
      const view = pick(VIEWS);
      const params = Object.fromEntries(Array.from({ length: whole(4) }, () => [text(6), text(20)]));
      const to = route.to(view, params);
      expect(to).toMatch(/^#[a-z]+(\?[\w%+*.=&-]+)?$/);
      go(to);
      expect(route.view).toBe(view);
      expect(Object.fromEntries(route.params)).toEqual(params);
    }
  });

  test("nothing of it is sent: an address differs in its fragment alone", () => {
    const route = at("");
    const to = new URL(route.to("explore", { text: "a?b#c/../d" }), "https://site.example/app/");
    expect(to.href.slice(0, -to.hash.length)).toBe("https://site.example/app/");
  });
});

describe("addresses that nobody here made", () => {
  test.each([
    "",
    "#",
    "#?",
    "#nowhere",
    "#Try",
    "#try/",
    "#explore/",
    "#constructor",
    "#__proto__",
    "#%74ry",
    "#explore%3Fsubset=x",
    "#explore#try",
    "#&explore",
    "# explore",
    "#<script>alert(1)</script>",
    `#${"x".repeat(100_000)}`,
  ])("%j is the first view", (hash) => {
    const route = at(hash);
    expect(route.view).toBe("try");
  });

  test.each<[string, View, Record<string, string>]>([
    ["#explore?", "explore", {}],
    ["#explore?&&&", "explore", {}],
    ["#explore?subset", "explore", { subset: "" }],
    ["#explore?=x", "explore", { "": "x" }],
    ["#explore?text=%", "explore", { text: "%" }],
    ["#explore?text=%zz%4", "explore", { text: "%zz%4" }],
    ["#explore?text=%E0%A4%A", "explore", { text: "\ufffd%A" }],
    ["#explore?text=a+b", "explore", { text: "a b" }],
    ["#explore?text=%00", "explore", { text: "\0" }],
    ["#explore?text=a#b", "explore", { text: "a#b" }],
    ["#explore?__proto__=x", "explore", JSON.parse('{"__proto__":"x"}') as Record<string, string>],
    ["#models?model=a&model=b", "models", { model: "b" }],
    ["#nowhere?text=x", "try", { text: "x" }],
    ["#?text=x", "try", { text: "x" }],
  ])("%s is read without trouble", (hash, view, params) => {
    const route = at(hash);
    expect(route.view).toBe(view);
    expect(Object.fromEntries(route.params)).toEqual(params);
    expect(Object.getPrototypeOf(Object.fromEntries(route.params))).toBe(Object.prototype);
  });

  test("any fragment is one of the views, and its parameters can be kept", () => {
    const route = at("");
    const { text } = seeded(8);
    for (let i = 0; i < 500; i++) {
      go(`#${text(30)}`);
      expect(VIEWS).toContain(route.view);
      const before = Object.entries(Object.fromEntries(route.params)).filter(([, value]) => value);
      route.keep({});
      expect([...route.params]).toEqual(before);
    }
  });
});

describe("what a view keeps in the address", () => {
  test("it is added to what is there, without a step in the history", () => {
    const route = at("#benchmark?rows=hub");
    route.keep({ id: "owner/name" });
    expect(replaced).toEqual(["#benchmark?rows=hub&id=owner%2Fname"]);
    expect(address.href).toBe("https://site.example/app/#benchmark?rows=hub&id=owner%2Fname");
    expect(Object.fromEntries(route.params)).toEqual({ rows: "hub", id: "owner/name" });
  });

  test("what is empty or undefined leaves it", () => {
    const route = at("#explore?subset=Focus&order=margin&text=x");
    route.keep({ subset: "", order: undefined });
    expect(replaced).toEqual(["#explore?text=x"]);
    route.keep({ text: "" });
    expect(replaced.at(-1)).toBe("#explore");
    expect([...route.params]).toEqual([]);
  });

  test("a broken address is mended by it", () => {
    const route = at("#nowhere?text=%zz");
    route.keep({});
    expect(replaced).toEqual(["#try?text=%25zz"]);
    expect(route.view).toBe("try");
    expect(route.params.get("text")).toBe("%zz");
  });

  test("what was kept is there after a reload", () => {
    const { text } = seeded(9);
    for (let i = 0; i < 200; i++) {
      const [first, second] = [`a${text(20)}`, `b${text(20)}`];
      const route = at("#explore");
      route.keep({ text: first });
      route.keep({ subset: second });
      const again = at(address.hash);
      expect(again.view).toBe("explore");
      expect(Object.fromEntries(again.params)).toEqual({ text: first, subset: second });
    }
  });
});
