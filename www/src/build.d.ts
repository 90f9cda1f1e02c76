// What the build writes in.

/** The built site has the wasm in these forms alone; empty where it is served as it is. */
declare const __WASM_FORMS__: { ending: string; format: string }[];

/** Official rows that the site itself has; empty where they come from the Hub. */
declare const __BUNDLED_ROWS__: string;
