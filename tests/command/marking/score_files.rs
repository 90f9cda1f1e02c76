//! Files of scores are marked, in every format that evaluators write.

use super::asked::{file, json_of, lines, refused, rows};
use rewardscope_tests::{json_fixture, scratch};
use serde_json::{Value, json};

#[test]
fn the_same_scores_in_every_form_give_the_same_marks() {
    let folder = scratch("marking-forms");
    let rows = rows();
    let columns = ["id", "subset", "num_correct", "scores"];
    let column = |name: &str| Value::Array(rows.iter().map(|row| row[name].clone()).collect());
    let mut parallel = json!({
        "model": "a/b", "model_type": "Seq. Classifier", "chat_template": "tokenizer",
        // The reference's own marks are not read, and its texts are not needed.
        "results": [0.0, 0.0, 0.0, null, null], "text": [["a"], ["b"], ["c"], ["d"], ["e"]],
    });
    for name in columns {
        parallel[name] = column(name);
    }
    let mut nested = parallel.clone();
    for scores in nested["scores"].as_array_mut().unwrap() {
        for score in scores.as_array_mut().unwrap() {
            *score = json!([score]);
        }
    }
    let files = [
        file(&folder, "rows.jsonl", lines(&rows)),
        file(&folder, "rows.json", Value::Array(rows.clone()).to_string()),
        file(&folder, "reference.json", serde_json::to_string_pretty(&parallel).unwrap()),
        file(&folder, "nested.json", nested.to_string()),
    ];
    let marks = files.map(|file| json_of(&["metrics", "--scores", &file, "--json"]));
    let plain = |marks: &Value| {
        let mut marks = marks.clone();
        marks.as_object_mut().unwrap().remove("protocol");
        marks
    };
    for other in &marks[1..] {
        assert_eq!(plain(other), plain(&marks[0]));
    }
    let first = &marks[0];
    assert_eq!(first["benchmark"], "reward-bench-2");
    assert_eq!(first["overall"], Value::Null);
    assert_eq!(first["subsets"]["Math"]["score"], 0.75);
    assert_eq!(first["subsets"]["Math"]["n"], 2);
    assert_eq!(first["subsets"]["Math"]["chance"], 0.25);
    let interval = first["subsets"]["Focus"]["ci95"].as_array().unwrap();
    assert!(interval[0].as_f64().unwrap() <= 0.0 && interval[1].as_f64().unwrap() > 0.5, "Wilson of 0 of 1");
    for part in [
        "ref_accuracy",
        "tied_accuracy",
        "correctness_preferred",
        "correctness_preferred_hard",
        "correctness_margin_score",
    ] {
        assert!(first["subsets"]["Ties"][part].is_number(), "{part}");
    }
    // The two published variants of the margin part are chosen by name.
    let zero_spread = [
        json!({"id": "ref:0", "subset": "Ties", "num_correct": 1, "scores": [5.0, 1.0]}),
        json!({"id": "tied:0", "subset": "Ties", "num_correct": 2, "scores": [5.0, 5.0, 1.0]}),
    ];
    let path = file(&folder, "ties.jsonl", lines(&zero_spread));
    let margin = |variant: &str| {
        let marks = json_of(&["metrics", "--scores", &path, "--json", "--variant", variant]);
        marks["subsets"]["Ties"]["correctness_margin_score"].as_f64().unwrap()
    };
    assert_eq!((margin("repository"), margin("package-0.1.4")), (1.0, 0.0));
}

