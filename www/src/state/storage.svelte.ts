// Models, datasets and runs that are stored on this device.
import type { Storage } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

/** What is stored on this device. */
export class StorageState {
  /** The stored files and runs, and the space they use. */
  report = $state<Storage>();
  #work: WorkState;
  #engine: EngineState;
  /** Called when the removed run is the one that is shown. */
  #removed: () => void;

  constructor(work: WorkState, engine: EngineState, removed: () => void) {
    this.#work = work;
    this.#engine = engine;
    this.#removed = removed;
  }

  /** Reads again what is stored. */
  async refresh() {
    try {
      this.report = await this.#engine.call("storage", []);
    } catch {
      // If the worker dies now, it is replaced, and its successor is asked again.
    }
  }

  /** Removes stored files. */
  removeFiles(keys: string[]) {
    return this.#work.during("removing", async () => {
      for (const key of keys) await this.#engine.call("removeFile", [key]);
    });
  }

  /** Removes a run's journal. */
  removeRun(key: string) {
    return this.#work.during("removing", async () => {
      if (await this.#engine.call("removeRun", [key])) this.#removed();
    });
  }

  /** Asks the browser not to delete stored files when space runs out. */
  async persist() {
    try {
      const granted = await navigator.storage.persist();
      if (!granted)
        this.#work.notice = "The browser did not promise to keep these files; it may delete them when space runs out.";
    } catch (error) {
      this.#work.fail(error);
    }
    await this.refresh();
  }
}
