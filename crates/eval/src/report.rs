//! The report of a run: marks, progress by subset, times and remarks.

use rewardscope_benchmarks::{Assessment, Effort, MarkError, Marks, Ties, assess, marks};
use serde::{Deserialize, Serialize};

use crate::ScoreFile;
use crate::item_report::{ItemReport, rank, texts_of};
use crate::run::{ItemResult, Run, ScoredRow, lengths, scored, values};

/// Most remarks in a report.
const MOST_REMARKS: usize = 1000;

/// The report of a run so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunReport {
    /// Marks with confidence intervals, chance levels, and what always picking the shortest or longest completion gets.
    pub assessment: Assessment,
    /// The components of the Ties score; `None` without Ties items.
    pub ties: Option<Ties>,
    /// The progress of each subset, in the order in which subsets appear.
    pub subset_progress: Vec<SubsetProgress>,
    /// Items that have an outcome, failed ones included.
    pub items_done: usize,
    /// Items selected.
    pub items_total: usize,
    /// Items that could not be scored.
    pub items_failed: usize,
    /// Completions whose conversation was cut at the context limit.
    pub truncated_completions: usize,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens that the model saw without computing them again, because completions share their beginning.
    pub saved_tokens: u64,
    /// Milliseconds spent scoring.
    pub ms: f64,
    /// Notes for the reader, one sentence each: at most 1000.
    pub remarks: Vec<String>,
}

/// The progress of one subset of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetProgress {
    /// The subset's name, as in the rows.
    pub subset: String,
    /// Items that have an outcome.
    pub done: usize,
    /// Items selected.
    pub total: usize,
}

impl Run {
    /// The scored items as rows of a score file.
    pub fn scored_rows(&self) -> Vec<ScoredRow> {
        self.results().iter().filter_map(|result| self.scored_row(result)).collect()
    }

    /// The row of the item that was pushed last; `None` where that item could not be scored.
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

    /// The marks of the items scored so far. The marks of single items are in the order of the scored items.
    ///
    /// # Errors
    /// When the scored items cannot be marked, such as a Ties item with an id of another form.
    pub fn marks(&self) -> Result<Marks, MarkError> {
        let scores: Vec<Vec<f64>> = self.results().iter().map(values).collect();
        let items = scored(self.items(), self.results(), &scores);
        marks(self.benchmark(), self.variant(), &items)
    }

    /// The report of the run so far. Until the run is done, intervals come from fewer bootstrap resamples.
    ///
    /// # Errors
    /// As [`Self::marks`].
    pub fn report(&self) -> Result<RunReport, MarkError> {
        let scores: Vec<Vec<f64>> = self.results().iter().map(values).collect();
        let items = scored(self.items(), self.results(), &scores);
        let ties = marks(self.benchmark(), self.variant(), &items)?.subsets.into_iter().find_map(|mark| mark.ties);
        let lengths: Vec<Vec<f64>> =
            self.results().iter().filter_map(|result| Some(lengths(result.outcome.scores.as_ref().ok()?))).collect();
        let effort = if self.is_done() { Effort::FULL } else { Effort::QUICK };
        let mut assessment = assess(self.benchmark(), self.variant(), &items, Some(&lengths), 0, false, effort)?;
        self.shortfall().qualify(&mut assessment);
        let all = || self.results().iter().flat_map(|result| result.outcome.scores.iter().flatten());
        Ok(RunReport {
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

    /// Everything known about the item at index `place`, with its scores in a second run where given. `None` past the
    /// end.
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
