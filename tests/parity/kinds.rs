//! Kinds of reward models that are no classifier of transformers, compared with the values that transformers' backbones
//! and their publishers' formulas give, on the CPU and on the GPU (lavapipe where there is no other).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Backbone, Cancel, Clock, Detail, DeviceChoice, EngineError, HeadConfig, LoadOptions, Message, ModelFiles, Pooling,
    ReaderChoice, RewardHead, Scorer, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number, safetensors_with};
use serde_json::{Value, json};

/// Each kind's fixture, and how its reading is described.
const HEADS: [(&str, &str); 10] = [
    ("rm_two_layer", "head score"),
    ("rm_two_layer_inform", "head score"),
    ("value_head", "head v_head.summary"),
    ("value_head_mlp", "head v_head.summary"),
    ("value_head_trl", "head v_head.summary"),
    ("openrlhf", "head value_head, (output - -0.731) / 2.375"),
    ("regression_head", "head regression_head"),
    ("regression_head_athene", "head v_head, read at a token that is appended"),
    ("internlm2", "head v_head, read at a token that is appended"),
    ("armorm", "head gating, gated objectives"),
];

/// Encoders that rerankers are made of.
const ENCODERS: [&str; 6] = ["xlm_roberta", "camembert", "mpnet", "distilbert", "electra", "albert"];

/// The files of a case.
const FILES: [&str; 5] =
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// Largest absolute error of a score, at every token that is read.
const TOLERANCE: f64 = 1e-4;

fn folder(case: &str) -> Folder {
    Folder::open(&fixture(&format!("kinds/{case}"))).unwrap()
}

fn load(
    files: &ModelFiles,
    choice: DeviceChoice,
    change: impl FnOnce(&mut LoadOptions),
) -> Result<Scorer, EngineError> {
    // One of them is also a model of steps, by a reader that is known for its class: see `readers.rs`.
    let reader = ReaderChoice::None;
    let mut options = LoadOptions { reader, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    change(&mut options);
    let device = block_on(device::open(choice))?;
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {}))
}

fn files(case: &str) -> ModelFiles {
    ModelFiles::from_sources(case, folder(case).sources().cloned().collect()).unwrap()
}

/// The rows of a case that are conversations.
fn rows(case: &str) -> Vec<Value> {
    let rows = json_fixture(&format!("kinds/{case}/expected.json"))["rows"].as_array().unwrap().clone();
    rows.into_iter().filter(|row| row["input"].get("messages").is_some()).collect()
}

/// A row's prompt and completion.
fn conversation(row: &Value) -> (Vec<Message>, String) {
    let messages: Vec<Message> = serde_json::from_value(row["input"]["messages"].clone()).unwrap();
    let (last, prompt) = messages.split_last().unwrap();
    (prompt.to_vec(), last.content.clone())
}

fn agree(case: &str, reading: &str, choice: DeviceChoice) {
    let scorer = load(&files(case), choice, |_| ()).unwrap();
    assert!(scorer.report().is_reward_model);
    assert_eq!(scorer.report().reading, reading, "{case}");
    let rows = rows(case);
    assert!(rows.len() >= 7, "{case}");
    let (mut worst, mut worst_objective) = (0.0f64, 0.0f64);
    for row in &rows {
        let (prompt, completion) = conversation(row);
        let sequences = scorer.tokenize(&prompt, [completion.as_str()]).unwrap();
        let expected: Vec<u32> = serde_json::from_value(row["input_ids"].clone()).unwrap();
        assert_eq!(sequences[0].input_ids, expected, "{case}, {}", row["id"]);
        let of = |detail| block_on(scorer.score_tokens(&sequences, detail, &Cancel::default())).unwrap().remove(0);
        let (score, every) = (of(Detail::Score), of(Detail::EveryToken));
        worst = worst.max((score.score - number(&row["score"])).abs());
        // The trace ends with the score itself.
        let last = row["position"].as_u64().map_or(expected.len() - 1, |position| position as usize);
        worst = worst.max((f64::from(every.token_scores[last]) - number(&row["score"])).abs());
        let objectives = row["rewards"].as_array().map_or(0, Vec::len);
        assert_eq!(score.objectives.len(), objectives, "{case}");
        for (at, found) in score.objectives.iter().enumerate() {
            worst_objective = worst_objective.max((found.reward - number(&row["rewards"][at])).abs());
        }
    }
    println!("{case} on {}: score {worst:.1e}, objectives {worst_objective:.1e}", scorer.report().device.name);
    assert!(worst < TOLERANCE && worst_objective < TOLERANCE, "{case}: {worst}, {worst_objective}");
}

