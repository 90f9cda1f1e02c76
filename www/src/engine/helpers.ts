// Workers that score items of a run beside the engine's own: each loads the same model, takes the
// next item that nobody has begun, and brings its outcome back.
import { Engine } from "./engine";
import type { ModelReport } from "../wasm/rewardscope";

/** A run that would be over so soon is not worth another copy of the model. */
const LEAST_MS = 20_000;

/** How long a helper waits for an item when there is none for now. */
const WAIT_MS = 50;

/** Memory of this device that copies of a model may take, and how much is assumed where browsers do not tell. */
const SHARE = 0.5;
const ASSUMED_BYTES = 4e9;

const MOST_HELPERS = 7;

/** How many helpers this device has room for: a processor in two, for cores count double, and memory. */
export function helpersFor(model: ModelReport): number {
  if (model.device.kind !== "cpu") return 0;
  const cores = navigator.hardwareConcurrency || 1;
  const workers = cores <= 2 ? cores : Math.floor(cores / 2);
  const memory = (navigator as Navigator & { deviceMemory?: number }).deviceMemory;
  const room = (SHARE * (memory === undefined ? ASSUMED_BYTES : memory * 1e9)) / Math.max(model.device_bytes, 1);
  return Math.max(0, Math.min(workers, Math.floor(room), MOST_HELPERS + 1) - 1);
}

export class Helpers {
  #engine: Engine;
  #model: ModelReport;
  #load: (engine: Engine) => Promise<ModelReport>;
  #helpers: Engine[] = [];
  #working = 0;
  #stopped = false;

  /** Helpers of a run that `engine` keeps with a model that `load` loads. */
  constructor(engine: Engine, model: ModelReport, load: (engine: Engine) => Promise<ModelReport>) {
    this.#engine = engine;
    this.#model = model;
    this.#load = load;
  }

  get count() {
    return this.#working;
  }

  /** Starts them, once, where what is left of the run is worth it. */
  start(msLeft: number | undefined) {
    if (this.#stopped || this.#helpers.length > 0 || msLeft === undefined || msLeft < LEAST_MS) return;
    this.#helpers = Array.from({ length: helpersFor(this.#model) }, () => new Engine(() => {}, "helper"));
    // The run does not depend on them: one that fails is done without.
    for (const helper of this.#helpers) this.#assist(helper).catch(() => {});
  }

  /** Ends them; what they were at is not brought. */
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
        // The engine's worker may be gone; another goes on with the run then.
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
