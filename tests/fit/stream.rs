//! A fit on fifty thousand pairs needs little memory, because their features are in a file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use pollster::block_on;
use rewardscope_benchmarks::statistics::SplitMix;
use rewardscope_engine::Cancel;
use rewardscope_fit::{FeatureCache, Pair, learn};
use rewardscope_tests::{made_up, made_up_header, peak_bytes, scratch};

const PAIRS: usize = 50_000;

#[test]
#[cfg(target_os = "linux")]
fn fifty_thousand_pairs_stream() {
    // With --all as wide as the default backbone; otherwise just wide enough that the features are not held in memory.
    let width = if std::env::var("REWARDSCOPE_ALL").is_ok_and(|all| all == "1") { 576 } else { 344 };
    let path = scratch("stream").join("features.bin");
    let mut cache = block_on(FeatureCache::open(&path, made_up_header(width))).unwrap();
    let mut random = SplitMix(1);
    // Four numbers of each draw, and a direction along the first of them: this is compiled without optimisation.
    let mut uniform = |values: &mut [f32]| {
        for four in values.chunks_mut(4) {
            let bits = random.bits();
            for (place, value) in four.iter_mut().enumerate() {
                *value = f32::from((bits >> (16 * place)) as u16) / f32::from(u16::MAX) - 0.5;
            }
        }
    };
    let mut direction = [0.0f32; 64];
    uniform(&mut direction);
    let mut pairs = Vec::with_capacity(PAIRS);
    for i in 0..PAIRS as u32 {
        let mut states = [vec![0.0; width], vec![0.0; width]];
        states.iter_mut().for_each(|state| uniform(state));
        let score = |state: &Vec<f32>| state.iter().zip(&direction).map(|(a, b)| a * b).sum::<f32>();
        // One pair in five has the wrong label.
        if (score(&states[0]) < score(&states[1])) != (i % 5 == 0) {
            states.swap(0, 1);
        }
        cache.push(u64::from(2 * i), &states[0]).unwrap();
        cache.push(u64::from(2 * i + 1), &states[1]).unwrap();
        let prompt = u64::from(i / 2);
        pairs.push(Pair { chosen: 2 * i, rejected: 2 * i + 1, prompt, subset: None, characters: [1, 1] });
    }
    let gathered = made_up(pairs);
    let file = std::fs::metadata(&path).unwrap().len();
    let started = Instant::now();
    let learned = block_on(learn(&gathered, &cache, 0, &Cancel::default(), &mut |_| {})).unwrap();
    let peak = peak_bytes();
    println!(
        "{PAIRS} pairs, {width} wide, {:.0} MB of features: {:.1} s, peak {:.0} MB; held-out accuracy {:.4}",
        file as f64 / 1e6,
        started.elapsed().as_secs_f64(),
        peak as f64 / 1e6,
        learned.report.accuracy.value
    );
    assert!(peak < 128_000_000, "peak {peak} bytes");
    assert!((0.75..0.80).contains(&learned.report.accuracy.value), "{:?}", learned.report.accuracy);
    std::fs::remove_file(&path).unwrap();
}
