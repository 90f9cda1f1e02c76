//! Preference files in the forms that people have. The table of `tests/fixtures/intake` holds in `items`, `filter` and
//! `fit`. More forms and layouts are made here. A file without rows is refused with what it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use pollster::block_on;
use rewardscope_engine::Cancel;
use rewardscope_eval::{Asked, read_items, rows_of_folder};
use rewardscope_fit::{FeatureCache, FeaturesHeader, OverlapRule, PreferenceFiles, Tell, gather};
use rewardscope_store::Source;
use rewardscope_tests::{fixture, json_fixture, load, model, run, said, scratch};
use serde_json::{Value, json};

fn parsed(lines: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `items --json` prints for a file, and what it says on standard error.
fn items(data: &str, more: &[&str]) -> (Vec<Value>, String) {
    let output = run(&[&["items", "--json", "--rows", "1-100", "--data", data], more].concat());
    let told = said(&output);
    assert!(output.status.success() || output.status.code() == Some(2), "{data}: {told}");
    assert!(!told.contains("panicked"), "{told}");
    (parsed(&output.stdout), told)
}

fn plain(item: &Value) -> Value {
    let completions = item["completions"].as_array().unwrap();
    let (chosen, rejected) = completions.split_at(item["num_correct"].as_u64().unwrap() as usize);
    json!({"messages": item["messages"], "chosen": chosen, "rejected": rejected})
}

/// A line of the table in `tests/fixtures/intake/table.json`.
struct Case {
    path: String,
    benchmark: Option<String>,
    expected: Option<Vec<Value>>,
    skipped: usize,
    said: Option<String>,
}

fn table() -> Vec<Case> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |line: &Value| Case {
        path: fixture(&format!("intake/{}", line["path"].as_str().unwrap())).display().to_string(),
        benchmark: text(&line["benchmark"]),
        expected: text(&line["expected"])
            .map(|name| json_fixture(&format!("intake/{name}")).as_array().unwrap().clone()),
        skipped: line["skipped"].as_u64().unwrap_or_default() as usize,
        said: text(&line["said"]),
    };
    json_fixture("intake/table.json").as_array().unwrap().iter().map(of).collect()
}

fn without_id(expected: &Value) -> Value {
    json!({"messages": expected["messages"], "chosen": expected["chosen"], "rejected": expected["rejected"]})
}

#[test]
fn the_table_holds_in_items() {
    let cases = table();
    assert!(cases.len() > 50);
    for case in cases {
        let benchmark = case.benchmark.as_deref();
        let more: Vec<&str> = benchmark.map_or_else(Vec::new, |name| vec!["--benchmark", name]);
        let (found, told) = items(&case.path, &more);
        let path = &case.path;
        if let Some(part) = &case.said {
            assert!(told.contains(part), "{path}: {told}");
        }
        let Some(expected) = case.expected else {
            assert!(found.is_empty() && told.contains("rewardscope: "), "{path}: {told}");
            continue;
        };
        let plain: Vec<Value> = found.iter().map(plain).collect();
        assert_eq!(plain, expected.iter().map(without_id).collect::<Vec<_>>(), "{path}: {told}");
        for (item, expected) in found.iter().zip(&expected).filter(|(_, expected)| expected.get("id").is_some()) {
            assert_eq!(item["id"], expected["id"], "{path}");
        }
        let skipped = format!("{} of {} rows skipped", case.skipped, case.skipped + expected.len());
        assert_eq!(told.contains(&skipped), case.skipped > 0, "{path}: {told}");
    }
}

