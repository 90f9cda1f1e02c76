// Controls that the browser refills: after Back, in a tab that was discarded, or in a restored session, browsers put the
// values of before into fields without telling the page. This tells it, so that the page computes what the screen shows.

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** Kinds of inputs that no browser refills, or that hold nothing to take up. */
const NOT_REFILLED = ["button", "file", "hidden", "image", "password", "reset", "submit"];
/** Browsers refill when the page is shown; some do it a little later. */
const LATER_MS = 1000;

/** What each control showed when the page or the visitor last changed it. */
const known = new WeakMap<Control, string>();

const isChecked = (control: Control): control is HTMLInputElement =>
  control instanceof HTMLInputElement && ["checkbox", "radio"].includes(control.type);

/** What a control shows. */
function shown(control: Control): string {
  if (control instanceof HTMLSelectElement) return [...control.selectedOptions].map(({ value }) => value).join("\n");
  return isChecked(control) ? String(control.checked) : control.value;
}

/** What a control shows that nobody has changed. */
function initial(control: Control): string {
  if (control instanceof HTMLSelectElement) {
    const chosen = [...control.options].filter((option) => option.defaultSelected);
    const first = control.multiple ? [] : [...control.options].filter((option) => !option.disabled).slice(0, 1);
    return (chosen.length > 0 ? chosen : first).map(({ value }) => value).join("\n");
  }
  return isChecked(control) ? String(control.defaultChecked) : control.defaultValue;
}

const isControl = (target: unknown): target is Control =>
  target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;

function note(target: unknown) {
  if (isControl(target)) known.set(target, shown(target));
}

/** Notes what the page itself sets from now on. Returns what ends that. */
function noteSetters(): () => void {
  const setters: [object, string][] = [
    [HTMLInputElement.prototype, "value"],
    [HTMLInputElement.prototype, "checked"],
    [HTMLTextAreaElement.prototype, "value"],
    [HTMLSelectElement.prototype, "value"],
    [HTMLSelectElement.prototype, "selectedIndex"],
    [HTMLOptionElement.prototype, "selected"],
  ];
  const before = setters.map(([prototype, name]) => {
    const own = Object.getOwnPropertyDescriptor(prototype, name) ?? {};
    Object.defineProperty(prototype, name, {
      ...own,
      set(this: HTMLElement, value: unknown) {
        own.set?.call(this, value);
        note(this instanceof HTMLOptionElement ? this.closest("select") : this);
      },
    });
    return () => void Object.defineProperty(prototype, name, own);
  });
  return () => before.forEach((restore) => restore());
}

/** Tells the page of controls that show something else than it or the visitor has put there. */
export function syncControls(root: ParentNode = document) {
  for (const control of root.querySelectorAll<Control>("input, select, textarea")) {
    if (NOT_REFILLED.includes(control.type) || shown(control) === (known.get(control) ?? initial(control))) continue;
    note(control);
    control.dispatchEvent(new Event("input", { bubbles: true }));
    control.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

/** Follows what the browser refills while the page is opened. Called before the page makes its controls. */
export function followRestored() {
  const endSetters = noteSetters();
  const typed = (event: Event) => note(event.target);
  for (const kind of ["input", "change"]) addEventListener(kind, typed, true);
  const shownOnce = () => {
    setTimeout(syncControls);
    setTimeout(() => {
      syncControls();
      endSetters();
      for (const kind of ["input", "change"]) removeEventListener(kind, typed, true);
    }, LATER_MS);
  };
  addEventListener("pageshow", shownOnce, { once: true });
}
