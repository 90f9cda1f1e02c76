// Mounts the page and registers its service worker.
import { mount } from "svelte";

import App from "./App.svelte";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";
import { ignoreStrayDrops } from "./lib/drop";
import type { Engine } from "./engine/engine";
import Update from "./components/shell/Update.svelte";
import { followRestored } from "./lib/restored";
import { app } from "./state.svelte";
import { UpdateState } from "./state/update.svelte";

declare global {
  interface Window {
    /** The engine, for the console and for tests: `await rewardscope.call("score", ["Why?", ["Because."]])`. */
    rewardscope: Engine;
  }
}
window.rewardscope = app.engine.client;
ignoreStrayDrops();
followRestored();

// A new version may be taken unasked only while the page shows nothing that a reload would lose.
const update = new UpdateState(
  () => app.work.now === "idle" && !app.models.loaded && !app.dataset.isOpen && app.runs.all.length === 0,
);
app.engine.client.onOutdated = () => void update.outdated();
// The site no longer has a view's file.
addEventListener("vite:preloadError", () => void update.outdated());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void update.ask();
});

const target = document.getElementById("app");
// What stands there until the page's scripts have come.
target?.replaceChildren();
// The parts in all their states are a page of their own, which the built site does not have.
if (import.meta.env.DEV && location.hash === "#parts") {
  void import("./parts/Parts.svelte").then(({ default: Parts }) => target && mount(Parts, { target }));
} else if (target) {
  mount(Update, { target: document.body, anchor: target, props: { update, work: app.work } });
  mount(App, { target });
}
// The service worker keeps the page for visits without a network. The engine stores models and rows itself.
if (import.meta.env.PROD && navigator.serviceWorker)
  update.follow(navigator.serviceWorker, new URL("sw.js", document.baseURI));
