import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { VitePWA } from "vite-plugin-pwa";

/** The folder of the modules that the optimiser made, where the site is built for other hosts. */
const optimised = process.env.REWARDSCOPE_OPTIMISED_WASM;

/**
 * Puts the optimised wasm in the place of the other, compressed alone: many hosts compress nothing
 * so large, and some take no file over 25 MB. The worker unpacks it.
 */
function compressedWasm(folder: string): Plugin {
  return {
    name: "compressed-wasm",
    async generateBundle(_options, bundle) {
      const compress = async ([name, asset]: [string, (typeof bundle)[string]]) => {
        if (asset.type !== "asset" || !name.endsWith(".wasm")) return;
        const wasm = readFileSync(join(folder, asset.names[0] ?? ""));
        const params = {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_LGWIN]: 24,
          [constants.BROTLI_PARAM_SIZE_HINT]: wasm.length,
        };
        const [br, gz] = await Promise.all([
          promisify(brotliCompress)(wasm, { params }),
          promisify(gzip)(wasm, { level: 9 }),
        ]);
        this.emitFile({ type: "asset", fileName: `${asset.fileName}.br`, source: br });
        this.emitFile({ type: "asset", fileName: `${asset.fileName}.gz`, source: gz });
        delete bundle[name];
      };
      // Beside each other: one takes half a minute.
      await Promise.all(Object.entries(bundle).map(compress));
    },
  };
}

/** Where models and rows are served while the page is worked on. */
const served = process.env.REWARDSCOPE_SERVED;

/** Vite's own client is inlined and speaks over a socket, which the page's policy refuses. */
const withoutPolicy: Plugin = {
  name: "without-policy",
  apply: "serve",
  transformIndexHtml: (html) => html.replace(/<meta\s+http-equiv="Content-Security-Policy"[^>]*>/, ""),
};

/** Two parts of the palette's library have inline styles, which the page's policy refuses; Palette.svelte has the rule. */
const withoutInlineStyles: Plugin = {
  name: "without-inline-styles",
  enforce: "pre",
  transform: (code, id) =>
    /bits-ui\/dist\/bits\/command\/.*\.svelte$/.test(id)
      ? { code: code.replaceAll('style="display: contents;"', ""), map: null }
      : undefined,
};

const forms = [
  { ending: ".br", format: "brotli" },
  { ending: ".gz", format: "gzip" },
];

export default defineConfig({
  // Relative addresses, so that any static host serves the folder at any sub-path.
  base: "./",
  define: {
    __WASM_FORMS__: JSON.stringify(optimised ? forms : []),
    __BUNDLED_ROWS__: JSON.stringify(process.env.REWARDSCOPE_BUNDLED_ROWS ?? ""),
  },
  plugins: [
    withoutInlineStyles,
    svelte(),
    withoutPolicy,
    VitePWA({
      // A new version waits until the visitor asks for it: a run is not broken off for it.
      registerType: "prompt",
      injectRegister: false,
      strategies: "injectManifest",
      srcDir: "src",
      filename: "sw.ts",
      manifest: {
        name: "Rewardscope",
        short_name: "Rewardscope",
        description: "Open reward models in your browser, on your own GPU.",
        start_url: "./",
        scope: "./",
        display: "standalone",
        background_color: "#14171a",
        theme_color: "#0b5cad",
        icons: [{ src: "icon.svg", sizes: "any", type: "image/svg+xml", purpose: "any" }],
      },
      injectManifest: {
        globPatterns: ["**/*.{html,js,css,svg,webmanifest,safetensors}"],
        rollupFormat: "iife",
      },
    }),
  ],
  worker: { format: "es", plugins: () => (optimised ? [compressedWasm(optimised)] : []) },
  server: { proxy: served ? { "/models": served, "/data": served } : {} },
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1000 },
});
