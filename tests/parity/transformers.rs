//! Scores at every token are compared with transformers in float32 with eager attention, on the CPU and on the GPU
//! (lavapipe where there is no other). A missing GPU or model is a failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use pollster::block_on;
use rewardscope_engine::{
    ARCHITECTURES, Bos, Cancel, Clock, Detail, DeviceChoice, DeviceKind, Head, LoadOptions, Message, ModelFiles,
    Protocol, Scorer, TokenSequence, TruncationSide, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number, root, safetensors_with};
use serde_json::Value;

/// The folders of classifiers on which the table of architectures says that it was compared.
fn classifiers() -> impl Iterator<Item = &'static str> {
    let classifiers = ARCHITECTURES.iter().filter(|entry| entry.head != Head::LanguageModel);
    // Those of other kinds of heads are compared in a test of their own.
    classifiers.flat_map(|entry| entry.proven).copied().filter(|name| !name.starts_with("kinds/"))
}

/// The same of language models with a folder of their own; the others are compared in tests of their own.
fn language_models() -> impl Iterator<Item = &'static str> {
    let models = ARCHITECTURES.iter().filter(|entry| entry.head == Head::LanguageModel);
    models.flat_map(|entry| entry.proven).copied().filter(|name| name.starts_with("causal_"))
}

/// Largest absolute error of a score, at every token.
const SCORE_TOLERANCE: f64 = 1e-4;

/// Largest difference between a row in a batch and the same row alone.
const BATCH_TOLERANCE: f64 = 1e-5;

/// Largest absolute error of a log-probability of SmolLM2.
const LOG_PROBABILITY_TOLERANCE: f64 = 2e-3;

fn load(files: &ModelFiles, choice: DeviceChoice) -> Scorer {
    let device = block_on(device::open(choice)).unwrap();
    assert_eq!(device.report.kind == DeviceKind::Cpu, choice == DeviceChoice::Cpu);
    // The expected texts were rendered with this time.
    let clock = Clock::parse("2025-02-03T04:05:06").unwrap();
    let options = LoadOptions::new(clock);
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn folder(case: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("parity/{case}"))).unwrap();
    let files = ModelFiles::from_sources(case, folder.sources().cloned().collect()).unwrap();
    match block_on(files.missing_base()).unwrap() {
        // The base's name is a path relative to the adapter.
        Some(base) => files.over(self::folder(base.strip_prefix("../").unwrap())).unwrap(),
        None => files,
    }
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
    // The template refuses some conversations, so they have no score.
    conversations.into_iter().filter(|c| c.get("template_error").is_none()).collect()
}

/// The sequences of a case. A decoder's are the expected ids. An encoder's are tokenized from text, and must have the
/// expected ids.
fn sequences(case: &str, scorer: &Scorer) -> Vec<TokenSequence> {
    let sequence = |conversation: &Value| {
        let expected = ids(&conversation["input_ids"]);
        let Some(prompt) = conversation["prompt"].as_str() else {
            return TokenSequence::new(expected, 1);
        };
        let prompt = [Message::new("user", prompt)];
        let sequence = scorer.tokenize(&prompt, conversation["response"].as_str()).unwrap().remove(0);
        assert_eq!(sequence.input_ids, expected, "{case}, {}", conversation["id"]);
        if let Some(types) = conversation.get("token_type_ids") {
            assert_eq!(sequence.token_type_ids, ids(types), "{case}, {}", conversation["id"]);
        }
        sequence
    };
    conversations(case).iter().map(sequence).collect()
}

