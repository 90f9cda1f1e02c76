// What a visitor has chosen in Models for the next load. It is kept here because the view is made anew each time that
// it moves between its own place and the sheet over another view.
import { doubleName, pickedModels, type PickedModel } from "../lib/picked";
import type { OverlapRule, Pooling, ScoreKind } from "../wasm/rewardscope";

/** Where the next model is chosen from. */
export type Source = "gallery" | "hub" | "own";

/** How the gallery is ordered. */
export type GalleryOrder = "size" | "mark";

/** The source, id, files and reward head of the next load. */
export class ChoiceState {
  source = $state<Source>("gallery");
  /** The gallery's order, and whether only models that fit on this device are shown. */
  order = $state<GalleryOrder>("size");
  onlyFitting = $state(false);
  /** What the scores of the shown models are; absent: whatever they are. */
  kind = $state<ScoreKind>();
  /** The id on the Hub. */
  id = $state("");
  /** The models among the files that were picked or dropped. With more than one, the page asks which. */
  picked = $state.raw<PickedModel[]>([]);
  /** What is wrong with what was picked, dropped or linked; empty if nothing is. */
  trouble = $state("");
  /** The reward head that the next model gets, unless it has one of its own. */
  head = $state.raw<File>();
  /** The files of the model that the next one is measured against; absent where a name in the settings stands for it. */
  reference = $state.raw<File[]>();
  /** Parts of the view that are unfolded. */
  open = $state({ settings: false, head: false, device: false, fit: false });
  /** The choices for fitting a reward head. */
  fit = $state({
    source: "choices" as "choices" | "file",
    name: "My reward head",
    pooling: "last-token" as Pooling,
    layers: null as number | null,
    seed: 0,
    overlap: "keep" as OverlapRule,
  });
  /** The files for fitting a reward head. */
  fitFiles = $state.raw<{ preferences?: File | undefined; features?: File | undefined }>({});
  #followed: URLSearchParams | undefined;

  /** Takes files that were picked or dropped. */
  take(files: File[]) {
    const models = pickedModels(files);
    const double = models.map((model) => doubleName(model.files)).find((name) => name !== undefined);
    this.source = "own";
    this.picked = double === undefined ? models : [];
    this.trouble =
      files.length === 0
        ? "The folder is empty."
        : double === undefined
          ? ""
          : `Two of the files are called ${double}. Choose the files of one model, or its folder.`;
  }

  /** Files could not be taken: says why, where files are chosen. */
  refuse(error: unknown) {
    this.source = "own";
    this.picked = [];
    this.trouble = error instanceof Error ? error.message : String(error);
  }

  /** Follows a link that names a model, once: nothing is fetched. */
  follow(params: URLSearchParams) {
    if (params === this.#followed) return;
    this.#followed = params;
    const named = params.get("model");
    if (named === null) return;
    this.source = "hub";
    const isId = named.length <= 500;
    this.id = isId ? named : "";
    this.trouble = isId ? "" : "The link's model id is longer than 500 characters. Nothing was opened.";
  }
}
