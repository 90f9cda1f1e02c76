use rewardscope_benchmarks::reward_bench_2::Ties;
use rewardscope_benchmarks::{Assessment, Effort, MarkError, Marks, ScoredItem, Turn, assess, marks};
use serde::{Deserialize, Serialize};

use crate::explore::{rank, texts_of};
use crate::{CompletionScore, ItemResult, Run, ScoreFile, json_floats, scored};

/// Remarks that a report has, at most.
const MOST_REMARKS: usize = 1000;

/// What a run has come to so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Report {
    /// Marks with intervals, chance levels and what length alone gets.
    pub assessment: Assessment,
    /// The parts of the Ties score, where there are such items.
    pub ties: Option<Ties>,
    /// How far each subset is, in the order in which they appear.
    pub subset_progress: Vec<SubsetProgress>,
    /// Items that were tried.
    pub items_done: usize,
    /// Items selected.
    pub items_total: usize,
    /// Items that could not be scored.
    pub items_failed: usize,
    /// Completions whose conversation was cut at the context's end.
    pub truncated_completions: usize,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens seen that were not computed again, for completions begin alike.
    pub saved_tokens: u64,
    /// Milliseconds spent scoring.
    pub ms: f64,
    /// What the reader should know: a sentence each.
    pub remarks: Vec<String>,
}

/// How far a subset of a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetProgress {
    /// As the rows call it.
    pub subset: String,
    /// Items that were tried.
    pub done: usize,
    /// Items selected.
    pub total: usize,
}

/// One line of a list of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemSummary {
    /// What opens it.
    pub item: usize,
    /// Its id.
    pub id: String,
    /// Its subset.
    pub subset: String,
    /// The beginning of its prompt; empty where the texts are not at hand.
    pub prompt: String,
    /// Its mark; `None` where it was not scored.
    pub mark: Option<f64>,
    /// Worst correct minus best incorrect score; none where a score is NaN.
    pub margin: Option<f64>,
    /// The mark that a second run gives it.
    pub other_mark: Option<f64>,
    /// The margin of a second run.
    pub other_margin: Option<f64>,
    /// Whether a completion of it was cut.
    pub truncated: bool,
}

/// An item with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemReport {
    /// Its id.
    pub id: String,
    /// Its subset.
    pub subset: String,
    /// The conversation that the completions answer; empty where the texts are not at hand.
    pub turns: Vec<Turn>,
    /// Its completions, in the dataset's order.
    pub completions: Vec<CompletionReport>,
    /// Why it could not be scored.
    pub error: Option<String>,
    /// What the reader should know: a sentence each.
    pub remarks: Vec<String>,
}

/// A completion with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct CompletionReport {
    /// The completion.
    pub text: String,
    /// Whether the dataset calls it correct.
    pub correct: bool,
    /// Its score, where there is one.
    pub score: Option<f64>,
    /// Its place among the item's completions, best first, from 1; equal scores share a place, NaN
    /// has none.
    pub rank: Option<usize>,
    /// Tokens of the conversation that the model saw.
    pub tokens: Option<usize>,
    /// Tokens that were cut off.
    pub cut_tokens: Option<usize>,
    /// The score that a second run gives it.
    pub other_score: Option<f64>,
    /// Its place there.
    pub other_rank: Option<usize>,
}

/// A row of a score file: what marking needs, correct completions first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ScoredRow {
    /// As in the dataset.
    pub id: String,
    /// As in the dataset.
    pub subset: String,
    /// How many scores, from the front, are correct completions'.
    pub num_correct: usize,
    /// One a completion. NaN and infinities are written as texts.
    #[serde(with = "json_floats")]
    pub scores: Vec<f64>,
}

impl ScoredRow {
    /// The row as the benchmarks take it.
    pub fn as_item(&self) -> ScoredItem<'_> {
        ScoredItem { id: &self.id, subset: &self.subset, num_correct: self.num_correct, scores: &self.scores }
    }
}

pub(crate) fn values(result: &ItemResult) -> Vec<f64> {
    result.outcome.scores.iter().flatten().map(|score| score.score).collect()
}

impl Run {
    /// The scored items as rows of a score file.
    pub fn scored_rows(&self) -> Vec<ScoredRow> {
        self.results().iter().filter_map(|result| self.scored_row(result)).collect()
    }

    /// The row of the item that was pushed last; `None` where it could not be scored.
    pub fn last_scored_row(&self) -> Option<ScoredRow> {
        self.scored_row(self.results().last()?)
    }

    fn scored_row(&self, result: &ItemResult) -> Option<ScoredRow> {
        let scores = result.outcome.scores.as_ref().ok()?;
        let item = &self.items()[result.item];
        Some(ScoredRow {
            id: item.id.clone(),
            subset: item.subset.clone(),
            num_correct: item.num_correct,
            scores: scores.iter().map(|score| score.score).collect(),
        })
    }

