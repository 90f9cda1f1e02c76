//! What a run's scores say beside its marks, as plots show it.

use rewardscope_benchmarks::analysis::{
    Calibration, LengthReport, Margins, SourceModel, best_of_n, by_source_model, calibration, correctness_auc,
    length_report, margin, margins,
};
use rewardscope_benchmarks::published::{MadeUnder, Placement, placement};
use rewardscope_benchmarks::statistics::SplitMix;
use rewardscope_benchmarks::{Assessment, ScoredItem};
use rewardscope_engine::ModelReport;
use serde::{Deserialize, Serialize};

use crate::run::{Run, lengths};
use crate::{LengthUnit, ScoreFile, ScoredRow};

/// Bars of a histogram.
const BARS: usize = 40;

/// Completions that are drawn one by one, at most.
const MOST_POINTS: usize = 2000;

/// A bar of a histogram of scores, or of margins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Bar {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Correct completions in it, or items with the correct ones above.
    pub correct: usize,
    /// The others.
    pub incorrect: usize,
}

/// A completion as a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LengthPoint {
    /// Its length, in [`Insight::length_unit`].
    pub length: f64,
    /// Its score.
    pub score: f64,
    /// Whether it is correct.
    pub correct: bool,
}

/// What scores say beside the marks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Insight {
    /// Where the overall mark stands among published ones.
    pub placement: Option<Placement>,
    /// The scores of correct and incorrect completions.
    pub scores: Vec<Bar>,
    /// The margins of the items.
    pub margin_bars: Vec<Bar>,
    /// What margins come to, and accuracy by them.
    pub margins: Option<Margins>,
    /// How well differences say how often they are right.
    pub calibration: Option<Calibration>,
    /// The area under the ROC curve of scores as a sign of correctness, over all completions.
    pub auc: Option<f64>,
    /// Score against length.
    pub length: Option<LengthReport>,
    /// What lengths are counted in.
    pub length_unit: LengthUnit,
    /// Some of the completions, chosen by chance.
    pub points: Vec<LengthPoint>,
    /// The expected mark of picking the best of 1, 2, … completions.
    pub best_of_n: Vec<f64>,
    /// Accuracy by who wrote the completions.
    pub source_models: Vec<SourceModel>,
}

