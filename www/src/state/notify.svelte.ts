// Notifications at the end of a run.

/** Whether and how the visitor is notified. */
export class NotifyState {
  /** Whether notifications are on. */
  wanted = $state(false);
  /** Why they cannot be turned on; empty where they can. */
  trouble = $state("");

  /** Turns notifications on or off. Turning them on asks the browser for permission. */
  async ask(wanted: boolean) {
    // The box is ticked while the browser asks, so that a refusal is a change and unticks it.
    this.wanted = wanted;
    this.trouble = "";
    if (!wanted) return;
    if (!("Notification" in window)) return this.#refuse("This browser has no notifications.");
    const answer = await Notification.requestPermission().catch(() => "default" as const);
    if (answer === "denied")
      this.#refuse("The browser blocks notifications from this page. Allow them in its settings for this site.");
    else if (answer !== "granted")
      this.#refuse("The browser's question about notifications was not answered. Tick the box to be asked again.");
  }

  #refuse(why: string) {
    this.wanted = false;
    this.trouble = why;
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
