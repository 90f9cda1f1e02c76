import { beforeAll, describe, expect, test, vi } from "vitest";
import { seeded } from "../../testing/random";
import type { ItemReport } from "../../wasm/rewardscope";

let query: typeof import("./query");
let link: typeof import("../../lib/link");
beforeAll(async () => {
  vi.stubGlobal("location", { hash: "" });
  vi.stubGlobal("addEventListener", () => {});
  query = await import("./query");
  link = await import("../../lib/link");
});

const read = (address: string) => query.readQuery(new URLSearchParams(address));
const NOTHING = {
  source: "",
  against: "",
  subset: "",
  verdict: "any",
  order: "place",
  reversed: false,
  text: "",
  item: undefined,
};

describe("what an address asks of Explore", () => {
  test("nothing, where there is nothing in it", () => {
    expect(read("")).toEqual(NOTHING);
    expect(query.asksAnything(new URLSearchParams("run=x"))).toBe(false);
    expect(query.asksAnything(new URLSearchParams("of=x"))).toBe(true);
  });

  test("filters, order, search and an item", () => {
    expect(read("subset=Math&verdict=narrow&order=margin&reversed=yes&text=a+b&item=12&of=Math&source=k")).toEqual({
      ...NOTHING,
      source: "k",
      subset: "Math",
      verdict: "narrow",
      order: "margin",
      reversed: true,
      text: "a b",
      item: { id: "12", subset: "Math" },
    });
  });

  test.each(["verdict=constructor", "verdict=", "order=__proto__", "order=x", "reversed=true", "item="])(
    "%s is as good as nothing",
    (address) => expect(read(address)).toEqual(NOTHING),
  );

  test("texts are bounded", () => {
    const long = "x".repeat(10_000);
    const asked = read(`text=${long}&item=${long}&of=${long}&subset=${long}&source=${long}`);
    expect(asked.text).toHaveLength(500);
    for (const text of [asked.item?.id, asked.item?.subset, asked.subset, asked.source]) expect(text).toHaveLength(300);
  });

  test("whatever is chosen comes back from the address", () => {
    const { text, pick, unit } = seeded(31);
    for (let round = 0; round < 200; round++) {
      const id = text(12);
      const chosen = {
        source: text(5),
        against: text(5),
        subset: text(20),
        verdict: pick(Object.keys(query.VERDICTS)) as keyof typeof query.VERDICTS,
        order: pick(Object.keys(query.ORDERS)) as keyof typeof query.ORDERS,
        reversed: unit() < 0.5,
        text: text(30),
        item: id ? { id, subset: text(9) } : undefined,
      };
      const address = new URLSearchParams(query.writeQuery(chosen)).toString();
      expect(query.readQuery(new URLSearchParams(address))).toEqual(chosen);
    }
  });

  test("an item with a name too long for an address is left out of it", () => {
    expect(query.writeQuery({ ...read(""), item: { id: "x".repeat(301), subset: "" } })).toMatchObject({
      item: "",
      of: "",
    });
  });
});

describe("the link into Try", () => {
  const item = (content: string) =>
    ({ turns: [{ role: "user", content }], completions: [{ text: "yes" }, { text: "no" }] }) as unknown as ItemReport;
  const carried = async (content: string) => {
    const address = await query.tryLink(item(content));
    return address && link.linked(new URLSearchParams(address.slice("#try?".length)));
  };

  test("it carries turns and completions as they are", async () => {
    const content = "<b>&?#=\u202e 漢字\n";
    expect(await query.tryLink(item(content))).toMatch(/^#try\?text=/);
    expect(await carried(content)).toMatchObject({ turns: [{ role: "user", content }], completions: ["yes", "no"] });
  });

  test("long ones are packed", async () => {
    const content = "a long question ".repeat(5000);
    expect(await query.tryLink(item(content))).toMatch(/^#try\?demo=/);
    expect(await carried(content)).toMatchObject({ turns: [{ role: "user", content }] });
  });

  test("there is none for what no link can carry", async () => {
    const { unit } = seeded(5);
    const noise = Array.from({ length: 100_000 }, () => String.fromCharCode(0x4e00 + unit() * 20_000)).join("");
    expect(await query.tryLink(item(noise))).toBeUndefined();
    expect(await query.tryLink(item("x".repeat(500_000)))).toBeUndefined();
  });
});