/// Asserts that all scores and token scores agree, and that a row's score does not depend on its batch.
fn classifier_agrees(case: &str, choice: DeviceChoice) {
    let scorer = load(&folder(case), choice);
    assert!(scorer.report().is_reward_model);
    let sequences = sequences(case, &scorer);
    let scores = block_on(scorer.score_tokens(&sequences, Detail::EveryToken, &Cancel::default())).unwrap();
    let (mut worst_score, mut worst_token) = (0.0f64, 0.0f64);
    for (score, conversation) in scores.iter().zip(&conversations(case)) {
        worst_score = worst_score.max((score.score - number(&conversation["score"])).abs());
        let none = Vec::new();
        let want = conversation["token_scores"].as_array().unwrap_or(&none);
        assert_eq!(score.token_scores.len(), want.len());
        assert_eq!(want.is_empty(), conversation.get("prompt").is_some());
        for (&found, want) in score.token_scores.iter().zip(want) {
            worst_token = worst_token.max((f64::from(found) - number(want)).abs());
        }
    }
    let mut worst_batched = 0.0f64;
    if choice == DeviceChoice::Cpu {
        for (sequence, in_batch) in sequences.iter().zip(&scores) {
            let alone =
                block_on(scorer.score_tokens(std::slice::from_ref(sequence), Detail::EveryToken, &Cancel::default()))
                    .unwrap();
            worst_batched = worst_batched.max((alone[0].score - in_batch.score).abs());
        }
    }
    println!(
        "{case} on {}: score {worst_score:.1e}, token {worst_token:.1e}, batched against single {worst_batched:.1e}",
        scorer.report().device.name
    );
    assert!(worst_score < SCORE_TOLERANCE && worst_token < SCORE_TOLERANCE, "{case}: {worst_score}, {worst_token}");
    assert!(worst_batched < BATCH_TOLERANCE, "{case}: {worst_batched}");
}

#[test]
fn classifiers_agree_on_the_cpu() {
    for case in classifiers() {
        classifier_agrees(case, DeviceChoice::Cpu);
    }
}

#[test]
fn classifiers_agree_on_the_gpu() {
    for case in classifiers() {
        classifier_agrees(case, DeviceChoice::Gpu);
    }
}