#[test]
fn the_table_holds_in_filter() {
    let folder = scratch("intake-filter");
    let model = fixture("parity/llama_plain").display().to_string();
    for (place, case) in table().into_iter().enumerate().filter(|(_, case)| case.benchmark.is_none()) {
        let input = Path::new(&case.path);
        // Parquet's inner variants make no difference to `filter`, so a few are enough.
        let name = input.file_name().unwrap().to_string_lossy().into_owned();
        let is_parquet_form = case.path.contains("18_parquet");
        if is_parquet_form && !["zstd.parquet", "odd_columns.parquet", "no_rows.parquet"].contains(&name.as_str()) {
            continue;
        }
        let form = match () {
            () if input.is_dir() && case.path.contains("save_to_disk") => "arrow",
            () if input.is_dir() && case.path.contains("28_skywork") => "parquet",
            () if input.is_dir() => "jsonl",
            // This file holds JSON Lines.
            () if name == "train.json" => "jsonl",
            () => input.extension().unwrap().to_str().unwrap(),
        };
        let kept = folder.join(format!("{place}.{form}")).display().to_string();
        let output = run(&[
            "filter",
            "--device",
            "cpu",
            "--model",
            &model,
            "--input",
            &case.path,
            "--output",
            &kept,
            "--min-margin",
            "-1e9",
        ]);
        let told = said(&output);
        let Some(expected) = case.expected else {
            let is_refused = output.status.code() == Some(2) || told.contains(" 0 kept in");
            assert!(is_refused, "{}: {told}", case.path);
            continue;
        };
        assert_eq!(output.status.code(), Some(i32::from(case.skipped > 0)), "{}: {told}", case.path);
        assert!(told.contains(&format!("{} kept in", expected.len())), "{}: {told}", case.path);
        // The kept rows are the rows that were read, in the same format.
        let (found, _) = items(&kept, &[]);
        let plain: Vec<Value> = found.iter().map(plain).collect();
        assert_eq!(plain, expected.iter().map(without_id).collect::<Vec<_>>(), "{}: {told}", case.path);
    }
}

#[test]
fn the_table_holds_in_fit() {
    let scorer = load(&model(&fixture("parity/llama_plain")), None).unwrap();
    let header = || FeaturesHeader::of(scorer.report(), None, rewardscope_engine::Pooling::LastToken).unwrap();
    for case in table().into_iter().filter(|case| case.benchmark.is_none()) {
        let path = Path::new(&case.path);
        let sources: Vec<Source> = match path.is_dir() {
            false => vec![Source::file(path).unwrap()],
            true => {
                let names =
                    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
                let (rows, _) = rows_of_folder(&case.path, &names.collect::<Vec<_>>(), None).unwrap();
                rows.iter().map(|name| Source::file(&path.join(name)).unwrap()).collect()
            }
        };
        let mut bad = Vec::new();
        let mut tell = Tell { progress: &mut |_, _| {}, bad: &mut |row| bad.push(row) };
        let mut cache = FeatureCache::memory(header());
        let files = PreferenceFiles::of(&sources);
        let none: [&str; 0] = [];
        let gathered = block_on(gather(
            &scorer,
            &files,
            ("none", none),
            OverlapRule::Keep,
            &mut cache,
            &Cancel::default(),
            &mut tell,
        ));
        match (gathered, case.expected) {
            (Err(error), None) => assert!(!error.to_string().is_empty()),
            (Ok(gathered), Some(expected)) => {
                // `fit` leaves out duplicate pairs and pairs with an empty completion.
                let form = &gathered.form;
                let of = |item: &Value| {
                    item["chosen"].as_array().unwrap().len() * item["rejected"].as_array().unwrap().len()
                };
                assert_eq!(form.pairs, expected.iter().map(of).sum::<usize>(), "{}", case.path);
                assert_eq!(
                    (form.rows, form.unreadable),
                    (expected.len() + case.skipped, case.skipped),
                    "{}",
                    case.path
                );
                assert_eq!(gathered.pairs.len(), form.pairs - form.empty - form.duplicates, "{}", case.path);
                assert_eq!(bad.len(), case.skipped, "{}", case.path);
            }
            (Ok(_), None) => panic!("{}: it should be refused", case.path),
            (Err(error), Some(_)) => panic!("{}: {error}", case.path),
        }
    }
}

