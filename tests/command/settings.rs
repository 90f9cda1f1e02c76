//! A run's settings are reported and kept with it: the end that was cut, the date that chat templates are told, and the
//! variant of the marks. Also: the marks of picking by length where lengths are equal.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use rewardscope_tests::{fixture, run, said, scratch};
use serde_json::{Value, json};

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes a file of pairs and a model whose chat template writes the date. Gives both paths.
fn dated(folder: &Path) -> (PathBuf, PathBuf) {
    let rows = folder.join("rows.jsonl");
    let row = |i: usize| json!({"prompt": format!("Question {i}?"), "chosen": "word ".repeat(30), "rejected": "No."});
    fs::write(&rows, (0..3).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    let model = folder.join("dated");
    fs::create_dir_all(&model).unwrap();
    for entry in fs::read_dir(fixture("parity/llama_plain")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let template = "{{ bos_token }}Today is {{ strftime_now('%d %b %Y, %H:%M') }}. {% for m in messages %}{{ m.content }} {% endfor %}";
    let config = json!({"bos_token": "<|begin_of_text|>", "chat_template": template});
    fs::write(model.join("tokenizer_config.json"), config.to_string()).unwrap();
    (rows, model)
}

#[test]
fn a_date_makes_scores_repeatable_and_stays_with_the_run() {
    let folder = scratch("settings-date");
    let (rows, model) = dated(&folder);
    let (rows, model) = (rows.display().to_string(), model.display().to_string());
    let eval = |out: &str, date: &[&str]| {
        let out = folder.join(out).display().to_string();
        let arguments = ["eval", "--device", "cpu", "--model", &model, "--data", &rows, "--out", &out];
        run(&[&arguments[..], date].concat())
    };
    for (out, date) in [("one", "2025-01-02"), ("two", "2025-01-02T00:00:00"), ("three", "2025-01-03")] {
        let output = eval(out, &["--date", date]);
        assert!(output.status.success(), "{}", said(&output));
    }
    let protocol = |out: &str| json_of(&folder.join(out).join("run.json"))["protocol"].clone();
    assert_eq!(protocol("one")["template_date"], "2025-01-02T00:00:00");
    let scores = |out: &str| fs::read(folder.join(out).join("scores.jsonl")).unwrap();
    assert!(scores("one") == scores("two") && scores("one") != scores("three"));
    // A resumed run keeps its date and refuses another one.
    let again = eval("one", &[]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(protocol("one")["template_date"], "2025-01-02T00:00:00");
    let other = eval("one", &["--date", "2025-02-02"]);
    assert!(other.status.code() == Some(2) && said(&other).contains("2025-01-02T00:00:00"), "{}", said(&other));
    assert_eq!(eval("four", &["--date", "yesterday"]).status.code(), Some(2));
    // The same holds for `score`.
    let score = |date: &str| {
        let arguments =
            ["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", "-", "--date", date];
        run(&arguments).stdout
    };
    assert!(score("2025-01-02") == score("2025-01-02") && score("2025-01-02") != score("2024-01-02"));
}

#[test]
fn the_end_that_is_cut_is_named() {
    let folder = scratch("settings-cut");
    let (rows, _) = dated(&folder);
    let (rows, model) = (rows.display().to_string(), fixture("parity/llama_plain").display().to_string());
    for (side, end) in [("left", "the first"), ("right", "the last")] {
        let out = folder.join(side).display().to_string();
        let output = run(&[
            "eval",
            "--device",
            "cpu",
            "--model",
            &model,
            "--data",
            &rows,
            "--out",
            &out,
            "--max-length",
            "16",
            "--truncation-side",
            side,
        ]);
        let told = said(&output);
        assert!(told.contains("the context holds 16") && told.contains(end) && told.contains("were cut off"), "{told}");
    }
}

#[test]
fn a_run_is_marked_by_its_own_variant() {
    let folder = scratch("settings-variant");
    let rows = folder.join("rows.jsonl");
    // All scores are made equal below; an equal score counts one half, or as wrong.
    let row = json!({"prompt": "Why?", "chosen": "Yes.", "rejected": "Yes. "});
    fs::write(&rows, format!("{row}\n{}\n", json!({"prompt": "Why?", "chosen": "Yes", "rejected": "No"}))).unwrap();
    let (rows, model) = (rows.display().to_string(), fixture("parity/llama_plain").display().to_string());
    let out = folder.join("run").display().to_string();
    let output =
        run(&["eval", "--device", "cpu", "--model", &model, "--data", &rows, "--out", &out, "--variant", "ties-wrong"]);
    assert!(output.status.success(), "{}", said(&output));
    let path = format!("{out}/run.json");
    let mut file = json_of(Path::new(&path));
    assert_eq!(file["variant"], "ties-wrong");
    for item in file["items"].as_array_mut().unwrap() {
        item["scores"] = json!([1.0, 1.0]);
    }
    fs::write(&path, file.to_string()).unwrap();
    let marked = run(&["metrics", "--scores", &path]);
    let shown = String::from_utf8_lossy(&marked.stdout).into_owned();
    assert!(shown.contains("(ties-wrong:") && shown.contains("overall            2   0.0000"), "{shown}");
    let asked = run(&["metrics", "--scores", &path, "--variant", "pairs", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&asked.stdout).unwrap()["overall"], 0.5);
}

#[test]
fn all_that_an_eval_writes_is_of_its_variant() {
    let folder = scratch("settings-alike");
    let (rows, model) = dated(&folder);
    // This chat template ignores the messages, so that all completions get the same score.
    let config = json!({"bos_token": "<|begin_of_text|>", "chat_template": "{{ bos_token }}What a fine day"});
    fs::write(model.join("tokenizer_config.json"), config.to_string()).unwrap();
    let (rows, model) = (rows.display().to_string(), model.display().to_string());
    for (variant, mark) in [("pairs", 0.5), ("ties-wrong", 0.0)] {
        let out = folder.join(variant);
        let shown = out.display().to_string();
        let arguments = ["eval", "--device", "cpu", "--model", &model, "--data", &rows, "--out", &shown];
        let output = run(&[&arguments[..], &["--variant", variant]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(table.contains(&format!("{mark:.4}")), "{table}");
        let marks = json_of(&out.join("marks.json"));
        assert_eq!(marks["overall"], mark);
        let subset = marks["subsets"].as_object().unwrap().keys().next().unwrap();
        assert_eq!(json_of(&out.join("reference/eval-set.json"))[subset], mark);
        let results = json_of(&out.join("reference/eval-set-scores.json"))["results"].clone();
        assert!(results.as_array().unwrap().iter().all(|result| *result == mark), "{results}");
        assert_eq!(json_of(&out.join("run.json"))["assessment"]["overall"]["score"], mark);
    }
    // A run cannot be marked as another benchmark's.
    let path = folder.join("pairs/run.json").display().to_string();
    let refused = run(&["metrics", "--scores", &path, "--benchmark", "reward-bench"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("it is a run of preferences, not of reward-bench"), "{}", said(&refused));
}

#[test]
fn picking_by_length_is_an_exact_expectation_where_lengths_are_equal() {
    let folder = scratch("settings-lengths");
    let path = folder.join("scores.json");
    // RewardBench counts a shared score as wrong. But of two texts of equal length, chance picks the right one in half
    // of the cases.
    let row = |id: usize, chosen: &str, rejected: &str| json!({"id": id, "subset": "hep-js", "score_chosen": 1.0, "score_rejected": 0.0, "text_chosen": chosen, "text_rejected": rejected});
    let rows = [row(1, "four", "five"), row(2, "ab", "cd"), row(3, "ef", "gh"), row(4, "longer", "short")];
    fs::write(&path, json!(rows).to_string()).unwrap();
    let path = path.display().to_string();
    for seed in ["0", "7"] {
        let output = run(&["metrics", "--benchmark", "reward-bench", "--scores", &path, "--json", "--seed", seed]);
        let marks: Value = serde_json::from_slice(&output.stdout).unwrap();
        let subset = &marks["subsets"]["hep-js"];
        assert_eq!((&subset["longest"], &subset["shortest"]), (&json!(0.625), &json!(0.375)), "{subset}");
    }
}

#[test]
fn every_commands_help_has_two_examples() {
    let commands =
        ["score", "inspect", "eval", "items", "metrics", "compare", "best-of-n", "filter", "fit", "pack", "serve"];
    for command in commands {
        let output = run(&[command, "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        let examples =
            help.lines().skip_while(|line| *line != "Examples:").filter(|line| line.contains("rewardscope "));
        assert!(examples.count() >= 2, "{command}: {help}");
    }
}
