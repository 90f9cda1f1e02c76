// Which view is shown and what of it is in the address: a fragment, so that nothing of it is sent.

export const VIEWS = ["try", "benchmark", "explore", "leaderboard", "models"] as const;
export type View = (typeof VIEWS)[number];

export const TITLES: Record<View, string> = {
  try: "Try it",
  benchmark: "Benchmark",
  explore: "Explore",
  leaderboard: "Leaderboard",
  models: "Models",
};

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

  /** The address of a view. */
  to(view: View, params: Record<string, string> = {}): string {
    const query = new URLSearchParams(params).toString();
    return `#${view}${query && `?${query}`}`;
  }

  /** What a view has in the address, without a step in the history. */
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

export const route = new Route();
