//! Scores the completions of a conversation with a reward model from a folder.
//!
//! ```sh
//! cargo run --release --package rewardscope-examples --bin example-score -- path/to/model "What is 2 + 2?" 4 5
//! ```

use anyhow::{Context, ensure};
use pollster::block_on;
use rewardscope_engine::{Cancel, Clock, Detail, DeviceChoice, LoadOptions, Message, ModelFiles, Scorer, device};
use rewardscope_store::Folder;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("name a model folder, a prompt and its completions")?;
    let prompt = arguments.next().context("a prompt is missing")?;
    let completions: Vec<String> = arguments.collect();
    ensure!(!completions.is_empty(), "name at least one completion");

    // Any set of files will do: a folder here, a Hub repository or bytes in memory elsewhere.
    let folder = Folder::open(model.as_ref())?;
    let files = ModelFiles::from_sources(&model, folder.sources().cloned().collect())?;

    // Loading is asynchronous, so that a page stays alive; a command waits for it.
    let device = block_on(device::open(DeviceChoice::Cpu))?;
    // Some chat templates print the date; a fixed one keeps scores comparable.
    let options = LoadOptions::new(Clock::from_local_seconds(0));
    let cancel = Cancel::default();
    let scorer = block_on(Scorer::load(&files, None, device, options, &cancel, &mut |_| {}))?;

    // The prompt is computed once and shared by its completions.
    let prompt = [Message::new("user", prompt)];
    let texts = completions.iter().map(String::as_str);
    let scores = block_on(scorer.score(&prompt, texts, Detail::Score, &cancel))?;
    let kind = if scorer.report().is_reward_model { "reward" } else { "log-probability" };
    for (completion, score) in completions.iter().zip(scores) {
        println!("{kind} {:.6}  {completion}", score.score);
    }
    Ok(())
}
