//! Two files of scores beside each other: what [`compare`] says of the items that both have, and what
//! else a difference may come of.

use std::collections::HashMap;

use rewardscope_benchmarks::analysis::{agreement, ensemble};
use rewardscope_benchmarks::compare::{CompareError, Comparison};
use rewardscope_benchmarks::{Benchmark, Effort, Figure, ScoredItem, Variant, assess, compare};
use serde::{Deserialize, Serialize};

use crate::{ScoreFile, ScoredRow};

/// Why two files do not stand beside each other.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ComparisonError {
    /// Their scores do not.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// One is a run of another benchmark.
    #[error("comparing {file}: it is a run of {found}, not of {expected}; name it with --benchmark")]
    OtherBenchmark {
        /// The file.
        file: String,
        /// What it is of.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
}

/// Two runs beside each other with what else is to be known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunComparison {
    /// Their marks over the items that both have.
    pub comparison: Comparison,
    /// The share of items whose best completion is the same to both.
    pub agreement: Option<f64>,
    /// What the mean of their standardised scores gets.
    pub average: Option<Figure>,
    /// What else is different between them: a sentence each.
    pub protocol_differences: Vec<String>,
}

impl RunComparison {
    /// Sets two files beside each other.
    ///
    /// # Errors
    /// As [`compare`], and where a file is a run of another benchmark.
    pub fn of<'a>(
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        first: &'a ScoreFile,
        second: &'a ScoreFile,
        seed: u64,
    ) -> Result<Self, ComparisonError> {
        for file in [first, second] {
            if let Some(run) = file.run.as_ref().filter(|run| run.benchmark != benchmark.name) {
                return Err(ComparisonError::OtherBenchmark {
                    file: file.name.clone(),
                    found: run.benchmark.clone(),
                    expected: benchmark.name,
                });
            }
        }
        let comparison = compare(benchmark, variant, &first.items(), &second.items(), seed)?;
        let (rows, others) = shared(first, second);
        let items = |rows: Vec<&'a ScoredRow>| rows.into_iter().map(ScoredRow::as_item).collect::<Vec<_>>();
        let (one, other) = (items(rows), items(others));
        let agreement = agreement(&one, &other);
        let mean_scores = ensemble(&[one.clone(), other]);
        let together: Vec<ScoredItem<'_>> =
            one.iter().zip(&mean_scores).map(|(item, scores)| ScoredItem { scores, ..*item }).collect();
        let together =
            assess(benchmark, variant, &together, None, seed, false, Effort::FULL).map_err(CompareError::from)?;
        let average =
            together.overall.or(together.partial).or(together.subsets.into_iter().next().map(|named| named.figure));
        Ok(Self { comparison, agreement, average, protocol_differences: unlike(first, second) })
    }
}

/// The rows that both have, in the first's order.
fn shared<'a>(first: &'a ScoreFile, second: &'a ScoreFile) -> (Vec<&'a ScoredRow>, Vec<&'a ScoredRow>) {
    let by_id: HashMap<(&str, &str), &ScoredRow> =
        second.rows.iter().map(|row| ((row.subset.as_str(), row.id.as_str()), row)).collect();
    first.rows.iter().filter_map(|row| Some((row, *by_id.get(&(row.subset.as_str(), row.id.as_str()))?))).unzip()
}

/// What else is different between two runs, so that a difference may come of it.
fn unlike(first: &ScoreFile, second: &ScoreFile) -> Vec<String> {
    let (Some(first), Some(second)) = (&first.run, &second.run) else {
        return vec!["at least one of the files does not say under what its scores came about".to_owned()];
    };
    let (a, b) = (&first.protocol, &second.protocol);
    let pairs = [
        ("dataset", a.dataset_sha256.clone(), b.dataset_sha256.clone()),
        ("dtype", a.dtype.clone(), b.dtype.clone()),
        ("settings", a.settings.clone(), b.settings.clone()),
        ("context tokens", a.context_tokens.to_string(), b.context_tokens.to_string()),
        (
            "date told to templates",
            format!("{:?}", a.template_seconds.map(|s| s / 86_400)),
            format!("{:?}", b.template_seconds.map(|s| s / 86_400)),
        ),
    ];
    pairs
        .into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(what, a, b)| format!("the runs differ in {what}: {a:?} against {b:?}"))
        .collect()
}
