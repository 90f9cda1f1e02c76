// The view that is shown and its parameters. Both stand in the address's fragment, which browsers never send.

/** The views in the order of the navigation. */
export const VIEWS = ["try", "benchmark", "explore", "leaderboard", "models"] as const;
/** The name of a view in the address. */
export type View = (typeof VIEWS)[number];

/** The views' titles. */
export const TITLES: Record<View, string> = {
  try: "Try",
  benchmark: "Benchmark",
  explore: "Explore",
  leaderboard: "Leaderboard",
  models: "Models",
};

/** The current view and its parameters, read from the address's fragment. */
class Route {
  view = $state<View>("try");
  params = $state.raw(new URLSearchParams());

  constructor() {
    this.#read();
    addEventListener("hashchange", () => this.#read());
  }

  #read() {
    const [name, query = ""] = location.hash.slice(1).split("?", 2);
    this.view = VIEWS.find((view) => view === name) ?? "try";
    this.params = new URLSearchParams(query);
  }

  /** The link to a view with parameters. */
  to(view: View, params: Record<string, string> = {}): string {
    const query = new URLSearchParams(params).toString();
    return `#${view}${query && `?${query}`}`;
  }

  /** Writes parameters of the current view into the address without a history entry. Empty values are removed. */
  keep(params: Record<string, string | undefined>) {
    const all = Object.entries({ ...Object.fromEntries(this.params), ...params });
    const address = this.to(
      this.view,
      Object.fromEntries(all.flatMap(([name, value]) => (value ? [[name, value]] : []))),
    );
    history.replaceState(history.state, "", address);
    this.#read();
  }
}

/** The page's route. */
export const route = new Route();
