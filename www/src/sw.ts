// The service worker: keeps the page's files for visits without a network. A new version waits until the visitor asks
// for it, or until no tab shows the old one. The files of the old one stay as long as a tab may show it, because the
// site no longer has them.

/** A file of the page; files without a revision have a hash of their content in their name. */
interface PageFile {
  url: string;
  revision: string | null;
}

declare global {
  interface ServiceWorkerGlobalScope {
    /** The list that the build puts here. */
    __WB_MANIFEST: PageFile[];
  }
}
declare const self: ServiceWorkerGlobalScope;

const FILES = self.__WB_MANIFEST;
const NAMES = new Set(FILES.map(({ url }) => url));
const { scope } = self.registration;
const PREFIX = `rewardscope-page ${scope} `;
const version = [...JSON.stringify(FILES)].reduce(
  (hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0,
  7,
);
const CACHE = `${PREFIX}${(version >>> 0).toString(16)}`;

/** Whether a cache holds a version of the page. Versions before this worker kept it by another name. */
const isPage = (name: string) =>
  name.startsWith(PREFIX) || (name.startsWith("workbox-precache") && name.endsWith(scope));

/** A file by its name in one of the caches that hold other versions. */
async function inOther(name: string): Promise<Response | undefined> {
  for (const other of await caches.keys()) {
    if (other === CACHE || !isPage(other)) continue;
    const found = await (await caches.open(other)).match(new URL(name, scope));
    if (found) return found;
  }
  return undefined;
}

async function fetched({ url, revision }: PageFile): Promise<Response> {
  // A name with a hash has the same content in every version.
  const known = revision === null ? await inOther(url) : undefined;
  const response = known ?? (await fetch(new Request(url, { cache: revision === null ? "default" : "reload" })));
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  // A page may not be answered by a response that was redirected, as some hosts do with index.html.
  return response.redirected ? new Response(await response.blob(), { headers: response.headers }) : response;
}

async function install() {
  const isThere = await caches.has(CACHE);
  try {
    const cache = await caches.open(CACHE);
    await Promise.all(FILES.map(async (file) => cache.put(new URL(file.url, scope), await fetched(file))));
  } catch (error) {
    // A service worker that differs in its own code only has the same files.
    if (!isThere) await caches.delete(CACHE);
    throw error;
  }
}

/** Removes other versions unless a tab may still show one. `opening`: the tab that is being opened with this one. */
async function tidy(opening?: string) {
  const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (tabs.some(({ id }) => id !== opening)) return;
  const others = (await caches.keys()).filter((name) => name !== CACHE && isPage(name));
  // A version that is new, not old.
  if (self.registration.installing || self.registration.waiting) return;
  await Promise.all(others.map((name) => caches.delete(name)));
}

async function answer(name: string, request: Request): Promise<Response> {
  const own = NAMES.has(name) ? await (await caches.open(CACHE)).match(new URL(name, scope)) : undefined;
  return own ?? (await inOther(name)) ?? fetch(request);
}

self.addEventListener("install", (event) => event.waitUntil(install()));
// The tab of a first visit is answered from here too: it may stay open while versions come and go.
self.addEventListener("activate", (event) => event.waitUntil(tidy().then(() => self.clients.claim())));
self.addEventListener("message", ({ data }) => {
  if ((data as { type?: unknown } | null)?.type === "SKIP_WAITING") void self.skipWaiting();
});
self.addEventListener("fetch", (event) => {
  const { request, resultingClientId } = event;
  const [address = ""] = request.url.split(/[?#]/, 1);
  if (request.method !== "GET" || !address.startsWith(scope)) return;
  // The folder's address is the page; whatever else lies there is itself.
  const name = address.slice(scope.length) || "index.html";
  if (!NAMES.has(name) && !name.startsWith("assets/")) return;
  event.respondWith(answer(name, request));
  if (request.mode === "navigate") event.waitUntil(tidy(resultingClientId));
});

export {};
