//! ProcessBench in the command: each step gets the score that `score` gives it, and the first wrong one is marked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use rewardscope_tests::{fixture, number, run, said, scratch};
use serde_json::{Value, json};

/// A process reward model, and what one of its rows gives.
fn model() -> String {
    fixture("kinds/prm_two_layer").display().to_string()
}

fn written(folder: &Path, name: &str, rows: &[Value]) -> String {
    let path = folder.join(name);
    fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    path.display().to_string()
}

/// Solutions: the question, the steps, and the id.
fn solutions() -> Vec<(String, Vec<String>)> {
    (0..6)
        .map(|i| {
            let steps = (0..=i % 3).map(|step| format!("Step {step} of solution {i}."));
            (format!("gsm8k-{i}"), steps.collect())
        })
        .collect()
}

/// The scores of all steps by `score`.
fn step_scores(folder: &Path) -> Vec<Vec<f64>> {
    let rows: Vec<Value> =
        solutions().iter().map(|(_, steps)| json!({ "prompt": "How much is it?", "steps": steps })).collect();
    let (model, input) = (model(), written(folder, "score.jsonl", &rows));
    let output = run(&["score", "--device", "cpu", "--model", &model, "--input", &input, "--output", "-"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 6, "{}", said(&output));
    rows.iter().map(|row| row["step_scores"].as_array().unwrap().iter().map(number).collect()).collect()
}

#[test]
fn solutions_are_marked_by_their_first_wrong_step() {
    let folder = scratch("process");
    let scores = step_scores(&folder);
    // Every second label is what the model says; the others are another one.
    let first_wrong = |scores: &[f64]| scores.iter().position(|&score| score <= 0.5);
    let labels: Vec<i64> = scores
        .iter()
        .enumerate()
        .map(|(i, scores)| {
            let found = first_wrong(scores).map_or(-1, |at| at as i64);
            if i % 2 == 0 {
                found
            } else if found == -1 {
                0
            } else {
                -1
            }
        })
        .collect();
    let row = |(i, (id, steps)): (usize, &(String, Vec<String>))| json!({ "id": id, "generator": "m", "problem": "How much is it?", "steps": steps, "label": labels[i] });
    let rows: Vec<Value> = solutions().iter().enumerate().map(row).collect();
    let (model, data) = (model(), written(&folder, "process.jsonl", &rows));
    let out = folder.join("out").display().to_string();
    let eval = ["eval", "--device", "cpu", "--model", &model, "--benchmark", "process-bench", "--data", &data];
    let output = run(&[&eval[..], &["--out", &out]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let file: Value = serde_json::from_slice(&fs::read(folder.join("out/run.json")).unwrap()).unwrap();
    for (item, scores) in file["items"].as_array().unwrap().iter().zip(&scores) {
        let found: Vec<f64> = item["scores"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(found.len(), scores.len());
        assert!(found.iter().zip(scores).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {scores:?}");
        assert_eq!(item["subset"], "gsm8k");
    }
    let share = |is_wrong: bool| {
        let of: Vec<usize> = (0..6).filter(|&i| (labels[i] >= 0) == is_wrong).collect();
        of.iter().filter(|&&i| i % 2 == 0).count() as f64 / of.len() as f64
    };
    let (wrong, right) = (share(true), share(false));
    assert!(wrong + right > 0.0, "{labels:?}");
    let marks = &file["assessment"]["subsets"][0];
    assert!(
        (number(&marks["figure"]["score"]) - 2.0 * wrong * right / (wrong + right)).abs() < 1e-12,
        "{marks} {labels:?}"
    );
    let sections = file["assessment"]["sections"].as_array().unwrap();
    assert_eq!(sections[0]["name"], "With a wrong step");
    assert!(
        (number(&sections[0]["figure"]["score"]) - wrong).abs() < 1e-12
            && (number(&sections[1]["figure"]["score"]) - right).abs() < 1e-12
    );
    assert!(file["assessment"]["overall"].is_null(), "three subsets are missing");
    assert_eq!(file["protocol"]["scorer"]["kind"], "steps");

    // The same labels as TRL writes them, as rows of one's own.
    let flags = |i: usize, steps: usize| -> Vec<bool> {
        (0..steps).map(|step| labels[i] < 0 || (step as i64) < labels[i]).collect()
    };
    let own = |(i, (_, steps)): (usize, &(String, Vec<String>))| json!({ "prompt": "How much is it?", "completions": steps, "labels": flags(i, steps.len()) });
    let rows: Vec<Value> = solutions().iter().enumerate().map(own).collect();
    let data = written(&folder, "own.jsonl", &rows);
    let out = folder.join("own").display().to_string();
    let eval = ["eval", "--device", "cpu", "--model", &model, "--benchmark", "process-bench", "--data", &data];
    let output = run(&[&eval[..], &["--out", &out]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let own: Value = serde_json::from_slice(&fs::read(folder.join("own/run.json")).unwrap()).unwrap();
    assert_eq!(own["assessment"]["overall"]["score"], marks["figure"]["score"]);
}

#[test]
fn rows_and_models_without_steps_are_refused_by_name() {
    let folder = scratch("process-refused");
    let (model, out) = (model(), folder.join("out").display().to_string());
    let refused = |model: &str, row: Value| {
        let data = written(&folder, "rows.jsonl", &[row]);
        let eval = ["eval", "--device", "cpu", "--model", model, "--benchmark", "process-bench", "--data", &data];
        let output = run(&[&eval[..], &["--out", &out]].concat());
        assert!(!output.status.success());
        said(&output)
    };
    let row = |steps: Value, label: Value| json!({ "id": "math-1", "problem": "?", "steps": steps, "label": label });
    for (steps, label, named) in [
        (json!(["a", "b"]), json!(2), "first wrong of 2 steps"),
        (json!(["a", "b"]), json!(-2), "first wrong of 2 steps"),
        (json!(["a", "b"]), json!([true]), "first wrong of 2 steps"),
        (json!(["a", "b"]), json!("none"), "first wrong of 2 steps"),
        (json!(["a", "b"]), Value::Null, "first wrong of 2 steps"),
        (json!("a"), json!(0), "a list of steps"),
        (json!([]), json!(-1), "a list of steps"),
    ] {
        let found = refused(&model, row(steps, label));
        assert!(found.contains(named), "{named}: {found}");
    }
    let plain = fixture("parity/llama_plain").display().to_string();
    let found = refused(&plain, row(json!(["a", "b"]), json!(1)));
    assert!(found.contains("no reader of steps"), "{found}");
    // A model that reads whole texts alone.
    let pairs = fixture("kinds/pairrm").display().to_string();
    let found = refused(&pairs, row(json!(["a", "b"]), json!(1)));
    assert!(found.contains("no reader of steps"), "{found}");
}
