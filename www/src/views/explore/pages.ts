// Rows of a list that lies in the worker, fetched a page at a time when they come into sight.

/** Rows that are fetched at once, and how many such pages are kept. */
const PAGE = 100;
const MOST_PAGES = 12;

export class Pages<Row> {
  #fetch: (from: number, count: number) => Promise<Row[]>;
  #changed: () => void;
  #failed: (error: unknown) => void;
  #pages = new Map<number, Row[]>();
  #asked = new Set<number>();
  /** The same list before it grew: shown until what is in sight is there. */
  #before: Pages<Row> | undefined;
  #ended = false;

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

  at(index: number): Row | undefined {
    const page = this.#pages.get(Math.floor(index / PAGE));
    return page ? page[index % PAGE] : this.#before?.at(index);
  }

  /** The row, fetched where it is not there. */
  async row(index: number): Promise<Row | undefined> {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? (await this.#fetch(index, 1))[0];
  }

  /** Asks for the page of a row that came into sight. */
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
    // The farthest go: a long way through the list is no reason to keep all of it.
    const farthest = [...this.#pages.keys()].toSorted((a, b) => Math.abs(b - page) - Math.abs(a - page));
    for (const other of farthest.slice(0, Math.max(0, farthest.length - MOST_PAGES))) this.#pages.delete(other);
    this.#changed();
  }

  /** What is still under way is of no use any more. */
  end() {
    this.#ended = true;
    this.#before = undefined;
  }
}