/// The largest error of a completion's log-probabilities. Also checks the sum, the mean and the norm of them.
fn likelihood_error(scorer: &Scorer, case: &Value, model: &str) -> f64 {
    let start = case["response_start"].as_u64().unwrap() as usize;
    let sequence = TokenSequence::new(ids(&case["input_ids"]), start);
    let score = block_on(scorer.score_tokens(&[sequence], Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
    let want = case[format!("{model}_logprobs")].as_array().unwrap();
    assert_eq!(score.token_scores.len(), want.len());
    let all = score.log_probabilities.unwrap();
    let sums = &case[model];
    assert!((all.avg - number(&sums["avg"])).abs() < SCORE_TOLERANCE);
    assert!((all.sum - number(&sums["sum"])).abs() < 1e-3);
    assert!((all.norm - number(&sums["norm"])).abs() < 1e-3);
    score
        .token_scores
        .iter()
        .zip(want)
        .map(|(&found, want)| (f64::from(found) - number(want)).abs())
        .fold(0.0, f64::max)
}

/// Compares log-probabilities of a policy and its reference, and of one language model for each architecture.
fn language_models_agree(choice: DeviceChoice) {
    let agree = |name: &str, scorer: &Scorer, error: &dyn Fn(&Scorer, &Value) -> f64, expected: &str| {
        assert!(!scorer.report().is_reward_model);
        let expected = json_fixture(&format!("parity/{expected}/expected.json"));
        let conversations = expected["conversations"].as_array().unwrap();
        assert!(conversations.len() >= 5);
        let worst = conversations.iter().map(|conversation| error(scorer, conversation)).fold(0.0, f64::max);
        println!("{name} on {choice:?}: log-probability {worst:.1e}");
        assert!(worst < SCORE_TOLERANCE, "{name}: {worst}");
    };
    for model in ["policy", "reference"] {
        let scorer = load(&folder(&format!("dpo_llama/{model}")), choice);
        let error = |scorer: &Scorer, conversation: &Value| {
            let layouts = ["chat", "rewardbench"].map(|layout| likelihood_error(scorer, &conversation[layout], model));
            layouts[0].max(layouts[1])
        };
        agree(model, &scorer, &error, "dpo_llama");
    }
    for case in language_models() {
        let error = |scorer: &Scorer, conversation: &Value| likelihood_error(scorer, conversation, "policy");
        agree(case, &load(&folder(case), choice), &error, case);
    }
}

#[test]
fn language_models_agree_on_the_cpu() {
    language_models_agree(DeviceChoice::Cpu);
}

#[test]
fn language_models_agree_on_the_gpu() {
    language_models_agree(DeviceChoice::Gpu);
}

fn header_bytes(safetensors: &[u8]) -> usize {
    u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize
}

#[test]
fn one_of_several_labels_is_the_score_when_it_is_named() {
    let open = Folder::open(&fixture("parity/llama_plain")).unwrap();
    let read = |name: &str| block_on(open.get(name).unwrap().read_all()).unwrap();
    let config = String::from_utf8(read("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["id2label"] = serde_json::json!({ "0": "helpful", "1": "harmless" });
    // The new head has two rows: the stored row multiplied by two, and the stored row.
    let weights = read("model.safetensors");
    let weights = safetensors_with(&weights, |tensors, end| {
        let span = tensors["score.weight"]["data_offsets"].as_array().unwrap();
        let [first, last] = [0, 1].map(|i| 8 + header_bytes(&weights) + span[i].as_u64().unwrap() as usize);
        let row = &weights[first..last];
        let double = |w: &[u8]| (2.0 * f32::from_le_bytes(w.try_into().unwrap())).to_le_bytes();
        let doubled: Vec<u8> = row.chunks_exact(4).flat_map(double).collect();
        tensors["score.weight"] = serde_json::json!(
            { "dtype": "F32", "shape": [2, row.len() / 4], "data_offsets": [end, end + 2 * row.len()] }
        );
        [&doubled, row].concat()
    });
    let sources = ["tokenizer.json", "tokenizer_config.json"].map(|name| open.get(name).unwrap().clone());
    let own = [
        Source::memory(
            fixture("parity/llama_plain/config.json").display().to_string(),
            config.to_string().into_bytes(),
        ),
        Source::memory(fixture("parity/llama_plain/model.safetensors").display().to_string(), weights),
    ];
    let files = ModelFiles::from_sources("two", sources.into_iter().chain(own).collect()).unwrap();
    let options = |label| LoadOptions { label, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let sequence = [TokenSequence::new(ids(&conversations("llama_plain")[0]["input_ids"]), 1)];
    let score = |label| {
        let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
        let scorer = block_on(Scorer::load(&files, None, device, options(label), &Cancel::default(), &mut |_| {}));
        let scorer = scorer.map_err(|e| e.to_string())?;
        assert_eq!(scorer.report().label, label);
        Ok::<f64, String>(
            block_on(scorer.score_tokens(&sequence, Detail::EveryToken, &Cancel::default())).unwrap()[0].score,
        )
    };
    let stored = number(&conversations("llama_plain")[0]["score"]);
    assert!((score(Some(0)).unwrap() - 2.0 * stored).abs() < SCORE_TOLERANCE);
    assert!((score(Some(1)).unwrap() - stored).abs() < SCORE_TOLERANCE);
    assert!(score(None).unwrap_err().contains("2 labels"));
    assert!(score(Some(2)).unwrap_err().contains("label 2"));
}

#[test]
fn both_forms_of_the_configuration_give_the_same_scores() {
    // An adapter's configuration is its base's.
    for case in classifiers().filter(|case| !case.starts_with("lora")).chain(language_models()) {
        let open = Folder::open(&fixture(&format!("parity/{case}"))).unwrap();
        let newer = block_on(open.get("config.as_saved_by_v5.json").unwrap().read_all()).unwrap();
        let sources = open.sources().filter(|s| !s.name().ends_with("/config.json")).cloned();
        let sources = sources
            .chain([Source::memory(fixture(&format!("parity/{case}/config.json")).display().to_string(), newer)])
            .collect();
        let newer = load(&ModelFiles::from_sources(case, sources).unwrap(), DeviceChoice::Cpu);
        let older = load(&folder(case), DeviceChoice::Cpu);
        let sequence = if language_models().any(|name| name == case) {
            let expected = json_fixture(&format!("parity/{case}/expected.json"));
            [TokenSequence::new(ids(&expected["conversations"][0]["input_ids"]), 1)]
        } else {
            [sequences(case, &older).remove(0)]
        };
        let score = |scorer: &Scorer| {
            block_on(scorer.score_tokens(&sequence, Detail::EveryToken, &Cancel::default())).unwrap()[0].score
        };
        assert_eq!(score(&newer).to_bits(), score(&older).to_bits(), "{case}");
    }
}

#[test]
fn templates_and_tokenizers_give_the_expected_ids() {
    // llama_rope_scaled is left out: its texts were rendered with a template that we may not copy.
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
fn smollm2_agrees_on_the_cpu() {
    let scorer = load(&smollm2(), DeviceChoice::Cpu);
    assert!(!scorer.report().is_reward_model);
    let fixture = json_fixture("smollm2_logprobs.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    let mut worst = 0.0f64;
    for case in cases {
        // Tokenized from text, so that the chat template and the tokenizer in the GGUF are checked, too.
        let prompt = [Message::new("user", case["prompt"].as_str().unwrap())];
        let completion = case["completion"].as_str().unwrap();
        let sequence = scorer.tokenize(&prompt, [completion]).unwrap().remove(0);
        assert_eq!(sequence.input_ids, ids(&case["input_ids"]), "{completion}");
        assert_eq!(sequence.first_completion_token as u64, case["first_completion_token"].as_u64().unwrap());
        let score =
            block_on(scorer.score_tokens(&[sequence], Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
        assert!((score.score - number(&case["completion_mean"])).abs() < LOG_PROBABILITY_TOLERANCE);
        // The log-probabilities of all tokens, with the prompt's.
        let all = TokenSequence::new(ids(&case["input_ids"]), 1);
        let all = block_on(scorer.score_tokens(&[all], Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
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
        let sequence = TokenSequence::new(long[..tokens].to_vec(), 1);
        block_on(scorer.score_tokens(&[sequence], Detail::EveryToken, &Cancel::default()))
            .unwrap()
            .remove(0)
            .token_scores
    };
    // 4 heads x 3000^2 attention scores are computed in five tiles, 4 x 700^2 in one. A token sees only earlier ones,
    // so the common tokens must agree.
    let (tiled, whole) = (score(3000), score(700));
    for (position, (a, b)) in tiled.iter().zip(&whole).enumerate() {
        assert!((a - b).abs() < 1e-5, "token {position}: {a} and {b}");
    }
    assert_eq!(tiled.len(), 3000);
}

/// The same conversation by the rules of each protocol. Masking the first of two BOS tokens, as RewardBench does, gives
/// the same scores as a single BOS: in transformers the two differ by at most 5.3e-6 here.
#[test]
fn protocols_begin_and_cut_conversations_as_they_say() {
    let messages = [Message::new("user", "Name a colour of the rainbow.")];
    let ids = |bos, truncation, max_tokens| {
        let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
        let options = LoadOptions {
            max_tokens,
            protocol: Protocol { bos, truncation: Some(truncation), ..Protocol::default() },
            ..LoadOptions::new(Clock::from_local_seconds(0))
        };
        let files = folder("llama_gqa_tied");
        let scorer = block_on(Scorer::load(&files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap();
        let sequences = scorer.tokenize(&messages, ["Green."]).unwrap();
        // With the template's BOS the ids are cut later, so that callers can see what will be cut.
        assert!(bos != Bos::Template || (sequences[0].cut_tokens == 0 && sequences[0].input_ids.len() > 12));
        let score =
            block_on(scorer.score_tokens(&sequences, Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
        (score.input_ids, score.cut_tokens)
    };
    let (whole, cut) = ids(Bos::Template, TruncationSide::Right, None);
    assert_eq!(cut, 0);
    // The BOS is 900. The tokenizer and the template both add it.
    assert!(whole[0] == 900 && whole[1] != 900 && whole.len() > 12);
    for bos in [Bos::Skywork, Bos::RewardBench] {
        assert_eq!(ids(bos, TruncationSide::Right, None), (whole.clone(), 0), "{bos:?}");
    }
    let rest = whole.len() - 10;
    assert_eq!(ids(Bos::Template, TruncationSide::Right, Some(10)), (whole[..10].to_vec(), rest));
    assert_eq!(ids(Bos::Template, TruncationSide::Left, Some(10)), (whole[rest..].to_vec(), rest));
    // The masked BOS counts towards the limit.
    assert_eq!(ids(Bos::RewardBench, TruncationSide::Right, Some(10)), (whole[..9].to_vec(), rest + 1));
}

#[test]
fn what_is_longer_than_the_context_is_cut_and_counted() {
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
    let options = LoadOptions { max_tokens: Some(16), ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let scorer =
        block_on(Scorer::load(&folder("llama_plain"), None, device, options, &Cancel::default(), &mut |_| {})).unwrap();
    let sequence = TokenSequence::new(vec![5; 40], 4);
    let score = block_on(scorer.score_tokens(&[sequence], Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
    assert_eq!((score.tokens, score.cut_tokens, score.completion_tokens), (16, 24, 12));
    assert!(score.truncated());
}

#[test]
fn cancelled_work_stops_and_ids_outside_the_vocabulary_are_refused() {
    let scorer = load(&folder("llama_plain"), DeviceChoice::Cpu);
    let cancel = Cancel::default();
    cancel.cancel();
    let sequence = |id| [TokenSequence::new(vec![id; 8], 1)];
    let stopped = block_on(scorer.score_tokens(&sequence(5), Detail::EveryToken, &cancel)).unwrap_err();
    assert_eq!(stopped.to_string(), "cancelled");
    let refused = block_on(scorer.score_tokens(&sequence(4_000_000), Detail::EveryToken, &Cancel::default()))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("4000000") && refused.contains("1011"), "{refused}");
}

/// The score of `lora_llama` on `llama_plain`, with files of both changed by `change`.
fn adapted(change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Result<f64, String> {
    let changed = |case: &str| {
        let open = Folder::open(&fixture(&format!("parity/{case}"))).unwrap();
        let sources = open.sources().map(|source| {
            let bytes = block_on(source.read_all()).unwrap();
            let file = source.name().rsplit('/').next().unwrap();
            Source::memory(source.name(), change(file, bytes))
        });
        ModelFiles::from_sources(case, sources.collect()).unwrap()
    };
    let files = changed("lora_llama").over(changed("llama_plain")).unwrap();
    let scorer = rewardscope_tests::load(&files, None).map_err(|e| e.to_string())?;
    let sequence = [TokenSequence::new(ids(&conversations("lora_llama")[0]["input_ids"]), 1)];
    Ok(block_on(scorer.score_tokens(&sequence, Detail::EveryToken, &Cancel::default())).unwrap()[0].score)
}

fn replaced(bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let Some(at) = at else {
        return bytes;
    };
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

#[test]
fn adapters_are_scaled_by_pattern_and_refused_by_name() {
    let in_config = |from: &'static str, to: &'static str| {
        move |file: &str, bytes| if file == "adapter_config.json" { replaced(bytes, from, to) } else { bytes }
    };
    let plain = adapted(|_, bytes| bytes).unwrap();
    assert!((plain - number(&conversations("lora_llama")[0]["score"])).abs() < SCORE_TOLERANCE);
    // The same scale in another form: half the alpha in general, and the full alpha for each module by pattern.
    let patterns =
        r#""alpha_pattern": {"q_proj": 8, "^model.layers.0.self_attn.v_proj": 8, "self_attn.v_proj": 8}, "x": {}"#;
    let by_pattern = adapted(|file, bytes| {
        let bytes = in_config("\"lora_alpha\": 8", "\"lora_alpha\": 4")(file, bytes);
        in_config(r#""alpha_pattern": {}"#, patterns)(file, bytes)
    });
    assert_eq!(by_pattern.unwrap().to_bits(), plain.to_bits());
    let halved = adapted(in_config("\"lora_alpha\": 8", "\"lora_alpha\": 4")).unwrap();
    assert!((halved - plain).abs() > 1e-3);
    for (from, to, named) in [
        ("\"use_dora\": false", "\"use_dora\": true", "DoRA"),
        ("\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "IA3"),
        (r#""alpha_pattern": {}"#, r#""alpha_pattern": {"(proj": 3}"#, "alpha_pattern"),
        (r#""rank_pattern": {}"#, r#""rank_pattern": {"q_proj": 3}"#, "[3, 48]"),
    ] {
        let message = adapted(in_config(from, to)).unwrap_err();
        assert!(message.contains(named), "{message}");
    }
    // Neither the adapter nor the base has a head, which is an error.
    let message = adapted(|_, bytes| replaced(bytes, "score.weight", "scope.weight")).unwrap_err();
    assert!(message.contains("score.weight") && message.contains("no such tensor"), "{message}");
    let alone = ModelFiles::from_sources(
        "lora_llama",
        Folder::open(&fixture("parity/lora_llama")).unwrap().sources().cloned().collect(),
    );
    let message = rewardscope_tests::load(&alone.unwrap(), None).unwrap_err().to_string();
    assert!(message.contains("llama_plain") && message.contains("its base"), "{message}");
}