#[test]
fn texts_of_a_score_file_say_what_length_alone_gets() {
    let folder = scratch("marking-lengths");
    let reference = json!({
        "model": "a/b", "id": ["1", "2"], "subset": ["Math", "Math"], "num_correct": [1, 1],
        "scores": [[2.0, 1.0, 0.0, -1.0], [0.0, 1.0, 2.0, 3.0]],
        // Lengths are characters, not bytes: the second item's correct text, one character in two bytes, is the
        // shortest.
        "text": [["long one", "short", "b", "c"], ["ü", "abc", "defg", "hi"]],
    });
    let path = file(&folder, "reference.json", reference.to_string());
    let marks = json_of(&["metrics", "--scores", &path, "--json"]);
    assert_eq!(marks["subsets"]["Math"]["shortest"], 0.5);
    assert_eq!(marks["subsets"]["Math"]["longest"], 0.5);
    assert_eq!(marks["length_unit"], "characters");
    assert!(marks["length"]["accuracy"].is_number());
    let auc = marks["auc_by_subset"]["Math"].as_f64().unwrap();
    assert_eq!(Some(auc), marks["auc"].as_f64());
    let apart = json!([
        {"id": 1, "subset": "hep-js", "text_chosen": "longer", "text_rejected": "no", "score_chosen": 1.0, "score_rejected": 2.0},
    ]);
    let path = file(&folder, "apart.json", apart.to_string());
    let marks = json_of(&["metrics", "--benchmark", "reward-bench", "--scores", &path, "--json"]);
    let figure = &marks["subsets"]["hep-js"];
    assert_eq!((&figure["score"], &figure["longest"], &figure["shortest"]), (&json!(0.0), &json!(1.0), &json!(0.0)));
}

#[test]
fn what_python_writes_is_read_and_what_is_said_twice_is_not() {
    let folder = scratch("marking-python");
    // Python's json.dump writes NaN and Infinity, which JSON does not have. NaN inside a string stays text.
    let nan = r#"{"id": ["1", "NaN"], "subset": "Math", "num_correct": [1, 1], "text": [["NaN, \\\"x", "b"], ["c", "d"]],
        "scores": [[NaN, 1.0], [2.0, -Infinity]]}"#;
    let path = file(&folder, "nan.json", nan);
    let marks = json_of(&["metrics", "--scores", &path, "--json"]);
    assert_eq!((&marks["not_finite"], &marks["subsets"]["Math"]["score"]), (&json!(2), &json!(0.5)));
    refused(&["metrics", "--scores", &path, "--strict"], &["item 1", "NaN"]);
    let curve = json_of(&["best-of-n", "--scores", &path, "--json"]);
    assert_eq!(curve["expected_mark_of_best_of_k"]["Math"][1], 0.5, "NaN picks nothing");
    for (name, text, named) in [
        (
            "twice.jsonl",
            r#"{"id": 1, "subset": "Math", "num_correct": 1, "scores": [1, 0], "scores": [0, 1]}"#,
            "\"scores\" twice",
        ),
        ("summary.json", r#"{"model": "m", "model_type": "x", "Math": 50.0}"#, "percent"),
        (
            "label.jsonl",
            r#"{"pair_id": "a", "source": "mmlu-pro-law", "label": "A=B", "judgments": [{"judgment": {"scores": [1.0, 2.0]}}]}"#,
            "A>B or B>A",
        ),
    ] {
        refused(&["metrics", "--scores", &file(&folder, name, text)], &[name, named]);
    }
    refused(&["metrics", "--scores", &folder.display().to_string()], &["a folder was found"]);
    refused(&["metrics", "--scores", &file(&folder, "x.bin", [0xff, 0xfe, 0x00])], &["UTF-16"]);
}

#[test]
fn other_evaluators_result_files_are_read() {
    let folder = scratch("marking-evaluators");
    let fixture = json_fixture("metrics/rmbench.json");
    let path = file(&folder, "rm-bench.json", fixture["rows"].to_string());
    let marks = json_of(&["metrics", "--benchmark", "rm-bench", "--scores", &path, "--json"]);
    for (section, expected) in [("hard", "hard_acc"), ("normal", "normal_acc"), ("easy", "easy_acc")] {
        let found = marks["sections"][section]["score"].as_f64().unwrap();
        assert!((found - fixture["expected"][expected].as_f64().unwrap()).abs() < 1e-9, "{section}");
    }
    let pairs = [
        json!({"pair_id": "a", "source": "mmlu-pro-law", "label": "B>A", "judgments": [{"judgment": {"scores": [1.0, 2.0]}, "decision": "B>A"}]}),
        json!({"pair_id": "b", "source": "mmlu-pro-law", "label": "A>B", "judgments": [{"judgment": {"scores": [1.0, 2.0]}, "decision": "B>A"}]}),
    ];
    let path = file(&folder, "judge-bench.jsonl", lines(&pairs));
    let marks = json_of(&["metrics", "--benchmark", "judge-bench", "--scores", &path, "--json"]);
    assert_eq!(
        (&marks["sections"]["Knowledge"]["score"], &marks["sections"]["Knowledge"]["n"]),
        (&json!(0.5), &json!(2))
    );
    let first = json!({"id": [1, 2], "subset": ["hep-js", "hep-js"], "scores_chosen": [1.0, 0.5], "scores_rejected": [0.0, 0.5], "results": [1, 0], "model": "m"});
    let path = file(&folder, "reward-bench.json", first.to_string());
    let marks = json_of(&["metrics", "--benchmark", "reward-bench", "--scores", &path, "--json"]);
    assert_eq!(marks["subsets"]["hep-js"]["score"], 0.5);
}