/// An encoder's ids, token types and scores.
fn encoder_agrees(case: &str, choice: DeviceChoice) {
    let scorer = load(&files(case), choice, |_| ()).unwrap();
    let rows = json_fixture(&format!("kinds/{case}/expected.json"))["rows"].as_array().unwrap().clone();
    assert!(rows.len() >= 7, "{case}");
    let mut worst = 0.0f64;
    for row in &rows {
        let prompt = [Message::new("user", row["input"]["prompt"].as_str().unwrap())];
        let sequence = scorer.tokenize(&prompt, [row["input"]["completion"].as_str().unwrap()]).unwrap().remove(0);
        let ids: Vec<u32> = serde_json::from_value(row["input_ids"].clone()).unwrap();
        assert_eq!(sequence.input_ids, ids, "{case}, {}", row["id"]);
        if let Some(types) = row.get("token_type_ids") {
            let types: Vec<u32> = serde_json::from_value(types.clone()).unwrap();
            assert_eq!(sequence.token_type_ids, types, "{case}, {}", row["id"]);
        }
        let scores = block_on(scorer.score_tokens(&[sequence], Detail::Score, &Cancel::default())).unwrap();
        worst = worst.max((scores[0].score - number(&row["score"])).abs());
    }
    println!("{case} on {}: score {worst:.1e}", scorer.report().device.name);
    assert!(worst < TOLERANCE, "{case}: {worst}");
}

/// A folder of sentence-transformers has what its cross-encoder predicts beside the logit.
#[test]
fn cross_encoders_predict_beside_the_score() {
    for case in ENCODERS {
        let settings = json!({ "model_type": "CrossEncoder" }).to_string().into_bytes();
        let own = folder(case);
        let read = |file: &&str| Some(Source::memory(*file, block_on(own.find(file)?.read_all()).unwrap()));
        let mut sources: Vec<Source> = FILES.iter().filter_map(read).collect();
        sources.push(Source::memory("config_sentence_transformers.json", settings));
        let files = ModelFiles::from_sources(case, sources).unwrap();
        let scorer = load(&files, DeviceChoice::Cpu, |_| ()).unwrap();
        let expected = json_fixture(&format!("kinds/{case}/expected.json"));
        for row in expected["rows"].as_array().unwrap() {
            let prompt = [Message::new("user", row["input"]["prompt"].as_str().unwrap())];
            let completion = row["input"]["completion"].as_str().unwrap();
            let scores = block_on(scorer.score(&prompt, [completion], Detail::Score, &Cancel::default())).unwrap();
            assert!((scores[0].score - number(&row["score"])).abs() < TOLERANCE, "the score stays the logit");
            let found = scores[0].probability.unwrap();
            if let Some(wanted) = row.get("probability") {
                assert!((found - number(wanted)).abs() < 1e-5, "{case}: {found} is not {wanted}");
            }
        }
        let plain = load(&self::files(case), DeviceChoice::Cpu, |_| ()).unwrap();
        let scores = block_on(plain.score(&[Message::new("user", "?")], ["!"], Detail::Score, &Cancel::default()));
        assert_eq!(scores.unwrap()[0].probability, None, "{case} names no sentence-transformers");
    }
}

#[test]
fn encoders_agree_on_the_cpu() {
    ENCODERS.iter().for_each(|case| encoder_agrees(case, DeviceChoice::Cpu));
}

