//! Readers in the command: rows with steps, what a run keeps of its reader, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use rewardscope_tests::{fixture, json_fixture, number, run, said, scratch};
use serde_json::{Value, json};

fn kind(case: &str) -> String {
    fixture(&format!("kinds/{case}")).display().to_string()
}

/// Writes rows, and gives the file's path.
fn written(folder: &Path, rows: &[Value]) -> String {
    let path = folder.join("rows.jsonl");
    fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    path.display().to_string()
}

/// The rows that `score` writes to standard output.
fn scored(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[&["score", "--device", "cpu", "--output", "-"], arguments].concat());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{}", said(&output));
    rows
}

#[test]
fn rows_with_steps_are_scored() {
    let folder = scratch("readers-steps");
    let expected = json_fixture("kinds/prm_two_layer/expected.json")["rows"].as_array().unwrap().clone();
    let mut rows: Vec<Value> = expected.iter().map(|row| row["input"].clone()).collect();
    rows.push(json!({ "prompt": "No steps?", "steps": [] }));
    rows.push(json!({ "prompt": "No texts?", "steps": [1, 2] }));
    let (input, model) = (written(&folder, &rows), kind("prm_two_layer"));
    let found = scored(&["--model", &model, "--input", &input, "--aggregate", "last"]);
    assert_eq!(found.len(), rows.len());
    for (found, row) in found.iter().zip(&expected) {
        let steps = found["step_scores"].as_array().unwrap();
        assert_eq!(steps.len(), row["step_scores"].as_array().unwrap().len());
        for (step, wanted) in steps.iter().zip(row["step_scores"].as_array().unwrap()) {
            assert!((number(step) - number(wanted)).abs() < 1e-5);
        }
        for name in ["min", "product", "last"] {
            assert!((number(&found[name]) - number(&row[name])).abs() < 1e-5, "{name}");
        }
        assert_eq!(found["score"], found["last"]);
    }
    let errors: Vec<&str> = found[expected.len()..].iter().map(|row| row["error"].as_str().unwrap()).collect();
    assert!(errors[0].contains("an empty one was found") && errors[1].contains("string"), "{errors:?}");
    // The same as a text that is split, where no step has a line break.
    let row = &rows[0];
    let steps: Vec<&str> = row["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    let joined = json!({ "messages": [
        { "role": "system", "content": row["system"] },
        { "role": "user", "content": row["prompt"] },
        { "role": "assistant", "content": steps.join("\n\n") },
    ] });
    let input = written(&folder, &[joined]);
    let split = scored(&["--model", &model, "--input", &input]);
    assert_eq!((&split[0]["step_scores"], &split[0]["score"]), (&found[0]["step_scores"], &found[0]["min"]));
    // Steps for a model that reads none.
    let input = written(&folder, &rows[..1]);
    let refused = scored(&["--model", &kind("regression_head"), "--input", &input]);
    assert!(refused[0]["error"].as_str().unwrap().contains("--reader NAME"), "{refused:?}");
}

#[test]
fn a_reader_stays_with_its_run() {
    let folder = scratch("readers-run");
    let pair = |i: usize| json!({ "prompt": format!("Question {i}?"), "chosen": "Yes, it is.", "rejected": "No." });
    let rows = written(&folder, &(0..3).map(pair).collect::<Vec<_>>());
    let reader = folder.join("mine.json");
    let mut spec = json_fixture("kinds/reader_difference/expected.json")["reader"].clone();
    spec["gives"] = "criterion".into();
    fs::write(&reader, spec.to_string()).unwrap();
    let (model, reader) = (kind("reader_difference"), reader.display().to_string());
    let out = folder.join("out").display().to_string();
    let eval = |options: &[&str]| {
        let arguments = ["eval", "--device", "cpu", "--model", &model, "--data", &rows, "--out", &out];
        run(&[&arguments[..], options].concat())
    };
    let asked = ["--reader", &reader, "--instruction", "Is it polite?"];
    let output = eval(&asked);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("a criterion's scores, not rewards") && told.contains("read by mine, asking"), "{told}");
    let file: Value = serde_json::from_slice(&fs::read(folder.join("out/run.json")).unwrap()).unwrap();
    let scorer = &file["protocol"]["scorer"];
    assert_eq!((&scorer["kind"], &scorer["reader"]["name"]), (&json!("reader"), &json!("mine")));
    assert_eq!(scorer["reader"]["spec"]["instruction"], "Is it polite?");
    // Another question is another run, and so is no reader.
    for other in [&["--reader", reader.as_str(), "--instruction", "Is it short?"][..], &["--reader", "none"]] {
        let output = eval(other);
        let told = said(&output);
        assert!(output.status.code() == Some(2) && told.contains("read by mine"), "{told}");
    }
    // The run file is marked again as it is.
    let scores = folder.join("out/run.json").display().to_string();
    let metrics = run(&["metrics", "--scores", &scores, "--json"]);
    assert!(metrics.status.success(), "{}", said(&metrics));
}

#[test]
fn readers_are_inspected_and_refused_by_name() {
    let model = kind("prm_two_layer");
    let output = run(&["inspect", &model, "--device", "cpu", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["head"], &found["reader"]["name"]), (&json!("verdict"), &json!("qwen-prm")));
    let table = run(&["inspect", &model, "--device", "cpu"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("reader        qwen-prm: share of the output 1 among all outputs"), "{table}");
    let unknown = run(&["inspect", &model, "--device", "cpu", "--reader", "nobody"]);
    assert!(said(&unknown).contains("math-shepherd"), "{}", said(&unknown));
    let wrong = run(&["inspect", &model, "--device", "cpu", "--reader", "criterion", "--instruction", "Is it?"]);
    assert!(said(&wrong).contains("a head of its own"), "{}", said(&wrong));
}
