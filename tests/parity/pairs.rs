//! Models that see two completions at once, compared with what their publishers' own class computes, on the CPU and on
//! the GPU (lavapipe where there is no other).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, Duel, EngineError, LoadOptions, Message, ModelFiles, PairAggregate, Pooling,
    PositionBias, ReaderChoice, Score, Scorer, TokenSequence, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number};
use serde_json::Value;

/// Largest absolute error of a logit, and of what is made of logits.
const TOLERANCE: f64 = 1e-4;

fn rows() -> Vec<Value> {
    json_fixture("kinds/pairrm/expected.json")["rows"].as_array().unwrap().clone()
}

/// The model with its configuration changed.
fn changed(change: impl FnOnce(&mut Value)) -> ModelFiles {
    renamed(change, "<|candidate1|>")
}

/// The same with another name for the token that begins the first completion.
fn renamed(change: impl FnOnce(&mut Value), first: &str) -> ModelFiles {
    let folder = Folder::open(&fixture("kinds/pairrm")).unwrap();
    let mut config = json_fixture("kinds/pairrm/config.json");
    change(&mut config);
    let bytes = |name: &str| block_on(folder.get(name).unwrap().read_all()).unwrap();
    let text = |name: &str| {
        let text = String::from_utf8(bytes(name)).unwrap().replace("<|candidate1|>", first);
        Source::memory(name, text.into_bytes())
    };
    let sources = vec![
        Source::memory("config.json", config.to_string().into_bytes()),
        text("tokenizer.json"),
        text("tokenizer_config.json"),
        Source::memory("model.safetensors", bytes("model.safetensors")),
    ];
    ModelFiles::from_sources("pairrm", sources).unwrap()
}

fn load(choice: DeviceChoice, files: &ModelFiles, options: LoadOptions) -> Result<Scorer, EngineError> {
    let device = block_on(device::open(choice))?;
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {}))
}

fn plain() -> LoadOptions {
    LoadOptions::new(Clock::from_local_seconds(0))
}

/// A model whose outcomes become scores in this way, by the protocol of a row.
fn scorer(choice: DeviceChoice, row: &Value, pair_aggregate: PairAggregate) -> Scorer {
    let clock = Clock::from_local_seconds(0);
    let options = match row["protocol"].as_str().unwrap() {
        "reference" => LoadOptions::reference(clock),
        _ => LoadOptions::new(clock),
    };
    load(choice, &changed(|_| ()), LoadOptions { pair_aggregate, ..options }).unwrap()
}

fn texts(row: &Value) -> (Vec<Message>, Vec<String>) {
    let of = |key: &str| row["input"][key].clone();
    (serde_json::from_value(of("messages")).unwrap(), serde_json::from_value(of("completions")).unwrap())
}

fn score(scorer: &Scorer, row: &Value) -> Vec<Score> {
    let (prompt, completions) = texts(row);
    let completions = completions.iter().map(String::as_str);
    block_on(scorer.score(&prompt, completions, Detail::Score, &Cancel::default())).unwrap()
}

/// The largest difference of numbers from those of a row.
fn furthest(found: impl Iterator<Item = f64>, wanted: &Value) -> f64 {
    let wanted = wanted.as_array().unwrap().iter().map(number);
    found.zip(wanted).map(|(found, want)| (found - want).abs()).fold(0.0, f64::max)
}

fn agree(choice: DeviceChoice) {
    let (mut worst_logit, mut worst) = (0.0f64, 0.0f64);
    for row in &rows() {
        let name = &row["id"];
        // A software adapter takes long for two thousand tokens, and the CPU has compared them.
        if choice == DeviceChoice::Gpu && name == "long prompt" {
            continue;
        }
        let scorer = scorer(choice, row, PairAggregate::WinRate);
        let (prompt, completions) = texts(row);
        let sequences = scorer.tokenize(&prompt, completions.iter().map(String::as_str)).unwrap();
        let scores = score(&scorer, row);
        let pairs = row["pairs"].as_array().unwrap();
        assert_eq!(pairs.len(), completions.len() * (completions.len() - 1), "{name}");
        let mut tokens = 0;
        for pair in pairs {
            let place = |key: &str| pair[key].as_u64().unwrap() as usize;
            let (one, other) = (place("first"), place("second"));
            let ids: Vec<u32> = serde_json::from_value(pair["input_ids"].clone()).unwrap();
            tokens += ids.len();
            assert_eq!([sequences[one].input_ids.as_slice(), &sequences[other].as_second].concat(), ids, "{name}");
            let duel = scores[one].duels.iter().find(|duel| duel.against == other).unwrap();
            worst_logit = worst_logit.max((duel.first - number(&pair["logit"])).abs());
        }
        worst = worst.max(furthest(scores.iter().map(|score| score.score), &row["win_rate"]));
        let bias = PositionBias::of(scores.iter().map(|score| score.duels.as_slice())).unwrap();
        worst = worst.max((bias.lean - number(&row["position_bias"]["lean"])).abs());
        assert_eq!(Some(bias.turned as u64), row["position_bias"]["turned"].as_u64(), "{name}");
        assert_eq!(scores.iter().map(|score| score.computed_tokens).sum::<usize>(), tokens, "{name}");
        assert_eq!(scorer.computed_tokens(&sequences).unwrap(), tokens, "{name}");
        let cut = name.as_str().unwrap().starts_with("long");
        assert_eq!(scores.iter().any(Score::truncated), cut, "{name}");
    }
    println!("largest error of a logit {worst_logit:.2e}, of what is made of them {worst:.2e}");
    assert!(worst_logit < TOLERANCE && worst < TOLERANCE);
}

