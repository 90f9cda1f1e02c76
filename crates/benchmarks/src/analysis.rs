//! What the scores of a run, or of several runs, say beyond marks: margins, best-of-N, calibration, length, agreement.

use serde::{Deserialize, Serialize};

use crate::ScoredItem;
use crate::statistics::{SplitMix, percentile, roc_auc, spearman};

/// The margin of an item: its worst correct minus its best incorrect score. `None` where a score is NaN, or where there
/// are no correct or no incorrect completions.
pub fn margin(item: &ScoredItem<'_>) -> Option<f64> {
    if item.scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let (correct, incorrect) = item.scores.split_at_checked(item.num_correct)?;
    let worst = correct.iter().copied().reduce(f64::min)?;
    let best = incorrect.iter().copied().reduce(f64::max)?;
    Some(worst - best)
}

/// The probability that the completion with the highest score of `k` drawn is correct, for `k` from 1 to the number of
/// completions. Completions are drawn without replacement, and equal scores are equally likely to be picked.
///
/// The result is exact: the highest score lies in a group of equal scores with the probability that the draw has one of
/// the group and none above it. All zeros where a score is NaN: then no completion is the highest, and the item's mark
/// is 0 too.
pub fn best_of_n_curve(item: &ScoredItem<'_>) -> Vec<f64> {
    let n = item.scores.len();
    if item.scores.iter().any(|score| score.is_nan()) {
        return vec![0.0; n];
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| item.scores[b].total_cmp(&item.scores[a]));
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (place, &at) in order.iter().enumerate() {
        let is_correct = usize::from(at < item.num_correct);
        match groups.last_mut() {
            Some(group) if place > 0 && item.scores[order[place - 1]] == item.scores[at] => {
                group.0 += 1;
                group.1 += is_correct;
            }
            _ => groups.push((1, is_correct)),
        }
    }
    (1..=n)
        .map(|k| {
            // The probability that a draw of k of n has none of the first `above`.
            let none_of =
                |above: usize| (0..k).map(|i| (n - above).saturating_sub(i) as f64 / (n - i) as f64).product::<f64>();
            let (mut above, mut expected) = (0, 0.0);
            for &(size, correct) in &groups {
                expected += (none_of(above) - none_of(above + size)) * correct as f64 / size as f64;
                above += size;
            }
            expected
        })
        .collect()
}

/// The mean of [`best_of_n_curve`] over items, up to the smallest number of completions that an item has.
pub fn best_of_n(items: &[ScoredItem<'_>]) -> Vec<f64> {
    let curves: Vec<Vec<f64>> = items.iter().map(best_of_n_curve).filter(|curve| !curve.is_empty()).collect();
    let shortest = curves.iter().map(Vec::len).min().unwrap_or_default();
    (0..shortest).map(|k| curves.iter().map(|curve| curve[k]).sum::<f64>() / curves.len() as f64).collect()
}

/// A bin of values, with the share of them that is right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Bin {
    /// Its smallest value.
    pub low: f64,
    /// Its largest value.
    pub high: f64,
    /// Number of values in it.
    pub count: usize,
    /// The mean of its values.
    pub mean: f64,
    /// The share of its values that is right, 0 to 1.
    pub right: f64,
}

/// Puts values into at most ten bins of about equal size, equal values into the same bin. Each value comes with whether
/// it is right.
fn deciles(mut values: Vec<(f64, bool)>) -> Vec<Bin> {
    const BINS: usize = 10;
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut bins = Vec::new();
    let mut from = 0;
    for bin in 1..=BINS {
        let mut to = (bin * values.len() / BINS).max(from);
        // Equal values stay together, because their order is arbitrary.
        while to > from && to < values.len() && values[to].0 == values[to - 1].0 {
            to += 1;
        }
        let of = &values[from..to];
        from = to;
        let (Some(first), Some(last)) = (of.first(), of.last()) else {
            continue;
        };
        let count = of.len() as f64;
        bins.push(Bin {
            low: first.0,
            high: last.0,
            count: of.len(),
            mean: of.iter().map(|(value, _)| value).sum::<f64>() / count,
            right: of.iter().filter(|(_, right)| *right).count() as f64 / count,
        });
    }
    bins
}

