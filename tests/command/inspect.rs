//! `inspect --try` gives the same result as `score`: the same value, or the same error sentence. Lines that a graphics
//! driver writes appear in neither.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use rewardscope_tests::{command, fixture, json_fixture, said, scratch};
use serde_json::{Value, json};

/// The prompt and the completion that `inspect --try` scores.
const ROW: (&str, &str) = ("What is 2 + 2?", "2 + 2 is 4.");

/// The conversation format for folders without a chat template.
const FORMAT: &str = "raw";

/// The score that a command printed, or its error sentence.
fn answer(output: &Output, score: impl Fn(Value) -> Value) -> Result<f64, String> {
    let said = said(output);
    assert!(!said.contains("panicked"), "{said}");
    match output.status.code() {
        Some(0) => Ok(score(serde_json::from_slice(&output.stdout).unwrap()).as_f64().unwrap()),
        Some(2) => Err(said.lines().find(|line| line.starts_with("rewardscope: ")).unwrap_or(&said).to_owned()),
        code => panic!("{code:?}: {said}"),
    }
}

/// The results of `score` and of `inspect --try` for a model.
fn both(model: &[String], rows: &str) -> [Result<f64, String>; 2] {
    let device = ["--device", "cpu"];
    let scored = command()
        .args(["score", "--input", rows, "--output", "-", "--model"])
        .args(model)
        .args(device)
        .output()
        .unwrap();
    let tried = command().args(["inspect", "--try", "--json"]).args(model).args(device).output().unwrap();
    [answer(&scored, |row| row["score"].clone()), answer(&tried, |all| all["tried"].clone())]
}

/// Fixture folders and GGUF files, of which some are refused. An adapter's folder is followed by its base.
fn cases() -> Vec<Vec<PathBuf>> {
    let expected = json_fixture("model_files/expected.json");
    let at = |name: &str| fixture(&format!("model_files/{name}"));
    let mut cases: Vec<Vec<PathBuf>> = Vec::new();
    for (case, about) in expected["cases"].as_object().unwrap() {
        cases.push([at(case)].into_iter().chain(about["base"].as_str().map(at)).collect());
        // The base alone, and the adapter on the base of another adapter.
        cases.extend(about["base"].as_str().map(|base| vec![at(base)]));
        cases.extend(about["base"].as_str().map(|_| vec![at(case), at("19_lora_bert_mlm_base_base")]));
    }
    let ggufs = fs::read_dir(at("gguf")).unwrap();
    cases.extend(ggufs.map(|entry| vec![entry.unwrap().path()]));
    cases
}

#[test]
fn trying_says_what_scoring_does() {
    let rows = scratch("inspect-rows").join("rows.jsonl");
    fs::write(&rows, json!({"id": 1, "prompt": ROW.0, "completion": ROW.1}).to_string()).unwrap();
    let rows = rows.display().to_string();
    let (mut scored, mut refused) = (0, 0);
    for case in cases() {
        let mut model: Vec<String> = vec![case[0].display().to_string()];
        model.extend(case[1..].iter().flat_map(|base| ["--base".to_owned(), base.display().to_string()]));
        for format in [None, Some(FORMAT)] {
            model.extend(format.into_iter().flat_map(|format| ["--format".to_owned(), format.to_owned()]));
            match both(&model, &rows) {
                [Ok(score), Ok(tried)] => {
                    assert!((score - tried).abs() < 1e-6, "{model:?}: {score} scored, {tried} tried");
                    scored += 1;
                }
                [Err(refusal), Err(tried)] => {
                    assert_eq!(refusal, tried, "{model:?}");
                    refused += 1;
                }
                [score, tried] => panic!("{model:?}: {score:?} scored, {tried:?} tried"),
            }
        }
    }
    println!("{scored} scored, {refused} refused");
    assert!(scored > 60 && refused > 10, "{scored} scored, {refused} refused");
}

#[test]
fn a_drivers_own_lines_stay_off_standard_error() {
    let model = fixture("model_files/20a_pad_minus_one");
    for device in ["auto", "gpu"] {
        let mut inspect = command();
        inspect.args(["inspect", "--try", "--device", device, "--format", FORMAT]).arg(&model);
        // Without this variable, layers of graphics drivers write that they find no display.
        let output = inspect.env_remove("XDG_RUNTIME_DIR").output().unwrap();
        assert!(output.status.success(), "{device}: {}", said(&output));
        assert_eq!(said(&output), "", "{device}");
    }
}
