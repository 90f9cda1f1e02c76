// A list whose rows are in the worker. They are fetched a page at a time when they become visible.

/** Rows per page. */
const PAGE = 100;
/** Most pages kept. */
const MOST_PAGES = 12;

/** The fetched pages of one list. */
export class Pages<Row> {
  #fetch: (from: number, count: number) => Promise<Row[]>;
  #changed: () => void;
  #failed: (error: unknown) => void;
  #pages = new Map<number, Row[]>();
  #asked = new Set<number>();
  /** The same list before it grew. Its rows are shown until the first new page arrives. */
  #before: Pages<Row> | undefined;
  #ended = false;

  /** `changed` is called when a page has arrived, `failed` with the error when one could not be fetched. */
  constructor(
    fetch: (from: number, count: number) => Promise<Row[]>,
    changed: () => void,
    failed: (error: unknown) => void,
    before?: Pages<Row>,
  ) {
    this.#fetch = fetch;
    this.#changed = changed;
    this.#failed = failed;
    this.#before = before;
    before?.end();
  }

  /** The row, if it has been fetched. */
  at(index: number): Row | undefined {
    const page = this.#pages.get(Math.floor(index / PAGE));
    return page ? page[index % PAGE] : this.#before?.at(index);
  }

  /** The row; it is fetched if needed. */
  async row(index: number): Promise<Row | undefined> {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? (await this.#fetch(index, 1))[0];
  }

  /** Fetches the page of a row that became visible. */
  want(index: number) {
    const page = Math.floor(index / PAGE);
    if (this.#pages.has(page) || this.#asked.has(page)) return;
    this.#asked.add(page);
    this.#fetch(page * PAGE, PAGE).then(
      (rows) => this.#take(page, rows),
      (error: unknown) => {
        this.#asked.delete(page);
        if (!this.#ended) this.#failed(error);
      },
    );
  }

  #take(page: number, rows: Row[]) {
    this.#asked.delete(page);
    if (this.#ended) return;
    this.#before = undefined;
    this.#pages.set(page, rows);
    // Removes the farthest pages, so that scrolling through a long list does not keep all of it in memory.
    const farthest = [...this.#pages.keys()].toSorted((a, b) => Math.abs(b - page) - Math.abs(a - page));
    for (const other of farthest.slice(0, Math.max(0, farthest.length - MOST_PAGES))) this.#pages.delete(other);
    this.#changed();
  }

  /** Ignores pages that arrive from now on. */
  end() {
    this.#ended = true;
    this.#before = undefined;
  }
}
