import { mount } from "svelte";

import App from "./App.svelte";
import "./app.css";
import { ignoreStrayDrops } from "./lib/drop";
import type { Engine } from "./engine/engine";
import { app } from "./state.svelte";

declare global {
  interface Window {
    /** The engine, for the console and for tests: `await rewardscope.call("score", ["Why?", ["Because."]])`. */
    rewardscope: Engine;
  }
}
window.rewardscope = app.engine.client;
ignoreStrayDrops();

const target = document.getElementById("app");
if (target) mount(App, { target });

// The page itself is kept for visits without a network; models and rows are kept by the engine.
if (import.meta.env.PROD) navigator.serviceWorker?.register(new URL("sw.js", document.baseURI)).catch(() => {});