#[test]
fn encoders_agree_on_the_gpu() {
    ENCODERS.iter().for_each(|case| encoder_agrees(case, DeviceChoice::Gpu));
}

#[test]
fn heads_agree_on_the_cpu() {
    HEADS.iter().for_each(|(case, reading)| agree(case, reading, DeviceChoice::Cpu));
}

#[test]
fn heads_agree_on_the_gpu() {
    HEADS.iter().for_each(|(case, reading)| agree(case, reading, DeviceChoice::Gpu));
}

/// Completions of one prompt compute the prompt once, and a text's end is read though the text is cut.
#[test]
fn prompts_are_shared_and_ends_are_read() {
    for (case, _) in HEADS {
        let scorer = load(&files(case), DeviceChoice::Cpu, |_| ()).unwrap();
        let prompt = [Message::new("user", "Name a colour of the rainbow.")];
        let completions = ["Red.", "Violet, I think.", "Brown."];
        let sequences = scorer.tokenize(&prompt, completions).unwrap();
        let of = |detail| block_on(scorer.score_tokens(&sequences, detail, &Cancel::default())).unwrap();
        let together = of(Detail::Score);
        let all: usize = sequences.iter().map(|sequence| sequence.input_ids.len()).sum();
        let computed: usize = together.iter().map(|score| score.computed_tokens).sum();
        let first = sequences.iter().map(|sequence| sequence.first_completion_token).min().unwrap();
        assert!(computed <= all - 2 * first, "{case}: {computed} of {all}, {first} of them shared");
        for (sequence, score) in sequences.iter().zip(&together) {
            let alone = std::slice::from_ref(sequence);
            let alone = block_on(scorer.score_tokens(alone, Detail::Score, &Cancel::default())).unwrap().remove(0);
            assert!((alone.score - score.score).abs() < 1e-5, "{case}");
        }
        // Cut to 24 tokens on either side; a token that is appended stays the last.
        let cut = load(&files(case), DeviceChoice::Cpu, |options| options.max_tokens = Some(24)).unwrap();
        let whole = sequences[1].input_ids.len();
        let sequence = cut.tokenize(&prompt, [completions[1]]).unwrap().remove(0);
        match block_on(cut.score_tokens(&[sequence], Detail::Score, &Cancel::default())) {
            Ok(scores) => {
                assert_eq!((scores[0].tokens, scores[0].cut_tokens), (24, whole - 24), "{case}");
                let last = sequences[1].input_ids.last();
                let is_appended = scorer.report().reading.contains("appended");
                assert_eq!(scores[0].input_ids.last() == last, is_appended, "{case}");
            }
            // What is left of ArmoRM's text may hold no beginning of an answer.
            Err(error) => assert!(case == "armorm" && error.to_string().contains("gates are read"), "{case}: {error}"),
        }
    }
}

/// A fitted head takes the place of a model's own, and what transformers has no class for is not written for it.
#[test]
fn fitted_heads_replace_own_heads() {
    let files = files("internlm2");
    let own = load(&files, DeviceChoice::Cpu, |_| ()).unwrap();
    let backbone = Backbone::of(own.report(), None);
    let config = HeadConfig { name: "none".to_owned(), backbone, layers: 3, pooling: Pooling::LastToken };
    let head = RewardHead { config, weight: vec![0.0; 48], report: None };
    let written = block_on(files.write_checkpoint(&head, &Cancel::default(), &mut |_, _| Ok(())));
    let found = written.unwrap_err().to_string();
    assert!(found.contains("InternLM2ForRewardModel") && found.contains("--no-checkpoint"), "{found}");
    let (device, options) = (device::open(DeviceChoice::Cpu), LoadOptions::new(Clock::from_local_seconds(0)));
    let device = block_on(device).unwrap();
    let scorer = block_on(Scorer::load(&files, Some(&head), device, options, &Cancel::default(), &mut |_| {})).unwrap();
    assert_eq!(scorer.report().reading, "");
    let prompt = [Message::new("user", "Name a colour.")];
    let scores = block_on(scorer.score(&prompt, ["Red."], Detail::Score, &Cancel::default())).unwrap();
    assert_eq!(scores[0].score, 0.0);
}

