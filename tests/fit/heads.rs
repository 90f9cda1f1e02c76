//! Heads are compared with independent programs: weights with scikit-learn, scores with transformers. `fit` is tested
//! on the command line with good and with bad data.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use pollster::block_on;
use rewardscope_engine::{Cancel, Detail, Message, Pooling, RewardHead, TokenSequence};
use rewardscope_fit::{FeatureCache, Pair, learn};
use rewardscope_store::{Digest, Hasher, Source};
use rewardscope_tests::{command, fixture, json_fixture, load, made_up, made_up_header, model, root, scratch};

fn head(path: &Path) -> RewardHead {
    block_on(RewardHead::read(&Source::file(path).unwrap())).unwrap()
}

#[test]
fn weights_equal_scikit_learns() {
    let fixture = json_fixture("fit/logistic.json");
    let states = |key: &str| -> Vec<Vec<f32>> { serde_json::from_value(fixture[key].clone()).unwrap() };
    let (chosen, rejected) = (states("chosen"), states("rejected"));
    let prompts: Vec<u64> = serde_json::from_value(fixture["prompts"].clone()).unwrap();
    let mut cache = FeatureCache::memory(made_up_header(chosen[0].len()));
    let mut pairs = Vec::new();
    for (i, (chosen, rejected)) in chosen.iter().zip(&rejected).enumerate() {
        cache.push(2 * i as u64, chosen).unwrap();
        cache.push(2 * i as u64 + 1, rejected).unwrap();
        let at = 2 * i as u32;
        pairs.push(Pair { chosen: at, rejected: at + 1, prompt: prompts[i], subset: None, characters: [1, 1] });
    }
    let gathered = made_up(pairs);
    let learned = block_on(learn(&gathered, &cache, 0, &Cancel::default(), &mut |_| {})).unwrap();
    let again = block_on(learn(&gathered, &cache, 0, &Cancel::default(), &mut |_| {})).unwrap();
    assert_eq!((&learned.weight, &learned.report), (&again.weight, &again.report), "the same seed, the same head");
    let strength = learned.report.training.strength;
    let by_strength: BTreeMap<String, Vec<f64>> = serde_json::from_value(fixture["weights"].clone()).unwrap();
    let (_, want) = by_strength.iter().find(|(key, _)| key.parse::<f64>().unwrap() == strength).unwrap();
    let mut worst: f64 = 0.0;
    for ((found, want), calibrated) in learned.uncalibrated.iter().zip(want).zip(&learned.weight) {
        worst = worst.max((found - want).abs() / want.abs().max(1.0));
        let folded = found / learned.report.training.temperature;
        assert!((f64::from(*calibrated) - folded).abs() <= 1e-6 * folded.abs(), "the temperature is folded in");
    }
    println!("strength {strength}: largest error of a weight {worst:.1e}");
    assert!(worst < 1e-4, "{worst}");
    assert!(learned.report.accuracy.value > 0.6, "{:?}", learned.report.accuracy);
}