/// The distribution of the margins of a run's items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Margins {
    /// Number of items with a finite margin.
    pub count: usize,
    /// The 5th, 25th, 50th, 75th and 95th percentile of the margins.
    pub percentiles: [f64; 5],
    /// Bins by the size of the margin regardless of its sign, smallest first: how often the margin is positive.
    pub by_distance: Vec<Bin>,
}

/// The distribution of the items' finite margins; `None` where no item has one.
pub fn margins(items: &[ScoredItem<'_>]) -> Option<Margins> {
    let mut found: Vec<f64> = items.iter().filter_map(margin).filter(|margin| margin.is_finite()).collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by(f64::total_cmp);
    Some(Margins {
        count: found.len(),
        percentiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| percentile(&found, share)),
        by_distance: deciles(found.iter().map(|margin| (margin.abs(), *margin > 0.0)).collect()),
    })
}

/// All pairs of a correct and an incorrect completion of an item: the item's position, the difference of the scores,
/// and the difference of the lengths (NaN where none are given). Pairs without a finite score difference are left out.
fn pairs<'a>(items: &'a [ScoredItem<'_>], lengths: &'a [Vec<f64>]) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
    items.iter().enumerate().flat_map(move |(at, item)| {
        let correct = item.num_correct.min(item.scores.len());
        let length = move |place: usize| lengths.get(at).and_then(|of| of.get(place)).copied().unwrap_or(f64::NAN);
        (0..correct).flat_map(move |i| {
            (correct..item.scores.len())
                .map(move |j| (at, item.scores[i] - item.scores[j], length(i) - length(j)))
                .filter(|(_, difference, _)| difference.is_finite())
        })
    })
}

/// How well the sigmoid of a scaled score difference predicts that the order of the two scores is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Calibration {
    /// What score differences are divided by. 1 where the scores are Bradley-Terry log odds already; otherwise the
    /// median of the five fitted temperatures.
    pub temperature: f64,
    /// Whether the temperature was fitted: for each fifth of the items on the other four.
    pub is_fitted: bool,
    /// Number of pairs of a correct and an incorrect completion.
    pub pairs: usize,
    /// Mean negative logarithm of the probability of the right order, in nats; a coin flip has ln 2.
    pub log_loss: f64,
    /// Bins by the probability of the likelier order: how often that order is right. Pairs with equal scores are left
    /// out.
    pub bins: Vec<Bin>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// `ln(1 + exp(-x))`, the loss of a pair in nats, without overflow for any x.
fn loss(x: f64) -> f64 {
    libm::log1p(libm::exp(-x.abs())) + (-x).max(0.0)
}

/// The inverse temperature that makes the right orders likeliest; the loss is convex in it. The target probability of a
/// right order is `(n + 1) / (n + 2)` instead of 1 (Platt, 1999): otherwise scores without a wrong order would be
/// infinitely sure. `None` where no temperature makes right orders likelier.
fn fit_inverse_temperature(differences: &[f64]) -> Option<f64> {
    let n = differences.len() as f64;
    let scale = differences.iter().map(|d| d.abs()).sum::<f64>() / n.max(1.0);
    let target = (n + 1.0) / (n + 2.0);
    let slope = |b: f64| differences.iter().map(|d| d * (sigmoid(b * d) - target)).sum::<f64>();
    let (mut low, mut high) = (1e-6 / scale, 1e3 / scale);
    if scale == 0.0 || slope(low) >= 0.0 {
        return None;
    }
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Some((low * high).sqrt())
}

