//! Runs, and comparisons of runs.

use std::fs;
use std::path::Path;

use super::asked::{file, json_of, lines, refused, run};
use super::benchmarks::other_context;
use rewardscope_data::to_parquet;
use rewardscope_tests::{fixture, sample_rows, scratch};
use serde_json::{Value, json};

#[test]
fn a_model_that_cannot_read_conversations_is_refused_once() {
    let folder = scratch("marking-template");
    let out = folder.join("out").display().to_string();
    // A copy of a checkpoint, without its chat template.
    let bare = folder.join("bare");
    fs::create_dir_all(&bare).unwrap();
    for entry in fs::read_dir(fixture("parity/qwen2")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if name != "chat_template.jinja" {
            fs::copy(&path, bare.join(name)).unwrap();
        }
    }
    let bare = bare.display().to_string();
    let arguments = ["eval", "--device", "cpu", "--model", &bare, "--limit", "2", "--out", &out];
    refused(&arguments, &["chat_template", "--format"]);
    assert!(run(&[&arguments[..], &["--format", "raw"]].concat()).status.success());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let rows: Vec<Value> = (0..5000)
        .map(|id| json!({"id": id, "subset": format!("s{id}"), "num_correct": 1, "scores": [1.0, 0.0]}))
        .collect();
    let path = file(&scratch("marking-pipe"), "rows.jsonl", lines(&rows));
    let mut child = rewardscope_tests::command()
        .args(["best-of-n", "--scores", &path])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_run_of_cut_texts_is_marked_but_not_strictly() {
    let folder = scratch("marking-cut");
    let row = json!({"id": "1", "prompt": "Hello?", "chosen": ["word ".repeat(100)], "rejected": ["No."], "subset": "Focus",
        "num_correct": 1, "num_incorrect": 1, "total_completions": 2});
    let data = file(&folder, "rows.jsonl", lines(&[row]));
    let model = fixture("parity/llama_plain").display().to_string();
    let out = folder.join("out").display().to_string();
    let eval = ["eval", "--device", "cpu", "--model", &model, "--data", &data, "--max-length", "64", "--out", &out];
    let output = run(&eval);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    refused(&[&eval[..], &["--strict"]].concat(), &["1 of 1 items have a completion that was cut"]);
    // Where `--strict` gives no marks, no file with marks is written.
    let strict = folder.join("strict");
    let place = strict.display().to_string();
    refused(&[&eval[..9], &["--strict", "--out", &place]].concat(), &["was cut"]);
    assert!(strict.join("run.json").exists());
    for name in ["marks.json", "reference", "board"] {
        assert!(!strict.join(name).exists(), "{name}");
    }
    let scores = folder.join("out/run.json").display().to_string();
    refused(&["metrics", "--strict", "--scores", &scores], &["1 of 1 items have a completion that was cut"]);
    let remarks = json_of(&["metrics", "--json", "--scores", &scores])["remarks"].to_string();
    assert!(remarks.contains("was cut at the context's end"), "{remarks}");
}

#[test]
fn two_runs_are_compared_and_a_curve_is_drawn() {
    let folder = scratch("marking-compare");
    let rows: Vec<_> = sample_rows();
    let first = |subset: &'static str, count: usize| rows.iter().filter(move |row| row.subset == subset).take(count);
    let few: Vec<_> = first("Ties", 20).chain(first("Math", 10)).cloned().collect();
    let data = file(&folder, "few.parquet", to_parquet(&few).unwrap());
    let runs = ["parity/llama_plain", "parity/qwen2"].map(|model| {
        let out = folder.join(model.replace('/', "-")).display().to_string();
        let model = fixture(model).display().to_string();
        let output =
            run(&["eval", "--device", "cpu", "--model", &model, "--data", &data, "--out", &out, "--format", "tulu"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{out}/run.json")
    });
    // The two files in the reference evaluator's format give the same marks.
    let reference = Path::new(&runs[0]).parent().unwrap().join("reference");
    let own = json_of(&["metrics", "--scores", &runs[0], "--json"]);
    for name in ["eval-set-scores.json", "eval-set.json"] {
        let again = json_of(&["metrics", "--scores", &reference.join(name).display().to_string(), "--json"]);
        for subset in ["Math", "Ties"] {
            assert_eq!(again["subsets"][subset]["score"], own["subsets"][subset]["score"], "{name}, {subset}");
        }
    }
    let found = json_of(&["compare", &runs[0], &runs[1], "--json"]);
    assert_eq!(found["items"], 30);
    let subsets = found["subsets"].as_array().unwrap();
    assert!(!subsets.is_empty() && subsets.iter().all(|subset| subset["p_holm"].as_f64() >= subset["p"].as_f64()));
    assert!(found["disagreements"].as_array().unwrap().len() <= 30 && found["average"]["score"].is_number());
    let same = json_of(&["compare", &runs[0], &runs[0], "--json"]);
    assert!(same["disagreements"].as_array().unwrap().is_empty());
    assert!(run(&["compare", &runs[0], &runs[1]]).status.success());
    // Three runs, of which two are the same: each agrees with itself.
    let three = json_of(&["compare", &runs[0], &runs[1], &runs[0], "--json"]);
    assert_eq!((&three["items"], three["runs"].as_array().unwrap().len()), (&json!(30), 3));
    assert_eq!(three["agreement"][0][1], found["agreement"]);
    let same = json!({"share": 1.0, "items": 30});
    assert_eq!((&three["agreement"][0][2], &three["agreement"][1][1]), (&same, &same));
    assert_eq!(three["mark"], "partial mean");
    assert_eq!(three["marks"][0]["score"], found["partial"]["first"]);
    assert_eq!(three["marks"][1]["score"], found["partial"]["second"]);
    let alike = json_of(&["compare", &runs[0], &runs[0], &runs[0], "--json"]);
    assert_eq!(alike["average"]["score"], alike["marks"][2]["score"]);
    let shown = run(&["compare", &runs[0], &runs[1], &runs[0]]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("30 items are in all of the 3 runs") && shown.contains("average"), "{shown}");
    let other = file(
        &folder,
        "other.jsonl",
        lines(&[json!({"id": "x", "subset": "Math", "num_correct": 1, "scores": [1, 0, 0, 0]})]),
    );
    refused(&["compare", &runs[0], &other], &["none of the 30 items"]);
    refused(&["compare", "--benchmark", "ppe", &runs[0], &runs[1]], &["reward-bench-2"]);
    // A run is marked only as its own benchmark, and its settings are printed.
    refused(&["metrics", "--benchmark", "rmb", "--scores", &runs[0]], &["reward-bench-2", "not of rmb"]);
    let told = run(&["metrics", "--scores", &runs[0]]);
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("llama_plain over few.parquet, as stored"));
    let said = run(&["compare", &runs[0], &runs[1], &other_context(&folder, &runs[1])]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("context tokens"), "three files are warned of as two are");
    let curve = json_of(&["best-of-n", "--scores", &runs[0], "--json"]);
    let ties = curve["expected_mark_of_best_of_k"]["Ties"].as_array().unwrap();
    assert!(ties.len() > 1 && ties.iter().all(|mark| (0.0..=1.0).contains(&mark.as_f64().unwrap())));
}
