// What the visitor chose to see of the board. All of it stands in the address, and a link brings it back.
import { BOARDS, SIZES, type Board, type Size } from "./lines";

/** Names of the parameters in the address. */
const NAMES = ["board", "sort", "order", "find", "type", "size", "here", "columns", "digits"] as const;
type Params = Partial<Record<(typeof NAMES)[number], string>>;

/** Most characters of a parameter that is taken from an address. */
const MOST_CHARACTERS = 300;

/** The list's items if they differ from the old ones, so that nothing is drawn again for a list that is the same. */
const list = <T extends string>(old: T[], text: string, isKnown: (one: string) => one is T): T[] => {
  const items = text.split(",").filter(isKnown);
  return items.join() === old.join() ? old : items;
};
const isText = (one: string): one is string => one !== "";

/** The choices. */
export class Choices {
  board = $state<Board>("reward_bench_2");
  /** Key of the column that lines are sorted by. */
  sort = $state("overall");
  /** Whether the order is the other one than at the first press. */
  isReversed = $state(false);
  /** What model names contain. */
  find = $state("");
  types = $state.raw<string[]>([]);
  sizes = $state.raw<Size[]>([]);
  runsHere = $state(false);
  /** Keys of columns that are shown where they usually are not, or the other way round. */
  flipped = $state.raw<string[]>([]);
  isExact = $state(false);

  /** Takes the choices of an address. An address without any, such as a link to the view, leaves them as they are. */
  read(params: URLSearchParams) {
    if (!NAMES.some((name) => params.has(name))) return;
    const of = (name: (typeof NAMES)[number]) => (params.get(name) ?? "").slice(0, MOST_CHARACTERS);
    this.board = Object.hasOwn(BOARDS, of("board")) ? (of("board") as Board) : "reward_bench_2";
    this.sort = of("sort") || "overall";
    this.isReversed = of("order") === "reverse";
    this.find = of("find");
    this.types = list(this.types, of("type"), isText);
    this.sizes = list(this.sizes, of("size"), (size): size is Size => Object.hasOwn(SIZES, size));
    this.runsHere = of("here") === "1";
    this.flipped = list(this.flipped, of("columns"), isText);
    this.isExact = of("digits") === "all";
  }

  /** The choices as parameters; those that are as usual are left out. */
  get params(): Record<keyof Params, string | undefined> {
    return {
      board: this.board === "reward_bench_2" ? undefined : this.board,
      sort: this.sort === "overall" ? undefined : this.sort,
      order: this.isReversed ? "reverse" : undefined,
      find: this.find || undefined,
      type: this.types.join(",") || undefined,
      size: this.sizes.join(",") || undefined,
      here: this.runsHere ? "1" : undefined,
      columns: this.flipped.join(",") || undefined,
      digits: this.isExact ? "all" : undefined,
    };
  }

  /** Whether lines are left out. */
  get isFiltered() {
    return this.find.trim() !== "" || this.types.length > 0 || this.sizes.length > 0 || this.runsHere;
  }

  /** Shows all lines. */
  clear() {
    this.find = "";
    this.types = [];
    this.sizes = [];
    this.runsHere = false;
  }

  /** Sorts by a column, or reverses the order if it already does. */
  sortBy(key: string, current: string) {
    this.isReversed = key === current && !this.isReversed;
    this.sort = key;
  }

  /** Shows or hides a column. */
  flip(key: string) {
    this.flipped = this.flipped.includes(key) ? this.flipped.filter((one) => one !== key) : [...this.flipped, key];
  }
}
