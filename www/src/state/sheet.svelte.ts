// The sheet of Try: a conversation, its completions, and what the models say of them.
import { readDraft } from "../lib/draft";
import { EXAMPLES } from "../lib/examples";
import type { Demonstration } from "../lib/link";
import type { Message, ModelReport, Score } from "../wasm/rewardscope";
import type { ModelsState } from "./models.svelte";
import type { WorkState } from "./work.svelte";

/** The text is scored when no key was pressed for this many ms. */
const DEBOUNCE_MS = 400;
/** Most steps that can be undone. */
const MOST_STEPS = 100;
/** Typing within this many ms is undone in one step. */
const TYPING_MS = 1500;
/**
 * Scores of the same model on two devices differ by less than this, relative to the larger of the score and 1; the
 * order of sums differs, and so do fused operations.
 */
export const TOLERANCE = 1e-3;

/** A completion. Its number stays the same while the text changes. */
export interface Card {
  id: number;
  text: string;
}

/** What was computed for a card's text. */
export interface CardScore {
  text: string;
  score: Score;
  /** The scores of the compared models, in the order of `Scored.others`. */
  others: Score[];
}

/** The scores of one sheet by the loaded model and those that it was compared with. */
export interface Scored {
  by: ModelReport;
  others: ModelReport[];
  /** The conversation that was scored. */
  turns: Message[];
  cards: Readonly<Record<number, CardScore>>;
  /** The ids of the cards, in the order in which they were scored. */
  order: readonly number[];
  /** How long it took, in ms. */
  ms: number;
}

interface Step {
  turns: Message[];
  cards: Card[];
  /** What was done, if it was typing: the field and the time of the last key. */
  typed?: { field: string; at: number } | undefined;
}

/** Where a score stands in an order: NaN has none, so it comes last. */
export const orderOf = (score: number | undefined) => (score === undefined || Number.isNaN(score) ? -Infinity : score);

/** The sheet of Try. */
export class SheetState {
  turns = $state<Message[]>([]);
  cards = $state<Card[]>([]);
  /** Whether the text is scored while it is typed. */
  live = $state(true);
  /** Whether cards are shown best first, not in their own order. */
  bestFirst = $state(true);
  /** The last scores. They stay, marked as stale, when the text changes. */
  scored = $state.raw<Scored>();
  /** How far scoring is: what is there and what is wanted, counted in scores; undefined before the first. */
  progress = $state.raw<{ done: number; total: number }>();
  /** What a link brought, until the text changes. */
  linked = $state.raw<Demonstration>();
  /** The link's demonstration, if it names a model or has scores. */
  sent = $derived(this.linked?.sent || this.linked?.model ? this.linked : undefined);
  /** Numbers of the cards in the order that is held while a text is edited. */
  held = $state.raw<number[]>();
  #steps = $state.raw<Step[]>([]);
  #next = 0;
  #work: WorkState;
  #models: ModelsState;
  /** Whether the text has changed since it was last scored. */
  #isChanged = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `opensLink`: the page opens with a link, which is still to be read; nothing stands in its place. */
  constructor(work: WorkState, models: ModelsState, opensLink = false) {
    this.#work = work;
    this.#models = models;
    this.#put(opensLink ? { turns: [], completions: [] } : (readDraft() ?? EXAMPLES[0]));
  }

  /** The cards in the order that they are shown in. */
  ordered = $derived.by(() => {
    const { cards, held } = this;
    if (held) {
      const place = (card: Card) => (held.includes(card.id) ? held.indexOf(card.id) : held.length);
      return cards.toSorted((a, b) => place(a) - place(b));
    }
    if (!this.bestFirst) return cards;
    const of = (card: Card) => orderOf(this.scoreOf(card));
    // Equal ones, infinite ones among them, keep their order.
    return cards.toSorted((a, b) => Number(of(b) > of(a)) - Number(of(b) < of(a)));
  });

  /** The best score; undefined before anything is scored. */
  best = $derived.by(() => {
    const all = this.cards.flatMap((card) => {
      const score = this.scoreOf(card);
      return score === undefined || Number.isNaN(score) ? [] : [score];
    });
    return all.length > 0 ? Math.max(...all) : undefined;
  });

