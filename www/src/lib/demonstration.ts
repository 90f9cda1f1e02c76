// From a link's model and head to what loads them, and back.
import { MOST_HEAD_BYTES, type Demonstration, type LinkedHead, type LinkedModel } from "./link";
import { SITE_MODELS } from "./site";
import type { ModelSource } from "../state/models.svelte";
import type { ModelReport } from "../wasm/rewardscope";

/** Most bytes of a head that is fetched from an address. */
const MOST_FETCHED_BYTES = 64e6;

const hex = async (bytes: BufferSource) =>
  [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

/** What the model of a demonstration is called. */
export function linkedTitle({ model, head, sent }: Demonstration): string {
  const site = SITE_MODELS.find(({ name }) => model && "site" in model && name === model.site);
  const of = site?.title ?? (model && "hub" in model ? model.hub : undefined);
  return [of ?? sent?.by ?? "the sender’s model", ...(head ? [`with the reward head ${head.name}`] : [])].join(" ");
}

/** Fetches a head from its address and checks its hash. */
async function fetchHead({ address, sha256 }: { address: string; sha256: string }): Promise<Uint8Array> {
  const doing = `fetching the reward head from ${address}`;
  const response = await fetch(address, { credentials: "omit", referrerPolicy: "no-referrer" });
  if (!response.ok) throw new Error(`${doing}: the server answered ${response.status}; ask the sender for the file`);
  const reader = response.body?.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    length += part.value.length;
    if (length > MOST_FETCHED_BYTES) {
      await reader?.cancel();
      throw new Error(`${doing}: it has more than ${MOST_FETCHED_BYTES / 1e6} MB; a head is smaller`);
    }
    parts.push(part.value);
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  if ((await hex(bytes)) !== sha256)
    throw new Error(`${doing}: its SHA-256 is not the one in the link; it is another file now`);
  return bytes;
}

/** Where the model of a demonstration is loaded from. Fetches its head, if that lies at an address. */
export async function sourceOf({ model, head }: Demonstration): Promise<ModelSource> {
  const bytes = head && ("bytes" in head ? head.bytes : await fetchHead(head));
  if (model && "hub" in model) return { kind: "hub", id: model.hub, head: bytes };
  const site = SITE_MODELS.find(({ name }) => model && "site" in model && name === model.site);
  if (!site) throw new Error("this link does not say where its model is; choose one in Models");
  return { ...site.source, ...(bytes && { head: bytes }) };
}

/** The loaded model as a link names it; undefined for files that only this device has. */
export function linkedModel(source: ModelSource, report: ModelReport): LinkedModel | undefined {
  if (source.kind === "files" || source.reference) return undefined;
  if (source.kind === "hub") return { hub: report.origin ?? source.id };
  const address = (head: ModelSource["head"]) => (head instanceof URL ? head.href : undefined);
  const known = SITE_MODELS.filter((model) => model.source.manifest === source.manifest);
  const same = known.find(
    (model) => address("head" in model.source ? model.source.head : undefined) === address(source.head),
  );
  return same ? { site: same.name } : undefined;
}

/** A head of the visitor's own: in the link if it is small, else to be named by an address. */
export async function linkedHead(
  source: ModelSource,
  name: string,
): Promise<{ head: LinkedHead | undefined; sha256: string | undefined }> {
  if (!source.head || source.head instanceof URL) return { head: undefined, sha256: undefined };
  const bytes = new Uint8Array(source.head instanceof File ? await source.head.arrayBuffer() : source.head);
  if (bytes.length <= MOST_HEAD_BYTES) return { head: { name, bytes }, sha256: undefined };
  return { head: undefined, sha256: await hex(bytes) };
}