#[test]
fn score_files_of_all_evaluators_are_marked() {
    let marks = |path: &str, more: &[&str]| -> (Value, String) {
        let path = fixture(&format!("intake/{path}")).display().to_string();
        let output = run(&[&["metrics", "--json", "--scores", &path], more].concat());
        assert!(output.status.success(), "{path}: {}", said(&output));
        (serde_json::from_slice(&output.stdout).unwrap(), said(&output))
    };
    let close = |found: &Value, expected: &Value| (found.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 1e-12;
    let expected = json_fixture("intake/M2_cli_outputs/expected.json");
    for name in ["model_outputs.jsonl", "model_all.jsonl", "pushed.parquet", "outputs.csv", "with_id.jsonl"] {
        let path = format!("M2_cli_outputs/{name}");
        let (found, _) = marks(&path, &[]);
        assert_eq!(found["benchmark"], "preferences", "{name}");
        assert!(close(&found["overall"], &expected["tie_half"]), "{name}: {}", found["overall"]);
        let (found, _) = marks(&path, &["--benchmark", "preferences", "--variant", "ties-wrong"]);
        assert!(close(&found["overall"], &expected["accuracy"]), "{name}: {}", found["overall"]);
    }
    assert!(close(&marks("M2_cli_outputs/summary.json", &[]).0["overall"], &expected["accuracy"]));
    let expected = json_fixture("intake/M3_rb2_dup_ids/expected.json");
    let of = ["--benchmark", "reward-bench-2"];
    for name in [
        "clean.json",
        "flat.jsonl",
        "flat.jsonl.gz",
        "flat.parquet",
        "lowercase_ties.json",
        "published_shape.json",
        "wrapper_data.json",
        "wrapper_list.json",
        "no_num_correct.json",
    ] {
        let (found, _) = marks(&format!("M3_rb2_dup_ids/{name}"), &of);
        for (subset, mark) in expected.as_object().unwrap().iter().filter(|(subset, _)| *subset != "overall") {
            // How many completions of a tied row are correct, no other column tells.
            if name == "no_num_correct.json" && subset == "Ties" {
                assert!(found["subsets"].get("Ties").is_none() && found["remarks"].to_string().contains("num_correct"));
                continue;
            }
            assert!(close(&found["subsets"][subset]["score"], mark), "{name}, {subset}: {}", found["subsets"][subset]);
        }
        if name != "no_num_correct.json" {
            assert!(close(&found["overall"], &expected["overall"]), "{name}");
        }
    }
    let (found, _) = marks("M3_rb2_dup_ids/published_shape.json", &of);
    assert!(found["remarks"].to_string().contains("10 ids came before"), "{}", found["remarks"]);
    let expected = json_fixture("intake/M4_rb2_generative/expected.json");
    let (scores, _) = marks("M4_rb2_generative/scores.json", &of);
    let (summary, _) = marks("M4_rb2_generative/summary.json", &of);
    for (subset, mark) in expected.as_object().unwrap() {
        assert!(close(&scores["subsets"][subset]["score"], mark), "{subset}");
        assert!(close(&summary["subsets"][subset]["score"], mark), "{subset}");
    }
    assert!(scores["remarks"].to_string().contains("results and no scores"));
}

/// Layouts that the table lacks: each row with the messages, the better and the worse completions that it means, or
/// why it is skipped.
fn layouts() -> Vec<(&'static str, Value, Value)> {
    let asked = json!([{"role": "user", "content": "What is it?"}]);
    let pair = json!({"messages": asked, "chosen": ["Good one."], "rejected": ["Bad one."]});
    let system = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}], "chosen": ["Good one."], "rejected": ["Bad one."]});
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let said = |answer: &str| json!([turn("user", "What is it?"), turn("assistant", answer)]);
    vec![
        (
            "HelpSteer3",
            json!({"domain": "code", "context": asked, "response1": "Bad one.", "response2": "Good one.", "overall_preference": 2}),
            pair.clone(),
        ),
        (
            "HelpSteer3 tie",
            json!({"context": asked, "response1": "a", "response2": "b", "overall_preference": 0}),
            json!("tie"),
        ),
        (
            "HelpSteer2",
            json!({"prompt": "What is it?", "response_1": "Good one.", "response_2": "Bad one.", "preference_strength": -1}),
            pair.clone(),
        ),
        (
            "Nectar",
            json!({"prompt": "\n\nHuman: What is it?\n\nAssistant: ", "answers": [{"answer": "Bad one.", "model": "m", "rank": 2.0}, {"answer": "Good one.", "model": "n", "rank": 1.0}]}),
            pair.clone(),
        ),
        (
            "WebGPT",
            json!({"question": {"dataset": "eli5", "id": "1", "full_text": "What is it?"}, "answer_0": "Bad one.", "answer_1": "Good one.", "score_0": -1.0, "score_1": 1.0}),
            pair.clone(),
        ),
        (
            "WebGPT tie",
            json!({"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.0, "score_1": 0.0}),
            json!("tie"),
        ),
        (
            "summarize",
            json!({"info": {"id": "t", "post": "A long post.", "title": "T", "subreddit": "s"}, "summaries": [{"text": "Bad one."}, {"text": "Good one."}], "choice": 1}),
            json!({"messages": [turn("user", "SUBREDDIT: r/s\nTITLE: T\nPOST: A long post.\nTL;DR:")], "chosen": ["Good one."], "rejected": ["Bad one."]}),
        ),
        (
            "MT-Bench",
            json!({"question_id": 81, "model_a": "x", "model_b": "y", "winner": "model_b", "conversation_a": said("Bad one."), "conversation_b": said("Good one."), "turn": 1}),
            pair.clone(),
        ),
        (
            "MT-Bench tie",
            json!({"winner": "tie", "conversation_a": said("a"), "conversation_b": said("b")}),
            json!("tie"),
        ),
        (
            "MT-Bench, second turn",
            json!({"winner": "model_a", "turn": 2,
            "conversation_a": [turn("user", "q"), turn("assistant", "x"), turn("user", "r"), turn("assistant", "a")],
            "conversation_b": [turn("user", "q"), turn("assistant", "y"), turn("user", "r"), turn("assistant", "b")]}),
            json!("earlier turns differ"),
        ),
        (
            "AlpacaEval",
            json!({"instruction": "What is it?", "output_1": "Bad one.", "output_2": "Good one.", "preference": 2.0, "generator_1": "g", "generator_2": "h"}),
            pair.clone(),
        ),
        (
            "Alpaca with input",
            json!({"instruction": "Answer.", "input": "What is it?", "chosen": "Good one.", "rejected": "Bad one."}),
            json!({"messages": [turn("user", "Answer.\nWhat is it?")], "chosen": ["Good one."], "rejected": ["Bad one."]}),
        ),
        (
            "Alpaca, a list",
            json!({"instruction": "What is it?", "input": "", "output": ["Good one.", "Bad one."]}),
            pair.clone(),
        ),
        (
            "UltraFeedback",
            json!({"instruction": "What is it?", "completions": [{"model": "m", "response": "Bad one.", "overall_score": 3.0}, {"model": "n", "response": "Good one.", "overall_score": 8.0}]}),
            pair.clone(),
        ),
        (
            "ShareGPT",
            json!({"conversations": [{"from": "human", "value": "What is it?"}], "chosen": {"from": "gpt", "value": "Good one."}, "rejected": {"from": "gpt", "value": "Bad one."}}),
            pair.clone(),
        ),
        (
            "content parts",
            json!({"chosen": [turn("user", "What is it?"), {"role": "assistant", "content": [{"type": "text", "text": "Good one."}]}], "rejected": said("Bad one.")}),
            pair.clone(),
        ),
        (
            "a picture",
            json!({"chosen": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, turn("assistant", "a")], "rejected": said("b")}),
            json!("more than text"),
        ),
        (
            "JSON in texts",
            json!({"chosen": said("Good one.").to_string(), "rejected": said("Bad one.").to_string()}),
            pair.clone(),
        ),
        (
            "system beside messages",
            json!({"system_prompt": "Be brief.", "chosen": said("Good one."), "rejected": said("Bad one.")}),
            system.clone(),
        ),
        (
            "HH",
            json!({"chosen": "\n\nHuman: What is it?\n\nAssistant: Good one.", "rejected": "\n\nHuman: What is it?\n\nAssistant: Bad one."}),
            pair.clone(),
        ),
        (
            "a winner by a letter",
            json!({"prompt": "What is it?", "answer_a": "Bad one.", "answer_b": "Good one.", "winner": "B"}),
            pair.clone(),
        ),
        (
            "scores a side",
            json!({"prompt": "What is it?", "response_1": "Good one.", "response_2": "Bad one.", "score_1": 4, "score_2": 2}),
            pair.clone(),
        ),
        (
            "other names of the sides",
            json!({"question": "What is it?", "chosen_response": "Good one.", "rejected_response": "Bad one."}),
            pair.clone(),
        ),
        (
            "the prompt again in messages",
            json!({"prompt": "What is it?", "chosen": said("Good one."), "rejected": said("Bad one.")}),
            pair.clone(),
        ),
        ("equal", json!({"prompt": "q", "chosen": "a", "rejected": "a"}), json!("equal")),
        (
            "a message without content",
            json!({"chosen": [turn("user", "q"), {"role": "assistant", "content": null}], "rejected": said("b")}),
            json!("a list of 2 messages; the second has content null"),
        ),
        (
            "thoughts",
            json!({"prompt": "q", "chosen": [{"role": "assistant", "content": "a", "reasoning_content": "hm"}], "rejected": [turn("assistant", "b")]}),
            json!("reasoning_content"),
        ),
    ]
}

