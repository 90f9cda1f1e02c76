import { beforeEach, expect, test, vi } from "vitest";
import { settle } from "../testing/worker";
import { UpdateState } from "./update.svelte";

/** A service worker that lies in memory. */
class Worker extends EventTarget {
  said: unknown[] = [];

  constructor(public state: ServiceWorkerState) {
    super();
  }

  postMessage(message: unknown) {
    this.said.push(message);
  }

  become(state: ServiceWorkerState) {
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

class Registration extends EventTarget {
  active: Worker | null = null;
  waiting: Worker | null = null;
  installing: Worker | null = null;
  update = vi.fn(async () => {});

  /** A new version is found; gives what installs it. */
  find(): Worker {
    const worker = new Worker("installing");
    this.installing = worker;
    this.dispatchEvent(new Event("updatefound"));
    return worker;
  }

  /** The new version has its files. */
  install(worker: Worker) {
    [this.installing, this.waiting] = [null, worker];
    worker.become("installed");
  }
}

class Workers extends EventTarget {
  controller: Worker | null = null;
  registration = new Registration();
  register = vi.fn(async () => this.registration);
}

let workers: Workers;
let isEmpty: boolean;
let reloads: number;
let update: UpdateState;

beforeEach(() => {
  [workers, isEmpty, reloads] = [new Workers(), false, 0];
  update = new UpdateState(
    () => isEmpty,
    () => reloads++,
  );
});

async function follow() {
  update.follow(workers as unknown as ServiceWorkerContainer, new URL("https://site.example/sw.js"));
  await settle();
}

/** The page was opened with a version that is kept. */
async function kept() {
  workers.registration.active = workers.controller = new Worker("activated");
  await follow();
}

test("the first visit's own version is not announced", async () => {
  await follow();
  const { registration } = workers;
  const worker = registration.find();
  registration.install(worker);
  [registration.active, registration.waiting] = [worker, null];
  worker.become("activated");
  workers.dispatchEvent(new Event("controllerchange"));
  expect(update.isReady).toBe(false);
  // The tab stays open, and another one takes the next version.
  workers.dispatchEvent(new Event("controllerchange"));
  expect(update.isReady).toBe(true);
});

test("a new version is announced when it has its files, and nothing is reloaded", async () => {
  await kept();
  const worker = workers.registration.find();
  expect(update.isReady).toBe(false);
  workers.registration.install(worker);
  expect(update.isReady).toBe(true);
  expect([reloads, worker.said]).toEqual([0, []]);
});

test("one that was ready before the page was opened is announced", async () => {
  workers.registration.waiting = new Worker("installed");
  await kept();
  expect(update.isReady).toBe(true);
});

test("when the visitor says so it is taken, and then the page is reloaded", async () => {
  await kept();
  const worker = workers.registration.find();
  workers.registration.install(worker);
  const applied = update.apply();
  expect(worker.said).toEqual([{ type: "SKIP_WAITING" }]);
  await settle();
  expect(reloads).toBe(0);
  worker.become("activating");
  worker.become("activated");
  await applied;
  expect(reloads).toBe(1);
});

test("where another tab has taken it the page stays, and can be reloaded", async () => {
  await kept();
  const { registration } = workers;
  const worker = registration.find();
  registration.install(worker);
  [registration.active, registration.waiting] = [worker, null];
  worker.become("activated");
  workers.dispatchEvent(new Event("controllerchange"));
  expect([update.isReady, reloads]).toEqual([true, 0]);
  await update.apply();
  expect(reloads).toBe(1);
});

test("without a new version there is nothing to take", async () => {
  await kept();
  await update.apply();
  expect(reloads).toBe(0);
});

test("a tab that is shown again after hours asks for a new version", async () => {
  await kept();
  const now = Date.now();
  await update.ask();
  expect(workers.registration.update).not.toHaveBeenCalled();
  vi.spyOn(Date, "now").mockReturnValue(now + 7_200_000);
  await update.ask();
  await update.ask();
  expect(workers.registration.update).toHaveBeenCalledOnce();
});

test.each([true, false])("the site no longer has the shown version; nothing is open: %s", async (empty) => {
  isEmpty = empty;
  await kept();
  const { registration } = workers;
  let worker: Worker | undefined;
  registration.update = vi.fn(async () => {
    worker = registration.find();
  });
  const sought = update.outdated();
  await settle();
  if (worker) registration.install(worker);
  await settle();
  expect([update.isOutdated, update.isReady]).toEqual([true, true]);
  expect(worker?.said).toEqual(empty ? [{ type: "SKIP_WAITING" }] : []);
  worker?.become("activated");
  await sought;
  expect(reloads).toBe(empty ? 1 : 0);
});

test("a page that came past the service worker is reloaded once", async () => {
  isEmpty = true;
  workers.registration.active = new Worker("activated");
  await follow();
  await update.outdated();
  expect(reloads).toBe(1);
});

test("where there is no newer version, or no network, the page stays as it is", async () => {
  isEmpty = true;
  await kept();
  await update.outdated();
  workers.registration.update = vi.fn(async () => Promise.reject(new TypeError("no network")));
  await update.outdated();
  expect([update.isReady, reloads]).toEqual([false, 0]);
});

test("where the browser allows no service worker nothing is announced", async () => {
  workers.register = vi.fn(async () => Promise.reject(new DOMException("insecure")));
  await follow();
  await update.outdated();
  await update.ask();
  expect([update.isReady, reloads]).toEqual([false, 0]);
});
