// The models that the site itself serves.
import rewardHead from "../../../heads/smollm2-135m-instruct/head.safetensors?url";

/** The folder that the device's storage lists the model under. */
const FOLDER = "smollm2-135m-instruct";
const MANIFEST = new URL(`models/${FOLDER}/parts.json`, document.baseURI).href;
/** Size of the site's model in bytes, as its manifest says. */
const BYTES = 98_362_432;

/** The site's models by their names in links. */
export const SITE_MODELS = [
  {
    name: "reward",
    title: "SmolLM2-135M reward model",
    /** What is shown where it is offered. */
    about: "fitted for this project",
    bytes: BYTES,
    folder: FOLDER,
    /** Marks on the bundled sample, 0 to 1, as the head's report has them; they are no marks of the whole benchmark. */
    sample: { overall: 0.4261, best: ["Focus", 0.7] as const },
    source: { kind: "site" as const, manifest: MANIFEST, head: new URL(rewardHead, document.baseURI) },
  },
  {
    name: "likelihood",
    title: "SmolLM2-135M-Instruct",
    about: "likelihood baseline",
    bytes: BYTES,
    folder: FOLDER,
    sample: { overall: 0.2743, best: ["Factuality", 0.5] as const },
    source: { kind: "site" as const, manifest: MANIFEST },
  },
] as const;
/** The name of one of the site's models in a link. */
export type SiteModelName = (typeof SITE_MODELS)[number]["name"];
/** One of the site's models. */
export type SiteModel = (typeof SITE_MODELS)[number];

/** Number of items that the marks above are of. */
export const SAMPLE_ITEMS = 140;

/** Licence of the site's models, as the card of the model that they are made of names it. */
export const SITE_LICENCE = "apache-2.0";

/** The model that a first visit is offered. */
export const FIRST_MODEL: SiteModel = SITE_MODELS[0];
