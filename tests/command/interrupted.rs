//! Commands that are killed, run out of disk space, may not write, lose their reader, share an output, or read a
//! growing file. No finished work is lost or done twice, and a sentence says what happened. `--all` kills ten times.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rewardscope_tests::{fixture, scratch};
use serde_json::{Value, json};

const ROWS: usize = 240;

fn kills() -> usize {
    if std::env::var("REWARDSCOPE_ALL").is_ok_and(|all| all == "1") { 10 } else { 3 }
}

fn model() -> String {
    fixture("parity/llama_plain").display().to_string()
}

/// Writes a file of pairs, each with its own prompt.
fn rows(folder: &Path) -> PathBuf {
    let path = folder.join("rows.jsonl");
    let row = |i: usize| {
        let words = |n: usize| "word ".repeat(n % 11 + 1);
        json!({"id": i, "prompt": format!("Question {i}, {}?", words(i)), "chosen": format!("Yes {}", words(i / 3)), "rejected": format!("No {}", words(i / 5))})
    };
    fs::write(&path, (0..ROWS).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    path
}

fn command(arguments: &[&str]) -> Command {
    let mut command = rewardscope_tests::command();
    command.args(arguments);
    command
}

fn start(arguments: &[&str]) -> Child {
    command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a command to its end. Gives its exit status and standard error.
fn end(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Kills a command several times, each time after its file `growing` has grown by about the same share of `whole`
/// bytes; then lets it end. Gives the last run's standard error.
fn kill_again_and_again(arguments: &[&str], growing: &Path, whole: u64) -> String {
    // A fixed seed, so that the moments of the kills are arbitrary but the same in every test run.
    let mut state = 20_261_129_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let kills = kills();
    let mut before = 0;
    for kill in 0..kills {
        let mut run = start(arguments);
        let goal = (kill as f64 + 0.2 + 0.8 * random()) / (kills + 1) as f64 * whole as f64;
        let deadline = Instant::now() + Duration::from_secs(120);
        while (bytes(growing) as f64) < goal && Instant::now() < deadline {
            assert!(run.try_wait().unwrap().is_none(), "it ended by itself at {} of {whole}", bytes(growing));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros((random() * 4000.0) as u64));
        // SIGKILL: the process cannot clean up.
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(bytes(growing) >= before, "{}: {} bytes became {}", growing.display(), before, bytes(growing));
        before = bytes(growing) - bytes(growing) / 10;
    }
    let (code, said) = end(arguments);
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn what_is_killed_goes_on_and_ends_as_if_undisturbed() {
    let folder = scratch("interrupted-killed");
    let rows = rows(&folder).display().to_string();
    let model = model();
    let path = |name: &str| folder.join(name);
    // `score`: its output grows row by row.
    let score = |output: &str| -> Vec<String> {
        ["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", output]
            .map(str::to_owned)
            .to_vec()
    };
    let of = |arguments: &[String]| -> Vec<String> { arguments.to_vec() };
    let quiet = path("quiet.jsonl");
    let arguments = of(&score(&quiet.display().to_string()));
    assert_eq!(end(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).0, Some(0));
    let disturbed = path("disturbed.jsonl");
    let arguments = of(&score(&disturbed.display().to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = kill_again_and_again(&arguments, &disturbed, bytes(&quiet));
    assert!(said.contains("rows were scored earlier"), "{said}");
    assert!(fs::read(&quiet).unwrap() == fs::read(&disturbed).unwrap(), "the scores differ");
    assert_eq!(fs::read_to_string(&quiet).unwrap().lines().count(), ROWS);
    assert!(!path("disturbed.jsonl.journal").exists());
    // A complete output is not overwritten.
    let (code, said) = end(&arguments);
    assert!(code == Some(2) && said.contains("it is there already") && said.contains("--overwrite"), "{said}");
    let upon = ["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", &rows, "--overwrite"];
    let (code, said) = end(&upon);
    assert!(code == Some(2) && said.contains("the output is the input"), "{said}");
    assert_eq!(fs::read_to_string(&rows).unwrap().lines().count(), ROWS);

    // `filter`: its output appears only when it is complete.
    let filter = |output: &Path| -> Vec<String> {
        let output = output.display().to_string();
        ["filter", "--device", "cpu", "--model", &model, "--input", &rows, "--output", &output, "--top", "0.3"]
            .map(str::to_owned)
            .to_vec()
    };
    let (quiet, disturbed) = (path("quiet-kept.jsonl"), path("disturbed-kept.jsonl"));
    let arguments = filter(&quiet);
    assert_eq!(end(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).0, Some(0));
    let arguments = filter(&disturbed);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let journal = path("disturbed-kept.jsonl.journal");
    let said = kill_again_and_again(&arguments, &journal, 40 * ROWS as u64);
    assert!(said.contains("rows were scored earlier"), "{said}");
    assert!(fs::read(&quiet).unwrap() == fs::read(&disturbed).unwrap(), "the rows that are kept differ");
    assert!(!journal.exists() && !path("disturbed-kept.jsonl.part").exists());

    // `fit`: its features grow.
    let fit = |out: &Path| -> Vec<String> {
        let out = out.display().to_string();
        [
            "fit",
            "--device",
            "cpu",
            "--model",
            &model,
            "--preferences",
            &rows,
            "--out",
            &out,
            "--no-checkpoint",
            "--name",
            "head",
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let (quiet, disturbed) = (path("quiet-head"), path("disturbed-head"));
    let arguments = fit(&quiet);
    let (code, said) = end(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{said}");
    let arguments = fit(&disturbed);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Kills during the first half, because the benchmark's completions come last.
    let said =
        kill_again_and_again(&arguments, &disturbed.join("features.bin"), bytes(&quiet.join("features.bin")) / 2);
    assert!(said.contains("completions were computed earlier"), "{said}");
    let head = |folder: &Path| fs::read(folder.join("head.safetensors")).unwrap();
    assert!(head(&quiet) == head(&disturbed), "the heads differ");
}

#[test]
fn ctrl_c_leaves_a_sentence_and_what_was_done() {
    let folder = scratch("interrupted-ctrl-c");
    let (rows, model) = (rows(&folder).display().to_string(), model());
    for (name, arguments) in [
        ("scores.jsonl", vec!["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output"]),
        (
            "kept.jsonl",
            vec!["filter", "--device", "cpu", "--model", &model, "--input", &rows, "--top", "0.5", "--output"],
        ),
    ] {
        let output = folder.join(name);
        let shown = output.display().to_string();
        let arguments = [&arguments[..], &[&shown]].concat();
        let run = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let journal = folder.join(format!("{name}.journal"));
        let deadline = Instant::now() + Duration::from_secs(120);
        while bytes(&journal) < 2000 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("the same command goes on from there"), "{said}");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|found| found.starts_with(name));
        names.sort();
        assert!(names.iter().all(|found| found == name || *found == format!("{name}.journal")), "{names:?}");
        let (code, said) = end(&arguments);
        assert!(code == Some(0) && said.contains("rows were scored earlier"), "{said}");
    }
}

/// Runs a script with a small disk mounted at `$DISK`, visible only to it. Gives what it prints.
fn on_small_disk(folder: &Path, kilobytes: usize, script: &str) -> String {
    let disk = folder.join("disk");
    fs::create_dir_all(&disk).unwrap();
    let whole = format!("mount -t tmpfs -o size={kilobytes}k tmpfs \"$DISK\"\n{script}");
    let program = rewardscope_tests::command();
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-ec", &whole])
        .env("DISK", &disk)
        .env("REWARDSCOPE", program.get_program())
        .env("MODEL", model())
        .env("ROWS", folder.join("rows.jsonl"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn a_full_disk_and_a_read_only_folder_cost_nothing_that_was_made() {
    let folder = scratch("interrupted-full");
    rows(&folder);
    // A small disk holds some of the rows; with more space the same command resumes.
    let score =
        "\"$REWARDSCOPE\" score --device cpu --model \"$MODEL\" --input \"$ROWS\" --output \"$DISK/scores.jsonl\"";
    let script = format!(
        "{score} 2>&1 || echo code $?\nwc -l < \"$DISK/scores.jsonl\"\nmount -o remount,size=4096k \"$DISK\"\n{score} 2>&1\nwc -l < \"$DISK/scores.jsonl\"\nls \"$DISK\""
    );
    let printed = on_small_disk(&folder, 16, &script);
    assert!(printed.contains("code 2") && printed.contains("space"), "{printed}");
    assert!(printed.contains("rows were scored earlier"), "{printed}");
    let last: Vec<&str> = printed.lines().rev().take(2).collect();
    assert_eq!(last, ["scores.jsonl", &ROWS.to_string()], "{printed}");
    // The kept rows do not fit: no output appears, but the scores are kept. With more space the output is written.
    let filter = "\"$REWARDSCOPE\" filter --device cpu --model \"$MODEL\" --input \"$ROWS\" --output \"$DISK/kept.jsonl\" --min-score=-9999";
    let script = format!(
        "{filter} 2>&1 || echo code $?\nls \"$DISK\"\nmount -o remount,size=4096k \"$DISK\"\n{filter} 2>&1\nls \"$DISK\""
    );
    let printed = on_small_disk(&folder, 24, &script);
    assert!(printed.contains("code 2") && printed.contains("kept.jsonl.journal"), "{printed}");
    assert!(
        printed.contains(&format!("{ROWS} rows were scored earlier")) && printed.ends_with("kept.jsonl\n"),
        "{printed}"
    );
    // A read-only disk is reported before a model is loaded.
    for command in ["score --output \"$DISK/x.jsonl\"", "filter --top 0.5 --output \"$DISK/x.jsonl\""] {
        let script = format!(
            "mount -o remount,ro \"$DISK\"\n\"$REWARDSCOPE\" {command} --device cpu --model /none --input \"$ROWS\" 2>&1 || echo code $?"
        );
        let printed = on_small_disk(&folder, 64, &script);
        assert!(printed.contains("code 2") && printed.contains("cannot be written"), "{command}: {printed}");
    }
    let script = "mount -o remount,ro \"$DISK\"\n\"$REWARDSCOPE\" eval --device cpu --model \"$MODEL\" --data \"$ROWS\" --out \"$DISK/run\" 2>&1 || echo code $?\n\"$REWARDSCOPE\" fit --device cpu --model \"$MODEL\" --preferences \"$ROWS\" --out \"$DISK/head\" 2>&1 || echo code $?";
    let printed = on_small_disk(&folder, 64, script);
    assert_eq!(printed.matches("code 2").count(), 2, "{printed}");
    assert_eq!(printed.matches("rewardscope: creating").count(), 2, "{printed}");
}

#[test]
fn readers_that_leave_and_rivals_and_growing_input_lose_nothing() {
    let folder = scratch("interrupted-others");
    let (input, model) = (rows(&folder), model());
    let rows = input.display().to_string();
    // The reader closes the pipe early.
    let mut run = command(&["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(1, run.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(serde_json::from_str::<Value>(&first).unwrap()["scores"].is_array());
    let status = run.wait().unwrap();
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && !said.contains("panicked"), "{status}: {said}");

    // Two commands with one output: the second is refused and does not disturb the first.
    let output = folder.join("scores.jsonl");
    let shown = output.display().to_string();
    let arguments = ["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", &shown];
    let mut first = start(&arguments);
    let deadline = Instant::now() + Duration::from_secs(120);
    while bytes(&output) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (code, said) = end(&arguments);
    let is_over = first.try_wait().unwrap().is_some();
    assert!(is_over || (code == Some(2) && said.contains("open in another process")), "{code:?}: {said}");
    assert!(first.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), ROWS);

    // Rows added to the input during the run are ignored, also half a row.
    let grown = folder.join("grown.jsonl");
    let whole = fs::read(&input).unwrap();
    fs::write(&grown, &whole).unwrap();
    let output = folder.join("grown-scores.jsonl");
    let (grown, shown) = (grown.display().to_string(), output.display().to_string());
    let arguments = ["score", "--device", "cpu", "--model", &model, "--input", &grown, "--output", &shown];
    let mut run = start(&arguments);
    while bytes(&output) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::OpenOptions::new().append(true).open(&grown).unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    assert!(run.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), ROWS);
    // A changed input is refused: the journal belongs to another run.
    let half = folder.join("half.jsonl");
    let half_shown = half.display().to_string();
    let arguments = ["score", "--device", "cpu", "--model", &model, "--input", &rows, "--output", &half_shown];
    let mut run = start(&arguments);
    while bytes(&half) < 2000 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let kept = fs::read(&half).unwrap();
    let changed = folder.join("changed.jsonl");
    fs::write(&changed, String::from_utf8(whole).unwrap().replacen("Question 0", "Question zero", 1)).unwrap();
    let changed = changed.display().to_string();
    let other = ["score", "--device", "cpu", "--model", &model, "--input", &changed, "--output", &half_shown];
    let (code, said) = end(&other);
    assert!(code == Some(2) && said.contains("row 1") && said.contains("has changed"), "{said}");
    // All but the row whose record the kill may have caught on its way.
    assert!(fs::read(&half).unwrap().starts_with(&kept[..1000]));
    // Rows from a pipe are scored one by one, as they arrive.
    let mut run = command(&["score", "--device", "cpu", "--model", &model, "--input", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut asked = run.stdin.take().unwrap();
    let mut told = BufReader::new(run.stdout.take().unwrap());
    for i in 0..3 {
        writeln!(asked, "{}", json!({"id": i, "prompt": "Hi", "completion": "Hello"})).unwrap();
        asked.flush().unwrap();
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], i);
    }
    drop(asked);
    assert!(run.wait().unwrap().success());
}
