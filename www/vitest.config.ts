import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // Compile runes for the browser. For a server they would become plain fields without proxies.
  plugins: [svelte({ dynamicCompileOptions: () => ({ generate: "client" }) })],
  test: {
    include: ["src/**/*.test.ts"],
    setupFiles: ["src/testing/page.ts"],
    // Every test removes what it put in place, so the files can share their threads.
    pool: "threads",
    isolate: false,
    restoreMocks: true,
    unstubEnvs: true,
    unstubGlobals: true,
  },
});