/// A case's files, with the tensors and the configuration changed.
fn changed(
    case: &str,
    tensors: impl FnOnce(&mut serde_json::Map<String, Value>, usize) -> Vec<u8>,
    config: impl FnOnce(&mut Value),
) -> ModelFiles {
    let folder = folder(case);
    let bytes = |file: &str| block_on(folder.get(file).unwrap().read_all()).unwrap();
    let mut json: Value = serde_json::from_slice(&bytes("config.json")).unwrap();
    config(&mut json);
    let weights = safetensors_with(&bytes("model.safetensors"), tensors);
    let mut sources = vec![
        Source::memory("config.json", json.to_string().into_bytes()),
        Source::memory("model.safetensors", weights),
    ];
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        sources.push(Source::memory(file, bytes(file)));
    }
    ModelFiles::from_sources(case, sources).unwrap()
}

fn message(files: &ModelFiles) -> String {
    load(files, DeviceChoice::Cpu, |_| ()).expect_err("refused").to_string()
}

#[test]
fn heads_that_cannot_be_read_are_refused_by_name() {
    let row = |start: usize, width: usize| json!({ "dtype": "F32", "shape": [1, width], "data_offsets": [start, start + 4 * width] });
    let as_is = |_: &mut Value| ();
    // Two heads.
    let both = |tensors: &mut serde_json::Map<String, Value>, end: usize| {
        tensors.insert("v_head.weight".to_owned(), row(end, 48));
        vec![0; 4 * 48]
    };
    let found = message(&changed("regression_head", both, as_is));
    assert!(found.contains("v_head and regression_head: two heads"), "{found}");
    // A tensor that the publisher's code may read.
    let more = |tensors: &mut serde_json::Map<String, Value>, end: usize| {
        tensors.insert("reward_bias".to_owned(), row(end, 1));
        vec![0; 4]
    };
    let found = message(&changed("regression_head", more, as_is));
    assert!(found.contains("reward_bias"), "{found}");
    // A head of another width.
    let wide = |tensors: &mut serde_json::Map<String, Value>, end: usize| {
        tensors.insert("regression_head.weight".to_owned(), row(end, 50));
        vec![0; 4 * 50]
    };
    let found = message(&changed("regression_head", wide, as_is));
    assert!(found.contains("regression_head.weight") && found.contains("50"), "{found}");
    // A head that is not known: the tensors are named.
    let other = |tensors: &mut serde_json::Map<String, Value>, _: usize| {
        let head = tensors.remove("regression_head.weight").unwrap();
        tensors.insert("preference_head.weight".to_owned(), head);
        Vec::new()
    };
    let found = message(&changed("regression_head", other, as_is));
    assert!(found.contains("EurusRewardModel"), "{found}");
    // Settings that change scores.
    let none = |_: &mut serde_json::Map<String, Value>, _: usize| Vec::new();
    let found = message(&changed("regression_head", none, |config| config["do_normalize"] = true.into()));
    assert!(found.contains("do_normalize"), "{found}");
    let found = message(&changed("openrlhf", none, |config| config["std"] = 0.into()));
    assert!(found.contains("normalize_reward"), "{found}");
    let found = message(&changed("armorm", none, |config| config["gating_temperature"] = Value::Null));
    assert!(found.contains("gating_temperature"), "{found}");
    // Several outputs want a label.
    let found = message(&changed(
        "value_head",
        |tensors, end| {
            tensors.remove("v_head.summary.bias");
            tensors.insert(
                "v_head.summary.weight".to_owned(),
                json!({ "dtype": "F32", "shape": [2, 48], "data_offsets": [end, end + 8 * 48] }),
            );
            vec![0; 8 * 48]
        },
        as_is,
    ));
    assert!(found.contains("label"), "{found}");
}
