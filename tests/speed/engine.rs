//! Prints what scoring costs on this machine's processor: tokens computed and saved, times, and how
//! they grow. `cargo xtask bench` runs it; item lengths lie in `lengths.json`.
#![allow(clippy::unwrap_used, reason = "a program of the tests fails by panicking")]

use std::time::Instant;

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, Dtype, LoadOptions, ModelFiles, Scorer, TokenSequence, device,
};
use rewardscope_store::Source;
use rewardscope_tests::{minilm, root};
use serde_json::{Value, json};

/// Times are medians of so many, after one that is not counted.
const TIMES: usize = 5;

fn load(files: &ModelFiles, dtype: Dtype) -> Scorer {
    let options = LoadOptions { dtype, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn ids(count: usize, first: usize) -> Vec<u32> {
    (0..count).map(|i| ((first * 131 + i * 7919) % 20_000 + 100) as u32).collect()
}

/// Completions of one prompt, no two of which begin alike.
fn item(prompt: usize, completions: &[usize]) -> Vec<TokenSequence> {
    let sequence =
        |(i, &length): (usize, &usize)| TokenSequence::new([ids(prompt, 1), ids(length, 2 + i)].concat(), prompt);
    completions.iter().enumerate().map(sequence).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn once(scorer: &Scorer, sequences: &[TokenSequence]) -> f64 {
    let started = Instant::now();
    block_on(scorer.score_tokens(sequences, Detail::Score, &Cancel::default())).unwrap();
    started.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds of an item with its prompt shared and with each completion by itself, in turn.
fn both(scorer: &Scorer, sequences: &[TokenSequence]) -> [f64; 2] {
    let alone = || sequences.iter().map(|one| once(scorer, std::slice::from_ref(one))).sum::<f64>();
    once(scorer, sequences);
    let times: Vec<[f64; 2]> = (0..TIMES).map(|_| [once(scorer, sequences), alone()]).collect();
    [0, 1].map(|side| median(times.iter().map(|pair| pair[side]).collect()))
}

fn main() {
    let mut rows: Vec<Value> = Vec::new();
    let mut row = |name: &str, values: Value| {
        println!("{name:<58} {values}");
        rows.push(json!({ "name": name, "values": values }));
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let machine = json!({ "cores": cores, "processor": model, "program": env!("CARGO_PKG_VERSION") });
    println!("{machine}");

    let path = root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = Source::file(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask bench fetches it"));
    let smollm2 = ModelFiles::from_sources("SmolLM2", vec![source]).unwrap();
    let lengths: Value = serde_json::from_str(include_str!("lengths.json")).unwrap();
    let list = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };

    let scorer = load(&smollm2, Dtype::Auto);
    for name in ["best-of-4", "ties-20"] {
        let of = &lengths[name];
        let sequences = item(of["prompt"].as_u64().unwrap() as usize, &list(&of["completions"]));
        let seen: usize = sequences.iter().map(|sequence| sequence.input_ids.len()).sum();
        let computed = scorer.computed_tokens(&sequences).unwrap();
        let [shared_ms, alone_ms] = both(&scorer, &sequences);
        // What the count of operations allows, were every token to cost the same.
        let bound = seen as f64 / computed as f64;
        row(
            &format!("SmolLM2, {name}: shared against each by itself"),
            json!({ "tokens_seen": seen, "tokens_computed": computed, "shared_ms": shared_ms, "alone_ms": alone_ms,
                "faster": alone_ms / shared_ms, "bound": bound, "of_the_bound": alone_ms / shared_ms / bound }),
        );
    }
    for dtype in Dtype::ALL {
        let scorer = load(&smollm2, dtype);
        let sequences = item(0, &[512]);
        once(&scorer, &sequences);
        let ms = median((0..TIMES).map(|_| once(&scorer, &sequences)).collect());
        let bytes = scorer.report().device_bytes;
        row(&format!("SmolLM2, 1 x 512, {}", dtype.name()), json!({ "ms": ms, "weight_bytes": bytes }));
    }
    for tokens in [64, 128, 256, 512, 1024, 2048] {
        let sequences = item(0, &[tokens]);
        once(&scorer, &sequences);
        let ms = median((0..3).map(|_| once(&scorer, &sequences)).collect());
        row(
            &format!("SmolLM2, one text of {tokens} tokens"),
            json!({ "ms": ms, "tokens_a_second": tokens as f64 / ms * 1e3 }),
        );
    }
    for count in [1, 2, 4, 8, 16, 32] {
        let sequences = item(80, &vec![20; count]);
        once(&scorer, &sequences);
        let ms = median((0..3).map(|_| once(&scorer, &sequences)).collect());
        let computed = scorer.computed_tokens(&sequences).unwrap();
        row(&format!("SmolLM2, {count} completions of 20 tokens"), json!({ "ms": ms, "tokens_computed": computed }));
    }
    let scorer = load(&minilm(), Dtype::Auto);
    let sequences: Vec<TokenSequence> = (0..4).map(|i| TokenSequence::new(ids(256, i), 1)).collect();
    once(&scorer, &sequences);
    let ms = median((0..TIMES).map(|_| once(&scorer, &sequences)).collect());
    row("MiniLM, 4 x 256", json!({ "ms": ms }));

    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("engine.json");
    let all = json!({ "machine": machine, "rows": rows });
    std::fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    println!("written to target/bench/engine.json");
}
