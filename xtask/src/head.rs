//! `cargo xtask head`: fits the site's own reward head again, and so reproduces the numbers in `heads/`.

use std::path::Path;

use anyhow::Context;

use crate::packages::SMOLLM2;
use crate::setup::target_folder;
use crate::stage::{Stages, call};
use crate::test::NATIVE;

const HEAD: &str = "heads/smollm2-135m-instruct";

/// Folder for the computed features, so that a second run takes seconds.
const WORK: &str = ".cache/head";

/// Fits the head and overwrites the committed files. The same data and seed on the same CPU give the same files.
pub fn run() -> anyhow::Result<()> {
    let mut stages = Stages::default();
    stages.run("default model", || SMOLLM2.fetch())?;
    let model = SMOLLM2.path().display().to_string();
    stages.run("native build", || call("cargo", ["build", "--locked", "--bins"].into_iter().chain(NATIVE)))?;
    stages.run("reward head", || {
        let command = format!("{}/debug/rewardscope", target_folder());
        let preferences = format!("{HEAD}/preferences.jsonl");
        let arguments = ["fit", "--model", &model, "--preferences", &preferences, "--out", WORK];
        let choices = ["--name", "SmolLM2-135M reward", "--layers", "18", "--pooling", "mean", "--seed", "0"];
        call(&command, arguments.into_iter().chain(choices).chain(["--drop-overlap", "--device", "cpu"]))?;
        for file in ["head.safetensors", "report.json", "report.md"] {
            std::fs::copy(Path::new(WORK).join(file), Path::new(HEAD).join(file))
                .with_context(|| format!("copying {file} to {HEAD}"))?;
        }
        Ok(())
    })?;
    stages.summary();
    Ok(())
}
