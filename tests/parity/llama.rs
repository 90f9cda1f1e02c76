//! Scores against transformers in float32 with eager attention, at every token, on the CPU and on
//! the GPU (lavapipe where there is no other). A missing adapter or model is a failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use pollster::block_on;
use rewardscope_engine::{
    Aggregate, Cancel, Clock, DeviceChoice, DeviceKind, LoadOptions, Message, ModelFiles, Scorer, TokenSequence, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number, root};
use serde_json::Value;

const CLASSIFIERS: [&str; 3] = ["llama_plain", "llama_gqa_tied", "llama_rope_scaled"];

/// Largest absolute error of a score, at every token.
const SCORE_TOLERANCE: f64 = 1e-4;

/// Largest absolute error of a log-probability of SmolLM2.
const LOG_PROBABILITY_TOLERANCE: f64 = 2e-3;

fn load(files: &ModelFiles, choice: DeviceChoice) -> Scorer {
    let device = block_on(device::open(choice)).unwrap();
    assert_eq!(device.report.kind == DeviceKind::Cpu, choice == DeviceChoice::Cpu);
    // The expected texts were rendered at this time.
    let clock = Clock::parse("2025-02-03T04:05:06").unwrap();
    let options = LoadOptions { clock, aggregate: Aggregate::Avg, max_tokens: None };
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn folder(case: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("parity/{case}"))).unwrap();
    ModelFiles::from_sources(case, folder.sources().cloned().collect()).unwrap()
}

