// Links that carry a demonstration: a conversation, its completions, the model and the sender's scores. Anyone can make
// a link, so everything that is read from one is bounded and checked, and nothing in it is fetched unasked.
import { readSettings } from "./settings";
import { SITE_MODELS, type SiteModelName } from "./site";
import type { LoadSettings, Message } from "../wasm/rewardscope";

/** Some programs cut longer links. */
export const MOST_LINK_CHARACTERS = 30_000;
/** Reward heads up to this many bytes travel in the link; larger ones by address and hash. */
export const MOST_HEAD_BYTES = 8192;
/** Most characters of a link's content once it is unpacked. */
const MOST_CHARACTERS = 500_000;
const MOST_TURNS = 50;
const MOST_COMPLETIONS = 200;
/** The number that a link's content begins with. */
const VERSION = "1";

/** A reward head in a link: its bytes, or where they lie and their SHA-256. */
export type LinkedHead = { name: string } & ({ bytes: Uint8Array } | { address: string; sha256: string });

/** The model of a link: one of the site's, or an id of the Hub with its commit. */
export type LinkedModel = { site: SiteModelName } | { hub: string };

/** The scores that the sender saw, one for each completion; `undefined` where one had none. */
export interface SentScores {
  /** The model's name as the sender's page showed it. */
  by: string;
  /** The hash over the sender's model, which tells whether another is the same. */
  fingerprint: string;
  /** The weight type that computed them. */
  dtype: string;
  is_reward: boolean;
  scores: (number | undefined)[];
}

/** What a link carries. */
export interface Demonstration {
  turns: Message[];
  completions: string[];
  model?: LinkedModel | undefined;
  head?: LinkedHead | undefined;
  settings?: LoadSettings | undefined;
  sent?: SentScores | undefined;
}

/** Why a link cannot be shown. Other errors are those of decoders, for what is cut or damaged. */
class Refused extends Error {}

const base64 = (bytes: Uint8Array) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
};

function unbase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** The parameters that carry a demonstration in the address. */
export async function linkParams(demonstration: Demonstration): Promise<Record<string, string>> {
  const { head, sent, ...rest } = demonstration;
  const json = JSON.stringify({
    ...rest,
    head: head && "bytes" in head ? { name: head.name, bytes: base64(head.bytes) } : head,
    // JSON has no NaN and no infinities, which a model may give.
    sent: sent && { ...sent, scores: sent.scores.map((score) => (Number.isFinite(score) ? score : String(score))) },
  });
  const packed = new Blob([json]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return { demo: `${VERSION}.${base64(new Uint8Array(await new Response(packed).arrayBuffer()))}` };
}

/** Unpacks bytes, of which at most `MOST_CHARACTERS` are read: few bytes can unpack to very many. */
async function unpacked(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += decoder.decode(value, { stream: !done });
    if (text.length > MOST_CHARACTERS) {
      void reader.cancel();
      throw new Refused(`it unpacks to more than ${MOST_CHARACTERS.toLocaleString("en")} characters`);
    }
    if (done) return text;
  }
}

const isText = (value: unknown, most = MOST_CHARACTERS): value is string =>
  typeof value === "string" && value.length <= most;

function readTurns(found: unknown): Message[] {
  if (!Array.isArray(found) || found.length === 0) throw new Refused("it has no conversation");
  if (found.length > MOST_TURNS) throw new Refused(`it has ${found.length} turns; at most ${MOST_TURNS} are read`);
  return found.map((turn: { role?: unknown; content?: unknown } | null) => {
    if (!isText(turn?.content)) throw new Refused("one of its turns is no text");
    const role = ["system", "user", "assistant"].find((known) => known === turn.role);
    if (!role) throw new Refused("one of its turns has no known role");
    return { role, content: turn.content } as Message;
  });
}

function readCompletions(found: unknown): string[] {
  if (!Array.isArray(found) || !found.every((text) => isText(text))) throw new Refused("it has no completions");
  if (found.length > MOST_COMPLETIONS)
    throw new Refused(`it has ${found.length} completions; at most ${MOST_COMPLETIONS} are read`);
  return found;
}

