import { beforeEach, describe, expect, test, vi } from "vitest";
import * as sample from "../testing/reports";
import { linkedHead, linkedModel, linkedTitle, sourceOf } from "./demonstration";
import { FIRST_MODEL, SITE_MODELS } from "./site";

const BYTES = new Uint8Array([1, 2, 3]);
/** SHA-256 of these bytes. */
const HASH = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81";
const TEXTS = { turns: [], completions: [] };

beforeEach(() => {
  vi.stubGlobal(
    "fetch",
    vi.fn(async () => new Response(BYTES)),
  );
});

describe("the model of a link", () => {
  test("is loaded from the site, or from the Hub at the sender's commit", async () => {
    expect(await sourceOf({ ...TEXTS, model: { site: "reward" } })).toEqual(FIRST_MODEL.source);
    expect(await sourceOf({ ...TEXTS, model: { hub: "owner/name@abc" } })).toEqual({
      kind: "hub",
      id: "owner/name@abc",
    });
    expect(fetch).not.toHaveBeenCalled();
  });

  test("that the link does not name is asked for", async () => {
    await expect(sourceOf(TEXTS)).rejects.toThrow(/does not say where its model is/);
  });

  test("is called by what the visitor knows", () => {
    expect(linkedTitle({ ...TEXTS, model: { site: "reward" } })).toBe(FIRST_MODEL.title);
    expect(linkedTitle({ ...TEXTS, model: { hub: "a/b" }, head: { name: "H", bytes: BYTES } })).toBe(
      "a/b with the reward head H",
    );
  });

  test.each(SITE_MODELS.map((model) => [model.name, model] as const))(
    "of the site is named in a link: %s",
    (name, model) => {
      expect(linkedModel(model.source, sample.model())).toEqual({ site: name });
    },
  );

  test("of the Hub is named with its commit, and picked files are not", () => {
    const report = sample.model({ origin: "a/b@c0ffee" });
    expect(linkedModel({ kind: "hub", id: "a/b" }, report)).toEqual({ hub: "a/b@c0ffee" });
    expect(linkedModel({ kind: "files", files: [] }, report)).toBeUndefined();
    expect(linkedModel({ kind: "hub", id: "a/b", reference: [new File([], "a")] }, report)).toBeUndefined();
  });
});

describe("the head of a link", () => {
  test("is in it when it is small, and named by its hash when it is not", async () => {
    const small = await linkedHead({ kind: "hub", id: "a/b", head: BYTES }, "H");
    expect(small).toEqual({ head: { name: "H", bytes: BYTES }, sha256: undefined });
    const large = await linkedHead({ kind: "hub", id: "a/b", head: new Uint8Array(9000) }, "H");
    expect(large).toEqual({ head: undefined, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test("that lies at an address is fetched without the visitor's credentials and checked", async () => {
    const head = { name: "H", address: "https://h.test/head", sha256: HASH };
    const source = await sourceOf({ ...TEXTS, model: { hub: "a/b" }, head });
    expect(source.head).toEqual(BYTES);
    expect(fetch).toHaveBeenCalledWith("https://h.test/head", { credentials: "omit", referrerPolicy: "no-referrer" });
  });

  test.each([
    ["another file", async () => new Response("other"), /SHA-256 is not the one in the link/],
    ["nothing", async () => new Response("", { status: 404 }), /answered 404/],
    ["far too much", async () => new Response(new Uint8Array(65e6)), /more than 64 MB/],
  ])("is refused where the address has %s", async (_what, answer, why) => {
    vi.stubGlobal("fetch", answer);
    const head = { name: "H", address: "https://h.test/head", sha256: HASH };
    await expect(sourceOf({ ...TEXTS, model: { hub: "a/b" }, head })).rejects.toThrow(why);
  });
});
