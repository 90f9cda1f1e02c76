// Names of files that the page saves: they say what the file holds, so that ten of them in a folder are told apart.

/** Most characters of one part of a name. */
const MOST_CHARACTERS = 60;
/** Names that Windows keeps for devices. */
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)$/i;

/** What a Hub id, an address or a file's name calls its thing: without owner, commit, folders and ending. */
export function short(name: string): string {
  const hub = /^[^/@\s]+\/([^/@\s]+)(@|$)/.exec(name.split(", ")[0] ?? "");
  if (hub?.[1]) return hub[1];
  const last =
    name
      .split(/[?#]/)[0]
      ?.split("/")
      .findLast((part) => part) ?? "";
  return last.replace(/\.(gguf|safetensors|parquet|jsonl?|csv|gz|zst)$/i, "");
}

/** A file's name from its parts, such as a model and a dataset: `SmolLM2-135M-reward_sample.json`. */
export function fileName(parts: readonly string[], ending: string): string {
  const plain = parts.map((part) =>
    [...part.replace(/[^\p{L}\p{N}._-]+/gu, "-")]
      .slice(0, MOST_CHARACTERS)
      .join("")
      .replace(/^[-._]+|[-._]+$/g, ""),
  );
  const name = plain.filter((part) => part).join("_") || "file";
  return `${RESERVED.test(name) ? `${name}-` : name}.${ending}`;
}
