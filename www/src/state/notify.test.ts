import { beforeEach, describe, expect, test, vi } from "vitest";
import { settle } from "../testing/worker";
import { NotifyState } from "./notify.svelte";

let notify: NotifyState;
let sent: unknown[][];

beforeEach(() => {
  notify = new NotifyState();
  sent = [];
});

/** A browser that answers so when it is asked. */
function browser(answer: NotificationPermission) {
  const asked = vi.fn(async () => answer);
  class Notification {
    static requestPermission = asked;
    constructor(...args: unknown[]) {
      sent.push(args);
    }
  }
  vi.stubGlobal("Notification", Notification);
  vi.stubGlobal("window", { Notification });
  return asked;
}

describe("asking for notifications", () => {
  test("where they are granted they are wanted", async () => {
    browser("granted");
    await notify.ask(true);
    expect(notify.wanted).toBe(true);
    expect(notify.trouble).toBe("");
  });

  test.each(["denied", "default"] as const)("where the answer is %s they are not, and it is said", async (answer) => {
    browser(answer);
    await notify.ask(true);
    expect(notify.wanted).toBe(false);
    expect(notify.trouble).toMatch(/browser.* notifications/);
  });

  test("the box is ticked while the browser asks, so that a refusal unticks it", async () => {
    const asking = browser("denied");
    const ticks: boolean[] = [];
    asking.mockImplementation(async () => (ticks.push(notify.wanted), "denied"));
    await notify.ask(true);
    expect([...ticks, notify.wanted]).toEqual([true, false]);
  });

  test("where the browser has none it is said", async () => {
    vi.stubGlobal("window", {});
    await notify.ask(true);
    expect(notify.wanted).toBe(false);
    expect(notify.trouble).toMatch(/browser.* notifications/);
  });

  test("whoever wants none any more is not asked", async () => {
    const asked = browser("granted");
    await notify.ask(true);
    await notify.ask(false);
    expect(notify.wanted).toBe(false);
    expect(asked).toHaveBeenCalledTimes(1);
    expect(notify.trouble).toBe("");
  });
});

describe("telling", () => {
  test("nothing is sent that was not asked for", () => {
    browser("granted");
    notify.tell("The run is done.");
    expect(sent).toEqual([]);
  });

  test("what is done is sent", async () => {
    browser("granted");
    await notify.ask(true);
    notify.tell("The run is done.");
    expect(sent).toEqual([["Rewardscope", { body: "The run is done.", icon: "icon.svg" }]]);
  });

  /** A phone's browser, which takes notifications from a service worker alone. */
  async function phone(serviceWorker: unknown) {
    browser("granted");
    await notify.ask(true);
    vi.stubGlobal(
      "Notification",
      class {
        constructor() {
          throw new TypeError("Illegal constructor");
        }
      },
    );
    vi.stubGlobal("navigator", { serviceWorker });
    notify.tell("The run is done.");
    await settle();
  }

  test("on phones the service worker sends it", async () => {
    const showNotification = vi.fn(async () => {});
    await phone({ ready: Promise.resolve({ showNotification }) });
    expect(showNotification).toHaveBeenCalledWith("Rewardscope", { body: "The run is done." });
  });

  test("where nothing sends it the run is done all the same", async () => {
    await phone(undefined);
    await phone({ ready: Promise.resolve({ showNotification: () => Promise.reject(new Error("no")) }) });
    expect(sent).toEqual([]);
  });
});
