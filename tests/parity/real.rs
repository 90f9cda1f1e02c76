//! Real models are compared with transformers in float32 with eager attention: the hidden state of a text's last token,
//! and the token ids by the tokenizers inside GGUF files. `cargo xtask test` fetches the models; Gemma, which has its
//! own terms, only with `--all`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use pollster::block_on;
use rewardscope_engine::{Cancel, ModelFiles, Pooling, TokenSequence};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{json_fixture, load, minilm, root};
use rewardscope_text::Tokenizer;
use rewardscope_weights::Checkpoint;
use serde_json::Value;

/// Largest Euclidean distance from the expected state, relative to its length.
const TOLERANCE: f64 = 1e-3;

fn fetched(name: &str) -> PathBuf {
    root().join(".cache").join(name)
}

fn gguf(name: &str) -> (ModelFiles, Source) {
    let source = Source::file(&fetched(name)).unwrap_or_else(|e| panic!("{e}; cargo xtask test --all fetches it"));
    (ModelFiles::from_sources(name, vec![source.clone()]).unwrap(), source)
}

fn ids(case: &Value) -> Vec<u32> {
    serde_json::from_value(case["input_ids"].clone()).unwrap()
}

fn cases(model: &str) -> Vec<Value> {
    let cases = json_fixture("real.json")["models"][model].as_array().unwrap().clone();
    assert_eq!(cases.len(), 5);
    cases
}

fn states_agree(model: &str, files: &ModelFiles) {
    let scorer = load(files, None).unwrap();
    let layers = scorer.report().layers;
    let mut worst = 0.0f64;
    for case in cases(model) {
        let sequence = TokenSequence::new(ids(&case), 1);
        let found =
            block_on(scorer.pooled_states(&[sequence], layers, Pooling::LastToken, &Cancel::default())).unwrap();
        let want: Vec<f64> = serde_json::from_value(case["state"].clone()).unwrap();
        assert_eq!(found[0].state.len(), want.len());
        let square = |x: f64| x * x;
        let apart: f64 = found[0].state.iter().zip(&want).map(|(&found, want)| square(f64::from(found) - want)).sum();
        let whole: f64 = want.iter().copied().map(square).sum();
        worst = worst.max((apart / whole).sqrt());
    }
    println!("{model} on the CPU: relative error {worst:.1e}");
    assert!(worst < TOLERANCE, "{model}: {worst}");
}

/// Asserts that the GGUF's own tokenizer gives the expected ids; `begin` are the ids that transformers puts first.
fn ids_agree(model: &str, source: &Source, begin: &[u32]) {
    let checkpoint = block_on(Checkpoint::from_gguf(source)).unwrap();
    let tokenizer = Tokenizer::from_gguf(checkpoint.metadata().unwrap()).unwrap();
    for case in cases(model) {
        let text = case["text"].as_str().unwrap();
        assert_eq!([begin, &tokenizer.encode(text).unwrap()].concat(), ids(&case), "{model}: {text}");
    }
}

#[test]
fn smollm2_agrees() {
    let (files, source) = gguf("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    ids_agree("smollm2", &source, &[]);
    states_agree("smollm2", &files);
}

#[test]
fn gemma3_agrees() {
    if std::env::var("REWARDSCOPE_ALL").unwrap_or_default().is_empty() {
        println!("not run: gemma3, whose weights only --all fetches");
        return;
    }
    let (files, source) = gguf("packages/gemma-3-270m.Q4_K_M.gguf");
    ids_agree("gemma3", &source, &[2]);
    states_agree("gemma3", &files);
}

/// MiniLM has no classifier, so it is refused as it is. Its hidden states agree.
#[test]
fn minilm_agrees() {
    let open = Folder::open(&fetched("packages/minilm")).unwrap_or_else(|e| panic!("{e}; cargo xtask test fetches it"));
    let bare = ModelFiles::from_sources("minilm", open.sources().cloned().collect()).unwrap();
    let refused = load(&bare, None).unwrap_err().to_string();
    assert!(refused.contains("BertModel"), "{refused}");
    states_agree("minilm", &minilm());
}
