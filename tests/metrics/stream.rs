//! Marking a million items with intervals takes seconds, and no more memory than marking a tenth of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::time::Instant;

use rewardscope_benchmarks::statistics::SplitMix;
use rewardscope_benchmarks::{Assessment, Effort, Marker, ScoredItem, benchmark};
use rewardscope_tests::peak_bytes;

/// RewardBench 2's subsets and their sizes: 1,865 items, of which 102 are Ties.
const SIZES: [(&str, usize); 6] =
    [("Factuality", 475), ("Precise IF", 160), ("Math", 183), ("Safety", 450), ("Focus", 495), ("Ties", 102)];

/// Marks made-up items one after the other, without keeping them. Gives the assessment and the number of items.
fn mark(items: usize) -> (Assessment, usize) {
    let benchmark = benchmark("reward-bench-2").unwrap();
    let mut marker = Marker::new(benchmark, benchmark.variant(None).unwrap(), false);
    let mut random = SplitMix(17);
    let mut id = String::new();
    let mut scores: Vec<f64> = Vec::new();
    let mut marked = 0;
    for round in 0.. {
        for (subset, size) in SIZES {
            for i in 0..size {
                if marked == items {
                    return (marker.assess(0, Effort::FULL).unwrap(), marked);
                }
                id.clear();
                let (correct, all) = if subset == "Ties" {
                    let (kind, correct, all) = if i % 2 == 0 { ("ref", 1, 6) } else { ("tied", 5, 21) };
                    write!(id, "{kind}:{}", (round * size + i) / 2).unwrap();
                    (correct, all)
                } else {
                    write!(id, "{round}-{i}").unwrap();
                    (1, 4)
                };
                scores.clear();
                // Rounded to eighths, so that some items have a shared maximum.
                let score =
                    |place: usize, draw: f64| ((draw + if place < correct { 1.0 } else { 0.0 }) * 8.0).round() / 8.0;
                scores.extend((0..all).map(|place| score(place, random.normal())));
                marker.push(&ScoredItem { id: &id, subset, num_correct: correct, scores: &scores }).unwrap();
                marked += 1;
            }
        }
    }
    unreachable!("the rounds do not end")
}

#[test]
#[cfg(target_os = "linux")]
fn a_million_items_take_seconds_and_no_more_memory() {
    let mut seen = Vec::new();
    for items in [100_000, 1_000_000] {
        let started = Instant::now();
        let (assessment, marked) = mark(items);
        let seconds = started.elapsed().as_secs_f64();
        let peak = peak_bytes();
        println!(
            "{marked} items marked with intervals in {seconds:.2} s: {:.0} items a second, peak memory {:.1} MB",
            marked as f64 / seconds,
            peak as f64 / 1e6
        );
        assert_eq!(assessment.items, items);
        assert_eq!(assessment.subsets.len(), 6);
        assert!(assessment.subsets.iter().all(|subset| subset.figure.ci95.is_some_and(|of| of.high - of.low < 0.05)));
        assert!(assessment.overall.unwrap().ci95.is_some());
        seen.push((seconds, peak));
    }
    assert!(seen[1].0 < 60.0, "{} s", seen[1].0);
    // Only Ties keeps data for each pair, a few numbers.
    assert!(seen[1].1 - seen[0].1 < 64 << 20, "memory grew from {} to {} bytes", seen[0].1, seen[1].1);
}