#[test]
fn each_bad_score_file_has_its_sentence() {
    let folder = scratch("marking-bad");
    let good = json!({"id": "1", "subset": "Math", "num_correct": 1, "scores": [1.0, 0.0, 0.0, 0.0]});
    let with = |name: &str, value: Value| {
        let mut row = good.clone();
        row[name] = value;
        row
    };
    let without = |name: &str| {
        let mut row = good.clone();
        row.as_object_mut().unwrap().remove(name);
        row
    };
    for (name, text, named) in [
        ("missing.jsonl", lines(&[without("scores")]), "scores, or score_chosen and score_rejected"),
        ("type.jsonl", lines(&[with("scores", json!(["high", "low"]))]), "numbers in scores"),
        ("all-correct.jsonl", lines(&[with("num_correct", json!(4))]), "num_correct 4 with 4 scores"),
        ("none-correct.jsonl", lines(&[with("num_correct", json!(0))]), "num_correct 0 with 4 scores"),
        ("two-correct.jsonl", lines(&[with("num_correct", json!(2))]), "exactly 1 correct completion"),
        ("empty.jsonl", String::new(), "a score file was expected"),
        ("text.jsonl", "model,score\n".to_owned(), "a score file was expected"),
        ("broken.jsonl", "{\"id\": 1,\n".to_owned(), "row 1"),
        (
            "ragged.json",
            json!({"id": ["1", "2"], "scores": [[1, 0]]}).to_string(),
            "arrays of 2 values and 1 in scores",
        ),
        ("other.jsonl", lines(&[with("subset", json!("alpacaeval-easy"))]), "another benchmark's file"),
        ("summary.json", json!({"model": "m", "alpacaeval-easy": 0.5}).to_string(), "no subset of RewardBench 2"),
        ("ties.jsonl", lines(&[with("subset", json!("Ties"))]), "ref:NUMBER"),
    ] {
        let path = file(&folder, name, text);
        refused(&["metrics", "--scores", &path], &[name, named]);
    }
    refused(&["metrics", "--benchmark", "glue", "--scores", "x"], &["glue", "rm-bench"]);
    refused(&["metrics", "--variant", "mean", "--scores", "x"], &["mean", "package-0.1.4"]);
    // A tied prompt without its reference is reported, and refused with `--strict`.
    let alone = file(
        &folder,
        "alone.jsonl",
        lines(&[json!({"id": "tied:3", "subset": "Ties", "num_correct": 2, "scores": [2.0, 1.0, 0.0]})]),
    );
    let said = json_of(&["metrics", "--scores", &alone, "--json"])["remarks"].to_string();
    assert!(said.contains("only one of tied:N and ref:N"), "{said}");
    refused(&["metrics", "--strict", "--scores", &alone], &["tied:3 has no ref:3"]);
    // NaN and infinity are counted, and refused with `--strict`.
    let bad =
        file(&folder, "nan.jsonl", lines(&[with("scores", json!(["NaN", 1.0, 0.0, 0.0])), with("id", json!("2"))]));
    let marks = json_of(&["metrics", "--scores", &bad, "--json"]);
    assert_eq!((&marks["not_finite"], &marks["subsets"]["Math"]["score"]), (&json!(1), &json!(0.5)));
    refused(&["metrics", "--strict", "--scores", &bad], &["score 1 is NaN"]);
}
