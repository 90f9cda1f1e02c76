//! Implicit rewards of a policy and its reference, against the log-probabilities that transformers gives both, at every
//! token.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, DeviceKind, EngineError, Format, LoadOptions, LogRatios, Message, OpenDevice,
    Pooling, Score, ScoreProgress, Scorer, TokenSequence, device,
};
use rewardscope_tests::{fixture, json_fixture, model, number, scratch};
use serde_json::Value;

use crate::prefixes::common;

/// The layout of the fixture's texts.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
    {{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n\
    {% endif %}";

fn options() -> LoadOptions {
    LoadOptions::new(Clock::from_local_seconds(0))
}

fn loaded(folder: &Path, choice: DeviceChoice, options: LoadOptions) -> Scorer {
    let device = block_on(device::open(choice)).unwrap();
    block_on(Scorer::load(&model(folder), None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

/// The fixture's policy with a chat template.
fn policy(name: &str) -> PathBuf {
    let folder = scratch(name);
    for entry in fs::read_dir(fixture("parity/dpo_llama/policy")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
    folder
}

fn reference() -> PathBuf {
    fixture("parity/dpo_llama/reference")
}

fn implicit(folder: &Path, choice: DeviceChoice, options: LoadOptions, log_ratios: LogRatios) -> Scorer {
    measured(loaded(folder, choice, options), &reference(), log_ratios).unwrap()
}

fn measured(policy: Scorer, reference: &Path, log_ratios: LogRatios) -> Result<Scorer, EngineError> {
    let choice = match policy.report().device.kind {
        DeviceKind::Cpu => DeviceChoice::Cpu,
        DeviceKind::Gpu => DeviceChoice::Gpu,
    };
    let device = block_on(device::open(choice)).unwrap();
    measured_on(device, policy, reference, log_ratios)
}

fn measured_on(
    device: OpenDevice,
    policy: Scorer,
    reference: &Path,
    log_ratios: LogRatios,
) -> Result<Scorer, EngineError> {
    block_on(policy.against(&model(reference), log_ratios, device, &Cancel::default(), &mut |_| {}))
}

fn conversations() -> Vec<Value> {
    json_fixture("parity/dpo_llama/expected.json")["conversations"].as_array().unwrap().clone()
}

/// The prompt of a conversation, and its completion.
fn messages(conversation: &Value) -> (Vec<Message>, String) {
    let text = |message: &Value, key: &str| message[key].as_str().unwrap().to_owned();
    let all = conversation["messages"].as_array().unwrap();
    let all: Vec<Message> = all.iter().map(|m| Message::new(text(m, "role"), text(m, "content"))).collect();
    let (answer, prompt) = all.split_last().unwrap();
    (prompt.to_vec(), answer.content.clone())
}

fn sequence(case: &Value) -> TokenSequence {
    let ids = serde_json::from_value(case["input_ids"].clone()).unwrap();
    TokenSequence::new(ids, case["response_start"].as_u64().unwrap() as usize)
}

fn scored(scorer: &Scorer, rows: &[TokenSequence]) -> Vec<Score> {
    block_on(scorer.score_tokens(rows, Detail::EveryToken, &Cancel::default())).unwrap()
}

/// RewardBench's reward, by transformers' log-probabilities: their sum by the policy, without that by the reference.
fn wanted(case: &Value) -> f64 {
    number(&case["policy"]["sum"]) - number(&case["reference"]["sum"])
}

fn agrees(choice: DeviceChoice) {
    let scorer = implicit(&policy(&format!("implicit-{choice:?}")), choice, options(), LogRatios::default());
    assert!(scorer.report().is_reward_model && scorer.report().aggregate.is_none());
    let (mut worst, mut worst_sum) = (0.0f64, 0.0f64);
    for conversation in conversations() {
        for layout in ["chat", "rewardbench"] {
            let case = &conversation[layout];
            let found = scored(&scorer, &[sequence(case)]).remove(0);
            let [own, other] = ["policy_logprobs", "reference_logprobs"].map(|key| case[key].as_array().unwrap());
            assert_eq!(found.token_scores.len(), own.len());
            for ((&share, own), other) in found.token_scores.iter().zip(own).zip(other) {
                worst = worst.max((f64::from(share) - (number(own) - number(other))).abs());
            }
            worst_sum = worst_sum.max((found.score - wanted(case)).abs());
            let [own, other] = [found.log_probabilities, found.reference_log_probabilities].map(|all| all.unwrap().sum);
            assert!((found.score - (own - other)).abs() < 1e-9);
        }
    }
    println!("implicit rewards on {choice:?}: a token's share {worst:.1e}, a sum {worst_sum:.1e}");
    assert!(worst < 1e-4 && worst_sum < 1e-3, "{worst} {worst_sum}");
}

/// What a reference said before its policy was loaded gives the same scores, with every field, as one that is loaded
/// beside it; and it sees texts as its policy does.
fn first_or_beside(choice: DeviceChoice) {
    let log_ratios = LogRatios { beta: 0.5, normalise_length: true };
    let folder = policy(&format!("implicit-kept-{choice:?}"));
    let short = || LoadOptions { max_tokens: Some(40), ..options() };
    let beside = implicit(&folder, choice, short(), log_ratios);
    let device = block_on(device::open(choice)).unwrap();
    let cancel = Cancel::default();
    let files = (model(&folder), model(&reference()));
    let alone = block_on(Scorer::reference_for(&files.0, &files.1, device, short(), &cancel, &mut |_| {})).unwrap();
    let mut kept = alone.kept();
    let rows: Vec<Vec<TokenSequence>> = conversations()
        .iter()
        .map(|conversation| {
            let (prompt, answer) = messages(conversation);
            let completions = [answer.as_str(), "Yes."];
            let rows = beside.tokenize(&prompt, completions).unwrap();
            assert_eq!(alone.tokenize(&prompt, completions).unwrap(), rows);
            rows
        })
        // Nothing of a completion is left behind a prompt that is too long.
        .filter(|rows| beside.computed_tokens(rows).is_ok())
        .collect();
    for rows in &rows {
        let texts = block_on(alone.keep(rows, &kept, &cancel)).unwrap();
        assert_eq!(texts.len(), rows.len());
        texts.into_iter().for_each(|text| kept.push(text));
        assert!(block_on(alone.keep(rows, &kept, &cancel)).unwrap().is_empty(), "it is known");
    }
    let after = loaded(&folder, choice, short()).against_kept(kept, log_ratios).unwrap();
    assert_eq!(after.report().fingerprint, beside.report().fingerprint);
    assert_eq!(after.report().reference, beside.report().reference);
    assert!(after.report().device_bytes < beside.report().device_bytes);
    let mut cut = 0;
    for rows in &rows {
        let found = scored(&after, rows);
        cut += found.iter().filter(|score| score.truncated()).count();
        assert_eq!(found, scored(&beside, rows));
    }
    assert!(cut > 0, "some texts are cut");
    let other = block_on(after.score(&[Message::new("user", "Never seen.")], ["No."], Detail::Score, &cancel));
    let found = other.unwrap_err().to_string();
    assert!(found.contains("is not among them") && found.contains("start over"), "{found}");
}

#[test]
fn a_reference_may_be_read_first() {
    first_or_beside(DeviceChoice::Cpu);
    first_or_beside(DeviceChoice::Gpu);
}

#[test]
fn rewards_agree_on_the_cpu() {
    agrees(DeviceChoice::Cpu);
}

#[test]
fn rewards_agree_on_the_gpu() {
    agrees(DeviceChoice::Gpu);
}

#[test]
fn both_protocols_make_the_rows_of_the_fixture() {
    let folder = policy("implicit-rows");
    let dpo = LoadOptions::rewardbench_dpo(Clock::from_local_seconds(0));
    for (layout, options) in [("chat", options()), ("rewardbench", dpo)] {
        let scorer = implicit(&folder, DeviceChoice::Cpu, options, LogRatios::default());
        for conversation in conversations() {
            let (prompt, completion) = messages(&conversation);
            let found = scorer.tokenize(&prompt, [completion.as_str()]).unwrap().remove(0);
            assert_eq!(found, sequence(&conversation[layout]), "{layout}: {}", conversation["id"]);
            // The trace ends at the score, and begins at the empty completion's 0.
            let trace = block_on(scorer.trace(&prompt, &completion, &Cancel::default())).unwrap();
            let last = trace.tokens.last().unwrap().value.unwrap();
            assert!((last - trace.score).abs() < 1e-4 && trace.is_reward);
            assert_eq!(trace.tokens[trace.first_completion_token - 1].value, Some(0.0));
        }
    }
}

#[test]
fn beta_and_the_mean_are_taken() {
    let folder = policy("implicit-beta");
    let conversation = &conversations()[0];
    let case = &conversation["chat"];
    let tokens = case["policy_logprobs"].as_array().unwrap().len() as f64;
    let of = |log_ratios| {
        let scorer = implicit(&folder, DeviceChoice::Cpu, options(), log_ratios);
        let score = scored(&scorer, &[sequence(case)]).remove(0);
        let shares: f64 = score.token_scores.iter().map(|&share| f64::from(share)).sum();
        assert!((shares - score.score).abs() < 1e-5, "the tokens' shares are the score");
        (score.score, scorer.report().fingerprint.clone())
    };
    let found = [(1.0, false), (0.1, false), (0.1, true)]
        .map(|(beta, normalise_length)| of(LogRatios { beta, normalise_length }));
    for ((score, _), factor) in found.iter().zip([1.0, 0.1, 0.1 / tokens]) {
        assert!((score - factor * wanted(case)).abs() < 1e-4, "{score}");
    }
    assert!(found[0].1 != found[1].1 && found[1].1 != found[2].1, "runs that differ are told apart");
}

/// A prompt is computed once for each of the two models, and nothing again while somebody types.
#[test]
fn prompts_are_shared_in_both_models() {
    let mut options = options();
    options.protocol.format = Some(Format::named("tulu").unwrap());
    let scorer = implicit(&policy("implicit-shared"), DeviceChoice::Cpu, options, LogRatios::default());
    let prompt = [Message::new("user", "Name a colour of the rainbow.")];
    let completions = ["Red.", "Violet, I think.", "Monday."];
    let rows = scorer.tokenize(&prompt, completions).unwrap();
    let common = common(&rows);
    let own: usize = rows.iter().map(|row| row.input_ids.len() - common).sum();
    let scores = scored(&scorer, &rows);
    let computed: usize = scores.iter().map(|score| score.computed_tokens).sum();
    assert_eq!((computed, scorer.computed_tokens(&rows).unwrap()), (2 * (common + own), 2 * (common + own)));
    for (row, score) in rows.iter().zip(&scores) {
        assert!((scored(&scorer, std::slice::from_ref(row))[0].score - score.score).abs() < 1e-5);
    }
    let mut told = Vec::new();
    let mut rescored = |completions: [&str; 3]| {
        let tell = &mut |now: ScoreProgress| told.push(now.completions_done);
        let found = block_on(scorer.rescore(&prompt, completions, &Cancel::default(), tell)).unwrap();
        (found.iter().map(|score| score.computed_tokens).sum::<usize>(), found[1].score)
    };
    let (first, _) = rescored(completions);
    assert!(first >= 2 * (common - 1 + own), "{first}");
    assert_eq!(rescored(completions).0, 0);
    let (typed, score) = rescored(["Red.", "Violet, I think so.", "Monday."]);
    let row = scorer.tokenize(&prompt, ["Violet, I think so."]).unwrap().remove(0);
    // The state before the completion predicts its first token.
    let most = row.input_ids.len() - (row.first_completion_token - 1);
    assert!(typed > 0 && typed <= 2 * most, "{typed} of {most} each: the prompt is not computed again");
    let alone = block_on(scorer.score(&prompt, ["Violet, I think so."], Detail::Score, &Cancel::default()));
    assert!((alone.unwrap()[0].score - score).abs() < 1e-5);
    assert!(told.contains(&3) && told.iter().all(|&done| done <= 3), "{told:?}");
}

#[test]
fn what_is_no_pair_of_models_is_refused() {
    let cpu = |name: &str| loaded(&fixture(&format!("parity/{name}")), DeviceChoice::Cpu, options());
    let refused = |policy: &str, reference: &str| {
        let reference = fixture(&format!("parity/{reference}"));
        measured(cpu(policy), &reference, LogRatios::default()).unwrap_err().to_string()
    };
    let found = refused("dpo_llama/policy", "causal_gemma");
    assert!(found.contains("the same vocabulary") && found.contains("causal_gemma"), "{found}");
    let found = refused("dpo_llama/policy", "llama_plain");
    assert!(found.contains("as the reference") && found.contains("llama_plain"), "{found}");
    let found = refused("llama_plain", "dpo_llama/reference");
    assert!(found.contains("as the policy"), "{found}");
    let alone = |policy: &str, reference: &str| {
        let [policy, reference] = [policy, reference].map(|name| model(&fixture(&format!("parity/{name}"))));
        let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
        let (cancel, told) = (Cancel::default(), &mut |_| {});
        let loading = Scorer::reference_for(&policy, &reference, device, options(), &cancel, told);
        block_on(loading).unwrap_err().to_string()
    };
    assert!(alone("dpo_llama/policy", "causal_gemma").contains("the same vocabulary"));
    assert!(alone("dpo_llama/policy", "llama_plain").contains("as the reference"));
    assert!(alone("llama_plain", "dpo_llama/reference").contains("as the policy"));
    // Both must fit into memory together.
    let [own, other] = ["dpo_llama/policy", "dpo_llama/reference"].map(|name| cpu(name).report().device_bytes);
    for (room, fits) in [(own + other, true), (own + other - 1, false)] {
        let device = block_on(device::open(DeviceChoice::Cpu)).unwrap().limited(room, u64::MAX);
        let found = measured_on(device, cpu("dpo_llama/policy"), &reference(), LogRatios::default());
        assert_eq!(found.is_ok(), fits);
        assert!(
            found.is_ok() || matches!(found, Err(EngineError::TooLarge { most_bytes, .. }) if most_bytes == other - 1)
        );
    }
    // RewardBench's rows are for language models.
    let dpo = LoadOptions::rewardbench_dpo(Clock::from_local_seconds(0));
    let found = loaded(&fixture("parity/llama_plain"), DeviceChoice::Cpu, dpo).check_template().unwrap_err();
    assert!(found.to_string().contains("rewardbench-dpo"), "{found}");
    // A policy with a reference is no backbone.
    let scorer = implicit(&policy("implicit-refused"), DeviceChoice::Cpu, options(), LogRatios::default());
    let rows = [sequence(&conversations()[0]["chat"])];
    let found = block_on(scorer.features(&rows, 1, Pooling::LastToken, &Cancel::default())).unwrap_err();
    assert!(matches!(found, EngineError::Implicit { .. }), "{found}");
}
