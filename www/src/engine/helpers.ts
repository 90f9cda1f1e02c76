// Additional workers that score items of a run. Each loads the same model, claims the next free item from the engine
// and returns its outcome.
import { Engine } from "./engine";
import type { ModelReport } from "../wasm/rewardscope";

/** Helpers start only if the run still needs this many ms: loading another copy of the model takes time too. */
const LEAST_MS = 20_000;

/** Pause in ms before a helper asks again when no item is free. */
const WAIT_MS = 50;

/** Share of the device's memory that all copies of the model may take. */
const SHARE = 0.5;
/** Device memory in bytes that is assumed where the browser does not report it. */
const ASSUMED_BYTES = 4e9;

/** Most helpers of a run. */
const MOST_HELPERS = 7;

/**
 * How many helpers this device has room for; none on a GPU. Workers get half of the logical cores, because these are
 * hardware threads, two per core. Each worker needs memory for its own copy of the model.
 */
export function helpersFor(model: ModelReport): number {
  if (model.device.kind !== "cpu") return 0;
  const cores = navigator.hardwareConcurrency || 1;
  const workers = cores <= 2 ? cores : Math.floor(cores / 2);
  const memory = (navigator as Navigator & { deviceMemory?: number }).deviceMemory;
  const room = (SHARE * (memory === undefined ? ASSUMED_BYTES : memory * 1e9)) / Math.max(model.device_bytes, 1);
  return Math.max(0, Math.min(workers, Math.floor(room), MOST_HELPERS + 1) - 1);
}

/** The helpers of one run. */
export class Helpers {
  #engine: Engine;
  #model: ModelReport;
  #load: (engine: Engine) => Promise<ModelReport>;
  #helpers: Engine[] = [];
  #working = 0;
  #stopped = false;

  /** `engine` keeps the run with `model`; `load` loads the same model into a helper. */
  constructor(engine: Engine, model: ModelReport, load: (engine: Engine) => Promise<ModelReport>) {
    this.#engine = engine;
    this.#model = model;
    this.#load = load;
  }

  /** Helpers that have loaded the model and are scoring. */
  get count() {
    return this.#working;
  }

  /** Starts the helpers once, if enough of the run is left. `msLeft` is the estimated time left in ms. */
  start(msLeft: number | undefined) {
    if (this.#stopped || this.#helpers.length > 0 || msLeft === undefined || msLeft < LEAST_MS) return;
    this.#helpers = Array.from({ length: helpersFor(this.#model) }, () => new Engine(() => {}, "helper"));
    // The run does not depend on its helpers: one that fails is ignored.
    for (const helper of this.#helpers) this.#assist(helper).catch(() => {});
  }

  /** Ends the helpers. The items that they were scoring are not returned. */
  stop() {
    this.#stopped = true;
    for (const helper of this.#helpers) helper.end("the run is over");
  }

  async #assist(helper: Engine) {
    const model = await this.#load(helper);
    if (this.#stopped || model.fingerprint !== this.#model.fingerprint) return helper.end("it is not needed");
    this.#working++;
    try {
      while (!this.#stopped) {
        // The engine's worker may just have died. Its successor continues the run.
        const claim = await this.#engine.call("claim", [this.#working]).catch(() => undefined);
        if (claim === undefined) {
          await new Promise((done) => setTimeout(done, WAIT_MS));
          continue;
        }
        let outcome;
        try {
          outcome = await helper.call("scoreClaim", [claim]);
        } catch (error) {
          await this.#engine.call("release", [(JSON.parse(claim) as { place: number }).place]).catch(() => {});
          throw error;
        }
        await this.#engine.call("bring", [outcome]).catch(() => {});
      }
    } finally {
      this.#working--;
      helper.end("it is not needed any more");
    }
  }
}