#[test]
fn a_fitted_head_scores_as_transformers_does_after_reloading() {
    let expected = json_fixture("fit/reloaded.json");
    let head = head(&fixture("fit/head.safetensors"));
    let plain = model(&fixture("parity/llama_plain"));
    let scorer = load(&plain, Some(&head)).unwrap();
    assert!(scorer.report().is_reward_model);
    // The checkpoint written here is, byte for byte, the one that transformers opened.
    let folder = scratch("checkpoint");
    block_on(plain.write_checkpoint(&head, &Cancel::default(), &mut |file, bytes| {
        use std::io::Write;
        fs::File::options().create(true).append(true).open(folder.join(file))?.write_all(bytes)
    }))
    .unwrap();
    for (file, digest) in expected["checkpoint_sha256"].as_object().unwrap() {
        let mut hash = Hasher::sha256();
        hash.update(&fs::read(folder.join(file)).unwrap());
        assert_eq!(Digest::hex(&hash.finish()), digest.as_str().unwrap(), "{file}");
    }
    let reopened = load(&model(&folder), None).unwrap();
    let mut worst: f64 = 0.0;
    for case in expected["cases"].as_array().unwrap() {
        let prompt = [Message::new("user", case["prompt"].as_str().unwrap())];
        let ids: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
        let want = case["score"].as_f64().unwrap();
        let sequence = [TokenSequence::new(ids.clone(), 1)];
        let on_ids =
            block_on(scorer.score_tokens(&sequence, Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
        let completion = [case["completion"].as_str().unwrap()];
        let on_text =
            block_on(scorer.score(&prompt, completion, Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
        let reloaded =
            block_on(reopened.score(&prompt, completion, Detail::EveryToken, &Cancel::default())).unwrap().remove(0);
        assert_eq!(on_text.input_ids, ids);
        for score in [on_ids.score, on_text.score, reloaded.score] {
            worst = worst.max((score - want).abs());
        }
    }
    println!("largest error against transformers {worst:.1e}");
    assert!(worst < 1e-6, "{worst}");
}

#[test]
fn a_head_is_refused_on_another_backbone_and_when_damaged() {
    let good = head(&fixture("fit/head.safetensors"));
    let message = load(&model(&fixture("parity/llama_gqa_tied")), Some(&good)).err().unwrap().to_string();
    assert!(message.contains("llama_plain was expected") && message.contains("llama_gqa_tied"), "{message}");
    let bytes = good.to_bytes().unwrap();
    let refusal = |bytes: Vec<u8>| {
        block_on(RewardHead::read(&Source::memory("some.safetensors", bytes))).err().unwrap().to_string()
    };
    let mut not_a_number = bytes.clone();
    let end = not_a_number.len();
    not_a_number[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let model_bytes = fs::read(fixture("parity/llama_plain/model.safetensors")).unwrap();
    for (bytes, named) in [
        (bytes[..bytes.len() - 8].to_vec(), "truncated"),
        (b"words".to_vec(), "a safetensors header"),
        (model_bytes, "without rewardscope_head"),
        (not_a_number, "no number"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains("some.safetensors") && message.contains(named), "{message}");
    }
    let mean = RewardHead {
        config: rewardscope_engine::HeadConfig { pooling: Pooling::CompletionMean, ..good.config.clone() },
        ..good
    };
    let plain = model(&fixture("parity/llama_plain"));
    let refused = block_on(plain.write_checkpoint(&mean, &Cancel::default(), &mut |_, _| Ok(())));
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("--pooling last"), "{message}");
}

fn fit(preferences: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = command();
    command.args(["fit", "--device", "cpu", "--model"]).arg(fixture("parity/llama_plain"));
    command.arg("--preferences").arg(preferences).arg("--out").arg(out).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_fits_again_from_what_it_kept_and_eval_takes_the_head() {
    let out = scratch("fit");
    let first = fit(&fixture("fit/preferences.jsonl"), &out, &["--seed", "3"]);
    assert!(first.status.success(), "{}", said(&first));
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    for part in [
        "On pairs held out",
        "the longest completion",
        "fitted on pairs",
        "calibration",
        "On the bundled sample (140 items)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let bytes = fs::read(out.join("head.safetensors")).unwrap();
    let again = fit(&fixture("fit/preferences.jsonl"), &out, &["--seed", "3", "--no-checkpoint"]);
    assert!(said(&again).contains("completions were computed earlier"), "{}", said(&again));
    assert_eq!(fs::read(out.join("head.safetensors")).unwrap(), bytes, "the same data and seed, the same bytes");
    let input = out.join("rows.jsonl");
    fs::write(&input, "{\"id\": 1, \"prompt\": \"Hi\", \"completions\": [\"Hello\", \"\"]}\n").unwrap();
    let scored = command()
        .args(["score", "--device", "cpu", "--output", "-", "--model"])
        .arg(fixture("parity/llama_plain"))
        .arg("--head")
        .arg(out.join("head.safetensors"))
        .arg("--input")
        .arg(&input)
        .output()
        .unwrap();
    assert!(scored.status.success(), "{}", said(&scored));
    assert!(String::from_utf8_lossy(&scored.stdout).contains("\"scores\""));
}

#[test]
fn bad_preferences_have_their_sentences() {
    let file = |name: &str, text: &str| -> PathBuf {
        let path = scratch(&format!("bad-{name}")).join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let row = |prompt: &str, chosen: &str, rejected: &str| {
        format!("{}\n", serde_json::json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected }))
    };
    let few: String = (0..9).map(|i| row(&format!("prompt {i}"), "good", "bad")).collect();
    let shared: String = rewardscope_tests::sample_rows().iter().map(|r| row(&r.prompt, "good", "bad")).collect();
    let cases = [
        (file("cut.jsonl", "{\"prompt\": \"a"), vec![], "row 1: not readable"),
        (file("empty.jsonl", ""), vec![], "empty.jsonl: at least one row was expected"),
        (file("words.parquet", "words"), vec![], "words.parquet: parquet, which begins with"),
        (file("other.jsonl", "{\"question\": 1}\n"), vec![], "other.jsonl: the columns chosen, rejected were expected"),
        (file("same.jsonl", &row("p", "same", "same")), vec![], "1 identical ones"),
        (file("both.jsonl", &(row("p", "a", "b") + &row("p", "b", "a"))), vec![], "2 stand there both ways round"),
        (file("few.jsonl", &few), vec![], "at least 10 different prompts were expected, 9 were found"),
        (file("shared.jsonl", &shared), vec!["--drop-overlap"], "140 share their prompt with a benchmark"),
        (root().join("nowhere.jsonl"), vec![], "there is no such file or folder"),
        (file("layers.jsonl", &few), vec!["--layers", "4"], "1 to 3 layers were expected, 4 was found"),
    ];
    for (path, more, named) in cases {
        let output = fit(&path, &scratch("bad-out"), &more);
        let said = said(&output);
        let sentence = said.lines().find(|line| line.starts_with("rewardscope: "));
        assert!(sentence.is_some_and(|sentence| sentence.contains(named)), "{named}: {said}");
        assert!(!said.contains("panicked") && output.status.code() == Some(2), "{said}");
    }
}

/// `eval` with the committed head gives the marks of the committed report.
#[test]
fn the_default_heads_marks_are_those_of_its_report() {
    let all = std::env::var("REWARDSCOPE_ALL").is_ok_and(|all| all == "1");
    let out = scratch("default-head");
    let folder = root().join("heads/smollm2-135m-instruct");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(
        head(&folder.join("head.safetensors")).report.map(|text| serde_json::from_str(&text).unwrap()),
        Some(report.clone()),
        "the report in the head is the one beside it"
    );
    let mut hash = Hasher::sha256();
    hash.update(&fs::read(folder.join("preferences.jsonl")).unwrap());
    assert_eq!(report["training"]["data_hash"], Digest::hex(&hash.finish()));
    // The whole sample takes minutes: without --all, only one subset is scored.
    let rows = if all { root().join("sample/sample.parquet") } else { root().join("sample/factuality.jsonl") };
    let evaluated = command()
        .args(["eval", "--device", "cpu", "--model"])
        .arg(root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
        .arg("--head")
        .arg(folder.join("head.safetensors"))
        .arg("--data")
        .arg(rows)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(evaluated.status.success(), "{}", said(&evaluated));
    let marks: serde_json::Value = serde_json::from_slice(&fs::read(out.join("marks.json")).unwrap()).unwrap();
    let own = &report["benchmark"]["scorers"][0];
    let (mut compared, mut worst) = (0, 0.0f64);
    for (subset, mark) in marks["subsets"].as_object().unwrap() {
        let told = own["marks"]["subsets"].as_array().unwrap().iter().find(|told| told["subset"] == subset.as_str());
        worst = worst.max((told.unwrap()["score"].as_f64().unwrap() - mark["score"].as_f64().unwrap()).abs());
        compared += 1;
    }
    println!("{compared} subsets, largest difference {worst:.1e}");
    assert!(worst < 1e-6 && compared == if all { 6 } else { 1 }, "{marks}");
}
