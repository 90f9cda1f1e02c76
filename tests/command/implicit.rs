//! Implicit rewards in the command: what a run keeps of its reference, an adapter against its base, and what is
//! refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use rewardscope_tests::{fixture, number, run, said, scratch};
use serde_json::{Value, json};

fn parity(case: &str) -> String {
    fixture(&format!("parity/{case}")).display().to_string()
}

fn rows(folder: &Path) -> String {
    let pair = |i: usize| json!({ "prompt": format!("Question {i}?"), "chosen": "Yes, it is.", "rejected": "No." });
    let path = folder.join("rows.jsonl");
    fs::write(&path, (0..3).map(|i| format!("{}\n", pair(i))).collect::<String>()).unwrap();
    path.display().to_string()
}

/// The rows that `score` writes to standard output, in RewardBench's format tulu: the fixtures have no template.
fn scored(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[&["score", "--device", "cpu", "--format", "tulu", "--output", "-"], arguments].concat());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{}", said(&output));
    rows
}

/// All scores of rows.
fn scores(rows: &[Value]) -> Vec<f64> {
    rows.iter().flat_map(|row| row["scores"].as_array().unwrap()).map(number).collect()
}

#[test]
fn a_reward_is_what_two_likelihoods_differ_by() {
    let folder = scratch("implicit-score");
    let (input, policy, reference) = (rows(&folder), parity("dpo_llama/policy"), parity("dpo_llama/reference"));
    let sum = |model: &str| scores(&scored(&["--model", model, "--input", &input, "--logprob", "sum"]));
    let (own, other) = (sum(&policy), sum(&reference));
    let found = scored(&["--model", &policy, "--input", &input, "--reference", &reference, "--beta", "0.5"]);
    for (place, score) in scores(&found).into_iter().enumerate() {
        assert!((score - 0.5 * (own[place] - other[place])).abs() < 1e-4, "{score}");
        let of = |key: &str| number(&found[place / 2][key][place % 2]);
        assert!((of("policy_log_probability") - own[place]).abs() < 1e-4);
        assert!((of("reference_log_probability") - other[place]).abs() < 1e-4);
    }
    let tokens = scored(&["--model", &policy, "--input", &input, "--reference", &reference, "--per-token"]);
    let shares: f64 = tokens[0]["token_scores"][0].as_array().unwrap().iter().map(number).sum();
    assert!((shares - number(&tokens[0]["scores"][0])).abs() < 1e-4);
}

