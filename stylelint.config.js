// Colours, sizes and durations are tokens: no other file than styles/tokens.css contains one.
const TOKENS = "www/src/styles/tokens.css";

export default {
  ignoreFiles: ["www/dist/**", "**/node_modules/**", "target/**"],
  rules: {
    "color-no-hex": true,
    "color-named": "never",
    "function-disallowed-list": ["rgb", "rgba", "hsl", "hsla", "hwb", "lab", "lch", "oklab", "oklch", "light-dark"],
    "declaration-property-value-allowed-list": {
      "/^(margin|padding|gap|row-gap|column-gap)/": [
        "/^(0|auto|1px|inherit|calc\\(|max\\(|min\\(|-?\\s*|var\\(--s\\d\\)|\\s)+/",
      ],
      "/radius$/": ["0", "inherit", "/^var\\(--(r\\d|round)\\)/"],
      "font-size": ["inherit", "/^var\\(--t-/"],
      "font-family": ["inherit", "/^var\\(--(font|mono)\\)$/"],
      "box-shadow": ["none", "var(--shadow)", "/^inset /"],
    },
    "declaration-property-unit-disallowed-list": {
      "/^(margin|padding|gap|font-size|border-radius)/": ["px", "rem", "em"],
      "/^(transition|animation)/": ["ms", "s"],
    },
  },
  overrides: [
    { files: ["**/*.svelte"], customSyntax: "postcss-html" },
    {
      files: [TOKENS],
      rules: { "color-no-hex": null, "function-disallowed-list": null },
    },
  ],
};
