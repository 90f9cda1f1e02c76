//! `rewardscope metrics`: marks from scores alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::output::say;
use anyhow::{Context, bail};
use clap::Args;
use rewardscope_benchmarks::analysis::correctness_auc;
use rewardscope_benchmarks::published::Placement;
use rewardscope_benchmarks::{
    Assessment, BENCHMARKS, Benchmark, Figure, Marks, ScoredItem, Variant, benchmark, reward_bench_2,
};
use rewardscope_eval::{OpenedScores, ScoreFile, SummaryFile, marks_json};
use rewardscope_store::Source;

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

/// Which benchmark, and which of its ways of marking.
#[derive(Args)]
pub struct Which {
    /// Which benchmark's marks: reward-bench-2, reward-bench, rm-bench, judge-bench, rmb, ppe, m-reward-bench, or
    /// preferences for rows of your own. Without it the one that a run file is of, else reward-bench-2 or preferences, as
    /// the columns show.
    #[arg(long)]
    pub benchmark: Option<String>,
    /// Which of the benchmark's ways of marking; a run's own, else the first, without it.
    #[arg(long)]
    pub variant: Option<String>,
}

impl Which {
    /// Refuses names that no benchmark has, before anything is read.
    pub fn check(&self) -> anyhow::Result<()> {
        let asked = self.asked()?;
        let is_known =
            |of: &Benchmark| self.variant.as_ref().is_none_or(|name| of.variants.iter().any(|v| v.name == name));
        match asked {
            Some(asked) => asked.variant(self.variant.as_deref()).map(|_| ()).map_err(Into::into),
            None if BENCHMARKS.iter().any(|known| is_known(known)) => Ok(()),
            None => Ok(reward_bench_2::BENCHMARK.variant(self.variant.as_deref()).map(|_| ())?),
        }
    }

    /// Those of a file of scores, with its own variant where it is a run; a run is of no other benchmark than it says.
    pub fn find_for(&self, file: &ScoreFile) -> anyhow::Result<(&'static Benchmark, &'static Variant)> {
        let own = match &file.run {
            None => None,
            Some(run) => {
                if let Some(asked) = self.benchmark.as_ref().filter(|asked| **asked != run.benchmark) {
                    bail!(
                        "marking {}: it is a run of {}, not of {asked}; leave --benchmark away",
                        file.name,
                        run.benchmark
                    );
                }
                benchmark(&run.benchmark).with_context(|| format!("marking {}", file.name))?;
                Some(run.variant.as_str())
            }
        };
        Ok((file.benchmark, file.benchmark.variant(self.variant.as_deref().or(own))?))
    }

    /// The benchmark that is asked for, where one is.
    pub fn asked(&self) -> anyhow::Result<Option<&'static Benchmark>> {
        self.benchmark.as_deref().map(|name| Ok(benchmark(name)?)).transpose()
    }

    /// Reads a file of scores, or of marks.
    async fn open(&self, path: &Path) -> anyhow::Result<OpenedScores> {
        if path.is_dir() {
            bail!(
                "reading {}: a file of scores was expected, a folder was found; name the file in it, such as run.json",
                path.display()
            );
        }
        let source = Source::file_or_pipe(path)?;
        Ok(ScoreFile::open_any(&source, self.asked()?).await?)
    }

    /// Reads a file of scores.
    pub async fn read(&self, path: &Path) -> anyhow::Result<ScoreFile> {
        match self.open(path).await? {
            OpenedScores::Scores(file) => Ok(*file),
            OpenedScores::Summary(_) => {
                bail!("reading {}: scores were expected, a summary was found, which has marks alone", path.display())
            }
        }
    }
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

/// How well scores tell correct completions from incorrect ones over all prompts, in a sentence.
pub fn auc(items: &[ScoredItem<'_>]) -> Option<String> {
    let area = correctness_auc(items)?;
    Some(format!(
        "Over all completions the area under the ROC curve of scores as a sign of correctness is {area:.4} (0.5 by chance)."
    ))
}

/// The marks as a table: subset, items, score, interval, chance, and what length alone gets.
pub fn print_table(assessment: &Assessment, marks: &Marks, stands: Option<&Placement>) -> anyhow::Result<()> {
    let of = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let interval = |figure: &Figure| {
        figure.ci95.map_or_else(|| "-".to_owned(), |interval| format!("{:.4} to {:.4}", interval.low, interval.high))
    };
    let width = assessment.subsets.iter().chain(&assessment.sections).map(|named| named.name.chars().count());
    let width = width.max().unwrap_or_default().max(12);
    say!(
        "{:<width$} {:>7} {:>8}  {:<16} {:>8} {:>8} {:>8}",
        "subset",
        "items",
        "score",
        "95 % interval",
        "chance",
        "shortest",
        "longest"
    )?;
    let line = |name: &str, figure: &Figure| {
        say!(
            "{name:<width$} {:>7} {:>8.4}  {:<16} {:>8} {:>8} {:>8}",
            figure.n,
            figure.score,
            interval(figure),
            of(figure.chance),
            of(figure.shortest),
            of(figure.longest)
        )
    };
    for named in &assessment.subsets {
        line(&named.name, &named.figure)?;
    }
    for ties in marks.subsets.iter().filter_map(|mark| mark.ties.as_ref()) {
        say!(
            "  Ties: ref_accuracy {:.4}, tied_accuracy {:.4}, correctness_preferred {:.4}, _hard {:.4}, margin {:.4}",
            ties.ref_accuracy,
            ties.tied_accuracy,
            ties.correctness_preferred,
            ties.correctness_preferred_hard,
            ties.correctness_margin_score
        )?;
    }
    for named in &assessment.sections {
        line(&named.name, &named.figure)?;
    }
    match (&assessment.overall, &assessment.partial) {
        (Some(overall), _) => {
            line("overall", overall)?;
            if let Some(Placement { place, warnings }) = stands {
                say!("Among the {} published rows it would be number {}.", place.of, place.place)?;
                for warning in warnings {
                    say!("  {warning}")?;
                }
            }
        }
        (None, Some(partial)) => {
            line("partial mean", partial)?;
            say!("overall: not given, because not all of the benchmark's parts are there")?;
        }
        (None, None) => say!("overall: not given, because not all of the benchmark's parts are there")?,
    }
    Ok(())
}