/// Calibration over all pairs of a correct and an incorrect completion. Score differences of a model that was trained
/// with the Bradley-Terry loss are log odds as they are. Other differences are divided by a temperature; `seed` deals
/// the items into five folds, and the temperature of each fold is fitted on the other four. `None` without pairs, and
/// where no temperature makes right orders likelier.
pub fn calibration(items: &[ScoredItem<'_>], is_bradley_terry: bool, seed: u64) -> Option<Calibration> {
    const FOLDS: usize = 5;
    let pairs: Vec<(usize, f64)> = pairs(items, &[]).map(|(at, difference, _)| (at, difference)).collect();
    if pairs.is_empty() {
        return None;
    }
    let mut random = SplitMix(seed);
    let folds: Vec<usize> = items.iter().map(|_| random.below(FOLDS)).collect();
    let inverse: Option<Vec<f64>> = (0..FOLDS)
        .map(|fold| {
            if is_bradley_terry {
                return Some(1.0);
            }
            let others: Vec<f64> = pairs.iter().filter(|(at, _)| folds[*at] != fold).map(|(_, d)| *d).collect();
            fit_inverse_temperature(&others)
        })
        .collect();
    let inverse = inverse?;
    let scaled: Vec<f64> = pairs.iter().map(|(at, difference)| difference * inverse[folds[*at]]).collect();
    Some(Calibration {
        temperature: 1.0
            / percentile(
                &{
                    let mut sorted = inverse;
                    sorted.sort_by(f64::total_cmp);
                    sorted
                },
                0.5,
            ),
        is_fitted: !is_bradley_terry,
        pairs: pairs.len(),
        log_loss: scaled.iter().map(|&x| loss(x)).sum::<f64>() / scaled.len() as f64,
        bins: deciles(scaled.iter().filter(|x| **x != 0.0).map(|&x| (sigmoid(x.abs()), x > 0.0)).collect()),
    })
}

/// How scores depend on the length of completions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LengthReport {
    /// Spearman's correlation of score and length over all completions. Each item's mean is subtracted first, because
    /// all completions of an item answer the same prompt.
    pub correlation: Option<f64>,
    /// Spearman's correlation within an item: the mean over the items in which both score and length vary.
    pub correlation_within: Option<f64>,
    /// Share of pairs of a correct and an incorrect completion in the right order, 0 to 1.
    pub accuracy: f64,
    /// The same as if both completions were equally long: the part of a score difference that is linear in the length
    /// difference (by least squares with an intercept) is subtracted first.
    pub accuracy_controlled: f64,
}

/// How scores depend on `lengths`, which holds for each item one length per completion; `None` without pairs.
pub fn length_report(items: &[ScoredItem<'_>], lengths: &[Vec<f64>]) -> Option<LengthReport> {
    let pairs: Vec<(f64, f64)> = pairs(items, lengths)
        .map(|(_, score, length)| (score, length))
        .filter(|(_, length)| length.is_finite())
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let n = pairs.len() as f64;
    let (mean_score, mean_length) =
        (pairs.iter().map(|(s, _)| s).sum::<f64>() / n, pairs.iter().map(|(_, l)| l).sum::<f64>() / n);
    let (mut ll, mut sl) = (0.0, 0.0);
    for (score, length) in &pairs {
        ll += (length - mean_length) * (length - mean_length);
        sl += (score - mean_score) * (length - mean_length);
    }
    let slope = if ll > 0.0 { sl / ll } else { 0.0 };
    let share = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().filter(|(s, l)| of(*s, *l) > 0.0).count() as f64 / n;
    let (mut centred_scores, mut centred_lengths, mut within) = (Vec::new(), Vec::new(), Vec::new());
    for (item, lengths) in items.iter().zip(lengths) {
        let finite = item.scores.iter().zip(lengths).filter(|(score, _)| score.is_finite());
        let (scores, lengths): (Vec<f64>, Vec<f64>) = finite.map(|(score, length)| (*score, *length)).unzip();
        within.extend(spearman(&scores, &lengths));
        for (values, centred) in [(&scores, &mut centred_scores), (&lengths, &mut centred_lengths)] {
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            centred.extend(values.iter().map(|value| value - mean));
        }
    }
    Some(LengthReport {
        correlation: spearman(&centred_scores, &centred_lengths),
        correlation_within: (!within.is_empty()).then(|| within.iter().sum::<f64>() / within.len() as f64),
        accuracy: share(&|score, _| score),
        accuracy_controlled: share(&|score, length| score - slope * length),
    })
}

/// How a run judges the completions of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SourceModel {
    /// The model that wrote the completions.
    pub model: String,
    /// Number of pairs in which its completion is the correct one.
    pub as_correct: usize,
    /// Share of these pairs in the right order, 0 to 1; `None` without pairs.
    pub accuracy_as_correct: Option<f64>,
    /// Number of pairs in which its completion is the incorrect one.
    pub as_incorrect: usize,
    /// Share of these pairs in the right order, 0 to 1; `None` without pairs.
    pub accuracy_as_incorrect: Option<f64>,
}

