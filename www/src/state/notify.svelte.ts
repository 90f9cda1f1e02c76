// Notifications at the end of a run.
import type { WorkState } from "./work.svelte";

/** Whether and how the visitor is notified. */
export class NotifyState {
  /** Whether notifications are on. */
  wanted = $state(false);
  #work: WorkState;

  constructor(work: WorkState) {
    this.#work = work;
  }

  /** Turns notifications on or off. Turning them on asks the browser for permission. */
  async ask(wanted: boolean) {
    this.wanted = wanted && "Notification" in window && (await Notification.requestPermission()) === "granted";
    if (wanted && !this.wanted)
      this.#work.notice =
        "The browser blocks notifications from this page. You can allow them in its settings for this site.";
  }

  /** Sends a notification if they are on. */
  tell(what: string) {
    if (!this.wanted) return;
    try {
      new Notification("Rewardscope", { body: what, icon: "icon.svg" });
    } catch {
      // Browsers on phones accept notifications only from a service worker.
      void navigator.serviceWorker?.ready
        .then((worker) => worker.showNotification("Rewardscope", { body: what }))
        .catch(() => {});
    }
  }
}
