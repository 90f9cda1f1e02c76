//! `rewardscope compare` compares runs over the same items. `rewardscope best-of-n` shows what picking the best-scored
//! of k completions would get.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rewardscope_benchmarks::analysis::{Agreement, best_of_n};
use rewardscope_benchmarks::compare::Difference;
use rewardscope_benchmarks::{Comparison, Figure, ScoredItem};
use rewardscope_eval::{RunComparison, RunsTogether, ScoreFile, ScoredRow};
use serde_json::json;

use crate::marking::Which;
use crate::output::say;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope compare first/run.json second/run.json
  rewardscope compare a/run.json b/run.json c/run.json --json")]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// First run: a run file or any score file
    first: PathBuf,
    /// Second run
    second: PathBuf,
    /// More runs
    ///
    /// With more than two runs the command prints how often each pair of runs agrees, and the mark of the average of
    /// all runs.
    others: Vec<PathBuf>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
    /// Seed of the confidence intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let which = &arguments.which;
    let (first, second) = (which.read(&arguments.first).await?, which.read(&arguments.second).await?);
    let (benchmark, variant) = arguments.which.find_for(&first)?;
    if !arguments.others.is_empty() {
        let mut others: Vec<ScoreFile> = Vec::new();
        for path in &arguments.others {
            others.push(which.read(path).await?);
        }
        let files: Vec<&ScoreFile> = [&first, &second].into_iter().chain(&others).collect();
        return together(&files, &RunsTogether::of(benchmark, variant, &files, arguments.seed)?, arguments.json);
    }
    let RunComparison { comparison: found, together } =
        RunComparison::of(benchmark, variant, &first, &second, arguments.seed)?;
    let agreement = together.agreement.first().and_then(|of| of.get(1).copied().flatten());
    if arguments.json {
        let mut out = serde_json::to_value(&found)?;
        if let Some(out) = out.as_object_mut() {
            out.insert("agreement".to_owned(), json!(agreement));
            out.insert("average".to_owned(), json!(together.average));
            out.insert("remarks".to_owned(), json!(together.remarks));
        }
        say!("{out}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for remark in &together.remarks {
        eprintln!("{remark}");
    }
    print_differences(&found)?;
    say!(
        "p is from McNemar's exact test over the items that both runs mark 0 or 1 (a Ties pair counts as one). Items left out for other marks: {}.",
        found.subsets.iter().map(|subset| subset.left_out).sum::<usize>()
    )?;
    say!("Items on which the runs disagree: {}.", found.disagreements.len())?;
    for item in found.disagreements.iter().take(20) {
        say!("  {}/{}: {} against {}", item.subset, item.id, item.first, item.second)?;
    }
    if let Some(share) = agreement {
        say!(
            "Both runs score the same completion highest in {:.1} % of the {} items where each has a single highest score.",
            100.0 * share.share,
            share.items
        )?;
    }
    say!("The average of the runs' standardised scores gets a mark of {:.4}.", together.average.score)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the table of two runs: a line for each subset, then one for the whole benchmark. `wins/losses` counts the
/// items that only the first run has right, and those that only the second has right.
fn print_differences(found: &Comparison) -> anyhow::Result<()> {
    let width = found.subsets.iter().map(|subset| subset.subset.chars().count()).max().unwrap_or_default().max(12);
    say!(
        "{:<width$} {:>7} {:>8} {:>8} {:>9}  {:<18} {:>11} {:>8} {:>8}",
        "subset",
        "items",
        "first",
        "second",
        "1st - 2nd",
        "95 % interval",
        "wins/losses",
        "p",
        "p (Holm)"
    )?;
    let numbers = |difference: &Difference| {
        let interval = difference.ci95.map_or_else(String::new, |of| format!("{:+.4} to {:+.4}", of.low, of.high));
        format!("{:>8.4} {:>8.4} {:>+9.4}  {interval:<18}", difference.first, difference.second, difference.difference)
    };
    let p = |p: Option<f64>| p.map_or_else(|| "-".to_owned(), |p| format!("{p:.4}"));
    for subset in &found.subsets {
        say!(
            "{:<width$} {:>7} {} {:>5}/{:<5} {:>8} {:>8}",
            subset.subset,
            subset.items,
            numbers(&subset.difference),
            subset.only_first_right,
            subset.only_second_right,
            p(subset.p),
            p(subset.p_holm)
        )?;
    }
    for (name, difference) in [("overall", &found.overall), ("partial mean", &found.partial)] {
        if let Some(difference) = difference {
            say!("{name:<width$} {:>7} {}", found.items, numbers(difference))?;
        }
    }
    Ok(())
}

/// Prints more than two runs: each run's mark over the items that all have, how often each pair agrees, and the mark of
/// the average of all.
fn together(files: &[&ScoreFile], found: &RunsTogether, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let mut out = serde_json::to_value(found)?;
        if let Some(out) = out.as_object_mut() {
            out.insert("runs".to_owned(), json!(names));
        }
        say!("{out}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = |name: &str, figure: &Figure| {
        let interval = figure.ci95.map_or_else(String::new, |of| format!("{:.4} to {:.4}", of.low, of.high));
        format!("{name:>8} {:>8.4}  {interval:<16}", figure.score)
    };
    for remark in &found.remarks {
        eprintln!("{remark}");
    }
    say!(
        "{} items are in all of the {} runs; the mark is each run's {}. Numbered columns are agreement: of the items where two runs each have a single highest score, the share where both score the same completion highest.",
        found.items,
        files.len(),
        found.mark
    )?;
    let heads: String = (1..=files.len()).map(|at| format!("{at:>8}")).collect();
    say!("{:>8} {:>8}  {:<16} {heads}  file", "run", "mark", "95 % interval")?;
    for (at, ((file, mark), shares)) in files.iter().zip(&found.marks).zip(&found.agreement).enumerate() {
        let share =
            |of: &Option<Agreement>| of.map_or_else(|| format!("{:>8}", "-"), |of| format!("{:>8.3}", of.share));
        let shares: String = shares.iter().map(share).collect();
        say!("{} {shares}  {}", line(&(at + 1).to_string(), mark), file.name)?;
    }
    say!("{}", line("average", &found.average))?;
    say!("The average is of standardised scores. To compare by subset, name only two files.")?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope best-of-n --scores run/run.json
  rewardscope best-of-n --scores scores.jsonl --json")]
pub struct BestOfN {
    /// Scores to read: a run file or any score file
    ///
    /// The correct completions of each item come first.
    #[arg(long)]
    scores: PathBuf,
    /// Print the curves as JSON
    #[arg(long)]
    json: bool,
}

pub async fn best_of(arguments: &BestOfN) -> anyhow::Result<ExitCode> {
    let which = Which { benchmark: None, variant: None };
    let file = which.read(&arguments.scores).await?;
    let mut subsets: Vec<&str> = Vec::new();
    for row in &file.rows {
        if !subsets.contains(&row.subset.as_str()) {
            subsets.push(&row.subset);
        }
    }
    let curve = |subset: &str| {
        let of: Vec<ScoredItem<'_>> =
            file.rows.iter().filter(|row| row.subset == subset).map(ScoredRow::as_item).collect();
        best_of_n(&of)
    };
    let curves: Vec<(&str, Vec<f64>)> = subsets.into_iter().map(|subset| (subset, curve(subset))).collect();
    if arguments.json {
        let all: serde_json::Map<String, serde_json::Value> =
            curves.iter().map(|(subset, curve)| ((*subset).to_owned(), json!(curve))).collect();
        say!("{}", json!({ "expected_mark_of_best_of_k": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let most = curves.iter().map(|(_, curve)| curve.len()).max().context("reading the scores: no rows")?;
    say!("Expected share of correct picks when the best-scored of k drawn completions is picked, k from 1:")?;
    for (subset, curve) in &curves {
        let numbers: Vec<String> = curve.iter().take(most.min(32)).map(|mark| format!("{mark:.3}")).collect();
        say!("{subset}: {}", numbers.join(" "))?;
    }
    Ok(ExitCode::SUCCESS)
}
