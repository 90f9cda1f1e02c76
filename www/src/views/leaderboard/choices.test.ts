import { expect, test } from "vitest";
import { Choices } from "./choices.svelte";

const ADDRESS =
  "board=reward_bench&sort=Chat&order=reverse&find=qwen&type=DPO%2CGenerative&size=small%2Clarge&here=1&columns=Safety%2Ctype&digits=all";

test("an address brings all choices back", () => {
  const choices = new Choices();
  choices.read(new URLSearchParams(ADDRESS));
  expect(choices).toMatchObject({
    board: "reward_bench",
    sort: "Chat",
    isReversed: true,
    find: "qwen",
    types: ["DPO", "Generative"],
    sizes: ["small", "large"],
    runsHere: true,
    flipped: ["Safety", "type"],
    isExact: true,
  });
  expect(new URLSearchParams(choices.params as Record<string, string>).toString()).toBe(ADDRESS);
});

test("what is as usual is not in the address", () => {
  expect(Object.values(new Choices().params).filter((value) => value !== undefined)).toEqual([]);
});

test("a link without choices leaves them; one with some sets the others back", () => {
  const choices = new Choices();
  choices.read(new URLSearchParams(ADDRESS));
  choices.read(new URLSearchParams("run=x"));
  expect(choices.find).toBe("qwen");
  choices.read(new URLSearchParams("find=llama"));
  expect(choices).toMatchObject({ board: "reward_bench_2", find: "llama", types: [], runsHere: false });
});

test("an address cannot bring what there is not", () => {
  const choices = new Choices();
  choices.read(new URLSearchParams(`board=toString&size=constructor,small&order=down&find=${"x".repeat(5000)}`));
  expect(choices).toMatchObject({ board: "reward_bench_2", sizes: ["small"], isReversed: false });
  expect(choices.find).toHaveLength(300);
});

test("the second press on a column reverses the order, another column starts anew", () => {
  const choices = new Choices();
  choices.sortBy("overall", "overall");
  expect(choices.isReversed).toBe(true);
  choices.sortBy("Math", "overall");
  expect(choices).toMatchObject({ sort: "Math", isReversed: false });
});