/// Bars of equal width between the smallest and the largest of some values, each right or not.
fn bars(values: &[(f64, bool)]) -> Vec<Bar> {
    let finite = || values.iter().filter(|(value, _)| value.is_finite());
    let ends = finite().map(|(value, _)| (*value, *value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let Some((low, high)) = ends else {
        return Vec::new();
    };
    let width = if high > low { (high - low) / BARS as f64 } else { 1.0 };
    let bar =
        |i: usize| Bar { low: low + i as f64 * width, high: low + (i + 1) as f64 * width, correct: 0, incorrect: 0 };
    let mut bars: Vec<Bar> = (0..if high > low { BARS } else { 1 }).map(bar).collect();
    let last = bars.len() - 1;
    for (value, is_right) in finite() {
        let bar = &mut bars[(((value - low) / width) as usize).min(last)];
        if *is_right { bar.correct += 1 } else { bar.incorrect += 1 }
    }
    bars
}

/// Every score, with whether it is a correct completion's.
fn scores(items: &[ScoredItem<'_>]) -> Vec<(f64, bool)> {
    let of = |item: &ScoredItem<'_>| {
        let correct = item.num_correct;
        item.scores.iter().enumerate().map(|(place, &score)| (score, place < correct)).collect::<Vec<_>>()
    };
    items.iter().flat_map(of).collect()
}

impl Insight {
    /// Of scored items, a length of each completion, and who wrote them.
    fn of(
        assessment: &Assessment,
        placement: Option<Placement>,
        items: &[ScoredItem<'_>],
        (lengths, length_unit): (&[Vec<f64>], LengthUnit),
        models: &[&[String]],
        is_bradley_terry: bool,
    ) -> Self {
        let points = || {
            items.iter().zip(lengths).flat_map(|(item, lengths)| {
                item.scores.iter().zip(lengths).enumerate().map(|(place, (&score, &length))| LengthPoint {
                    length,
                    score,
                    correct: place < item.num_correct,
                })
            })
        };
        // By chance: every so many would pick the same place of every item.
        let all = points().count();
        let mut random = SplitMix(assessment.seed);
        let mut chosen = 0;
        let mut is_chosen = |at: usize| {
            let is = random.below(all - at) < MOST_POINTS.saturating_sub(chosen).min(all);
            chosen += usize::from(is);
            is
        };
        let sample: Vec<LengthPoint> = points()
            .enumerate()
            .filter(|(at, _)| is_chosen(*at))
            .map(|(_, point)| point)
            .filter(|point| point.score.is_finite())
            .collect();
        Self {
            placement,
            scores: bars(&scores(items)),
            margin_bars: bars(&items.iter().filter_map(margin).map(|of| (of, of > 0.0)).collect::<Vec<_>>()),
            margins: margins(items),
            calibration: calibration(items, is_bradley_terry, assessment.seed),
            auc: correctness_auc(items),
            length: length_report(items, lengths),
            length_unit,
            points: sample,
            best_of_n: best_of_n(items),
            source_models: by_source_model(items, models),
        }
    }
}

impl Run {
    /// What the run's scores say so far, beside the marks in its report.
    pub fn insight(&self, assessment: &Assessment, model: &ModelReport) -> Insight {
        let rows = self.scored_rows();
        let items: Vec<ScoredItem<'_>> = rows.iter().map(ScoredRow::as_item).collect();
        let scored =
            || self.results().iter().filter_map(|result| Some((result.item, result.outcome.scores.as_ref().ok()?)));
        let lengths: Vec<Vec<f64>> = scored().map(|(_, scores)| lengths(scores)).collect();
        let models: Vec<&[String]> = scored().map(|(item, _)| self.items()[item].models.as_slice()).collect();
        let lengths = (lengths.as_slice(), LengthUnit::Tokens);
        let under = MadeUnder {
            dtype: Some(model.dtype.name().to_owned()),
            length_limit: Some(model.context_tokens),
            template: Some(model.template.clone()),
        };
        let overall = assessment.overall.as_ref();
        let stands = overall.and_then(|all| placement(&assessment.benchmark, assessment.items, all.score, &under));
        Insight::of(assessment, stands, &items, lengths, &models, model.head.is_some())
    }
}

impl ScoreFile {
    /// What the file's scores say beside the marks of `assessment`.
    pub fn insight(&self, assessment: &Assessment) -> Insight {
        let models: Vec<&[String]> = self.models.iter().map(Vec::as_slice).collect();
        let lengths = (self.lengths.as_deref().unwrap_or_default(), self.length_unit);
        let stands = self.placement(assessment);
        Insight::of(assessment, stands, &self.items(), lengths, &models, self.is_bradley_terry())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_count_every_finite_score_once() {
        let scores = [[2.0, 1.0, f64::NAN], [0.0, 4.0, f64::INFINITY]];
        let items: Vec<ScoredItem<'_>> =
            scores.iter().map(|scores| ScoredItem { id: "1", subset: "Math", num_correct: 1, scores }).collect();
        let bars = bars(&super::scores(&items));
        let sum = |of: fn(&Bar) -> usize| bars.iter().map(of).sum::<usize>();
        assert_eq!((bars.len(), sum(|bar| bar.correct), sum(|bar| bar.incorrect)), (BARS, 2, 2));
        assert_eq!((bars[0].low, bars[BARS - 1].incorrect), (0.0, 1));
        let same = [1.0, 1.0];
        let one = super::bars(&super::scores(&[ScoredItem { id: "1", subset: "Math", num_correct: 1, scores: &same }]));
        assert_eq!((one.len(), one[0].correct, one[0].incorrect), (1, 1, 1));
    }
}
