//! A run that is killed again and again resumes each time. It loses nothing, scores nothing twice, and gives the marks
//! of a run that was never killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rewardscope_tests::{fixture, sample_rows};
use serde_json::Value;

const ITEMS: usize = 500;
const KILLS: usize = 20;

fn folder() -> PathBuf {
    let path = std::env::temp_dir().join(format!("rewardscope-killed-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Writes five hundred items of all six subsets: the sample's rows, repeated with new ids.
fn rows(folder: &Path) -> PathBuf {
    let sample = sample_rows();
    let mut text = String::new();
    for place in 0..ITEMS {
        let mut row = sample[place % sample.len()].clone();
        let turn = place / sample.len();
        if let Some((kind, number)) = row.id.split_once(':').filter(|_| row.subset == "Ties") {
            // The two halves of a pair keep the same number.
            row.id = format!("{kind}:{}", number.parse::<usize>().unwrap() + 1000 * turn);
        } else {
            row.id = format!("{}-{turn}", row.id);
        }
        writeln!(text, "{}", serde_json::to_string(&row).unwrap()).unwrap();
    }
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

fn start(rows: &Path, out: &Path) -> Child {
    let mut command = rewardscope_tests::command();
    command.args(["eval", "--device", "cpu", "--model"]).arg(fixture("parity/llama_plain"));
    command.arg("--data").arg(rows).arg("--out").arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn scored(out: &Path) -> usize {
    let text = std::fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("{\"item\"")).count()
}

#[test]
fn a_run_killed_twenty_times_has_the_marks_of_an_undisturbed_one() {
    let folder = folder();
    let rows = rows(&folder);
    let (quiet, disturbed) = (folder.join("quiet"), folder.join("disturbed"));
    let started = Instant::now();
    assert!(start(&rows, &quiet).wait().unwrap().success());
    let ms = started.elapsed().as_millis() as u64;

    // A fixed seed, so that the moments of the kills are arbitrary but the same in every test run.
    let mut state = 20_261_123_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let mut moments = Vec::new();
    for kill in 0..KILLS {
        let mut run = start(&rows, &disturbed);
        let before = scored(&disturbed);
        // A random place in the part of the run that belongs to this kill; there is one part more than kills.
        let goal = (kill as f64 + 0.2 + 0.8 * random()) / (KILLS + 1) as f64 * ITEMS as f64;
        let deadline = Instant::now() + Duration::from_secs(300);
        while (scored(&disturbed) as f64) < goal && Instant::now() < deadline {
            assert!(run.try_wait().unwrap().is_none(), "the run ended by itself at {}", scored(&disturbed));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros((random() * 5000.0) as u64));
        // SIGKILL: the process cannot clean up.
        run.kill().unwrap();
        run.wait().unwrap();
        let after = scored(&disturbed);
        assert!(after >= before, "items were lost: {before} before, {after} after");
        moments.push(after);
    }
    assert!(start(&rows, &disturbed).wait().unwrap().success());
    println!("undisturbed in {ms} ms; killed after {moments:?} items");
    assert!(moments.iter().collect::<BTreeSet<_>>().len() > KILLS / 2 && *moments.last().unwrap() < ITEMS);

    for file in ["marks.json", "scores.jsonl"] {
        let read = |out: &Path| std::fs::read_to_string(out.join(file)).unwrap();
        assert!(read(&quiet) == read(&disturbed), "{file} differs");
    }
    // The run files are the same apart from times.
    let run = |out: &Path| {
        let text = std::fs::read_to_string(out.join("run.json")).unwrap();
        let mut run: Value = serde_json::from_str(&text).unwrap();
        assert!(run["ms"].take().as_f64().unwrap() > 0.0);
        for item in run["items"].as_array_mut().unwrap() {
            item["ms"].take();
        }
        run
    };
    assert_eq!(run(&quiet)["items"].as_array().unwrap().len(), ITEMS);
    assert_eq!(run(&quiet), run(&disturbed));
    let text = std::fs::read_to_string(disturbed.join("journal.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let items: Vec<u64> = lines.iter().filter_map(|line| line.get("item")?.get("item")?.as_u64()).collect();
    assert_eq!(items, (0..ITEMS as u64).collect::<Vec<_>>(), "every item once, in order");
    assert!(lines.iter().filter(|line| line.get("device").is_some()).count() > KILLS / 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
