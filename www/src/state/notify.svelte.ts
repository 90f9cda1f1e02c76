// Notifications when long work is over.
import type { WorkState } from "./work.svelte";

export class NotifyState {
  wanted = $state(false);
  #work: WorkState;

  constructor(work: WorkState) {
    this.#work = work;
  }

  /** Asks whether notifications may be sent. */
  async ask(wanted: boolean) {
    this.wanted = wanted && "Notification" in window && (await Notification.requestPermission()) === "granted";
    if (wanted && !this.wanted)
      this.#work.notice =
        "The browser allows no notifications of this page; its settings for the site can change that.";
  }

  tell(what: string) {
    if (!this.wanted) return;
    try {
      new Notification("Rewardscope", { body: what, icon: "icon.svg" });
    } catch {
      // Phones take them from a service worker alone.
      void navigator.serviceWorker?.ready
        .then((worker) => worker.showNotification("Rewardscope", { body: what }))
        .catch(() => {});
    }
  }
}
