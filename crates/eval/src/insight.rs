//! What a run's scores show besides the marks: the data behind the plots.

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

/// Number of bars in a histogram.
const BARS: usize = 40;

/// Most completions that a plot shows as single points.
const MOST_POINTS: usize = 2000;

/// One bar of a histogram of scores or of margins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Bar {
    /// The lower end, in score units.
    pub low: f64,
    /// The upper end, in score units.
    pub high: f64,
    /// Of scores: the correct completions in this bar. Of margins: the items with a margin above 0.
    pub correct: usize,
    /// Of scores: the incorrect completions in this bar. Of margins: the items with a margin of 0 or less.
    pub incorrect: usize,
}

/// One completion as a point of the plot of score against length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LengthPoint {
    /// The completion's length, in [`Insight::length_unit`].
    pub length: f64,
    /// The completion's score; always finite.
    pub score: f64,
    /// Whether the completion is correct.
    pub correct: bool,
}

/// What the scores of a run show besides the marks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Insight {
    /// The place of the overall mark among published marks. `None` unless the run covers the whole benchmark and marks
    /// of the benchmark are published.
    pub placement: Option<Placement>,
    /// Histogram of the scores of correct and incorrect completions.
    pub scores: Vec<Bar>,
    /// Histogram of the items' margins: worst correct score minus best incorrect score.
    pub margin_bars: Vec<Bar>,
    /// Percentiles of the margins, and accuracy by size of margin.
    pub margins: Option<Margins>,
    /// Calibration: how well a score difference predicts the probability of the right order.
    pub calibration: Option<Calibration>,
    /// Area under the ROC curve, 0 to 1, where the score predicts that a completion is correct; over all completions.
    pub auc: Option<f64>,
    /// How scores depend on the completions' length.
    pub length: Option<LengthReport>,
    /// Unit of all lengths here.
    pub length_unit: LengthUnit,
    /// A random sample of at most 2000 completions, for the plot of score against length.
    pub points: Vec<LengthPoint>,
    /// Best of n, for n = 1, 2, …: the mean probability, 0 to 1, that the highest score among n random completions of
    /// an item belongs to a correct one.
    pub best_of_n: Vec<f64>,
    /// Accuracy by the model that wrote the completions, most frequent model first.
    pub source_models: Vec<SourceModel>,
}

/// Bars of equal width from the smallest to the largest finite value. Each value comes with whether it counts as
/// correct.
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

/// Every score, with whether its completion is correct.
fn scores(items: &[ScoredItem<'_>]) -> Vec<(f64, bool)> {
    let of = |item: &ScoredItem<'_>| {
        let correct = item.num_correct;
        item.scores.iter().enumerate().map(|(place, &score)| (score, place < correct)).collect::<Vec<_>>()
    };
    items.iter().flat_map(of).collect()
}

impl Insight {
    /// Computes everything from scored items. `lengths` holds one length per completion, by item; `models` the
    /// models that wrote the completions, by item.
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
        // A random sample: a fixed stride could always pick the same position of each item.
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
    /// What the scores so far show besides the marks. `assessment` is that of the run's report, `model` the model that
    /// scored.
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
    /// What the file's scores show besides the marks in `assessment`.
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
