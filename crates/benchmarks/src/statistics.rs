//! How sure a figure is. Resampling is seeded and repeats to the last digit anywhere.

use serde::{Deserialize, Serialize};

/// A range that holds the true value in 95 of 100 repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Between the 2.5th and the 97.5th percentile of what resamples gave.
    fn of(mut found: Vec<f64>) -> Self {
        found.sort_by(f64::total_cmp);
        Self { low: percentile(&found, 0.025), high: percentile(&found, 0.975) }
    }
}

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// The percentile bootstrap (Efron and Tibshirani, 1993, chapter 13): the 2.5th and the 97.5th
/// percentile of a statistic over resamples. `statistic` gets the positions of a resample: for each
/// group of `groups` as many of its units as it has, drawn with replacement, each unit the positions
/// that stand or fall together. `None` where there is nothing to draw from.
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

/// As [`bootstrap`], for a mean over units of several values each, given as sums and counts.
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

/// The value below which a share of ascending values lies, with linear interpolation (the default
/// of NumPy's `quantile`); NaN for none.
pub fn percentile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (place - below as f64)
}

/// splitmix64 (Steele, Lea and Flood, 2014).
pub struct SplitMix(pub u64);

impl SplitMix {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finalise(self.0)
    }

    /// A number below `end`, which must not be 0: the high half of a product, whose bias is under
    /// `end / 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }
}

/// splitmix64's finaliser: a permutation that leaves no pattern of its input.
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
        // Four at a time that are alike: half as many degrees of freedom each way, twice as wide.
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
