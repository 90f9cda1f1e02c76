//! Compares files of scores: [`compare()`] over the items that two files share, and other differences between the runs
//! that may explain a difference in marks.

use std::collections::HashMap;

use rewardscope_benchmarks::analysis::{Agreement, agreement, ensemble};
use rewardscope_benchmarks::compare::{CompareError, Comparison, same_form};
use rewardscope_benchmarks::{Benchmark, Effort, Figure, ScoredItem, Variant, assess, compare};
use serde::{Deserialize, Serialize};

use crate::{ScoreFile, ScoredRow};

/// Why files of scores cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ComparisonError {
    /// The scores cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// One file is a run of another benchmark.
    #[error("comparing {file}: it is a run of {found}, not of {expected}; name it with --benchmark")]
    OtherBenchmark {
        /// The file's name.
        file: String,
        /// The benchmark of the run.
        found: String,
        /// The benchmark that was asked for.
        expected: &'static str,
    },
}

/// Two runs compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunComparison {
    /// The difference of their marks, over the items that both have.
    pub comparison: Comparison,
    /// How often they agree, the mark of their average, and other differences between them.
    pub together: RunsTogether,
}

/// Two or more runs, over the items that all of them have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunsTogether {
    /// Number of items that all runs have.
    pub items: usize,
    /// Which mark is compared: `overall`, `partial mean`, or the name of the only subset.
    pub mark: String,
    /// That mark of each run, in the order of the files.
    pub marks: Vec<Figure>,
    /// For each pair of runs, how often both pick the same completion: `[run][run]`, in the order of the files.
    pub agreement: Vec<Vec<Option<Agreement>>>,
    /// The mark of the ensemble: each run's scores are scaled to mean 0 and standard deviation 1, then averaged.
    pub average: Figure,
    /// Differences between the runs, and what was left out: one sentence each.
    pub remarks: Vec<String>,
}

impl RunsTogether {
    /// Compares files over the items that all of them have. `seed` is that of the confidence intervals.
    ///
    /// # Errors
    /// When a file is a run of another benchmark, when the files share no item, when an item has different numbers of
    /// completions in them, or when the items cannot be marked.
    pub fn of(
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        files: &[&ScoreFile],
        seed: u64,
    ) -> Result<Self, ComparisonError> {
        refuse_others(benchmark, files)?;
        let by_id: Vec<HashMap<(&str, &str), &ScoredRow>> = files
            .iter()
            .map(|file| file.rows.iter().map(|row| ((row.subset.as_str(), row.id.as_str()), row)).collect())
            .collect();
        let mut runs: Vec<Vec<ScoredItem<'_>>> = vec![Vec::new(); files.len()];
        for row in files.iter().take(1).flat_map(|file| &file.rows) {
            let key = (row.subset.as_str(), row.id.as_str());
            let Some(rows) = by_id.iter().map(|rows| rows.get(&key).copied()).collect::<Option<Vec<_>>>() else {
                continue;
            };
            for (run, other) in runs.iter_mut().zip(rows) {
                same_form(&row.as_item(), &other.as_item())?;
                run.push(other.as_item());
            }
        }
        let items = runs.first().map_or(0, Vec::len);
        if items == 0 {
            let rows = |at: usize| files.get(at).map_or(0, |file| file.rows.len());
            return Err(CompareError::NothingShared { first: rows(0), second: rows(1) }.into());
        }
        let figure = |items: &[ScoredItem<'_>]| -> Result<Option<(String, Figure)>, ComparisonError> {
            let found =
                assess(benchmark, variant, items, None, seed, false, Effort::FULL).map_err(CompareError::from)?;
            let whole = found.overall.map(|figure| ("overall".to_owned(), figure));
            let partial = found.partial.map(|figure| ("partial mean".to_owned(), figure));
            Ok(whole.or(partial).or(found.subsets.into_iter().next().map(|named| (named.name, named.figure))))
        };
        let mut remarks = Vec::new();
        for (at, (file, run)) in files.iter().zip(&runs).enumerate() {
            let less = file.rows.len().saturating_sub(items);
            if less > 0 {
                remarks.push(format!(
                    "{less} of the {} items of {} are not in all files and are left out",
                    file.rows.len(),
                    file.name
                ));
            }
            let odd = run.iter().filter(|item| item.scores.iter().any(|score| !score.is_finite())).count();
            if odd > 0 {
                remarks.push(format!(
                    "{odd} items of {} have a score that is NaN or infinite: they are marked as the reference marks them, and have no part in agreement or a sound average",
                    file.name
                ));
            }
            if at > 0 {
                remarks.extend(unlike(files[0], file));
            }
        }
        let mean_scores = ensemble(&runs);
        let first = runs.first().map(Vec::as_slice).unwrap_or_default();
        let together: Vec<ScoredItem<'_>> =
            first.iter().zip(&mean_scores).map(|(item, scores)| ScoredItem { scores, ..*item }).collect();
        let marks: Option<Vec<(String, Figure)>> = runs.iter().map(|run| figure(run)).collect::<Result<_, _>>()?;
        let Some((marks, (mark, average))) = marks.zip(figure(&together)?) else {
            return Err(CompareError::NothingShared { first: items, second: items }.into());
        };
        let marks = marks.into_iter().map(|(_, figure)| figure).collect();
        let agreement = runs.iter().map(|one| runs.iter().map(|other| agreement(one, other)).collect()).collect();
        Ok(Self { items, mark, marks, agreement, average, remarks })
    }
}

/// Refuses run files of another benchmark. Other files do not name their benchmark, so the caller's is assumed.
fn refuse_others(benchmark: &'static Benchmark, files: &[&ScoreFile]) -> Result<(), ComparisonError> {
    for file in files {
        if let Some(run) = file.run.as_ref().filter(|run| run.benchmark != benchmark.name) {
            return Err(ComparisonError::OtherBenchmark {
                file: file.name.clone(),
                found: run.benchmark.clone(),
                expected: benchmark.name,
            });
        }
    }
    Ok(())
}

impl RunComparison {
    /// Compares two files. `seed` is that of the confidence intervals.
    ///
    /// # Errors
    /// As [`compare()`], and when a file is a run of another benchmark.
    pub fn of(
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        first: &ScoreFile,
        second: &ScoreFile,
        seed: u64,
    ) -> Result<Self, ComparisonError> {
        refuse_others(benchmark, &[first, second])?;
        Ok(Self {
            comparison: compare(benchmark, variant, &first.items(), &second.items(), seed)?,
            together: RunsTogether::of(benchmark, variant, &[first, second], seed)?,
        })
    }
}

/// Differences in the conditions of two runs, which may explain a difference in marks: one sentence each.
fn unlike(first: &ScoreFile, second: &ScoreFile) -> Vec<String> {
    let (one, other) = (&first.name, &second.name);
    let (Some(first), Some(second)) = (&first.run, &second.run) else {
        return vec![format!(
            "{one} or {other} holds scores without the model and settings that gave them, so differences in these are unknown"
        )];
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
        .map(|(what, a, b)| format!("the runs differ in {what}: {a:?} in {one}, {b:?} in {other}"))
        .collect()
}
