//! Intervals, tests, correlations and random numbers. Resampling is seeded and repeats to the last digit on every
//! platform.

use serde::{Deserialize, Serialize};

/// A 95 % confidence interval: in 95 of 100 repetitions such a range holds the true value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// From the 2.5th to the 97.5th percentile of a figure over resamples.
    pub(crate) fn of(mut found: Vec<f64>) -> Self {
        found.sort_by(f64::total_cmp);
        Self { low: percentile(&found, 0.025), high: percentile(&found, 0.975) }
    }

    /// The same; `None` where all resamples are alike, because they do not show how sure the figure is.
    pub(crate) fn of_different(found: Vec<f64>) -> Option<Self> {
        const ROUNDING: f64 = 1e-12;
        let found = (!found.is_empty()).then(|| Self::of(found))?;
        (found.high - found.low > ROUNDING).then_some(found)
    }
}

/// The 95 % Wilson score interval of the share `right / of` (Wilson, 1927); `None` where `of` is 0.
pub fn wilson(right: usize, of: usize) -> Option<Interval> {
    const Z: f64 = 1.959_963_984_540_054;
    if of == 0 {
        return None;
    }
    let (n, share) = (of as f64, right as f64 / of as f64);
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let by = 1.0 + Z * Z / n;
    // Rounding must not leave the share itself outside.
    let low = if right == 0 { 0.0 } else { ((centre - half) / by).max(0.0) };
    let high = if right >= of { 1.0 } else { ((centre + half) / by).min(1.0) };
    Some(Interval { low, high })
}

/// McNemar's exact two-sided test (1947) on the disagreements of two raters: `only_first` items are right by the first
/// only, `only_second` by the second only. Returns the probability of a split at least as uneven if both kinds were
/// equally likely; 1 without disagreements.
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let n = only_first + only_second;
    let fewer = only_first.min(only_second);
    // Adds the terms from the largest down, each divided by the largest: the terms themselves may underflow.
    let ln_term = |k: usize| ln_choose(n, k) - n as f64 * std::f64::consts::LN_2;
    let largest = ln_term(fewer);
    let (mut term, mut sum) = (1.0, 1.0);
    for k in (0..fewer).rev() {
        term *= (k + 1) as f64 / (n - k) as f64;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    (2.0 * libm::exp(largest + libm::log(sum))).min(1.0)
}

/// The natural logarithm of the binomial coefficient.
fn ln_choose(n: usize, k: usize) -> f64 {
    libm::lgamma(n as f64 + 1.0) - libm::lgamma(k as f64 + 1.0) - libm::lgamma((n - k) as f64 + 1.0)
}

/// Holm's correction for several tests (1979). Returns the corrected probabilities in the order of the given ones.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut corrected = vec![0.0; probabilities.len()];
    let mut at_least: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        at_least = at_least.max((probabilities.len() - rank) as f64 * probabilities[at]).min(1.0);
        corrected[at] = at_least;
    }
    corrected
}

/// The rank of each value, from 1; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let alike = order[from..].iter().take_while(|&&at| values[at] == values[order[from]]).count().max(1);
        for &at in &order[from..from + alike] {
            ranks[at] = from as f64 + (alike as f64 + 1.0) / 2.0;
        }
        from += alike;
    }
    ranks
}

/// Pearson's correlation; `None` for fewer than two values or where one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len().min(y.len());
    let mean = |values: &[f64]| values[..n].iter().sum::<f64>() / n.max(1) as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    (n >= 2 && xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

/// Spearman's rank correlation; equal values share the mean of their ranks. `None` as for [`pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

/// The area under the ROC curve: the probability that a positive scores above a negative, where equal scores count one
/// half (Mann and Whitney, 1947). `None` where there are no positives or no negatives.
pub fn roc_auc(positive: &[f64], negative: &[f64]) -> Option<f64> {
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let all: Vec<f64> = positive.iter().chain(negative).copied().collect();
    let sum: f64 = ranks(&all)[..positive.len()].iter().sum();
    let (p, n) = (positive.len() as f64, negative.len() as f64);
    Some((sum - p * (p + 1.0) / 2.0) / (p * n))
}

/// Number of resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// The percentile bootstrap (Efron and Tibshirani, 1993, chapter 13): the 2.5th and the 97.5th percentile of a
/// statistic over [`RESAMPLES`] resamples.
///
/// Each group holds units, and each unit holds the positions that are drawn together. A resample draws from each group
/// as many units as it has, with replacement. `statistic` gets all positions of a resample. `None` where there is
/// nothing to draw from.
pub fn bootstrap(
    groups: &[Vec<Vec<usize>>],
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Option<Interval> {
    if groups.iter().all(Vec::is_empty) {
        return None;
    }
    let mut random = SplitMix(seed);
    let found = (0..RESAMPLES)
        .map(|_| {
            let mut drawn = Vec::new();
            for units in groups {
                for _ in 0..units.len() {
                    drawn.extend_from_slice(&units[random.below(units.len())]);
                }
            }
            statistic(&drawn)
        })
        .collect();
    Some(Interval::of(found))
}

/// Like [`bootstrap`], for the mean of values that are drawn in units. Each unit is the sum and the number of its
/// values.
pub fn bootstrap_mean(units: &[(f64, usize)], seed: u64) -> Option<Interval> {
    if units.is_empty() {
        return None;
    }
    let mut random = SplitMix(seed);
    let found = (0..RESAMPLES)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0);
            for _ in 0..units.len() {
                let unit = units[random.below(units.len())];
                sum += unit.0;
                count += unit.1;
            }
            sum / count.max(1) as f64
        })
        .collect();
    Some(Interval::of(found))
}

