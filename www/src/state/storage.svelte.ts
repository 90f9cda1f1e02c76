// What is stored on this device.
import type { Storage } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { WorkState } from "./work.svelte";

export class StorageState {
  report = $state<Storage>();
  #work: WorkState;
  #engine: EngineState;
  /** The run that is shown is the one that was removed. */
  #removed: () => void;

  constructor(work: WorkState, engine: EngineState, removed: () => void) {
    this.#work = work;
    this.#engine = engine;
    this.#removed = removed;
  }

  async refresh() {
    try {
      this.report = await this.#engine.call("storage", []);
    } catch {
      // A worker that ends now is replaced, and asked again then.
    }
  }

  removeFiles(keys: string[]) {
    return this.#work.during("removing", async () => {
      for (const key of keys) await this.#engine.call("removeFile", [key]);
    });
  }

  removeRun(key: string) {
    return this.#work.during("removing", async () => {
      if (await this.#engine.call("removeRun", [key])) this.#removed();
    });
  }

  /** Asks the browser not to remove what is stored on its own. */
  async persist() {
    try {
      const granted = await navigator.storage.persist();
      if (!granted) this.#work.notice = "The browser did not promise to keep it; it may remove it when space runs out.";
    } catch (error) {
      this.#work.fail(error);
    }
    await this.refresh();
  }
}
