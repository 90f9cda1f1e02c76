// Mounts the page and registers its service worker.
import { mount } from "svelte";

import App from "./App.svelte";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";
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
// The parts in all their states are a page of their own, which the built site does not have.
if (import.meta.env.DEV && location.hash === "#parts") {
  void import("./parts/Parts.svelte").then(({ default: Parts }) => target && mount(Parts, { target }));
} else if (target) mount(App, { target });

// The service worker caches the page for offline visits. The engine stores models and rows itself.
if (import.meta.env.PROD) navigator.serviceWorker?.register(new URL("sw.js", document.baseURI)).catch(() => {});