/// The value below which `share` (0 to 1) of the values lies, with linear interpolation (the default of NumPy's
/// `quantile`). The values must be in ascending order. NaN where there are none.
pub fn percentile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (place - below as f64)
}

/// The random number generator splitmix64 (Steele, Lea and Flood, 2014). The field is its state, at first the seed.
pub struct SplitMix(pub u64);

impl SplitMix {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finalise(self.0)
    }

    /// A random number below `end`, which must not be 0. It is the high half of a product; its bias is under `end /
    /// 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// A random number above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// A random number from the standard normal distribution (Box and Muller, 1958; the second of each pair is
    /// dropped).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// A random number of successes in `n` trials, each with `probability`: by inversion where fewer than ten are
    /// expected, otherwise by transformed rejection (BTRS of Hörmann, 1993).
    pub fn binomial(&mut self, n: u64, probability: f64) -> u64 {
        if n == 0 || probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return n;
        }
        if probability > 0.5 {
            return n - self.binomial(n, 1.0 - probability);
        }
        let (trials, p, q) = (n as f64, probability, 1.0 - probability);
        if trials * p < 10.0 {
            let odds = p / q;
            let mut share = libm::pow(q, trials);
            let mut left = self.uniform();
            for k in 0..n {
                if left <= share {
                    return k;
                }
                left -= share;
                share *= odds * (trials - k as f64) / (k as f64 + 1.0);
            }
            return n;
        }
        let spread = (trials * p * q).sqrt();
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let centre = trials * p + 0.5;
        let accept = 0.92 - 4.2 / b;
        let alpha = (2.83 + 5.1 / b) * spread;
        let ln_share = |k: f64| k * libm::log(p / q) - libm::lgamma(k + 1.0) - libm::lgamma(trials - k + 1.0);
        let mode = ln_share(((trials + 1.0) * p).floor());
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + centre).floor();
            if !(0.0..=trials).contains(&k) {
                continue;
            }
            if (us >= 0.07 && v <= accept) || libm::log(v * alpha / (a / (us * us) + b)) <= ln_share(k) - mode {
                return k as u64;
            }
        }
    }
}

/// A hash of a text, the same on every platform: FNV-1a, then [`finalise`].
pub fn text_hash(text: &str) -> u64 {
    finalise(
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

/// The finaliser of splitmix64: a permutation of 64-bit numbers that leaves no pattern of its input.
pub fn finalise(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_equal_numpys() {
        let values = [1.0, 2.0, 4.0, 8.0];
        for (share, want) in [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            assert!((percentile(&values, share) - want).abs() < 1e-12, "{share}");
        }
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn an_interval_of_a_mean_is_as_wide_as_theory_says() {
        // 400 coin flips: 1.96 standard errors are 0.049.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mean = |at: &[usize]| at.iter().map(|&i| values[i]).sum::<f64>() / at.len() as f64;
        let single: Vec<Vec<usize>> = (0..400).map(|i| vec![i]).collect();
        let found = bootstrap(&[single], 0, mean).expect("an interval");
        assert!((found.low - 0.451).abs() < 0.006 && (found.high - 0.549).abs() < 0.006, "{found:?}");
        // Equal values in units of four: a quarter as many independent values, so the interval is twice as wide.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i / 4 % 2)).collect();
        let mean = |at: &[usize]| at.iter().map(|&i| values[i]).sum::<f64>() / at.len() as f64;
        let fours: Vec<Vec<usize>> = (0..100).map(|i| (4 * i..4 * i + 4).collect()).collect();
        let wide = bootstrap(&[fours], 0, mean).expect("an interval");
        assert!(((wide.high - wide.low) / (found.high - found.low) - 2.0).abs() < 0.2, "{wide:?}");
        assert_eq!(bootstrap(&[], 0, |_| 0.0), None);
        let sums: Vec<(f64, usize)> = (0..100).map(|i| (4.0 * f64::from(i % 2), 4)).collect();
        assert_eq!(bootstrap_mean(&sums, 0), Some(wide), "the same draws");
    }
}
