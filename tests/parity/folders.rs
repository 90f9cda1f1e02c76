//! Model folders as people publish them, each with one oddity. On the CPU, their scores are compared with those of
//! transformers 5.24 (adapters through peft).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use pollster::block_on;
use rewardscope_engine::{Cancel, Clock, Detail, DeviceChoice, LoadOptions, Message, ModelFiles, Scorer, device};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number, scratch};
use serde_json::Value;

/// Largest absolute error of a score.
const TOLERANCE: f64 = 1e-4;

/// Folders that are refused, and what the error sentence must contain.
const REFUSED: [(&str, &str); 1] = [("12_lora_pissa", "init_lora_weights: \"pissa\"")];

/// Parts of GGUF files' names. With each, the average log-probabilities of the three conversations, or what the error
/// sentence must contain.
const GGUF: [(&str, Result<[f64; 3], &str>); 6] = [
    ("rope_freqs.gguf", Ok([-7.1558, -6.9633, -7.5449])),
    ("pre_llama3.gguf", Ok([-7.1558, -6.9633, -7.5449])),
    ("pre_llama-v3.gguf", Ok([-7.1558, -6.9633, -7.5449])),
    ("yarn.gguf", Err("yarn")),
    ("cls_output.gguf", Err("cls")),
    ("part-", Err("part 1 of")),
];

fn load(files: &ModelFiles) -> Result<Scorer, String> {
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
    let options = LoadOptions::new(Clock::parse("2025-02-03T04:05:06").unwrap());
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).map_err(|e| e.to_string())
}

fn folder(case: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("model_files/{case}"))).unwrap();
    ModelFiles::from_sources(case, folder.sources().cloned().collect()).unwrap()
}

/// The prompt and the completion of a row.
fn texts(row: &Value) -> (Vec<Message>, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match row.get("messages") {
        None => (vec![Message::new("user", text(&row["prompt"]))], text(&row["completion"])),
        Some(messages) => {
            let mut messages: Vec<Message> = messages
                .as_array()
                .unwrap()
                .iter()
                .map(|m| Message::new(text(&m["role"]), text(&m["content"])))
                .collect();
            let last = messages.pop().unwrap();
            (messages, last.content)
        }
    }
}

fn scores(scorer: &Scorer, rows: &Value) -> Vec<f64> {
    let score = |row: &Value| {
        let (prompt, completion) = texts(row);
        let found = block_on(scorer.score(&prompt, [completion.as_str()], Detail::Score, &Cancel::default())).unwrap();
        found[0].score
    };
    rows.as_array().unwrap().iter().map(score).collect()
}

#[test]
fn folders_score_as_in_transformers() {
    let expected = json_fixture("model_files/expected.json");
    let mut wrong = Vec::new();
    for (case, about) in expected["cases"].as_object().unwrap() {
        let files = folder(case);
        let files = match about["base"].as_str() {
            Some(base) => files.over(folder(base)).unwrap(),
            None => files,
        };
        let refused = REFUSED.iter().find(|(name, _)| name == case);
        match (load(&files), refused) {
            (Err(message), Some((_, named))) if message.contains(named) => {}
            (Err(message), _) => wrong.push(format!("{case}: {message}")),
            (Ok(_), Some(_)) => wrong.push(format!("{case}: not refused")),
            (Ok(scorer), None) => {
                let want: Vec<f64> = about["transformers"]["5.24.0"].as_array().unwrap().iter().map(number).collect();
                let found = scores(&scorer, &expected[about["rows"].as_str().unwrap()]);
                if found
                    .iter()
                    .zip(&want)
                    .any(|(found, want)| (found - want).abs().partial_cmp(&TOLERANCE).is_none_or(|order| order.is_gt()))
                {
                    wrong.push(format!("{case}: {found:?} is not {want:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A copy of a folder, with the keys changed that the differential test changed.
fn changed(found: &Value, name: &str) -> PathBuf {
    let folder = scratch(name);
    for entry in std::fs::read_dir(fixture(found["from"].as_str().unwrap())).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    for (file, keys) in found["with"].as_object().unwrap() {
        let path = folder.join(file);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (key, new) in keys.as_object().unwrap() {
            value[key] = new.clone();
        }
        std::fs::write(path, value.to_string()).unwrap();
    }
    folder
}

#[test]
fn what_the_differential_test_found_stays_mended() {
    let open = |name: &str, path: &Path| {
        let folder = Folder::open(path).unwrap();
        ModelFiles::from_sources(name, folder.sources().cloned().collect()).unwrap()
    };
    let rows = json_fixture("model_files/expected.json");
    let found = json_fixture("model_files/found.json");
    let mut scored = 0;
    for (place, case) in found.as_array().unwrap().iter().enumerate() {
        let about = case["found"].as_str().unwrap();
        let files = open("found", &changed(case, &format!("found-{place}")));
        let files = match case["base"].as_str() {
            Some(base) => files.over(open("base", &fixture(base))).unwrap(),
            None => files,
        };
        match (load(&files), case["refused"].as_str()) {
            (Err(message), Some(named)) => assert!(message.contains(named), "{about}: {message}"),
            (Ok(_), Some(_)) => panic!("{about}: not refused"),
            (Err(message), None) => panic!("{about}: {message}"),
            (Ok(scorer), None) => {
                let want: Vec<f64> = case["transformers"].as_array().unwrap().iter().map(number).collect();
                let scores = scores(&scorer, &rows[case["rows"].as_str().unwrap()]);
                assert_eq!(scores.len(), want.len(), "{about}");
                let is_near = |(score, want): (&f64, &f64)| (score - want).abs() <= TOLERANCE;
                assert!(scores.iter().zip(&want).all(is_near), "{about}: {scores:?} is not {want:?}");
                scored += 1;
            }
        }
    }
    assert!(scored >= 3, "{scored}");
}

#[test]
fn ggufs_score_or_say_what_they_are() {
    let expected = json_fixture("model_files/expected.json");
    let folder = fixture("model_files/gguf");
    let mut tried = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (_, want) = GGUF.iter().find(|(part, _)| name.contains(part)).unwrap_or_else(|| panic!("{name}"));
        tried += 1;
        let files = ModelFiles::from_sources(&name, vec![Source::file(&folder.join(&name)).unwrap()]).unwrap();
        match (load(&files), want) {
            (Ok(scorer), Ok(want)) => {
                let found = scores(&scorer, &expected["rows"]);
                assert!(found.iter().zip(want).all(|(found, want)| (found - want).abs() < 1e-4), "{name}: {found:?}");
            }
            (Err(message), Err(named)) => assert!(message.contains(named) && message.contains(&name), "{message}"),
            (Ok(_), Err(_)) => panic!("{name} is not refused"),
            (Err(message), Ok(_)) => panic!("{name}: {message}"),
        }
    }
    assert_eq!(tried, GGUF.len());
}
