// What tests of the leaderboard find in it.
import { show } from "./browsers.mjs";

/** Shows the leaderboard. Returns what tests find in it. */
export async function board(browser) {
  await show(browser, "leaderboard");
  const { page } = browser;
  const table = page.getByRole("table", { name: /^Leaderboard/ });
  const head = (name) => table.getByRole("columnheader", { name, exact: true });
  await head("Math").waitFor();
  return {
    table,
    head,
    /** The text of the cells of a column, from the rows that have one. */
    cells: (name) =>
      table.evaluate((table, name) => {
        const heads = [...table.querySelectorAll("thead th")].map((th) => th.textContent.replace(/[↑↓#]/g, "").trim());
        const at = heads.indexOf(name);
        const rows = [...table.querySelectorAll("tbody tr")].filter((row) => row.cells.length === heads.length);
        return rows.map((row) => row.cells[at].textContent.trim());
      }, name),
    /** The name of the group that a model's row is in. */
    groupOf: (model) =>
      table.evaluate((table, model) => {
        const row = [...table.querySelectorAll("tbody tr")].find((row) => row.cells[1]?.textContent.includes(model));
        return row?.parentElement.rows[0].textContent.trim();
      }, model),
    params: async () => Object.fromEntries(new URLSearchParams((await hashOf(browser)).split("?")[1])),
  };
}
/** The fragment of the page's address. */
export const hashOf = (browser) => browser.evaluate(() => location.hash);

/** How long, in ms, the browser alone takes to turn round a copy of the board's rows and to lay them out, each time. */
export const bareSorts = (browser, times) =>
  browser.evaluate(async (times) => {
    const table = document.querySelector("#board-rows");
    const copy = table.cloneNode(true);
    table.style.display = "none";
    table.after(copy);
    const durations = [];
    for (let i = 0; i < times; i++) {
      await new Promise((done) => setTimeout(done, 300));
      const started = performance.now();
      for (const body of copy.tBodies) body.append(...[...body.rows].reverse());
      copy.getBoundingClientRect();
      durations.push(performance.now() - started);
    }
    copy.remove();
    table.style.display = "";
    return durations;
  }, times);
