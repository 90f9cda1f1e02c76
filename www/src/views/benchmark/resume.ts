// Goes on with a run of an earlier visit: opens its model and its rows where they can be opened, and runs.
import type { AppState } from "../../state.svelte";
import { many, dataset as datasetName, origin } from "../../lib/format";
import type { Setup } from "./setup.svelte";
import { type Unfinished, choicesOf, sourceOf } from "./unfinished";

type App = Pick<AppState, "work" | "models" | "dataset" | "run" | "storage">;

/** Resumes a run. Where something must be picked first, it says what and does no more. */
export async function resume(app: App, setup: Setup, { summary, known }: Unfinished): Promise<void> {
  const { identity, items_done, items_total } = summary;
  const [first] = known;
  const say = (what: string) => (app.work.notice = what);
  if (app.models.loaded?.fingerprint !== identity.model_fingerprint) {
    const source = first && sourceOf(first);
    if (!source || !first)
      return void say(
        `Load ${origin(identity.model)} in Models, then press Resume here: its files cannot be opened unasked.`,
      );
    await app.models.load(source, first.settings);
    if (!app.models.loaded) return;
    if (app.models.loaded.fingerprint !== identity.model_fingerprint)
      return void say(`${origin(identity.model)} has changed since the run began, so the run cannot go on with it.`);
  }
  if (first) {
    const isOpen = app.dataset.report?.name === identity.dataset;
    setup.restore(choicesOf(first), first.subset);
    Object.assign(app.dataset.columns, first.columns);
    if (!isOpen) {
      app.dataset.close();
      await setup.openRows();
    }
  }
  if (app.dataset.report?.name !== identity.dataset) {
    // What failed to open has said so.
    if (!app.work.error)
      say(
        `Open ${datasetName(identity.dataset)} under Data and size, then press Resume here: it cannot be opened unasked.`,
      );
    return;
  }
  const subsets = known.length > 0 ? [...new Set(known.map(({ subset }) => subset))] : likely(app, summary);
  const before = new Set(app.storage.report?.runs.map(({ key }) => key));
  for (const subset of subsets) {
    setup.subset = subset;
    const selection = {
      subset: subset || undefined,
      limit: identity.limit_per_subset,
      seed: Number(identity.seed),
    };
    setup.chooseLimit(identity.limit_per_subset, Number(identity.seed));
    await app.run.resume(selection, items_done);
    // Another subset of the same size may be the run's; only a plan can tell.
    if (app.run.progress || app.work.error === "") return;
    // To look at a run begins one, where there was none.
    await app.storage.refresh();
    for (const { key, summary: begun } of app.storage.report?.runs ?? [])
      if (!before.has(key) && begun?.items_done === 0) await app.storage.removeRun(key);
  }
  app.work.error = `The rows of ${datasetName(identity.dataset)} are not those of the stored run, of which ${many(items_done, "item")} of ${items_total} are kept.`;
}

/** Subsets that have as many items as the run; empty for all of them. */
function likely({ dataset }: App, { identity, items_total }: Unfinished["summary"]): string[] {
  const limit = identity.limit_per_subset ?? Infinity;
  const subsets = dataset.report?.subsets ?? [];
  const all = subsets.reduce((sum, { count }) => sum + Math.min(count, limit), 0);
  const some = subsets.filter(({ count }) => Math.min(count, limit) === items_total).map(({ subset }) => subset);
  return all === items_total ? ["", ...some] : some;
}