/// The rows and the marks of a reference that is read first are those of one that is beside the model, to the last
/// digit.
#[test]
fn a_reference_may_be_read_first() {
    let folder = scratch("implicit-first");
    let (input, policy, reference) = (rows(&folder), parity("dpo_llama/policy"), parity("dpo_llama/reference"));
    let file = |name: &str| folder.join(name).display().to_string();
    let score = |output: &str, options: &[&str]| {
        let arguments = ["score", "--device", "cpu", "--format", "tulu", "--per-token", "--model", &policy];
        let named = ["--input", &input, "--output", output, "--reference", &reference, "--beta", "0.5"];
        let output = run(&[&arguments[..], &named[..], options].concat());
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let (beside, first) = (file("beside.jsonl"), file("first.jsonl"));
    score(&beside, &[]);
    let told = score(&first, &["--reference-first"]);
    assert!(told.contains("is the reference; it is read first"), "{told}");
    assert_eq!(fs::read(&beside).unwrap(), fs::read(&first).unwrap());
    assert!(!Path::new(&format!("{first}.reference")).exists(), "it is needed no more");
    // As a stream.
    let streamed = scored(&[
        "--model",
        &policy,
        "--input",
        &input,
        "--reference",
        &reference,
        "--beta",
        "0.5",
        "--reference-first",
    ]);
    let whole = fs::read_to_string(&beside).unwrap();
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(scores(&streamed), scores(&whole));

    let eval = |out: &str, options: &[&str]| {
        let arguments = ["eval", "--device", "cpu", "--format", "tulu", "--model", &policy, "--data", &input];
        run(&[&arguments[..], &["--out", out, "--reference", &reference], options].concat())
    };
    for (out, options) in [("beside", &[][..]), ("first", &["--reference-first"][..])] {
        let output = eval(&file(out), options);
        assert!(output.status.success(), "{}", said(&output));
    }
    for name in ["marks.json", "scores.jsonl"] {
        let of = |out: &str| fs::read(folder.join(out).join(name)).unwrap();
        assert_eq!(of("beside"), of("first"), "{name}");
    }
    // What was computed is not computed again, even where the last line is torn.
    let kept = folder.join("first/reference-first.jsonl");
    let before = fs::read_to_string(&kept).unwrap();
    assert_eq!(before.lines().count(), 1 + 6);
    fs::write(&kept, &before[..before.len() - 9]).unwrap();
    fs::remove_file(folder.join("first/journal.jsonl")).unwrap();
    let output = eval(&file("first"), &["--reference-first"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(&kept).unwrap().lines().count(), 1 + 7, "one item of two texts is read again");
    // Another reference's is refused, and stays.
    let other = run(&[
        "eval",
        "--device",
        "cpu",
        "--format",
        "tulu",
        "--model",
        &reference,
        "--data",
        &input,
        "--out",
        &file("first"),
        "--reference",
        &policy,
        "--reference-first",
    ]);
    assert!(other.status.code() == Some(2) && said(&other).contains("another reference"), "{}", said(&other));
}

#[test]
fn a_reference_stays_with_its_run() {
    let folder = scratch("implicit-run");
    let (input, policy, reference) = (rows(&folder), parity("dpo_llama/policy"), parity("dpo_llama/reference"));
    let out = folder.join("out").display().to_string();
    let eval = |options: &[&str]| {
        let arguments =
            ["eval", "--device", "cpu", "--format", "tulu", "--model", &policy, "--data", &input, "--out", &out];
        run(&[&arguments[..], options].concat())
    };
    let output = eval(&["--reference", &reference, "--protocol", "rewardbench-dpo"]);
    assert!(output.status.success(), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("scores are implicit rewards") && told.contains("measured against"), "{told}");
    let file: Value = serde_json::from_slice(&fs::read(folder.join("out/run.json")).unwrap()).unwrap();
    let scorer = &file["protocol"]["scorer"];
    assert_eq!(scorer["kind"], "implicit");
    assert_eq!(scorer["reference"]["log_ratios"], json!({ "beta": 1.0, "normalise_length": false }));
    assert!(scorer["reference"]["model"].as_str().unwrap().ends_with("reference"));
    assert!(file["protocol"]["settings"].as_str().unwrap().contains("RewardBench's DPO rows"));
    // Another beta is another run, and so is none.
    let same = ["--reference", &reference, "--protocol", "rewardbench-dpo"];
    for other in [&[&same[..], &["--beta", "0.1"]].concat()[..], &["--protocol", "rewardbench-dpo"]] {
        let output = eval(other);
        assert!(output.status.code() == Some(2) && said(&output).contains("against"), "{}", said(&output));
    }
    let metrics = run(&["metrics", "--scores", &format!("{out}/run.json"), "--json"]);
    assert!(metrics.status.success(), "{}", said(&metrics));
}

/// A safetensors file of f32 matrices of one small value each.
fn matrices(named: &[(String, [usize; 2])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (place, (name, shape)) in named.iter().enumerate() {
        let begin = data.len();
        for i in 0..shape[0] * shape[1] {
            data.extend((((i * 31 + place * 7) % 13) as f32 * 0.02 - 0.1).to_le_bytes());
        }
        let span = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert(name.clone(), span);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn an_adapter_is_measured_against_its_base() {
    let folder = scratch("implicit-adapter");
    let input = rows(&folder);
    let (base, adapter) = (parity("dpo_llama/reference"), folder.join("adapter"));
    fs::create_dir(&adapter).unwrap();
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": 2, "lora_alpha": 4,
        "target_modules": ["q_proj"], "bias": "none",
    });
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let name =
        |layer: usize, half: &str| format!("base_model.model.model.layers.{layer}.self_attn.q_proj.{half}.weight");
    let both = |layer: usize| [(name(layer, "lora_A"), [2, 48]), (name(layer, "lora_B"), [48, 2])];
    fs::write(adapter.join("adapter_model.safetensors"), matrices(&(0..3).flat_map(both).collect::<Vec<_>>())).unwrap();
    let adapter = adapter.display().to_string();
    let of = |reference: &str| {
        scores(&scored(&["--model", &adapter, "--base", &base, "--input", &input, "--reference", reference]))
    };
    let (found, named) = (of("base"), of(&base));
    assert_eq!(found, named);
    assert!(found.iter().all(|score| score.abs() > 1e-4), "the adapter changes what is likely: {found:?}");
}

#[test]
fn what_is_no_reference_is_refused() {
    let folder = scratch("implicit-refused");
    let (input, policy) = (rows(&folder), parity("dpo_llama/policy"));
    let refused = |options: &[&str]| {
        let arguments = ["score", "--device", "cpu", "--model", &policy, "--input", &input, "--output", "-"];
        let output = run(&[&arguments[..], options].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    let told = refused(&["--reference", &parity("causal_gemma")]);
    assert!(told.contains("a reference of the same vocabulary was expected"), "{told}");
    let told = refused(&["--reference", &parity("llama_plain")]);
    assert!(told.contains("a language model was expected as the reference"), "{told}");
    let told = refused(&["--reference", "base"]);
    assert!(told.contains("an adapter was expected") && told.contains("name the reference"), "{told}");
    let told = refused(&["--reference", &policy, "--beta", "0"]);
    assert!(told.contains("a number above 0"), "{told}");
    let told = refused(&["--reference-first"]);
    assert!(told.contains("--reference <MODEL>"), "{told}");
    let piped = ["score", "--device", "cpu", "--model", &policy, "--input", "-", "--output", "-"];
    let output = run(&[&piped[..], &["--reference", &policy, "--reference-first"]].concat());
    assert!(said(&output).contains("rows are read twice; give a file"), "{}", said(&output));
    let told = refused(&["--beta", "0.1"]);
    assert!(told.contains("--reference"), "{told}");
}