  /** The last user's turn. */
  prompt = $derived(this.turns.findLast((turn) => turn.role === "user")?.content ?? "");

  /** Whether there is something to undo. */
  canUndo = $derived(this.#steps.length > 0);

  /** The score that is shown for a card: the computed one, else the sender's. */
  scoreOf(card: Card): number | undefined {
    return this.scored?.cards[card.id]?.score.score ?? (this.scored ? undefined : this.sentScore(card));
  }

  /** The sender's score of a card. */
  sentScore(card: Card): number | undefined {
    return this.sent?.sent?.scores[this.cards.indexOf(card)];
  }

  /** The rank of a card by the shown scores, from 1; undefined where it has no score. */
  rank(card: Card): number | undefined {
    const own = this.scoreOf(card);
    if (own === undefined) return undefined;
    return 1 + this.cards.filter((other) => orderOf(this.scoreOf(other)) > orderOf(own)).length;
  }

  /** Whether the conversation is the one that was scored. */
  #isSameTalk = $derived(this.scored !== undefined && isSameTalk(this.scored.turns, this.turns));

  /** Lowest and highest score of each column: the shown scores, the sender's, and each compared model's. */
  spans = $derived({
    shown: spanOf(this.cards.map((card) => this.scoreOf(card))),
    sent: spanOf(this.sent?.sent?.scores ?? []),
    others: (this.scored?.others ?? []).map((_, i) => spanOf(this.cards.map((card) => this.otherScore(card, i)))),
  });

  /** A compared model's score of a card. */
  otherScore(card: Card, model: number): number | undefined {
    return this.scored?.cards[card.id]?.others[model]?.score;
  }

  /** Whether the shown score of a card is of another text or conversation than the shown ones. */
  isStale(card: Card): boolean {
    const { scored } = this;
    if (!scored) return false;
    return scored.cards[card.id]?.text !== card.text || !this.#isSameTalk;
  }

  /** Whether any shown score is stale, or one is missing. */
  anyStale = $derived(this.scored !== undefined && this.cards.some((card) => this.isStale(card)));

  /** Whether the sender's and the computed score of a card differ by more than two devices do. */
  differs(card: Card): boolean {
    const [here, sent] = [this.scored?.cards[card.id]?.score.score, this.sentScore(card)];
    if (here === undefined || sent === undefined || this.isStale(card)) return false;
    if (Number.isFinite(here) && Number.isFinite(sent))
      return Math.abs(here - sent) > TOLERANCE * Math.max(1, Math.abs(sent));
    return !Object.is(here, sent);
  }

  /** Why the scores that were sent and those of here may differ: one sentence; empty where none differ. */
  difference = $derived.by(() => {
    const count = this.cards.filter((card) => this.differs(card)).length;
    const [here, sent] = [this.scored?.by, this.sent?.sent];
    if (count === 0 || !here || !sent) return "";
    const which = count === 1 ? "One score differs" : `${count} scores differ`;
    const why =
      here.fingerprint !== sent.fingerprint
        ? "the model here is another than the sender’s"
        : here.dtype !== sent.dtype
          ? "the weight type is another than the sender’s"
          : "the model is the same";
    return `${which} from the sender’s by more than ${TOLERANCE} (relative to the larger of the score and 1); ${why}.`;
  });

  /** Puts a conversation with completions in place of the sheet; `linked`, where a link brought it. */
  take(texts: Pick<Demonstration, "turns" | "completions">, linked?: Demonstration) {
    this.#step();
    this.#put(texts);
    this.scored = undefined;
    this.linked = linked;
    if (!this.sent) this.changed();
  }

  /** Puts what a link brought in place of the sheet. */
  takeLink(demonstration: Demonstration) {
    this.take(demonstration, demonstration);
  }

  #put({ turns, completions }: Pick<Demonstration, "turns" | "completions">) {
    this.turns = turns.map((turn) => ({ ...turn }));
    this.cards = completions.map((text) => this.#card(text));
    this.held = undefined;
  }

  #card(text: string): Card {
    return { id: this.#next++, text };
  }

  /** Adds completions. */
  add(texts: string[]) {
    this.#step();
    this.cards.push(...texts.map((text) => this.#card(text)));
    this.linked = undefined;
    if (texts.some((text) => text !== "")) this.changed();
  }

  /** Removes a completion. */
  remove(card: Card) {
    this.#step();
    this.cards = this.cards.filter((other) => other.id !== card.id);
    this.linked = undefined;
    this.changed();
  }

  /** Adds a turn at the end, or the system prompt at the beginning. */
  addTurn(role?: "system") {
    this.#step();
    if (role) this.turns.unshift({ role, content: "" });
    else this.turns.push({ role: this.turns.at(-1)?.role === "user" ? "assistant" : "user", content: "" });
    this.linked = undefined;
    this.changed();
  }

  /** Removes a turn. */
  removeTurn(at: number) {
    this.#step();
    this.turns.splice(at, 1);
    this.linked = undefined;
    this.changed();
  }

  /** Called before a key changes a field's text. */
  typing(field: string) {
    const last = this.#steps.at(-1)?.typed;
    const now = Date.now();
    if (last?.field === field && now - last.at < TYPING_MS) last.at = now;
    else this.#step({ field, at: now });
  }

  /** Called after a field's text has changed. */
  typed() {
    this.linked = undefined;
    this.changed();
  }

  #step(typed?: Step["typed"]) {
    const step: Step = { ...this.snapshot(), typed };
    this.#steps = [...this.#steps, step].slice(-MOST_STEPS);
  }

  /** Takes back the last change. */
  undo() {
    const step = this.#steps.at(-1);
    if (!step) return;
    this.#steps = this.#steps.slice(0, -1);
    [this.turns, this.cards] = [step.turns, step.cards];
    this.held = undefined;
    this.linked = undefined;
    this.changed();
  }

  /** Turns and cards as they are now. */
  snapshot(): { turns: Message[]; cards: Card[] } {
    return { turns: $state.snapshot(this.turns), cards: $state.snapshot(this.cards) };
  }

  /** Holds the order of the cards while one of them is edited. */
  hold() {
    this.held ??= this.ordered.map(({ id }) => id);
  }

  /** Lets the cards take their places again. */
  release() {
    this.held = undefined;
  }

  /** Scores after a pause in typing. Scoring that is under way is cancelled. */
  changed() {
    this.#isChanged = true;
    clearTimeout(this.#timer);
    if (!this.live || !this.#models.loaded) return;
    this.#timer = setTimeout(() => {
      if (this.#work.now === "scoring") this.onSuperseded();
      else if (this.#work.now === "idle") void this.score();
    }, DEBOUNCE_MS);
  }

  /** Called when the text has changed while the old one is scored; cancels that. */
  onSuperseded: () => void = () => {};

  /** Scores the sheet by the loaded model and those that it is compared with. */
  async score() {
    clearTimeout(this.#timer);
    await this.#work.during("scoring", async () => {
      this.#isChanged = false;
      const { turns, cards } = this.snapshot();
      const texts = cards.map(({ text }) => text);
      const others = this.#models.others.map(({ report }) => report);
      const began = performance.now();
      this.progress = undefined;
      const [scores, ...compared] = await this.#models.score(turns, texts, (done, total) => {
        this.progress = { done, total };
      });
      const by = this.#models.loaded;
      if (!by) return;
      this.scored = {
        by,
        others,
        turns,
        ms: performance.now() - began,
        order: cards.map(({ id }) => id),
        cards: Object.fromEntries(
          scores.flatMap((score, i) => {
            const card = cards[i];
            const of = compared.flatMap((all) => all[i] ?? []);
            return card ? [[card.id, { text: card.text, score, others: of }] as const] : [];
          }),
        ),
      };
    });
    // Score again what was typed during scoring.
    if (this.#isChanged) this.changed();
  }
}

/** The lowest and the highest of the finite scores; zeros where there is none. */
function spanOf(scores: (number | undefined)[]): readonly [number, number] {
  const all = scores.filter((score): score is number => Number.isFinite(score));
  return all.length > 0 ? [Math.min(...all), Math.max(...all)] : [0, 0];
}

function isSameTalk(one: Message[], other: Message[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ role, content }, i) => role === other[i]?.role && content === other[i]?.content)
  );
}
