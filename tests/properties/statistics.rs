//! Intervals, tests and correlations.

use proptest::collection::vec;
use proptest::prelude::*;
use rewardscope_benchmarks::statistics::{bootstrap_mean, holm, mcnemar, percentile, ranks, roc_auc, spearman, wilson};

use crate::cases;

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn wilsons_interval_holds_the_share_and_is_symmetric((of, right) in (1usize..5000).prop_flat_map(|of| (Just(of), 0..=of))) {
        let share = right as f64 / of as f64;
        let interval = wilson(right, of).unwrap();
        prop_assert!(0.0 <= interval.low && interval.low <= share && share <= interval.high && interval.high <= 1.0);
        let mirrored = wilson(of - right, of).unwrap();
        prop_assert!((interval.low - (1.0 - mirrored.high)).abs() < 1e-12);
        // Ten times the items, the same share: narrower.
        let more = wilson(10 * right, 10 * of).unwrap();
        prop_assert!(more.high - more.low < interval.high - interval.low);
    }

    #[test]
    fn a_bootstrap_lies_within_its_values_and_moves_with_them(
        values in vec(-100.0f64..100.0, 1..40), seed in any::<u64>(), by in -50.0f64..50.0,
    ) {
        let units = |by: f64| -> Vec<(f64, usize)> { values.iter().map(|value| (value + by, 1)).collect() };
        let interval = bootstrap_mean(&units(0.0), seed).unwrap();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(least - 1e-9 <= interval.low && interval.low <= interval.high && interval.high <= largest + 1e-9);
        prop_assert_eq!(bootstrap_mean(&units(0.0), seed).unwrap(), interval);
        let moved = bootstrap_mean(&units(by), seed).unwrap();
        prop_assert!((moved.low - interval.low - by).abs() < 1e-9 && (moved.high - interval.high - by).abs() < 1e-9);
    }

    #[test]
    fn mcnemar_is_symmetric_and_falls_with_unevenness(a in 0usize..400, b in 0usize..400) {
        let found = mcnemar(a, b);
        prop_assert!((0.0..=1.0).contains(&found));
        prop_assert_eq!(found, mcnemar(b, a));
        if a > b {
            prop_assert!(mcnemar(a + 1, b) <= found + 1e-12);
        }
    }

    #[test]
    fn holm_keeps_the_order_and_never_helps(probabilities in vec(0.0f64..=1.0, 0..12)) {
        let corrected = holm(&probabilities);
        for (at, p) in probabilities.iter().enumerate() {
            prop_assert!(corrected[at] >= *p && corrected[at] <= 1.0);
            for (other, q) in probabilities.iter().enumerate() {
                prop_assert!(p > q || corrected[at] <= corrected[other]);
            }
        }
    }

    #[test]
    fn ranks_are_those_of_counting(values in vec((-5i8..5).prop_map(f64::from), 0..40)) {
        for (value, rank) in values.iter().zip(ranks(&values)) {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let alike = values.iter().filter(|other| *other == value).count() as f64;
            prop_assert_eq!(rank, below + (alike + 1.0) / 2.0);
        }
    }

    #[test]
    fn the_area_under_the_curve_is_that_of_pairs(
        positive in vec((-5i8..5).prop_map(f64::from), 1..20), negative in vec((-5i8..5).prop_map(f64::from), 1..20),
    ) {
        let won = |p: &f64, n: &f64| if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
        let sum: f64 = positive.iter().map(|p| negative.iter().map(|n| won(p, n)).sum::<f64>()).sum();
        let area = roc_auc(&positive, &negative).unwrap();
        prop_assert!((area - sum / (positive.len() * negative.len()) as f64).abs() < 1e-12);
        prop_assert!((area + roc_auc(&negative, &positive).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn spearman_sees_order_alone(x in vec(-3.0f64..3.0, 2..30)) {
        let curved: Vec<f64> = x.iter().map(|x| x.exp()).collect();
        if let Some(found) = spearman(&x, &curved) {
            prop_assert!((found - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn percentiles_ascend(mut values in vec(-100.0f64..100.0, 1..40), a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
        values.sort_by(f64::total_cmp);
        let (low, high) = (percentile(&values, a.min(b)), percentile(&values, a.max(b)));
        prop_assert!(values[0] <= low && low <= high && high <= values[values.len() - 1]);
    }
}
