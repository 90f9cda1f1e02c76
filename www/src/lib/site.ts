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
    source: { kind: "site" as const, manifest: MANIFEST, head: new URL(rewardHead, document.baseURI) },
  },
  {
    name: "likelihood",
    title: "SmolLM2-135M-Instruct",
    about: "likelihood baseline",
    bytes: BYTES,
    folder: FOLDER,
    source: { kind: "site" as const, manifest: MANIFEST },
  },
] as const;
/** The name of one of the site's models in a link. */
export type SiteModelName = (typeof SITE_MODELS)[number]["name"];
/** One of the site's models. */
export type SiteModel = (typeof SITE_MODELS)[number];

/** The model that a first visit is offered. */
export const FIRST_MODEL: SiteModel = SITE_MODELS[0];
