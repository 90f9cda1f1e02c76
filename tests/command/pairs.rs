//! A model that compares completions in the command: scores, runs and what they keep, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use rewardscope_tests::{fixture, number, run, said, scratch};
use serde_json::{Value, json};

fn model() -> String {
    fixture("kinds/pairrm").display().to_string()
}

#[test]
fn completions_of_a_row_are_compared() {
    let folder = scratch("pairs-score");
    let input = folder.join("rows.jsonl");
    let rows = [
        json!({ "prompt": "What is it?", "completions": ["A cat.", "A dog.", "A bird."] }),
        json!({ "prompt": "What is it?", "completion": "A cat." }),
        json!({ "prompt": "What is it?", "chosen": "A cat.", "rejected": "A dog." }),
    ];
    let score = |rows: &[Value], options: &[&str]| -> Vec<Value> {
        fs::write(&input, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        let (model, input) = (model(), input.display().to_string());
        let arguments = ["score", "--device", "cpu", "--model", &model, "--input", &input, "--output", "-"];
        let output = run(&[&arguments, options].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(!text.is_empty(), "{}", said(&output));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let found = score(&rows[..2], &[]);
    let scores: Vec<f64> = found[0]["scores"].as_array().unwrap().iter().map(number).collect();
    assert!((scores.iter().sum::<f64>() - 1.5).abs() < 1e-9, "wins and losses: {scores:?}");
    let duel = &found[0]["duels"][1][0];
    assert_eq!(duel["against"], 0);
    assert!((number(&duel["win"]) - (1.0 - number(&found[0]["duels"][0][0]["win"]))).abs() < 1e-12);
    assert_eq!(found[0]["position_bias"]["pairs"], 3);
    let error = found[1]["error"].as_str().unwrap();
    assert!(error.contains("two completions or more were expected"), "{error}");
    let strengths = score(&rows[..1], &["--pair-aggregate", "bradley-terry"]);
    let strengths: Vec<f64> = strengths[0]["scores"].as_array().unwrap().iter().map(number).collect();
    assert!(strengths.iter().sum::<f64>().abs() < 1e-9, "{strengths:?}");
    let order = |all: &[f64]| {
        let mut places: Vec<usize> = (0..all.len()).collect();
        places.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
        places
    };
    assert_eq!(order(&strengths), order(&scores));
    let preference = score(&rows[2..], &[]);
    assert_eq!((&preference[0]["num_correct"], &preference[0]["scores"].as_array().unwrap().len()), (&json!(1), &2));
}

#[test]
fn a_run_keeps_how_completions_were_compared() {
    let folder = scratch("pairs-run");
    let input = folder.join("rows.jsonl");
    let row = |i: usize| json!({ "prompt": format!("Question {i}?"), "chosen": "Yes, it is.", "rejected": "No." });
    fs::write(&input, (0..4).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    let (model, input, out) = (model(), input.display().to_string(), folder.join("out").display().to_string());
    let eval = |options: &[&str]| {
        let arguments = ["eval", "--device", "cpu", "--model", &model, "--data", &input, "--out", &out];
        run(&[&arguments, options].concat())
    };
    let output = eval(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("scores are outcomes of comparisons"), "{told}");
    assert!(told.contains("position bias: in "), "{told}");
    let file: Value = serde_json::from_slice(&fs::read(folder.join("out/run.json")).unwrap()).unwrap();
    assert_eq!(file["protocol"]["scorer"], json!({ "kind": "pair", "aggregate": "win-rate" }));
    assert_eq!(file["items"][0]["position_bias"]["pairs"], 1);
    let remarks = &file["assessment"]["remarks"];
    assert!(remarks.to_string().contains("of 4 pairs"), "{remarks}");
    // Another way to a score is another run.
    let other = eval(&["--pair-aggregate", "bradley-terry"]);
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("win-rate of comparisons"), "{}", said(&other));
    let metrics = run(&["metrics", "--scores", &format!("{out}/run.json")]);
    assert!(said(&metrics).contains("position bias: in "), "{}", said(&metrics));
}
