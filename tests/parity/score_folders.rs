//! Scores model folders for `xtask/oracle/differential.py`. Reads a line of JSON for each case from standard input,
//! `{folder, base, rows}`, and answers with a line of `{scores}`, `{refused}` or `{panicked}`.

use std::io::{BufRead, Write};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, EngineError, LoadOptions, Message, ModelFiles, Scorer, device,
};
use rewardscope_store::Folder;
use serde_json::{Value, json};

fn folder(path: &str) -> anyhow::Result<ModelFiles> {
    let folder = Folder::open(Path::new(path))?;
    Ok(ModelFiles::from_sources(path, folder.sources().cloned().collect())?)
}

/// Loads a model. A classifier with several labels is scored by the first one.
fn load(files: &ModelFiles) -> anyhow::Result<Scorer> {
    // Chat templates that ask for the date get today's, as in transformers.
    let now = Clock::from_local_seconds(chrono::Local::now().naive_local().and_utc().timestamp());
    let mut options = LoadOptions::new(now);
    for label in [None, Some(0)] {
        options.label = label;
        let device = block_on(device::open(DeviceChoice::Cpu))?;
        match block_on(Scorer::load(files, None, device, options.clone(), &Cancel::default(), &mut |_| {})) {
            Err(EngineError::Label { .. }) if label.is_none() => {}
            loaded => return Ok(loaded?),
        }
    }
    anyhow::bail!("no label")
}

fn scores(asked: &Value) -> anyhow::Result<Vec<f64>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = folder(&text(&asked["folder"]))?;
    let files = match asked["base"].as_str() {
        Some(base) => files.over(folder(base)?)?,
        None => files,
    };
    let scorer = load(&files)?;
    let mut scores = Vec::new();
    for row in asked["rows"].as_array().into_iter().flatten() {
        let (prompt, completion) = match row["messages"].as_array().and_then(|messages| messages.split_last()) {
            None => (vec![Message::new("user", text(&row["prompt"]))], text(&row["completion"])),
            Some((last, before)) => {
                let turns = before.iter().map(|turn| Message::new(text(&turn["role"]), text(&turn["content"])));
                (turns.collect(), text(&last["content"]))
            }
        };
        let found = block_on(scorer.score(&prompt, [completion.as_str()], Detail::Score, &Cancel::default()))?;
        scores.extend(found.iter().map(|score| score.score));
    }
    Ok(scores)
}

fn main() -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let answer = match std::panic::catch_unwind(AssertUnwindSafe(|| scores(&asked))) {
            Ok(Ok(scores)) => json!({ "scores": scores }),
            Ok(Err(refused)) => json!({ "refused": format!("{refused:#}") }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                json!({ "panicked": text })
            }
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