#[test]
fn layouts_are_known_by_their_columns() {
    let folder = scratch("intake-layouts");
    for (name, row, expected) in layouts() {
        let path = folder.join("rows.jsonl");
        fs::write(&path, format!("{row}\n")).unwrap();
        let (found, told) = items(&path.display().to_string(), &[]);
        match expected {
            Value::String(reason) => assert!(found.is_empty() && told.contains(&reason), "{name}: {told}"),
            expected => assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), [expected], "{name}: {told}"),
        }
    }
    // TRL's unpaired rows with the same prompt make one item, in any order; a row without counterpart is reported.
    let path = folder.join("unpaired.jsonl");
    let rows = [
        json!({"prompt": "p", "completion": "good", "label": true}),
        json!({"prompt": "q", "completion": "alone", "label": false}),
        json!({"prompt": "p", "completion": "bad", "label": false}),
    ];
    fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let (found, told) = items(&path.display().to_string(), &[]);
    assert_eq!(
        plain(&found[0]),
        json!({"messages": [{"role": "user", "content": "p"}], "chosen": ["good"], "rejected": ["bad"]})
    );
    assert!(found.len() == 1 && told.contains("1 no counterpart for its prompt") && told.contains("label"), "{told}");
    // A text column that is not read is named in a remark. Ids may be whole floats, long integers, or missing.
    let path = folder.join("more.jsonl");
    let row = json!({"id": 1.0, "prompt": "p", "chosen": "a", "rejected": "b", "critique": "It is not a good answer."});
    let long = r#"{"id": 123456789012345678901234, "prompt": "p", "chosen": "a", "rejected": NaN}"#;
    let other = long.replace("NaN", "\"b\"");
    fs::write(&path, format!("{row}\n{other}\n{long}\n")).unwrap();
    let (found, told) = items(&path.display().to_string(), &[]);
    assert!(told.contains("columns with text that are not read: critique"), "{told}");
    assert_eq!((&found[0]["id"], &found[1]["id"], found.len()), (&json!("1"), &json!("123456789012345678901234"), 2));
    assert!(told.contains("1 no completion"), "{told}");
}