    /// The marks of what was scored so far; those of the items are in their order.
    ///
    /// # Errors
    /// When the scored items cannot be marked, such as a Ties id of another form.
    pub fn marks(&self) -> Result<Marks, MarkError> {
        let scores: Vec<Vec<f64>> = self.results().iter().map(values).collect();
        let items = scored(self.items(), self.results(), &scores);
        marks(self.benchmark, &self.benchmark.variants[0], &items)
    }

    /// What the run has come to so far.
    ///
    /// # Errors
    /// As [`Self::marks`].
    pub fn report(&self) -> Result<Report, MarkError> {
        let scores: Vec<Vec<f64>> = self.results().iter().map(values).collect();
        let items = scored(self.items(), self.results(), &scores);
        let variant = &self.benchmark.variants[0];
        let ties = marks(self.benchmark, variant, &items)?.subsets.into_iter().find_map(|mark| mark.ties);
        let lengths: Vec<Vec<f64>> =
            self.results().iter().filter_map(|result| Some(lengths(result.outcome.scores.as_ref().ok()?))).collect();
        let effort = if self.is_done() { Effort::FULL } else { Effort::QUICK };
        let mut assessment = assess(self.benchmark, variant, &items, Some(&lengths), 0, false, effort)?;
        self.shortfall().qualify(&mut assessment);
        let all = || self.results().iter().flat_map(|result| result.outcome.scores.iter().flatten());
        Ok(Report {
            assessment,
            ties,
            subset_progress: self.subset_progress(),
            items_done: self.results().len(),
            items_total: self.items().len(),
            items_failed: self.results().iter().filter(|result| result.outcome.scores.is_err()).count(),
            truncated_completions: all().filter(|score| score.truncated()).count(),
            tokens: self.results().iter().map(|result| result.outcome.computed_tokens as u64).sum(),
            saved_tokens: self.results().iter().map(|result| result.outcome.saved_tokens() as u64).sum(),
            ms: self.results().iter().map(|result| result.outcome.ms).sum(),
            remarks: self
                .device_remark()
                .into_iter()
                .chain(self.results().iter().flat_map(|result| {
                    result.outcome.scores.as_ref().err().into_iter().chain(&result.outcome.remarks).cloned()
                }))
                .take(MOST_REMARKS)
                .collect(),
        })
    }

    fn subset_progress(&self) -> Vec<SubsetProgress> {
        let mut subsets: Vec<SubsetProgress> = Vec::new();
        for (place, item) in self.items().iter().enumerate() {
            let at = subsets.iter().position(|of| of.subset == item.subset).unwrap_or_else(|| {
                subsets.push(SubsetProgress { subset: item.subset.clone(), done: 0, total: 0 });
                subsets.len() - 1
            });
            subsets[at].total += 1;
            subsets[at].done += usize::from(place < self.results().len());
        }
        subsets
    }

    /// All that is known of one item, and what a second run says of it; `None` past the end.
    pub fn item_report(&self, place: usize, second: Option<&ScoreFile>) -> Option<ItemReport> {
        let mut report = texts_of(self.items().get(place)?);
        report.take_file(second, true);
        let Some(result) = self.results().get(place) else {
            return Some(report);
        };
        let scores = values(result);
        for (i, (completion, seen)) in
            report.completions.iter_mut().zip(result.outcome.scores.iter().flatten()).enumerate()
        {
            completion.score = Some(seen.score);
            completion.rank = rank(&scores, i);
            completion.tokens = Some(seen.tokens);
            completion.cut_tokens = Some(seen.cut_tokens);
        }
        report.error = result.outcome.scores.as_ref().err().cloned();
        report.remarks = result.outcome.remarks.clone();
        Some(report)
    }
}

/// Tokens of each completion's conversation, cut or not: the prompt is the same in all.
pub(crate) fn lengths(scores: &[CompletionScore]) -> Vec<f64> {
    scores.iter().map(|score| (score.tokens + score.cut_tokens) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_json_cannot_write_survive() {
        let row = ScoredRow {
            id: "1".to_owned(),
            subset: "Math".to_owned(),
            num_correct: 1,
            scores: vec![-0.3812131881713867, f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
        };
        let text = serde_json::to_string(&row).expect("JSON");
        let back: ScoredRow = serde_json::from_str(&text).expect("read");
        assert_eq!(back.scores[0].to_bits(), row.scores[0].to_bits());
        assert!(back.scores[1].is_nan());
        assert_eq!(back.scores[2..], row.scores[2..]);
    }

    #[test]
    fn nested_scores_are_read() {
        let row: ScoredRow =
            serde_json::from_str(r#"{"id":"1","subset":"Ties","num_correct":1,"scores":[[2.5],[1]]}"#).expect("read");
        assert_eq!(row.scores, [2.5, 1.0]);
    }
}
