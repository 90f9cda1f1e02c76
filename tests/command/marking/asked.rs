//! Runs the command and reads its output.

use std::fs;
use std::path::Path;

pub(crate) use rewardscope_tests::run;
use serde_json::{Value, json};

pub(crate) fn json_of(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that the command ends with status 2 and one sentence that contains all of `named`.
pub(crate) fn refused(arguments: &[&str], named: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    let sentence = said.lines().find(|line| line.starts_with("rewardscope: ")).unwrap();
    for part in named {
        assert!(sentence.contains(part), "{sentence:?} does not name {part:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

pub(crate) fn file(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, contents).unwrap();
    path.display().to_string()
}

pub(crate) fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| row.to_string() + "\n").collect()
}

pub(crate) fn rows() -> Vec<Value> {
    vec![
        json!({"id": "1", "subset": "Math", "num_correct": 1, "scores": [3.0, 1.0, 2.0, 0.0]}),
        json!({"id": "2", "subset": "Math", "num_correct": 1, "scores": [3.0, 3.0, 2.0, 0.0]}),
        json!({"id": "1", "subset": "Focus", "num_correct": 1, "scores": [1.0, 3.0, 2.0, 0.0]}),
        json!({"id": "ref:0", "subset": "Ties", "num_correct": 1, "scores": [5.0, 1.0, 0.0]}),
        json!({"id": "tied:0", "subset": "Ties", "num_correct": 2, "scores": [5.0, 4.0, 1.0]}),
    ]
}