/// Accuracy over pairs by the model that wrote a completion, the most frequent model first. `models` holds the names
/// for each item; items without exactly one name per completion are left out.
pub fn by_source_model(items: &[ScoredItem<'_>], models: &[&[String]]) -> Vec<SourceModel> {
    let mut found: std::collections::BTreeMap<&str, [(usize, usize); 2]> = std::collections::BTreeMap::new();
    for (item, models) in items.iter().zip(models).filter(|(item, models)| item.scores.len() == models.len()) {
        let correct = item.num_correct.min(item.scores.len());
        for i in 0..correct {
            for j in correct..item.scores.len() {
                let is_right = usize::from(item.scores[i] > item.scores[j]);
                for (side, at) in [(0, i), (1, j)] {
                    let counts = &mut found.entry(&models[at]).or_default()[side];
                    counts.0 += 1;
                    counts.1 += is_right;
                }
            }
        }
    }
    let share = |(of, right): (usize, usize)| (of > 0).then(|| right as f64 / of as f64);
    let mut all: Vec<SourceModel> = found
        .into_iter()
        .map(|(model, [correct, incorrect])| SourceModel {
            model: model.to_owned(),
            as_correct: correct.0,
            accuracy_as_correct: share(correct),
            as_incorrect: incorrect.0,
            accuracy_as_incorrect: share(incorrect),
        })
        .collect();
    all.sort_by_key(|model| std::cmp::Reverse(model.as_correct + model.as_incorrect));
    all
}

/// The area under the ROC curve of scores as a predictor of correctness, over all completions but those with NaN.
/// `None` without correct or without incorrect completions.
pub fn correctness_auc(items: &[ScoredItem<'_>]) -> Option<f64> {
    let (mut correct, mut incorrect) = (Vec::new(), Vec::new());
    for item in items {
        let (right, wrong) = item.scores.split_at(item.num_correct.min(item.scores.len()));
        correct.extend(right.iter().filter(|score| !score.is_nan()));
        incorrect.extend(wrong.iter().filter(|score| !score.is_nan()));
    }
    roc_auc(&correct, &incorrect)
}

/// How often two runs pick the same completion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Agreement {
    /// Share of `items` for which both runs have the same best completion, 0 to 1.
    pub share: f64,
    /// Number of items for which each run has a single best completion.
    pub items: usize,
}

/// How often two runs pick the same completion. `first` and `second` hold the same items in the same order. `None`
/// where no item has a single best completion in both.
pub fn agreement(first: &[ScoredItem<'_>], second: &[ScoredItem<'_>]) -> Option<Agreement> {
    fn best(scores: &[f64]) -> Option<usize> {
        let top = scores.iter().copied().reduce(f64::max)?;
        let mut places = scores.iter().enumerate().filter(|(_, score)| **score == top).map(|(at, _)| at);
        let place = places.next()?;
        (places.next().is_none() && scores.iter().all(|score| !score.is_nan())).then_some(place)
    }
    let both: Vec<bool> =
        first.iter().zip(second).filter_map(|(a, b)| Some(best(a.scores)? == best(b.scores)?)).collect();
    let same = both.iter().filter(|same| **same).count();
    (!both.is_empty()).then(|| Agreement { share: same as f64 / both.len() as f64, items: both.len() })
}

/// The mean of several runs' scores: for each item one score per completion. Each run's scores are first shifted and
/// scaled to mean 0 and standard deviation 1 over all of its finite scores. `runs` hold the same items in the same
/// order.
pub fn ensemble(runs: &[Vec<ScoredItem<'_>>]) -> Vec<Vec<f64>> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let mut mean_scores: Vec<Vec<f64>> = first.iter().map(|item| vec![0.0; item.scores.len()]).collect();
    for run in runs {
        let finite = || run.iter().flat_map(|item| item.scores.iter().copied()).filter(|score| score.is_finite());
        let n = finite().count().max(1) as f64;
        let mean = finite().sum::<f64>() / n;
        let deviation = (finite().map(|score| (score - mean) * (score - mean)).sum::<f64>() / n).sqrt();
        let scale = if deviation > 0.0 { deviation } else { 1.0 };
        for (sums, item) in mean_scores.iter_mut().zip(run) {
            for (sum, score) in sums.iter_mut().zip(item.scores) {
                *sum += (score - mean) / scale / runs.len() as f64;
            }
        }
    }
    mean_scores
}