function readModel(found: unknown): LinkedModel | undefined {
  if (found === undefined) return undefined;
  const { site, hub } = found as Record<string, unknown>;
  const known = SITE_MODELS.find(({ name }) => name === site);
  if (known) return { site: known.name };
  if (isText(hub, 500) && /^[\w.-]+\/[\w.-]+(@[\w./-]+)?(:[\w ./-]+)?$/.test(hub)) return { hub };
  throw new Refused("it names a model that this page does not know");
}

function readHead(found: unknown): LinkedHead | undefined {
  if (found === undefined) return undefined;
  const { name, bytes, address, sha256 } = found as Record<string, unknown>;
  if (!isText(name, 200)) throw new Refused("its reward head has no name");
  if (isText(bytes, MOST_HEAD_BYTES * 2)) {
    const read = unbase64(bytes);
    if (read.length <= MOST_HEAD_BYTES) return { name, bytes: read };
  }
  if (isText(address, 2000) && isText(sha256, 64) && /^https:\/\//.test(address) && /^[0-9a-f]{64}$/.test(sha256))
    return { name, address, sha256 };
  throw new Refused("its reward head has neither bytes nor an address with a hash");
}

function readSent(found: unknown, completions: number): SentScores | undefined {
  if (found === undefined) return undefined;
  const { by, fingerprint, dtype, is_reward, scores } = found as Record<string, unknown>;
  if (!isText(by, 500) || !isText(fingerprint, 200) || !isText(dtype, 20) || !Array.isArray(scores))
    throw new Refused("its scores do not say what they are of");
  if (scores.length !== completions) throw new Refused(`it has ${completions} completions and ${scores.length} scores`);
  const read = (score: unknown) => {
    if (typeof score === "number") return score;
    if (score === "undefined") return undefined;
    if (score === "NaN" || score === "Infinity" || score === "-Infinity") return Number(score);
    throw new Refused("one of its scores is no number");
  };
  return { by, fingerprint, dtype, is_reward: is_reward === true, scores: scores.map(read) };
}

/** Checks what was unpacked. */
function readDemonstration(found: unknown): Demonstration {
  if (typeof found !== "object" || found === null) throw new Refused("it has no conversation");
  const { turns, completions, model, head, settings, sent } = found as Record<string, unknown>;
  const texts = readCompletions(completions);
  return {
    turns: readTurns(turns),
    completions: texts,
    model: readModel(model),
    head: readHead(head),
    settings: settings === undefined ? undefined : readSettings(settings),
    sent: readSent(sent, texts.length),
  };
}

/** Whether an address's parameters have a demonstration. */
export const hasLink = (params: URLSearchParams) => params.has("demo") || params.has("text");

/**
 * The demonstration in an address's parameters; undefined where there is none. Rejects with one sentence where there is
 * one that cannot be read.
 */
export async function linked(params: URLSearchParams): Promise<Demonstration | undefined> {
  const [demo, text] = [params.get("demo"), params.get("text")];
  const packed = demo ?? text;
  if (packed === null) return undefined;
  try {
    if (packed.length > MOST_LINK_CHARACTERS)
      throw new Refused(
        `it has ${packed.length.toLocaleString("en")} characters; at most ${MOST_LINK_CHARACTERS.toLocaleString("en")} are read`,
      );
    if (demo === null) return readDemonstration(JSON.parse(packed));
    const [version, content] = demo.split(".", 2);
    if (version !== VERSION || !content) {
      throw new Refused(
        /^\d+$/.test(version ?? "") && content ? "it was made by a newer version of this page" : "it is cut",
      );
    }
    return readDemonstration(JSON.parse(await unpacked(unbase64(content))));
  } catch (error) {
    const why = error instanceof Refused ? error.message : "it is cut or damaged";
    throw new Error(`This link cannot be shown: ${why}. Ask the sender for a new one.`, { cause: error });
  }
}
