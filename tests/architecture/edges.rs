//! Crates depend on each other in one direction only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;

use rewardscope_tests::{fixture, root};

/// The crates that each crate may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("conversation", &[]),
    ("store", &[]),
    ("api", &["engine"]),
    ("serve", &[]),
    ("benchmarks", &["conversation"]),
    ("data", &["conversation", "store"]),
    ("weights", &["store"]),
    ("text", &["conversation", "weights"]),
    ("kernels", &[]),
    ("models", &["kernels", "weights"]),
    ("engine", &["models", "text", "weights", "store"]),
    ("fit", &["engine", "data", "benchmarks", "store"]),
    ("eval", &["benchmarks", "data", "engine", "store"]),
];

/// Crates at the end of the chain: they may depend on any crate, and no crate may depend on them.
const ENDS: [&str; 4] = ["web", "cli", "examples", "tests"];

/// The table of supported models in docs/models.md is the one that the code prints, and each line of it has a fixture.
#[test]
fn what_is_supported_is_proven_and_said() {
    let table = rewardscope_engine::supported_table();
    let page = std::fs::read_to_string(root().join("docs/models.md")).unwrap();
    assert!(page.contains(&table), "docs/models.md should have this table:\n{table}");
    for entry in rewardscope_engine::ARCHITECTURES {
        assert!(!entry.proven.is_empty(), "{}", entry.name);
        for proven in entry.proven {
            let paths = ["", "parity/"].map(|within| fixture(&format!("{within}{proven}/expected.json")));
            let paths = paths.into_iter().chain([fixture(proven)]).collect::<Vec<_>>();
            let path = paths.iter().find(|path| path.is_file()).unwrap_or_else(|| panic!("no fixture {proven}"));
            let expected: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            if let Some(architecture) = expected.get("architecture") {
                assert_eq!(architecture, entry.name);
            }
        }
    }
}

/// The table of known readers in docs/readers.md is the one that the code prints.
#[test]
fn known_readers_are_said() {
    let table = rewardscope_engine::readers_table().unwrap();
    let page = std::fs::read_to_string(root().join("docs/readers.md")).unwrap();
    assert!(page.contains(&table), "docs/readers.md should have this table:\n{table}");
}

/// The table of kinds of scores in docs/models.md is the one that the code prints.
#[test]
fn kinds_of_scores_are_said() {
    let table = rewardscope_engine::kinds_table();
    let page = std::fs::read_to_string(root().join("docs/models.md")).unwrap();
    assert!(page.contains(&table), "docs/models.md should have this table:\n{table}");
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let ours = |name: &serde_json::Value| name.as_str().unwrap().strip_prefix("rewardscope-").map(str::to_owned);
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let Some(name) = ours(&package["name"]) else {
            // A crate of ours that replaces a published package has that package's name.
            assert!(["xtask", "brotli", "zstd"].contains(&package["name"].as_str().unwrap()));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(used) = ours(&dependency["name"]) else {
                continue;
            };
            assert!(!ENDS.contains(&used.as_str()), "{name} uses {used}");
            let may = ENDS.contains(&name.as_str())
                || allowed
                    .get(name.as_str())
                    .unwrap_or_else(|| panic!("{name} is not in the table"))
                    .contains(&used.as_str());
            assert!(may, "{name} uses {used}, against the direction of the data");
            seen += 1;
        }
    }
    assert!(seen > 10, "cargo metadata showed {seen} edges only");
}

#[test]
fn the_task_runner_stays_light() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "xtask", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.lines().count() > 20);
    for heavy in ["burn", "arrow", "cubecl", "wgpu"] {
        assert!(!tree.lines().any(|line| line.starts_with(heavy)), "xtask depends on {heavy}");
    }
}

#[test]
fn the_browser_is_known_to_three_places_only() {
    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    sources(&root().join("crates"), &mut found);
    assert!(found.len() > 20);
    for path in found {
        let shown = path.display().to_string();
        let may = ["/store/src/", "/web/src/", "/engine/src/device/"].iter().any(|place| shown.contains(place));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(may || !text.contains("target_family"), "{shown} asks for the target");
    }
}
