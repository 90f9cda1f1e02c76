//! `rewardscope metrics` computes marks from existing scores, without a model.

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
    /// Scores to mark: a run file, an evaluator's result file, rows of scores, or `-`
    ///
    /// Result files are those of the reference evaluators and of the rewardbench command. Rows have `id`, `subset`,
    /// `num_correct` and `scores`, correct completions first, as JSON Lines, JSON, CSV or parquet. `-` is standard
    /// input.
    #[arg(long)]
    scores: PathBuf,
    /// Print the marks as JSON
    #[arg(long)]
    json: bool,
    /// Give no marks for incomplete scores
    ///
    /// Scores are incomplete where one is NaN or infinite, an item lacks its counterpart, or in a run file an item has
    /// no score or a text was cut. Without the option they are marked and counted.
    #[arg(long)]
    strict: bool,
    /// Seed of the confidence intervals and simulations
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
        let head = protocol.scorer.head().map_or_else(String::new, |head| format!("{head} on "));
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

/// Prints the marks of a summary file, which has no scores.
fn summarised(summary: &SummaryFile, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return say!("{}", summary.json());
    }
    for (name, score) in summary.subsets.iter().chain(&summary.sections) {
        say!("{name:<24} {score:>8.4}")?;
    }
    let overall = summary.overall.map_or_else(|| "not given".to_owned(), |score| format!("{score:.4}"));
    say!("overall: {overall}. A summary has no scores, so no intervals or chance levels can be given.")
}
