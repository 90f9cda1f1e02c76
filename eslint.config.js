import globals from "globals";
import svelte from "eslint-plugin-svelte";
import ts from "typescript-eslint";

export default ts.config(
  {
    ignores: [
      "target",
      "dist",
      "www/dist",
      "www/src/wasm",
      "**/node_modules",
      "test-output",
      ".cache",
      "tests/browser/looks",
    ],
  },
  ...ts.configs.recommended,
  ...svelte.configs.recommended,
  { languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: ts.parser } },
  },
  // No type check reads these files.
  { files: ["**/*.mjs", "**/*.js"], rules: { "no-undef": "error" } },
  {
    // Text from models, datasets and files is hostile: it is shown as text, never as markup.
    rules: { "svelte/no-at-html-tags": "error" },
  },
);