/// The same two pairs in every text format, encoding and compression.
#[test]
fn every_form_of_text_is_read() {
    let folder = scratch("intake-forms");
    let rows = [
        json!({"prompt": "p", "chosen": "ä, b", "rejected": "c\nd"}),
        json!({"prompt": "q", "chosen": "e", "rejected": "f"}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let csv = |between: char| {
        format!("prompt{between}chosen{between}rejected\np{between}\"ä, b\"{between}\"c\nd\"\nq{between}e{between}f\n")
    };
    let utf16 = |text: &str, is_big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let pretty: String = rows.iter().map(|row| serde_json::to_string_pretty(row).unwrap() + "\n").collect();
    let columns = json!({"prompt": ["p", "q"], "chosen": ["ä, b", "e"], "rejected": ["c\nd", "f"]});
    let packed = |program: &str, more: &[&str], text: &str| -> Vec<u8> {
        let mut child = std::process::Command::new(program)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let gzip = packed("gzip", &["-c"], &lines);
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("rows.jsonl", lines.clone().into_bytes()),
        ("rows.ndjson", lines.replace('\n', "\r\n").into_bytes()),
        ("mark.jsonl", format!("\u{feff}{lines}").into_bytes()),
        ("rows.json", json!(rows).to_string().into_bytes()),
        ("pretty.json", serde_json::to_vec_pretty(&json!(rows)).unwrap()),
        ("several.json", pretty.into_bytes()),
        ("wrapped.json", json!({"version": 1, "data": rows}).to_string().into_bytes()),
        ("columns.json", columns.to_string().into_bytes()),
        ("rows.csv", csv(',').into_bytes()),
        ("semicolon.csv", csv(';').into_bytes()),
        ("rows.tsv", csv('\t').into_bytes()),
        ("windows.csv", format!("\u{feff}{}", csv(',').replace("\nq", "\r\nq")).into_bytes()),
        ("no ending", csv(',').into_bytes()),
        ("utf16.csv", utf16(&csv(','), false)),
        ("utf16.jsonl", utf16(&lines, true)),
        ("rows.jsonl.gz", gzip.clone()),
        ("twice.jsonl.gz", [packed("gzip", &["-c"], &lines[..20]), packed("gzip", &["-c"], &lines[20..])].concat()),
        (
            "rows.csv.bz2",
            packed(
                "python3",
                &["-c", "import bz2,sys;sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))"],
                &csv(','),
            ),
        ),
    ];
    for (name, bytes) in &files {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        let (found, told) = items(&path.display().to_string(), &[]);
        assert_eq!(found.len(), 2, "{name}: {told}");
        assert_eq!(
            (&found[0]["completions"], &found[1]["messages"][0]["content"]),
            (&json!(["ä, b", "c\nd"]), &json!("q")),
            "{name}"
        );
    }
    // From standard input.
    let mut child = rewardscope_tests::command()
        .args(["items", "--json", "--data", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&gzip).unwrap();
    assert_eq!(parsed(&child.wait_with_output().unwrap().stdout).len(), 2);
    // From a named pipe, in `--data` and in `--scores`.
    let pipe = folder.join("pipe");
    let through = |arguments: &[&str], bytes: &[u8]| {
        let _ = fs::remove_file(&pipe);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let child = rewardscope_tests::command()
            .args(arguments)
            .arg(&pipe)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(&pipe, bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        parsed(&output.stdout)
    };
    assert_eq!(through(&["items", "--json", "--data"], &gzip).len(), 2);
    let scores = br#"{"score_chosen": 1, "score_rejected": 0}"#;
    assert_eq!(through(&["metrics", "--json", "--scores"], scores)[0]["overall"], 1.0);
    // A file without rows is refused with what it is, or what to do.
    for (name, bytes, named) in [
        ("page.jsonl", b"<!DOCTYPE html><html>".to_vec(), "an HTML page"),
        (
            "pointer.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n".to_vec(),
            "git lfs pull",
        ),
        ("table.csv", b"PK\x03\x04....".to_vec(), "a zip archive"),
        ("rows.pkl", b"\x80\x04\x95\x00".to_vec(), "pickle"),
        ("half.jsonl.gz", gzip[..gzip.len() / 2].to_vec(), "a whole gzip file"),
        ("half.json", json!(rows).to_string().into_bytes()[..40].to_vec(), "JSON list"),
        ("page.gz", packed("gzip", &["-c"], "<html><body>Sign in</body></html>"), "an HTML page"),
        ("empty.jsonl", Vec::new(), "none of them"),
        ("python.jsonl", b"{'prompt': 'p', 'chosen': 'a', 'rejected': 'b'}\n".to_vec(), "as Python prints it"),
    ] {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        let (found, told) = items(&path.display().to_string(), &[]);
        assert!(found.is_empty() && told.contains(named), "{name}: {told}");
    }
}

#[test]
fn folders_have_splits_and_rows_have_names() {
    let folder = scratch("intake-splits");
    let row = |prompt: &str| format!("{}\n", json!({"prompt": prompt, "chosen": "a", "rejected": "b"}));
    for (name, prompt) in [
        ("data/train-00000-of-00002.jsonl", "p"),
        ("data/train-00001-of-00002.jsonl", "q"),
        ("data/test-00000-of-00001.jsonl", "t"),
    ] {
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join(name), row(prompt)).unwrap();
    }
    fs::write(folder.join("README.md"), "# Rows\n").unwrap();
    fs::write(folder.join("dataset_info.json"), "{}").unwrap();
    let shown = folder.display().to_string();
    let (found, told) = items(&shown, &[]);
    assert!(found.is_empty() && told.contains("--split") && told.contains("test, train"), "{told}");
    let (found, _) = items(&shown, &["--split", "train"]);
    let ids: Vec<&str> = found.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["train-00000-of-00002:1", "train-00001-of-00002:1"]);
    assert!(items(&shown, &["--split", "dev"]).1.contains("no split dev"));
    // `--strict` refuses what would be skipped.
    let path = folder.join("strict.jsonl").display().to_string();
    fs::write(&path, row("p") + "{\"prompt\": \"q\", \"chosen\": null, \"rejected\": \"b\"}\n").unwrap();
    assert_eq!(items(&path, &[]).0.len(), 1);
    let (found, told) = items(&path, &["--strict"]);
    assert!(found.is_empty() && told.contains("row 2") && told.contains("no completion"), "{told}");
    // Overall is the share over all pairs, not the mean of the subsets, which is given beside it.
    let source = Source::memory("rows.jsonl", row("p").into_bytes());
    let dataset = block_on(read_items(&[source], &Asked::default())).unwrap();
    assert_eq!(dataset.benchmark.name, "preferences");
    let scores = [("a", 1.0, 0.0), ("a", 1.0, 0.0), ("a", 0.0, 1.0), ("b", 0.0, 1.0)];
    let lines = scores.map(|(subset, chosen, rejected)| {
        format!("{}\n", json!({"subset": subset, "score_chosen": chosen, "score_rejected": rejected}))
    });
    let path = folder.join("scores.jsonl").display().to_string();
    fs::write(&path, lines.concat()).unwrap();
    let output = run(&["metrics", "--json", "--benchmark", "preferences", "--scores", &path]);
    let marks: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(marks["overall"], 0.5);
    let mean = marks["sections"]["mean of subsets"]["score"].as_f64().unwrap();
    assert!((mean - 1.0 / 3.0).abs() < 1e-12, "{mean}");
}