fn smollm2() -> ModelFiles {
    let path: PathBuf = root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = Source::file(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask test fetches it"));
    ModelFiles::from_sources("SmolLM2", vec![source]).unwrap()
}

fn ids(values: &Value) -> Vec<u32> {
    values.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn conversations(case: &str) -> Vec<Value> {
    let conversations =
        json_fixture(&format!("parity/{case}/expected.json"))["conversations"].as_array().unwrap().clone();
    assert!(conversations.len() >= 10);
    conversations
}

/// The largest error over all conversations and tokens.
fn classifier_agrees(case: &str, choice: DeviceChoice) {
    let scorer = load(&folder(case), choice);
    assert!(scorer.report().is_reward_model);
    let conversations = conversations(case);
    let sequences: Vec<TokenSequence> = conversations
        .iter()
        .map(|c| TokenSequence { input_ids: ids(&c["input_ids"]), first_completion_token: 1 })
        .collect();
    let scores = block_on(scorer.score_tokens(&sequences, &Cancel::default())).unwrap();
    let (mut worst_score, mut worst_token) = (0.0f64, 0.0f64);
    for (score, conversation) in scores.iter().zip(&conversations) {
        worst_score = worst_score.max((score.score - number(&conversation["score"])).abs());
        let want = conversation["token_scores"].as_array().unwrap();
        assert_eq!(score.token_scores.len(), want.len());
        for (&found, want) in score.token_scores.iter().zip(want) {
            worst_token = worst_token.max((f64::from(found) - number(want)).abs());
        }
    }
    println!("{case} on {}: score {worst_score:e}, token {worst_token:e}", scorer.report().device.name);
    assert!(worst_score < SCORE_TOLERANCE && worst_token < SCORE_TOLERANCE, "{case}: {worst_score}, {worst_token}");
}

#[test]
fn classifiers_agree_on_the_cpu() {
    for case in CLASSIFIERS {
        classifier_agrees(case, DeviceChoice::Cpu);
    }
}

#[test]
fn classifiers_agree_on_the_gpu() {
    for case in CLASSIFIERS {
        classifier_agrees(case, DeviceChoice::Gpu);
    }
}

#[test]
fn both_forms_of_the_configuration_give_the_same_scores() {
    for case in CLASSIFIERS {
        let open = Folder::open(&fixture(&format!("parity/{case}"))).unwrap();
        let newer = block_on(open.get("config.as_saved_by_v5.json").unwrap().read_all()).unwrap();
        let sources = open.sources().filter(|s| !s.name().ends_with("/config.json")).cloned();
        let sources = sources
            .chain([Source::memory(fixture(&format!("parity/{case}/config.json")).display().to_string(), newer)])
            .collect();
        let newer = load(&ModelFiles::from_sources(case, sources).unwrap(), DeviceChoice::Cpu);
        let older = load(&folder(case), DeviceChoice::Cpu);
        let input_ids = ids(&conversations(case)[0]["input_ids"]);
        let sequence = [TokenSequence { input_ids, first_completion_token: 1 }];
        let score = |scorer: &Scorer| block_on(scorer.score_tokens(&sequence, &Cancel::default())).unwrap()[0].score;
        assert_eq!(score(&newer).to_bits(), score(&older).to_bits(), "{case}");
    }
}

#[test]
fn templates_and_tokenizers_give_the_expected_ids() {
    // llama_rope_scaled's text was rendered by a template that is not ours to copy.
    for case in ["llama_plain", "llama_gqa_tied"] {
        let scorer = load(&folder(case), DeviceChoice::Cpu);
        for conversation in conversations(case) {
            let mut messages: Vec<Message> = serde_json::from_value(conversation["messages"].clone()).unwrap();
            let completion = messages.pop().unwrap();
            assert_eq!(completion.role, "assistant");
            let sequence = scorer.tokenize(&messages, [completion.content.as_str()]).unwrap().remove(0);
            assert_eq!(sequence.input_ids, ids(&conversation["input_ids"]), "{case}, {}", conversation["id"]);
        }
    }
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let scorer = load(&folder("llama_plain"), DeviceChoice::Cpu);
    let sequences: Vec<TokenSequence> = conversations("llama_plain")
        .iter()
        .map(|c| TokenSequence { input_ids: ids(&c["input_ids"]), first_completion_token: 1 })
        .collect();
    let together = block_on(scorer.score_tokens(&sequences, &Cancel::default())).unwrap();
    for (sequence, in_batch) in sequences.iter().zip(&together) {
        let alone = block_on(scorer.score_tokens(std::slice::from_ref(sequence), &Cancel::default())).unwrap();
        assert!((alone[0].score - in_batch.score).abs() < 1e-5);
    }
}

#[test]
fn smollm2_agrees_on_the_cpu() {
    let scorer = load(&smollm2(), DeviceChoice::Cpu);
    assert!(!scorer.report().is_reward_model);
    let fixture = json_fixture("smollm2_logprobs.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    let mut worst = 0.0f64;
    for case in cases {
        // From text, so that the template and the tokenizer in the GGUF are checked too.
        let prompt = [Message::new("user", case["prompt"].as_str().unwrap())];
        let completion = case["completion"].as_str().unwrap();
        let sequence = scorer.tokenize(&prompt, [completion]).unwrap().remove(0);
        assert_eq!(sequence.input_ids, ids(&case["input_ids"]), "{completion}");
        assert_eq!(sequence.first_completion_token as u64, case["first_completion_token"].as_u64().unwrap());
        let score = block_on(scorer.score_tokens(&[sequence], &Cancel::default())).unwrap().remove(0);
        assert!((score.score - number(&case["completion_mean"])).abs() < LOG_PROBABILITY_TOLERANCE);
        // And at every token, the prompt's too.
        let all = TokenSequence { input_ids: ids(&case["input_ids"]), first_completion_token: 1 };
        let all = block_on(scorer.score_tokens(&[all], &Cancel::default())).unwrap().remove(0);
        let want = case["token_logprobs"].as_array().unwrap();
        assert_eq!(all.token_scores.len(), want.len());
        for (&found, want) in all.token_scores.iter().zip(want) {
            worst = worst.max((f64::from(found) - number(want)).abs());
        }
    }
    println!("SmolLM2 on the CPU: {worst:e}");
    assert!(worst < LOG_PROBABILITY_TOLERANCE, "{worst}");
}

#[test]
fn long_conversations_go_through_in_tiles_with_the_same_scores() {
    let scorer = load(&folder("llama_plain"), DeviceChoice::Cpu);
    let long: Vec<u32> = (0..3000u32).map(|i| i.wrapping_mul(7919) % 1000).collect();
    let score = |tokens: usize| {
        let sequence = TokenSequence { input_ids: long[..tokens].to_vec(), first_completion_token: 1 };
        block_on(scorer.score_tokens(&[sequence], &Cancel::default())).unwrap().remove(0).token_scores
    };
    // 4 heads x 3000^2 scores are five tiles; 4 x 700^2 are one. No token sees those after it.
    let (tiled, whole) = (score(3000), score(700));
    for (position, (a, b)) in tiled.iter().zip(&whole).enumerate() {
        assert!((a - b).abs() < 1e-5, "token {position}: {a} and {b}");
    }
    assert_eq!(tiled.len(), 3000);
}

#[test]
fn what_is_longer_than_the_context_is_cut_and_counted() {
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
    let options = LoadOptions { clock: Clock::from_local_seconds(0), aggregate: Aggregate::Avg, max_tokens: Some(16) };
    let scorer =
        block_on(Scorer::load(&folder("llama_plain"), None, device, options, &Cancel::default(), &mut |_| {})).unwrap();
    let sequence = TokenSequence { input_ids: vec![5; 40], first_completion_token: 4 };
    let score = block_on(scorer.score_tokens(&[sequence], &Cancel::default())).unwrap().remove(0);
    assert_eq!((score.tokens, score.cut_tokens, score.completion_tokens), (16, 24, 12));
    assert!(score.truncated());
}

#[test]
fn cancelled_work_stops_and_ids_outside_the_vocabulary_are_refused() {
    let scorer = load(&folder("llama_plain"), DeviceChoice::Cpu);
    let cancel = Cancel::default();
    cancel.cancel();
    let sequence = |id| [TokenSequence { input_ids: vec![id; 8], first_completion_token: 1 }];
    let stopped = block_on(scorer.score_tokens(&sequence(5), &cancel)).unwrap_err();
    assert_eq!(stopped.to_string(), "cancelled");
    let refused = block_on(scorer.score_tokens(&sequence(4_000_000), &Cancel::default())).unwrap_err().to_string();
    assert!(refused.contains("4000000") && refused.contains("1011"), "{refused}");
}
