// Reward heads that are fitted during this visit.
import { readDraft, type Choice } from "../lib/draft";
import type { FitOptions, FitProgress, HeadReport } from "../wasm/rewardscope";
import type { EngineState } from "./engine.svelte";
import type { ModelsState } from "./models.svelte";
import type { WorkState } from "./work.svelte";

/** Preferences, the fit under way and its result. */
export class HeadsState {
  /** Preferences clicked in Try. They last as long as this tab's session. */
  choices = $state<Choice[]>(readDraft()?.choices ?? []);
  /** Progress of the fit under way. */
  progress = $state<FitProgress>();
  /** The last fitted head and its file. */
  fitted = $state.raw<{ head: HeadReport; bytes: Uint8Array }>();
  #work: WorkState;
  #engine: EngineState;
  #models: ModelsState;

  constructor(work: WorkState, engine: EngineState, models: ModelsState) {
    this.#work = work;
    this.#engine = engine;
    this.#models = models;
  }

  /** Records a preference for one completion over each of the others. */
  prefer(prompt: string, chosen: string, completions: string[]) {
    const others = completions.filter(
      (text, i) => text.trim() !== "" && text.trim() !== chosen.trim() && completions.indexOf(text) === i,
    );
    this.choices.push(...others.map((rejected) => ({ prompt, chosen, rejected })));
  }

  /** Fits a head on the loaded model's hidden states. The model does not use it yet. */
  fit(preferences: File, features: File | undefined, options: FitOptions) {
    return this.#work.during("fitting", async () => {
      this.fitted = undefined;
      try {
        const tell = (now: FitProgress) => (this.progress = now);
        const head = await this.#engine.withstanding(() =>
          this.#engine.call("fit", [preferences, features, options], tell),
        );
        this.fitted = { head, bytes: await this.#engine.call("fittedHead", []) };
      } finally {
        this.progress = undefined;
      }
      this.#work.notice = `${options.name} is fitted; its figures are below.`;
    });
  }

  /** Loads the model again with the fitted head. */
  useFitted() {
    const from = this.#models.from;
    if (!from || !this.fitted) return;
    return this.#models.load({ ...from.source, head: this.fitted.bytes }, from.settings);
  }
}
