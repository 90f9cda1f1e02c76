// A new version of the site: the service worker has its files, and waits until the visitor asks for it.

/** A tab that is shown again asks for a new version if it has not for this many ms. */
const ASK_AGAIN_MS = 3_600_000;

/** The version that waits. */
export class UpdateState {
  #waiting = $state.raw<ServiceWorker>();
  /** Whether another tab has taken a new version. */
  #isTaken = $state(false);
  /** Whether a new version is ready. */
  isReady = $derived(this.#waiting !== undefined || this.#isTaken);
  /** Whether files of the shown version are no longer on the site. */
  isOutdated = $state(false);
  #workers: ServiceWorkerContainer | undefined;
  #registered: Promise<ServiceWorkerRegistration | undefined> = Promise.resolve(undefined);
  #asked = 0;
  /** Whether the page can be reloaded without the visitor losing anything. */
  #isEmpty: () => boolean;
  #reload: () => void;

  constructor(isEmpty: () => boolean, reload = () => location.reload()) {
    this.#isEmpty = isEmpty;
    this.#reload = reload;
  }

  /** Follows the page's service worker. */
  follow(workers: ServiceWorkerContainer, address: URL) {
    this.#asked = Date.now();
    this.#workers = workers;
    // On a first visit the first one is the shown version's own.
    let isFirst = !workers.controller;
    workers.addEventListener("controllerchange", () => {
      if (!isFirst) this.#isTaken = true;
      isFirst = false;
    });
    this.#registered = workers.register(address).catch(() => undefined);
    void this.#registered.then((registration) => {
      if (!registration) return;
      const look = () => this.#look(registration);
      registration.addEventListener("updatefound", () => {
        registration.installing?.addEventListener("statechange", look);
        look();
      });
      registration.installing?.addEventListener("statechange", look);
      look();
    });
  }

  #look({ active, waiting }: ServiceWorkerRegistration) {
    // Without an active one this is the first visit.
    this.#waiting = active && waiting ? waiting : undefined;
  }

  /** Asks whether there is a new version, if that was long ago. */
  async ask() {
    if (Date.now() - this.#asked < ASK_AGAIN_MS) return;
    this.#asked = Date.now();
    await (await this.#registered)?.update().catch(() => {});
  }

  /** Called when the site no longer has a file of the shown version. Takes the new version if nothing is open. */
  async outdated() {
    this.isOutdated = true;
    const registration = await this.#registered;
    if (!registration) return;
    try {
      await registration.update();
    } catch {
      // Without a network the page stays as it is.
      return;
    }
    const { installing } = registration;
    if (installing) await changed(installing, () => installing.state !== "installing");
    this.#look(registration);
    // What a page shows that came past the service worker, a reload replaces by what it has.
    if (!this.#workers?.controller) this.#isTaken = true;
    if (this.isReady && this.#isEmpty()) await this.apply();
  }

  /** Takes the new version: reloads the page with it. */
  async apply() {
    if (!this.isReady) return;
    const waiting = this.#waiting;
    if (waiting) {
      waiting.postMessage({ type: "SKIP_WAITING" });
      // Another tab may have taken it already, or an even newer one has come.
      await changed(waiting, () => ["activated", "redundant"].includes(waiting.state));
    }
    this.#reload();
  }
}

/** Waits until a service worker's state is one that `holds`. */
function changed(worker: ServiceWorker, holds: () => boolean): Promise<void> {
  return new Promise((done) => {
    const look = () => {
      if (!holds()) return;
      worker.removeEventListener("statechange", look);
      done();
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
