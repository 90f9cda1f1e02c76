//! `rewardscope metrics`: marks from scores alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rewardscope_eval::{OpenedScores, SummaryFile, marks_json};

use crate::marking::Which;
use crate::output::say;
use crate::table::{auc, print_table};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope metrics --scores run/run.json
  rewardscope metrics --scores eval-set-scores.json --benchmark reward-bench-2 --json")]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Scores: a run file, the reference evaluator's file, what the rewardbench command writes, or rows of `id`, `subset`,
    /// `num_correct` and `scores`, correct ones first (JSON Lines, JSON, CSV, parquet); `-` reads standard input.
    #[arg(long)]
    scores: PathBuf,
    /// Write the marks as JSON.
    #[arg(long)]
    json: bool,
    /// Refuse NaN, infinity and items without their counterpart instead of counting them.
    #[arg(long)]
    strict: bool,
    /// Seed of intervals and simulations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.which.check()?;
    let file = match arguments.which.open(&arguments.scores).await? {
        OpenedScores::Scores(file) => *file,
        OpenedScores::Summary(summary) => {
            summarised(&summary, arguments.json)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (benchmark, variant) = arguments.which.find_for(&file)?;
    let assessment = file.assess(benchmark, variant, arguments.seed, arguments.strict)?;
    let marks = file.marks(benchmark, variant)?;
    if arguments.json {
        say!("{}", serde_json::to_string(&marks_json(&assessment, &marks, Some(&file)))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for remark in &assessment.remarks {
        eprintln!("{remark}");
    }
    if let Some(run) = &file.run {
        let protocol = &run.protocol;
        let head = protocol.head.as_ref().map_or_else(String::new, |head| format!("{head} on "));
        let draw = protocol
            .limit_per_subset
            .map_or_else(String::new, |limit| format!(", at most {limit} items a subset by seed {}", protocol.seed));
        say!("{head}{} over {}{draw}, {}", protocol.model, protocol.dataset, protocol.dtype)?;
    }
    print_table(&assessment, &marks, file.placement(&assessment).as_ref())?;
    if let Some(auc) = auc(&file.items()) {
        say!("{auc}")?;
    }
    say!("marked as {} ({}: {})", benchmark.definition, variant.name, variant.about)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows marks that come without scores.
fn summarised(summary: &SummaryFile, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return say!("{}", summary.json());
    }
    for (name, score) in summary.subsets.iter().chain(&summary.sections) {
        say!("{name:<24} {score:>8.4}")?;
    }
    let overall = summary.overall.map_or_else(|| "not given".to_owned(), |score| format!("{score:.4}"));
    say!("overall: {overall}. A summary has no scores: what its marks are worth cannot be told.")
}
