// The page's engine with its `call` replaced: calls are written down, and answered as a test says.
import { EngineFailure } from "../engine/engine";
import type { CallName, Calls, ProgressOf } from "../engine/protocol";
import { EngineState } from "../state/engine.svelte";
import { WorkState } from "../state/work.svelte";
import { FakeWorker, type Answers } from "./worker";

/** Calls that have nothing to say. */
const SILENT = ["configure", "chooseBenchmark", "closeRun", "closeOpened", "cancel", "storage", "removeFile"];

export interface Seam {
  /** Calls as they came: the name, then the arguments. */
  calls: unknown[][];
  answers: Answers;
  /** Names of the calls. */
  names: () => unknown[];
  /** Arguments of the calls of this name. */
  of: (call: CallName) => unknown[][];
}

/** Replaces `call` of an engine. */
export function seam(engine: Pick<EngineState, "call">): Seam {
  const calls: unknown[][] = [];
  const answers: Answers = {};
  engine.call = async <K extends CallName>(
    call: K,
    args: Calls[K]["args"],
    progress?: (progress: ProgressOf<K>) => void,
  ): Promise<Calls[K]["result"]> => {
    // What the page holds as a rune does not pass between threads.
    structuredClone(args);
    calls.push([call, ...args]);
    const answer = answers[call];
    if (!answer && SILENT.includes(call)) return undefined as Calls[K]["result"];
    if (!answer) throw new Error(`no answer was prepared for ${call}`);
    return answer(args, progress ?? (() => {}), FakeWorker.at(-1));
  };
  return {
    calls,
    answers,
    names: () => calls.map(([call]) => call),
    of: (call) => calls.filter(([name]) => name === call).map(([, ...args]) => args),
  };
}

/** Work and engine of a page that has nothing else. */
export function parts() {
  FakeWorker.install();
  const work = new WorkState();
  const engine = new EngineState(work);
  work.connect({ say: (error) => engine.say(error), mend: (error) => engine.mend(error), ended: () => {} });
  return { work, engine, seam: seam(engine) };
}

/** The engine's worker breaks in the middle of a call. */
export const broken = (message = "unreachable") => new EngineFailure(message, FakeWorker.at(-1) as unknown as Worker);