#[test]
fn pairs_agree_on_the_cpu() {
    agree(DeviceChoice::Cpu);
}

#[test]
fn pairs_agree_on_the_gpu() {
    agree(DeviceChoice::Gpu);
}

#[test]
fn bradley_terry_strengths_are_the_likeliest_ones() {
    for row in rows().iter().filter(|row| !row["id"].as_str().unwrap().starts_with("long")) {
        let scorer = scorer(DeviceChoice::Cpu, row, PairAggregate::BradleyTerry);
        let scores = score(&scorer, row);
        let error = furthest(scores.iter().map(|score| score.score), &row["bradley_terry"]);
        assert!(error < TOLERANCE, "{}: {error}", row["id"]);
        assert_eq!(scorer.report().pair_aggregate, Some(PairAggregate::BradleyTerry));
    }
}

#[test]
fn what_did_not_change_is_not_compared_again() {
    let scorer = load(DeviceChoice::Cpu, &changed(|_| ()), plain()).unwrap();
    let prompt = [Message::new("user", "What is it?")];
    let rescore = |completions: &[&str]| {
        let (completions, cancel) = (completions.iter().copied(), Cancel::default());
        block_on(scorer.rescore(&prompt, completions, &cancel, &mut |_| ())).unwrap()
    };
    let places = |score: &Score| score.duels.iter().map(|duel| duel.against).collect::<Vec<_>>();
    let first = rescore(&["A cat.", "A dog.", "A bird."]);
    let again = rescore(&["A cat.", "A dog.", "A bird."]);
    assert!(again.iter().all(|score| score.computed_tokens == 0));
    // In another order each is scored with the others' new places, and without one the others' scores change.
    let turned = rescore(&["A dog.", "A cat.", "A bird."]);
    assert_eq!(places(&turned[2]), [0, 1]);
    assert!((turned[1].score - first[0].score).abs() < 1e-6);
    let fewer = rescore(&["A dog.", "A cat."]);
    assert_eq!(fewer[0].duels.len(), 1);
    let win = |duels: &[Duel], against: usize| duels.iter().find(|duel| duel.against == against).unwrap().win;
    assert!((fewer[1].score - win(&first[0].duels, 1)).abs() < 1e-6);
}

#[test]
fn progress_counts_completions() {
    let scorer = load(DeviceChoice::Cpu, &changed(|_| ()), LoadOptions { batch_tokens: Some(1), ..plain() });
    let (scorer, mut told) = (scorer.unwrap(), Vec::new());
    let completions = (0..9).map(|i| format!("Answer {i}.")).collect::<Vec<_>>();
    let prompt = [Message::new("user", "What is it?")];
    let heard = &mut |now: rewardscope_engine::ScoreProgress| told.push(now.completions_done);
    block_on(scorer.rescore(&prompt, completions.iter().map(String::as_str), &Cancel::default(), heard)).unwrap();
    assert!(told.is_sorted() && told.contains(&4) && told.last() == Some(&9), "{told:?}");
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let model = || load(DeviceChoice::Cpu, &changed(|_| ()), plain()).unwrap();
    let scorer = model();
    let ask = |prompt: &[Message], completions: &[&str]| {
        let (completions, cancel) = (completions.iter().copied(), Cancel::default());
        block_on(scorer.score(prompt, completions, Detail::Score, &cancel)).unwrap_err().to_string()
    };
    let prompt = [Message::new("user", "What is it?")];
    let found = ask(&prompt, &["A cat."]);
    assert!(found.contains("two completions or more were expected, 1 was found"), "{found}");
    let found = ask(&[Message::new("assistant", "A cat.")], &["a", "b"]);
    assert!(found.contains("assistant were found"), "{found}");
    let ids = vec![TokenSequence::new(vec![1, 5, 2], 1); 2];
    let found = block_on(scorer.score_tokens(&ids, Detail::Score, &Cancel::default())).unwrap_err().to_string();
    assert!(found.contains("token ids were found"), "{found}");
    let found = block_on(scorer.features(&ids, 1, Pooling::LastToken, &Cancel::default())).unwrap_err().to_string();
    assert!(found.contains("DebertaV2PairRM"), "{found}");
    let found = block_on(scorer.trace(&prompt, "A cat.", &Cancel::default())).unwrap_err().to_string();
    assert!(found.contains("two completions or more"), "{found}");
    // Settings.
    let refused =
        |options: LoadOptions, files: &ModelFiles| load(DeviceChoice::Cpu, files, options).unwrap_err().to_string();
    let files = changed(|_| ());
    let found = refused(LoadOptions { reader: ReaderChoice::named("criterion").unwrap(), ..plain() }, &files);
    assert!(found.contains("criterion"), "{found}");
    let found = refused(plain(), &changed(|config| config["n_tasks"] = Value::Null));
    assert!(found.contains("n_tasks"), "{found}");
    let found = refused(plain(), &changed(|config| config["n_tasks"] = 3.into()));
    assert!(found.contains("head_layer.4"), "{found}");
    let small = load(DeviceChoice::Cpu, &files, LoadOptions { max_tokens: Some(4), ..plain() }).unwrap();
    let found = block_on(small.score(&prompt, ["a", "b"], Detail::Score, &Cancel::default())).unwrap_err().to_string();
    assert!(found.contains("--max-length") || found.contains("leave no room"), "{found}");
    let missing = renamed(|_| (), "<|first|>");
    let found = load(DeviceChoice::Cpu, &missing, plain()).unwrap().check_template().unwrap_err().to_string();
    assert!(found.contains("the token <|candidate1|> was expected"), "{found}");
}
