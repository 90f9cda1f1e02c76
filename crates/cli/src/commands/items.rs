//! `rewardscope items` shows rows of a dataset, without a model.

use std::process::ExitCode;

use clap::Args;
use rewardscope_benchmarks::Item;
use rewardscope_eval::{Reading, Rows, conversation};
use serde_json::json;

use crate::dataset::Data;
use crate::output::say;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope items --data pairs.csv
  rewardscope items --benchmark reward-bench-2 --data allenai/reward-bench-2 --rows 12-20 --json")]
pub struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Rows of each file to show, counted from 1: 12 or 12-20
    #[arg(long, default_value = "1-10")]
    rows: Rows,
    /// Print one JSON object per line, with whole texts
    #[arg(long)]
    json: bool,
    /// Refuse rows that are not preferences instead of skipping them
    #[arg(long)]
    strict: bool,
}

/// Most characters of a text that are shown.
const SHOWN: usize = 400;

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (_, dataset) = arguments.data.items(Reading::ByRange, arguments.rows, arguments.strict).await?;
    for item in &dataset.items {
        say!("{}", if arguments.json { line(item) } else { page(item) })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(item: &Item) -> String {
    let messages = conversation(item);
    json!({
        "id": item.id, "subset": item.subset, "messages": messages, "num_correct": item.num_correct,
        "completions": item.completions, "models": item.models,
    })
    .to_string()
}

fn page(item: &Item) -> String {
    let mut page = format!("{}/{}\n", shown(&item.subset), shown(&item.id));
    for message in conversation(item) {
        page += &format!("  {}: {}\n", shown(&message.role), shown(&message.content));
    }
    for (place, completion) in item.completions.iter().enumerate() {
        let kind = if place < item.num_correct { "correct" } else { "incorrect" };
        page += &format!("  {:>3} {kind:<9} {}\n", place + 1, shown(completion));
    }
    page
}

/// The beginning of a text on one line. Control characters are escaped, because a terminal would act on them.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).map(|c| if c == '\n' { ' ' } else { c }).collect();
    let start: String =
        start.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    if text.chars().nth(SHOWN).is_some() { start + " …" } else { start }
}
