// Facts of the open runs: over which rows each was made. A run's card does not have them; its row for the board does.
import * as format from "../../lib/format";
import { app } from "../../state.svelte";
import type { BoardRow, OpenedRun } from "../../wasm/rewardscope";

class RunFacts {
  /** Rows by run. A run that is not here is not known to be over any particular rows. */
  #rows = $state.raw(new Map<OpenedRun, BoardRow>());
  #asked = new WeakSet<OpenedRun>();

  /** The row of a run; undefined until it is known, and for files of scores that do not say how they were made. */
  of(run: OpenedRun): BoardRow | undefined {
    return this.#rows.get(run);
  }

  /** Asks for the rows of runs that are new, and forgets those of runs that were closed. */
  async follow(runs: readonly OpenedRun[]) {
    const fresh = runs.filter((run) => run.is_run_file && !this.#asked.has(run));
    for (const run of fresh) this.#asked.add(run);
    const found = await Promise.all(
      fresh.map(async (run): Promise<[OpenedRun, BoardRow][]> => {
        try {
          return [[run, JSON.parse((await app.engine.call("contribution", [run.key])).json) as BoardRow]];
        } catch {
          // A run that the board would refuse has no rank and is not offered for it.
          return [];
        }
      }),
    );
    const kept = [...this.#rows].filter(([run]) => app.runs.all.includes(run));
    if (fresh.length > 0 || kept.length < this.#rows.size) this.#rows = new Map([...kept, ...found.flat()]);
  }
}

/** The facts of the open runs. */
export const facts = new RunFacts();

const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** When a run of this visit ended, such as `14:05`; empty where it is not known. */
export function ended(run: OpenedRun): string {
  const time = app.runs.ended[run.key];
  return time ? clock.format(time) : "";
}

/** What tells runs of one model apart: where it comes from, data, weight type. */
export const sourceOf = (run: OpenedRun) =>
  [
    run.is_own ? `this visit ${ended(run)}`.trim() : run.name,
    format.origin(format.dataset(run.dataset)),
    format.dtype(run.dtype),
  ]
    .filter((part) => part)
    .join(", ");
