//! The examples give what the command gives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use rewardscope_tests::{fixture, program, run, scratch};
use serde_json::{Value, json};

fn example(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(program(name)).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_conversation_is_scored() {
    let folder = scratch("examples-score");
    let model = fixture("parity/llama_plain").display().to_string();
    let rows = folder.join("rows.jsonl").display().to_string();
    let row = json!({"id": "1", "prompt": "What is 2 + 2?", "completions": ["4", "5, I think"]});
    fs::write(&rows, row.to_string()).unwrap();
    let asked = ["score", "--device", "cpu", "--date", "1970-01-01", "--model", &model, "--input", &rows];
    let output = run(&[asked.as_slice(), &["--output", "-"]].concat());
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scores: Vec<f64> = scores["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();

    let lines = example("example-score", &[&model, "What is 2 + 2?", "4", "5, I think"]);
    let wanted = format!("reward {:.6}  4\nreward {:.6}  5, I think\n", scores[0], scores[1]);
    assert_eq!(lines, wanted);
}

#[test]
fn a_file_of_scores_is_marked() {
    let file = fixture("../command/snapshots/tables.in/scores.jsonl").display().to_string();
    let output = run(&["metrics", "--json", "--scores", &file]);
    let marks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = example("example-mark", &[&file]);
    for (name, subset) in marks["subsets"].as_object().unwrap() {
        let line = format!("{name}: {:.6}", subset["score"].as_f64().unwrap());
        assert!(lines.lines().any(|found| found.starts_with(&line)), "{line} is not in\n{lines}");
    }
}
