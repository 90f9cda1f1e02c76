//! Marks, comparisons and every benchmark's rows at the command line, with real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rewardscope_data::to_parquet;
use rewardscope_tests::{fixture, json_fixture, sample_rows, scratch};
use serde_json::{Value, json};

fn run(arguments: &[&str]) -> Output {
    rewardscope_tests::command().args(arguments).output().unwrap()
}

fn json_of(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The command ends with 2 and one sentence that has all of `named`.
fn refused(arguments: &[&str], named: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    let sentence = said.lines().find(|line| line.starts_with("rewardscope: ")).unwrap();
    for part in named {
        assert!(sentence.contains(part), "{sentence:?} does not name {part:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn file(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, contents).unwrap();
    path.display().to_string()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| row.to_string() + "\n").collect()
}

fn rows() -> Vec<Value> {
    vec![
        json!({"id": "1", "subset": "Math", "num_correct": 1, "scores": [3.0, 1.0, 2.0, 0.0]}),
        json!({"id": "2", "subset": "Math", "num_correct": 1, "scores": [3.0, 3.0, 2.0, 0.0]}),
        json!({"id": "1", "subset": "Focus", "num_correct": 1, "scores": [1.0, 3.0, 2.0, 0.0]}),
        json!({"id": "ref:0", "subset": "Ties", "num_correct": 1, "scores": [5.0, 1.0, 0.0]}),
        json!({"id": "tied:0", "subset": "Ties", "num_correct": 2, "scores": [5.0, 4.0, 1.0]}),
    ]
}

#[test]
fn the_same_scores_in_every_form_give_the_same_marks() {
    let folder = scratch("marking-forms");
    let rows = rows();
    let columns = ["id", "subset", "num_correct", "scores"];
    let column = |name: &str| Value::Array(rows.iter().map(|row| row[name].clone()).collect());
    let mut parallel = json!({
        "model": "a/b", "model_type": "Seq. Classifier", "chat_template": "tokenizer",
        // What the reference wrote of marks is not read, and its texts are not needed.
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
    // The two published variants of the margin part go by name.
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
        // Characters, not bytes: the chosen one of the second is the shortest.
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
    // json.dump's words for what JSON has not; one in a text stays text.
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
fn rows_are_read_in_every_form_and_refused_by_what_they_are() {
    let folder = scratch("marking-rows");
    let row = json!({"id": 7, "prompt": "Hello?", "chosen": ["Hi."], "rejected": ["No.", "Go."], "num_correct": 1, "num_incorrect": 2, "total_completions": 3, "subset": "Math"});
    let items = |path: &str, more: &[&str]| {
        let arguments = [&["items", "--json", "--data", path], more].concat();
        let output = run(&arguments);
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let csv = "id,prompt,chosen,rejected,num_correct,subset\n7,Hello?,\"[\"\"Hi.\"\"]\",\"[\"\"No.\"\", \"\"Go.\"\"]\",1,Math\n";
    let with_mark = format!("\u{feff}{row}");
    let paths = [
        file(&folder, "rows.json", json!([row]).to_string()),
        file(&folder, "rows.jsonl", row.to_string()),
        file(&folder, "mark.jsonl", with_mark),
        file(&folder, "rows.csv", csv),
    ];
    for path in &paths {
        let found = items(path, &[]);
        assert_eq!((&found[0]["id"], &found[0]["completions"]), (&json!("7"), &json!(["Hi.", "No.", "Go."])), "{path}");
    }
    // A cell that looks like a list and is none, and a list as Python prints it.
    let own = ["--benchmark", "preferences"];
    let answer = file(&folder, "answer.csv", "prompt,chosen,rejected\n1+1?,\"[1, 2]\",[3]\n");
    assert_eq!(items(&answer, &own)[0]["completions"], json!(["[1, 2]", "[3]"]));
    // Named columns take the place of the usual ones, the others stay.
    let asked =
        file(&folder, "asked.jsonl", r#"{"wish": "Hello?", "chosen": "Hi.", "rejected": "No.", "subset": "s"}"#);
    let found = items(&asked, &[&own[..], &["--columns", r#"{"prompt": ["wish"]}"#]].concat());
    assert_eq!((&found[0]["subset"], &found[0]["messages"][0]["content"]), (&json!("s"), &json!("Hello?")));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut row = row.clone();
        change(&mut row);
        row.to_string()
    };
    for (name, text, more, named) in [
        ("python.csv", "prompt,chosen,rejected\np,\"['a', 'b']\",c\n".to_owned(), &own[..], vec!["row 1", "Python"]),
        ("twice.csv", "prompt,chosen,chosen,rejected\np,a,b,c\n".to_owned(), &own[..], vec!["\"chosen\" twice"]),
        ("twice.jsonl", row.to_string().replacen('{', "{\"prompt\": \"x\",", 1), &[], vec!["\"prompt\" twice"]),
        ("counts.jsonl", with(&|row| row["num_incorrect"] = json!(3)), &[], vec!["num_incorrect of 2", "3"]),
        ("subset.jsonl", with(&|row| row["subset"] = json!("Foo")), &[], vec!["no subset \"Foo\""]),
        ("role.jsonl", with(&|row| row["prompt"] = json!([{"role": "alien", "content": "x"}])), &[], vec!["a turn of the user", "alien"]),
        ("asked.jsonl", String::new(), &["--benchmark", "preferences", "--columns", r#"{"prompt": ["nope"]}"#], vec!["nope", "wish"]),
        ("label.jsonl", json!({"pair_id": "a", "source": "livecodebench", "question": "q", "response_A": "a", "response_B": "b", "label": "A=B"}).to_string(), &["--benchmark", "judge-bench"], vec!["A>B or B>A", "A=B"]),
    ] {
        let path = if text.is_empty() { asked.clone() } else { file(&folder, name, text) };
        refused(&[&["items", "--data", &path], more].concat(), &named);
    }
    let none = ["items", "--data", &paths[1], "--rows", "9"];
    refused(&none, &["rows 9 to 9", "none of them"]);
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
    // A tied prompt without its reference: said, and refused when asked to be strict.
    let alone = file(
        &folder,
        "alone.jsonl",
        lines(&[json!({"id": "tied:3", "subset": "Ties", "num_correct": 2, "scores": [2.0, 1.0, 0.0]})]),
    );
    let said = json_of(&["metrics", "--scores", &alone, "--json"])["remarks"].to_string();
    assert!(said.contains("only one of tied:N and ref:N"), "{said}");
    refused(&["metrics", "--strict", "--scores", &alone], &["tied:3 has no ref:3"]);
    // NaN and infinity: counted, and refused when asked to be strict.
    let bad =
        file(&folder, "nan.jsonl", lines(&[with("scores", json!(["NaN", 1.0, 0.0, 0.0])), with("id", json!("2"))]));
    let marks = json_of(&["metrics", "--scores", &bad, "--json"]);
    assert_eq!((&marks["not_finite"], &marks["subsets"]["Math"]["score"]), (&json!(1), &json!(0.5)));
    refused(&["metrics", "--strict", "--scores", &bad], &["score 1 is NaN"]);
}

#[test]
fn a_model_that_cannot_read_conversations_is_refused_once() {
    let folder = scratch("marking-template");
    let out = folder.join("out").display().to_string();
    // A checkpoint without a chat template.
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
    // Where no marks are given, none are left to be sent.
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

/// A small file of rows of a benchmark, as its dataset has them.
fn datasets(folder: &Path) -> Vec<(&'static str, String, usize)> {
    let sentence = |place: usize| format!("Answer number {place}.");
    let pair = |subset: &str, id: usize| json!({"id": id, "prompt": "Hello?", "chosen": sentence(id), "chosen_model": "a", "rejected": "No.", "rejected_model": "b", "subset": subset});
    let reward_bench = [pair("alpacaeval-easy", 1), pair("hep-js", 1), pair("hep-js", 2)];
    let rm_bench = json!([{
        "id": "7", "prompt": "Hello?", "domain": "safety-refuse",
        "chosen": [sentence(1), sentence(2), sentence(3)], "rejected": [sentence(4), sentence(5), sentence(6)],
        "num_pairs": 3,
    }]);
    let judge = [
        json!({"pair_id": "p", "original_id": 3, "source": "livebench-math", "question": "1+1?", "response_model": "m", "response_A": "3", "response_B": "2", "label": "B>A"}),
        json!({"pair_id": "q", "original_id": 4, "source": "livecodebench", "question": "1+1?", "response_model": "m", "response_A": "2", "response_B": "3", "label": "A>B"}),
    ];
    let asked = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "More?"}]);
    let rmb = json!([
        {"bon_uid": "1", "category_path": "BoN_set/Harmlessness/S1", "conversation_input": asked,
         "bon_best": {"llm_name": "a", "answer": "No."}, "loser_list": [{"llm_name": "b", "answer": "Yes."}, {"llm_name": "c", "answer": "Perhaps."}]},
        {"pair_uid": "1", "category_path": "Pairwise_set/Helpfulness/Chat/Discussion", "conversation_input": asked,
         "chosen": {"llm_name": "a", "answer": "More."}, "reject": {"llm_name": "b", "answer": "Less."}},
    ]);
    // Two models answer one question.
    let answered = |model: &str| json!({"question_id": "q1", "model_name": model, "prompt": "1+1?", "response_1": "2", "response_2": "3", "response_10": "two", "scores": [true, false, true], "sampled_conflict_pairs": [[0, 1]]});
    let ppe = [answered("m"), answered("n")];
    let german: Vec<Value> = reward_bench
        .iter()
        .map(|row| {
            let mut row = row.clone();
            row["language"] = json!("deu_Latn");
            // Where the Hub's rows have it.
            let subset = row.as_object_mut().unwrap().remove("subset").unwrap();
            row["source"] = subset;
            row["category"] = json!("Chat");
            row
        })
        .collect();
    let own = [
        json!({"prompt": "Hello?", "chosen": ["Hi.", "Hello."], "rejected": ["Go."]}),
        json!({"prompt": asked, "chosen": "More.", "rejected": "Less."}),
    ];
    let csv = "question,better,worse,topic\n\"Hello, you?\",Hi.,\"Go,\nnow.\",greeting\nBye?,Bye.,No.,parting\n";
    vec![
        ("reward-bench", file(folder, "reward-bench.jsonl", lines(&reward_bench)), 3),
        ("rm-bench", file(folder, "rm-bench.json", rm_bench.to_string()), 1),
        ("judge-bench", file(folder, "judge-bench.jsonl", lines(&judge)), 2),
        ("rmb", file(folder, "rmb.json", rmb.to_string()), 2),
        ("ppe", file(folder, "ppe.jsonl", lines(&ppe)), 2),
        ("m-reward-bench", file(folder, "m-reward-bench.jsonl", lines(&german)), 3),
        ("preferences", file(folder, "own.jsonl", lines(&own)), 2),
        ("preferences", file(folder, "own.csv", csv), 2),
    ]
}

#[test]
fn every_benchmarks_rows_are_scored_and_marked() {
    let folder = scratch("marking-datasets");
    let model = fixture("parity/llama_plain").display().to_string();
    for (place, (benchmark, data, items)) in datasets(&folder).into_iter().enumerate() {
        let out: PathBuf = folder.join(format!("out-{place}"));
        let shown = out.display().to_string();
        let mut arguments = vec![
            "eval",
            "--device",
            "cpu",
            "--model",
            &model,
            "--benchmark",
            benchmark,
            "--data",
            &data,
            "--out",
            &shown,
        ];
        if data.ends_with(".csv") {
            arguments.extend([
                "--columns",
                r#"{"prompt": ["question"], "chosen": ["better"], "rejected": ["worse"], "subset": ["topic"]}"#,
            ]);
        }
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{benchmark}: {said}");
        let run_file: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
        assert_eq!(run_file["items"].as_array().unwrap().len(), items, "{benchmark}");
        assert_eq!(run_file["benchmark"], benchmark);
        // The run file alone gives the marks again, and what else the run says.
        let again = json_of(&[
            "metrics",
            "--benchmark",
            benchmark,
            "--scores",
            &out.join("run.json").display().to_string(),
            "--json",
        ]);
        let marks: Value = serde_json::from_slice(&fs::read(out.join("marks.json")).unwrap()).unwrap();
        for part in ["overall", "partial", "sections", "subsets"] {
            assert_eq!(again[part], marks[part], "{benchmark}, {part}");
        }
        assert!(again["length"].is_object() && again["protocol"]["tokenizer_sha256"].as_str().unwrap().len() == 64);
    }
    let run_file = |place: usize| -> Value {
        serde_json::from_slice(&fs::read(folder.join(format!("out-{place}/run.json"))).unwrap()).unwrap()
    };
    // The label says which answer is chosen; the correct completions come first; languages are named.
    assert_eq!(run_file(2)["items"][0]["subset"], "livebench-math");
    assert_eq!(run_file(4)["items"][0]["num_correct"], 2);
    assert_eq!(run_file(4)["items"][1]["id"], "q1/n");
    assert_eq!(run_file(4)["items"][1]["models"], json!(["n", "n", "n"]));
    assert_eq!(run_file(2)["items"][0]["models"], json!(["m", "m"]));
    assert_eq!(run_file(5)["items"][0]["subset"], "deu_Latn/alpacaeval-easy");
    assert_eq!(run_file(3)["items"][0]["models"], json!(["a", "b", "c"]));
    assert_eq!(run_file(7)["items"][1]["subset"], "parting");
    assert_eq!(run_file(4)["items"][0]["subset"], "ppe", "a set is what its dataset is called");
    let data = |name: &str| folder.join(name).display().to_string();
    // A folder is its files, several names are all of theirs; an item is in one of them.
    let sets = folder.join("sets");
    fs::create_dir_all(sets.join("more")).unwrap();
    let answered = json!({"question_id": "q1", "model_name": "m", "prompt": "1+1?", "response_1": "2", "response_2": "3", "scores": [true, false]});
    for name in ["PPE-MATH.jsonl", "more/PPE-GPQA.jsonl", "more/notes.txt"] {
        file(&sets, name, lines(std::slice::from_ref(&answered)));
    }
    let own = file(&folder, "PPE-IFEval.jsonl", lines(std::slice::from_ref(&answered)));
    let sets = sets.display().to_string();
    let listed = run(&["items", "--json", "--benchmark", "ppe", "--data", &sets, "--data", &own]);
    let subsets: Vec<Value> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["subset"].clone())
        .collect();
    assert_eq!(subsets, ["PPE-MATH", "PPE-GPQA", "PPE-IFEval"]);
    let again = run(&["items", "--benchmark", "ppe", "--data", &own, "--data", &own]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        again.status.success() && said.contains("1 ids came before") && said.contains("PPE-IFEval/q1/m#2"),
        "{said}"
    );
    fs::create_dir_all(folder.join("none")).unwrap();
    refused(&["items", "--benchmark", "ppe", "--data", &data("none")], &["none", "files with rows", "no files"]);
    // Another benchmark's rows, and rows without what is asked for.
    let out = data("refused");
    let other = json!({"id": 1, "prompt": "p", "chosen": "a", "rejected": "b", "subset": "Math"});
    file(&folder, "m-reward-bench-other.jsonl", lines(&[other]));
    for (benchmark, name, named) in [
        ("rm-bench", "reward-bench.jsonl", vec!["columns domain", "subset"]),
        ("reward-bench", "m-reward-bench-other.jsonl", vec!["RewardBench", "no subset \"Math\""]),
        ("reward-bench", "judge-bench.jsonl", vec!["chosen", "rejected", "response_A"]),
        ("judge-bench", "reward-bench.jsonl", vec!["response_A", "label"]),
        ("reward-bench-2", "own.jsonl", vec!["own.jsonl"]),
    ] {
        let data = data(name);
        refused(
            &["eval", "--device", "cpu", "--model", &model, "--benchmark", benchmark, "--data", &data, "--out", &out],
            &named,
        );
    }
    refused(&["eval", "--model", &model, "--benchmark", "ppe", "--out", &out], &["PPE", "--data", "lmarena-ai/PPE"]);
    let empty = file(&folder, "empty-chosen.jsonl", lines(&[json!({"prompt": "p", "chosen": [], "rejected": ["x"]})]));
    refused(
        &["eval", "--model", &model, "--benchmark", "preferences", "--data", &empty, "--out", &out],
        &["row 1", "at least one chosen"],
    );
    let twice = file(
        &folder,
        "twice.jsonl",
        lines(&[
            json!({"id": 1, "prompt": "p", "chosen": "a", "rejected": "b"}),
            json!({"id": 1, "prompt": "q", "chosen": "a", "rejected": "b"}),
        ]),
    );
    let listed = run(&["items", "--json", "--data", &twice]);
    let ids: Vec<Value> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["1", "1#2"]);
    let own = data("own.jsonl");
    let wrong = run(&["items", "--data", &own, "--columns", "{\"question\": []}"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("--columns") && said.contains("question"), "{said}");
    refused(
        &["eval", "--model", &model, "--benchmark", "preferences", "--data", &own, "--subset", "none", "--out", &out],
        &["none", "all"],
    );
}

/// The same run, said to have been cut elsewhere.
fn other_context(folder: &Path, run: &str) -> String {
    let mut other: Value = serde_json::from_slice(&fs::read(run).unwrap()).unwrap();
    other["protocol"]["context_tokens"] = json!(17);
    file(folder, "other-context.json", other.to_string())
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
    // The reference evaluator's own two files give the same marks.
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
    // Three of them: each agrees with itself, and the average of a run and its like is the run's.
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
    // A run is marked as what it is, and says what it is of.
    refused(&["metrics", "--benchmark", "rmb", "--scores", &runs[0]], &["reward-bench-2", "not of rmb"]);
    let told = run(&["metrics", "--scores", &runs[0]]);
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("llama_plain over few.parquet, as stored"));
    let said = run(&["compare", &runs[0], &runs[1], &other_context(&folder, &runs[1])]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("context tokens"), "three files are warned of as two are");
    let curve = json_of(&["best-of-n", "--scores", &runs[0], "--json"]);
    let ties = curve["expected_mark_of_best_of_k"]["Ties"].as_array().unwrap();
    assert!(ties.len() > 1 && ties.iter().all(|mark| (0.0..=1.0).contains(&mark.as_f64().unwrap())));
}

#[test]
fn a_file_of_rows_is_filtered_by_scores() {
    let folder = scratch("marking-filter");
    let model = fixture("parity/llama_plain").display().to_string();
    let rows: Vec<Value> = (0..40)
        .map(|i| {
            let answer = |of: &str| format!("{of} {}", "word ".repeat(i % 7 + 1));
            json!({"n": i, "prompt": "Hello?", "completion": answer("It is"), "chosen": answer("Yes"), "rejected": answer("No"), "more": [1, 2]})
        })
        .collect();
    let input = file(&folder, "rows.jsonl", lines(&rows));
    // A prompt, or the conversation up to the completions.
    let asked = |(i, row): (usize, &Value)| {
        let completions = [&row["completion"], &row["chosen"], &row["rejected"]];
        match i % 2 {
            0 => json!({"id": i, "prompt": row["prompt"], "completions": completions}),
            _ => json!({"id": i, "messages": [{"role": "user", "content": row["prompt"]}], "completions": completions}),
        }
    };
    let ids: Vec<Value> = rows.iter().enumerate().map(asked).collect();
    let asked = file(&folder, "asked.jsonl", lines(&ids));
    let output = run(&["score", "--device", "cpu", "--model", &model, "--input", &asked, "--output", "-"]);
    let scores: Vec<Vec<f64>> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect()
        })
        .collect();
    let filtered = |rule: &[&str], name: &str| -> Vec<Value> {
        let output = folder.join(name).display().to_string();
        let mut arguments =
            vec!["filter", "--device", "cpu", "--model", &model, "--input", &input, "--output", &output];
        arguments.extend(rule);
        let done = run(&arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read_to_string(&output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut sorted: Vec<f64> = scores.iter().map(|of| of[0]).collect();
    sorted.sort_by(f64::total_cmp);
    let least = sorted[25];
    let expected = |keep: &dyn Fn(usize) -> bool| -> Vec<Value> {
        rows.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, row)| row.clone()).collect()
    };
    // The rows are kept as they are, other columns and all.
    assert_eq!(filtered(&["--min-score", &least.to_string()], "min.jsonl"), expected(&|i| scores[i][0] >= least));
    let margins: Vec<f64> = scores.iter().map(|of| of[1] - of[2]).collect();
    assert_eq!(filtered(&["--min-margin", "0.0"], "margin.jsonl"), expected(&|i| margins[i] >= 0.0));
    // A quarter: ten rows, of equal scores the earlier.
    let mut order: Vec<usize> = (0..40).collect();
    order.sort_by(|&a, &b| scores[b][0].total_cmp(&scores[a][0]).then(a.cmp(&b)));
    let best: Vec<usize> = order[..10].to_vec();
    assert_eq!(filtered(&["--top", "0.25"], "top.jsonl"), expected(&|i| best.contains(&i)));
    assert!(!folder.join("top.jsonl.scores").exists());
    // A bad row costs itself alone; no rule, or a file upon itself, is wrong use.
    let bad = file(&folder, "bad.jsonl", lines(&[rows[0].clone(), json!({"prompt": 3, "completion": "x"})]));
    let output = folder.join("kept.jsonl").display().to_string();
    let done = run(&[
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &bad,
        "--output",
        &output,
        "--min-score",
        "-1000",
    ]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("row 2"));
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 1);
    assert_eq!(run(&["filter", "--model", &model, "--input", &bad, "--output", &output]).status.code(), Some(2));
    refused(
        &["filter", "--model", &model, "--input", &bad, "--output", &bad, "--top", "0.5"],
        &["the output is the input"],
    );
    refused(&["filter", "--model", &model, "--input", &bad, "--output", &output, "--top", "1.5"], &["--top"]);
    // What is there stays unless it is asked to be replaced; a line that is none costs itself alone.
    fs::write(&output, "kept\n").unwrap();
    let broken = file(&folder, "broken.jsonl", format!("{}\n{{\"prompt\"\n{}\n", rows[0], rows[1]));
    let arguments =
        ["filter", "--device", "cpu", "--model", &model, "--input", &broken, "--output", &output, "--min-score=-9999"];
    refused(&arguments, &["it is there already", "--overwrite"]);
    assert_eq!(fs::read_to_string(&output).unwrap(), "kept\n");
    let bad_rows = folder.join("bad-rows.jsonl").display().to_string();
    let done = run(&[&arguments[..], &["--overwrite", "--bad-rows", &bad_rows]].concat());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && said.contains("row 2: not readable"), "{said}");
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 2);
    let listed: Value = serde_json::from_str(&fs::read_to_string(&bad_rows).unwrap()).unwrap();
    assert_eq!((&listed["row"], &listed["reason"]), (&json!(2), &json!("unreadable")));
    let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = names().len();
    let arguments = [
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &input,
        "--output",
        &output,
        "--overwrite",
        "--top",
        "0.5",
    ];
    let done = run(&[&arguments[..], &["--max-length", "8"]].concat());
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("were cut at 8 tokens"),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(names().len(), before);
    refused(
        &["filter", "--model", &model, "--input", &input, "--output", &output, "--min-score", "nan"],
        &["--min-score", "NaN"],
    );
    let parquet = folder.join("lines.parquet").display().to_string();
    refused(
        &["filter", "--model", &model, "--input", &input, "--output", &parquet, "--top", "0.5"],
        &["which is JSON", ".parquet"],
    );
    let nowhere = [
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &input,
        "--output",
        &output,
        "--overwrite",
        "--top",
        "0.5",
    ];
    refused(&[&nowhere[..], &["--columns", r#"{"chosen": ["nope"]}"#]].concat(), &["columns nope", "the file has"]);
    // The label says which of two is the better one: where it says the second, the margin is the other way round.
    let labelled: Vec<Value> = (0..40)
        .map(|i| {
            let (first, second) = if i % 2 == 0 { ("chosen", "rejected") } else { ("rejected", "chosen") };
            json!({"n": i, "prompt": "Hello?", "one": rows[i][first], "two": rows[i][second], "better": if i % 2 == 0 { "a" } else { "b" }})
        })
        .collect();
    let labelled_file = file(&folder, "labelled.jsonl", lines(&labelled));
    let output = folder.join("labelled-kept.jsonl").display().to_string();
    let done = run(&[
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &labelled_file,
        "--output",
        &output,
        "--min-margin",
        "0.0",
        "--columns",
        "chosen=one,rejected=two,chosen_if=better:a:b",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let kept = fs::read_to_string(&output).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> =
        labelled.iter().enumerate().filter(|(i, _)| margins[*i] >= 0.0).map(|(_, row)| row.clone()).collect();
    assert_eq!(kept, expected);
    let two = file(
        &folder,
        "two.jsonl",
        lines(&[json!({"prompt": "Hello?", "chosen": ["Hi."], "rejected": ["No.", "Go."]})]),
    );
    let output = folder.join("two-kept.jsonl").display().to_string();
    let done = run(&[
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &two,
        "--output",
        &output,
        "--min-margin",
        "0",
    ]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("expected one rejected completion, found 2"), "{said}");
    // Standard output is no file of that name.
    let done =
        run(&["filter", "--device", "cpu", "--model", &model, "--input", &input, "--output", "-", "--top", "0.25"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), 10);
    assert!(!Path::new("-").exists());
    // Parquet in, parquet out, with all columns.
    let sample = file(&folder, "sample.parquet", to_parquet(&sample_rows()[..12]).unwrap());
    let output = folder.join("kept.parquet").display().to_string();
    let done = run(&[
        "filter",
        "--device",
        "cpu",
        "--model",
        &model,
        "--input",
        &sample,
        "--output",
        &output,
        "--top",
        "0.5",
        "--columns",
        r#"{"prompt": ["prompt"], "chosen": ["subset"]}"#,
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let source = rewardscope_store::Source::file(Path::new(&output)).unwrap();
    let kept = pollster::block_on(rewardscope_data::read_rows(&source, rewardscope_data::Rows::ALL)).unwrap();
    assert_eq!(kept.len(), 6);
}
