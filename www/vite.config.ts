import { readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

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
    generateBundle(_options, bundle) {
      for (const [name, asset] of Object.entries(bundle)) {
        if (asset.type !== "asset" || !name.endsWith(".wasm")) continue;
        const wasm = readFileSync(join(folder, asset.names[0] ?? ""));
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: wasm.length };
        this.emitFile({ type: "asset", fileName: `${asset.fileName}.br`, source: brotliCompressSync(wasm, { params }) });
        this.emitFile({ type: "asset", fileName: `${asset.fileName}.gz`, source: gzipSync(wasm, { level: 9 }) });
        delete bundle[name];
      }
    },
  };
}

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
    svelte(),
    VitePWA({
      // A new version waits until the old page is closed: a run is not broken off for it.
      registerType: "prompt",
      injectRegister: false,
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
      workbox: {
        globPatterns: ["**/*.{html,js,css,svg,webmanifest,safetensors}"],
        // The folder's address is the page; whatever else lies there is itself.
        navigateFallback: null,
        ignoreURLParametersMatching: [/./],
        inlineWorkboxRuntime: true,
        cleanupOutdatedCaches: true,
      },
    }),
  ],
  worker: { format: "es", plugins: () => (optimised ? [compressedWasm(optimised)] : []) },
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1000 },
});
