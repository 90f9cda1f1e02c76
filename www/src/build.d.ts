// Constants that the build fills in.

/**
 * Compressed forms of the wasm: file name ending and `DecompressionStream` format. The built site has only these files;
 * empty where the plain .wasm is served.
 */
declare const __WASM_FORMS__: { ending: string; format: string }[];

/** File name of the official RewardBench 2 rows that are bundled with the site; empty where they come from the Hub. */
declare const __BUNDLED_ROWS__: string;
