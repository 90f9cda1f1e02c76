//! Weights in f16, 8 and 4 bits. Weights that are stored in these types score as in f32. Weights that are converted to
//! them keep the order of what is scored.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, Dtype, LoadOptions, Message, ModelFiles, Pooling, RewardHead, Scorer,
    TokenSequence, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, minilm, root, sample_rows};

fn load(files: &ModelFiles, head: Option<&RewardHead>, choice: DeviceChoice, dtype: Dtype) -> Scorer {
    let options = LoadOptions { dtype, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let device = block_on(device::open(choice)).unwrap();
    block_on(Scorer::load(files, head, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn folder(name: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("parity/{name}"))).unwrap();
    ModelFiles::from_sources(name, folder.sources().cloned().collect()).unwrap()
}

fn smollm2() -> ModelFiles {
    let path = root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = Source::file(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask test fetches it"));
    ModelFiles::from_sources("SmolLM2", vec![source]).unwrap()
}

fn scores(scorer: &Scorer, sequences: &[TokenSequence]) -> Vec<f64> {
    let scores = block_on(scorer.score_tokens(sequences, Detail::Score, &Cancel::default())).unwrap();
    scores.into_iter().map(|score| score.score).collect()
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Weights stored as f16, bf16 (the upper half of f32) and blocks of four bits.
#[test]
fn what_is_stored_in_few_bits_scores_as_in_f32() {
    let ids = |first: u32| TokenSequence::new((0..40).map(|i| (first + i * 37) % 300 + 5).collect(), 20);
    let sequences = [ids(1), ids(2), ids(3)];
    for (name, files) in [
        ("llama_gqa_tied", folder("llama_gqa_tied")),
        ("modernbert_mean", folder("modernbert_mean")),
        ("SmolLM2", smollm2()),
    ] {
        let whole = load(&files, None, DeviceChoice::Cpu, Dtype::F32);
        let want = scores(&whole, &sequences);
        let packed = load(&files, None, DeviceChoice::Cpu, Dtype::Auto);
        let (whole, packed_bytes) = (whole.report().device_bytes, packed.report().device_bytes);
        let apart = largest(&scores(&packed, &sequences), &want);
        println!("{name}: {packed_bytes} bytes as stored, {whole} in f32, scores {apart:.1e} apart on the CPU");
        assert!(apart < 2e-5, "{name}: {apart:e}");
        assert!((packed_bytes as f64) < 0.7 * whole as f64, "{name}: {packed_bytes} of {whole}");
        if name != "SmolLM2" {
            let on_gpu = load(&files, None, DeviceChoice::Gpu, Dtype::Auto);
            let apart = largest(&scores(&on_gpu, &sequences), &want);
            assert!(apart < 1e-4, "{name} on the GPU: {apart:e}");
        }
    }
}

#[test]
fn both_devices_compute_the_same_of_packed_weights() {
    let sequences: Vec<TokenSequence> =
        (1..4).map(|first| TokenSequence::new((0..30).map(|i| (first * 11 + i * 37) % 300 + 5).collect(), 9)).collect();
    // Rows of 64 values, so that all three types apply.
    for name in ["llama_rope_scaled", "gpt_neox"] {
        let files = folder(name);
        let exact = scores(&load(&files, None, DeviceChoice::Cpu, Dtype::F32), &sequences);
        for dtype in [Dtype::F16, Dtype::Q8, Dtype::Q4] {
            let [cpu, gpu] = [DeviceChoice::Cpu, DeviceChoice::Gpu].map(|choice| load(&files, None, choice, dtype));
            assert_eq!(cpu.report().device_bytes, gpu.report().device_bytes);
            let found = scores(&cpu, &sequences);
            let apart = largest(&found, &scores(&gpu, &sequences));
            println!("{name} as {}: devices {apart:.1e} apart, {:.1e} from f32", dtype.name(), largest(&found, &exact));
            assert!(apart < 1e-4, "{name} as {}: {apart:e}", dtype.name());
            assert!(found != exact, "{name} is something else as {}", dtype.name());
        }
    }
}

/// Compares `found` with `exact`: prints the error, Kendall's tau, and the share of pairs that change their order by
/// decile of margin. Gives the share of pairs that keep their order, of those whose margin is above a tenth of the
/// standard deviation.
fn orders_kept(what: &str, exact: &[f64], found: &[f64]) -> f64 {
    let count = exact.len() as f64;
    let mean = exact.iter().sum::<f64>() / count;
    let deviation = (exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    let error = (exact.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / count).sqrt() / deviation;
    let mut pairs: Vec<(f64, bool)> = Vec::new();
    for i in 0..exact.len() {
        for j in 0..i {
            let margin = exact[i] - exact[j];
            pairs.push((margin.abs() / deviation, (found[i] - found[j]) * margin > 0.0));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let kept = |pairs: &[(f64, bool)]| pairs.iter().filter(|(_, kept)| *kept).count() as f64 / pairs.len() as f64;
    let tau = 2.0 * kept(&pairs) - 1.0;
    let flips: Vec<String> = (0..10)
        .map(|d| format!("{:.3}", 1.0 - kept(&pairs[d * pairs.len() / 10..(d + 1) * pairs.len() / 10])))
        .collect();
    let wide: Vec<_> = pairs.iter().copied().filter(|(margin, _)| *margin > 0.1).collect();
    let share = kept(&wide);
    println!(
        "{what}: error {error:.4} of the deviation, tau {tau:.4}, flips by decile {}, orders kept {share:.4}",
        flips.join(" ")
    );
    share
}

/// The least share of pairs that must keep their order, by type.
const KEPT: [(Dtype, f64); 3] = [(Dtype::F16, 0.995), (Dtype::Q8, 0.995), (Dtype::Q4, 0.97)];

#[test]
fn minilm_keeps_the_order_of_similarities() {
    let texts: Vec<String> = sample_rows().into_iter().step_by(3).map(|row| row.prompt).take(40).collect();
    assert_eq!(texts.len(), 40);
    let files = minilm();
    let similarities = |dtype: Dtype| -> Vec<f64> {
        let scorer = load(&files, None, DeviceChoice::Cpu, dtype);
        let sequences: Vec<TokenSequence> = texts
            .iter()
            .map(|text| TokenSequence {
                // The mean is over all tokens, as in the model's training.
                first_completion_token: 0,
                ..scorer.tokenize(&[Message::new("user", text.as_str())], [""]).unwrap().remove(0)
            })
            .collect();
        let layers = scorer.report().layers;
        let pooling = Pooling::CompletionMean;
        let states = block_on(scorer.pooled_states(&sequences, layers, pooling, &Cancel::default())).unwrap();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let mut all = Vec::new();
        for (i, a) in states.iter().enumerate() {
            for b in &states[..i] {
                all.push(dot(&a.state, &b.state) / (dot(&a.state, &a.state) * dot(&b.state, &b.state)).sqrt());
            }
        }
        all
    };
    let exact = similarities(Dtype::F32);
    for (dtype, least) in KEPT {
        let share = orders_kept(&format!("MiniLM as {}", dtype.name()), &exact, &similarities(dtype));
        assert!(share >= least, "{}: {share}", dtype.name());
    }
}

/// SmolLM2's file has 4 bits already, so q4 changes nothing.
#[test]
fn smollm2_with_its_head_keeps_the_order_of_completions() {
    let path = root().join("heads/smollm2-135m-instruct/head.safetensors");
    let head = block_on(RewardHead::read(&Source::file(&path).unwrap())).unwrap();
    let rows: Vec<_> = sample_rows().into_iter().filter(|row| row.prompt.len() < 400).step_by(4).take(24).collect();
    let files = smollm2();
    let all = |dtype: Dtype| -> Vec<f64> {
        let scorer = load(&files, Some(&head), DeviceChoice::Cpu, dtype);
        let of = |row: &rewardscope_data::Row| {
            let completions = row.chosen.iter().chain(&row.rejected).map(String::as_str);
            scorer.tokenize(&[Message::new("user", row.prompt.as_str())], completions).unwrap()
        };
        rows.iter().flat_map(|row| scores(&scorer, &of(row))).collect()
    };
    let exact = all(Dtype::F32);
    assert!(exact.len() > 90, "{}", exact.len());
    for (dtype, least) in KEPT {
        let share = orders_kept(&format!("SmolLM2 as {}", dtype.name()), &exact, &all(dtype));
        assert!(share >= least, "{}: {share}", dtype.name());
    }
}
