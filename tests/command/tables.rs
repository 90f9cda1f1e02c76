//! Tables in and out, scored in parts by several processes and joined: all columns are carried through, and the rows are
//! those of one run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rewardscope_tests::{fixture, read_table, run, said, scratch, write_table};
use serde_json::{Map, Value, json};

/// Prompts, and completions of each.
const PROMPTS: usize = 40;
const COMPLETIONS: usize = 3;

fn model() -> String {
    fixture("parity/llama_plain").display().to_string()
}

/// A row with a completion of prompt `prompt`, and columns that are none of ours.
fn row(prompt: usize, completion: usize) -> Value {
    let words = |n: usize| "word ".repeat(n % 13 + 1);
    json!({
        "id": format!("{prompt}-{completion}"),
        "prompt": format!("Question {prompt}, {}?", words(prompt)),
        "completion": if prompt == 7 && completion == 1 { Value::Null } else { format!("Answer {}", words(completion + prompt / 3)).into() },
        "weight": prompt as f64 / 8.0,
        "tags": ["a", format!("t{completion}")],
        "about": {"source": format!("s{}", prompt % 3), "turns": prompt}
    })
}

/// Two files: one completion of each prompt after another, so that those of one prompt lie apart. One has no
/// completion.
fn two_files(folder: &Path) -> String {
    fs::create_dir_all(folder.join("rows")).unwrap();
    let all: Vec<Value> =
        (0..COMPLETIONS).flat_map(|completion| (0..PROMPTS).map(move |prompt| row(prompt, completion))).collect();
    let (first, second) = all.split_at(50);
    write_table(&folder.join("rows/1.parquet"), first);
    write_table(&folder.join("rows/2.parquet"), second);
    folder.join("rows/*.parquet").display().to_string()
}

/// Scores rows; gives the status and what it said.
fn score(input: &str, output: &Path, more: &[&str]) -> (Option<i32>, String) {
    let (model, output) = (model(), output.display().to_string());
    let all = ["score", "--device", "cpu", "--model", &model, "--input", input, "--output", &output];
    let done = run(&[&all[..], more].concat());
    let told = said(&done);
    assert!(!told.contains("panicked"), "{told}");
    (done.status.code(), told)
}

fn merge(parts: &[&Path], output: &Path) -> (Option<i32>, String) {
    let names: Vec<String> = parts.iter().chain([&output]).map(|path| path.display().to_string()).collect();
    let (output, parts) = names.split_last().unwrap();
    let all = ["merge", "--output", output].into_iter().chain(parts.iter().map(String::as_str));
    let done = run(&all.collect::<Vec<_>>());
    (done.status.code(), said(&done))
}

fn lines(path: &Path) -> Vec<Map<String, Value>> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn columns_are_carried_through_and_rewards_are_those_of_lines() {
    let folder = scratch("tables-carried");
    let input = two_files(&folder);
    let (table, plain) = (folder.join("scores.parquet"), folder.join("scores.jsonl"));
    let (code, told) = score(&input, &table, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("120 of 120 rows are in") && told.contains("1 could not be scored"), "{told}");
    assert_eq!(score(&input, &plain, &[]).0, Some(1));
    let (rows, plain) = (read_table(&table), lines(&plain));
    assert_eq!((rows.len(), plain.len()), (PROMPTS * COMPLETIONS, PROMPTS * COMPLETIONS));
    for (at, (found, line)) in rows.iter().zip(&plain).enumerate() {
        let own = row(at % PROMPTS, at / PROMPTS);
        for (name, value) in own.as_object().unwrap() {
            assert_eq!(&found[name], value, "row {at}, {name}");
        }
        assert_eq!(found["id"], line["id"], "row {at}: the order");
        match line.get("score").and_then(Value::as_f64) {
            None => {
                assert!(found["reward"].is_null() && found["tokens"].is_null(), "{found:?}");
                assert_eq!(found["error"], line["error"]);
                assert!(line["error"].as_str().unwrap().contains("1.parquet, row 48: no completion"), "{line:?}");
            }
            Some(score) => {
                let reward = found["reward"].as_f64().unwrap();
                assert!((reward - score).abs() <= 1e-5 * score.abs().max(1.0), "row {at}: {reward} and {score}");
                assert_eq!((&found["tokens"], &found["truncated"]), (&line["tokens"], &line["truncated"]));
                assert!(found["error"].is_null());
            }
        }
    }
    // The completions of a prompt lie 40 rows apart, and its tokens are computed once all the same.
    let number =
        |before: &str| -> usize { told.split(before).next().unwrap().rsplit(' ').next().unwrap().parse().unwrap() };
    let (computed, all) = (number(" tokens were computed now"), number(" in the texts"));
    let prompt_tokens = |line: &Map<String, Value>| line.get("tokens").and_then(Value::as_u64).unwrap_or_default();
    assert_eq!(all as u64, plain.iter().map(prompt_tokens).sum::<u64>());
    assert!(computed * 2 < all, "{computed} of {all} tokens");
    // Beside what is there already, under other names; and refused under the same.
    let again = table.display().to_string();
    let second = folder.join("second.parquet");
    let (code, told) = score(&again, &second, &[]);
    assert!(
        code == Some(2) && told.contains("reward, tokens, truncated, error") && told.contains("--prefix"),
        "{told}"
    );
    let (code, told) = score(&again, &second, &["--prefix", "second_", "--details"]);
    assert_eq!(code, Some(1), "{told}");
    let both = read_table(&second);
    assert!(both.iter().all(|row| row["reward"] == row["second_reward"]), "the same model");
    assert!(both[0].contains_key("second_details") && !both[0].contains_key("details"));
}

#[test]
fn shards_make_the_same_file_as_one_run_whatever_is_killed() {
    let folder = scratch("tables-shards");
    let input = two_files(&folder);
    let whole = folder.join("whole.parquet");
    assert_eq!(score(&input, &whole, &[]).0, Some(1));
    let parts: Vec<PathBuf> = (1..=3).map(|number| folder.join(format!("part-{number}.parquet"))).collect();
    for (number, part) in (1..=3).zip(&parts) {
        let shard = format!("{number}/3");
        if number == 2 {
            kill_when_it_has_begun(&input, part, &shard);
        }
        let (code, told) = score(&input, part, &["--shard", &shard]);
        assert!(code == Some(0) || code == Some(1), "{told}");
        assert!(!PathBuf::from(format!("{}.journal", part.display())).exists());
    }
    // All completions of a prompt are in one shard, and each shard has some.
    let prompts = |part: &PathBuf| -> Vec<String> {
        let mut found: Vec<String> =
            read_table(part).iter().map(|row| row["prompt"].as_str().unwrap().to_owned()).collect();
        found.sort();
        found.dedup();
        found
    };
    let of: Vec<Vec<String>> = parts.iter().map(prompts).collect();
    assert!(of.iter().all(|of| of.len() > 4), "{of:?}");
    // The row without a completion goes where its number says; its prompt is elsewhere, too.
    assert!((PROMPTS..=PROMPTS + 1).contains(&of.iter().map(Vec::len).sum::<usize>()), "{of:?}");
    let merged = folder.join("merged.parquet");
    let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    let (code, told) = merge(&[parts[2], parts[0], parts[1]], &merged);
    assert!(code == Some(0) && told.contains("120 rows of 3 shards"), "{told}");
    assert!(fs::read(&merged).unwrap() == fs::read(&whole).unwrap(), "the files differ");
    // Once more: it is complete. With another shard or setting it is another run's.
    let (code, told) = score(&input, parts[1], &["--shard", "2/3"]);
    assert!(code == Some(0) && told.contains("is complete already"), "{told}");
    for more in [&["--shard", "1/3"][..], &["--shard", "2/3", "--max-length", "9"]] {
        let (code, told) = score(&input, parts[1], more);
        assert!(code == Some(2) && told.contains("of another run or input"), "{told}");
    }
    // What does not make a whole is refused, and nothing is written.
    let other = folder.join("other.parquet");
    assert_eq!(score(&input, &other, &["--shard", "2/3", "--max-length", "9"]).0, Some(0));
    let none = folder.join("none.parquet");
    for (parts, named) in [
        (&[parts[0], parts[2]][..], "2/3 missing"),
        (&[parts[0], parts[1], parts[1], parts[2]], "2/3 twice"),
        (&[parts[0], &other, parts[2]], "context_tokens"),
        (&[&whole], "an output of `rewardscope score --shard`"),
    ] {
        let (code, told) = merge(parts, &none);
        assert!(code == Some(2) && told.contains(named), "{named}: {told}");
        assert!(!none.exists() && !folder.join("none.parquet.part").exists());
    }
    let (code, told) = merge(&parts, &merged);
    assert!(code == Some(2) && told.contains("--overwrite"), "{told}");
}

#[test]
fn other_inputs_and_other_columns_are_not_mixed() {
    let folder = scratch("tables-mixed");
    let input = two_files(&folder);
    let out = folder.join("scores.parquet");
    assert_eq!(score(&input, &out, &[]).0, Some(1));
    let part = folder.join("part-1.parquet");
    let (code, told) = score(&input, &part, &["--shard", "1/2"]);
    assert!(code == Some(0) || code == Some(1), "{told}");
    // What `filter` keeps of an output is no output of `score`.
    let (shown, kept) = (out.display().to_string(), folder.join("kept.parquet").display().to_string());
    let done = run(&["filter", "--by", "reward", "--input", &shown, "--output", &kept, "--top", "0.5"]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    let (code, told) = score(&input, Path::new(&kept), &[]);
    assert!(code == Some(2) && told.contains("it is there already; name another file"), "{told}");
    // The same prompts, one other completion.
    let mut rows: Vec<Value> = (50..PROMPTS * COMPLETIONS).map(|at| row(at % PROMPTS, at / PROMPTS)).collect();
    rows[7]["completion"] = "Another answer.".into();
    write_table(&folder.join("rows/2.parquet"), &rows);
    let (code, told) = score(&input, &out, &[]);
    assert!(code == Some(2) && told.contains("of another run or input"), "{told}");
    let second = folder.join("part-2.parquet");
    let (code, told) = score(&input, &second, &["--shard", "2/2"]);
    assert!(code == Some(0) || code == Some(1), "{told}");
    let merged = folder.join("merged.parquet");
    let (code, told) = merge(&[&part, &second], &merged);
    assert!(code == Some(2) && told.contains("of another input") && !merged.exists(), "{told}");
    // A file with another type of a column, or one more, is refused before anything is scored.
    let row_of = |at: i32, weight: Value| json!({"prompt": "b", "completion": format!("a {at}"), "weight": weight});
    write_table(&folder.join("rows/1.parquet"), &(0..4).map(|at| row_of(at, 0.5.into())).collect::<Vec<_>>());
    write_table(&folder.join("rows/2.parquet"), &(0..4).map(|at| row_of(at, 1.into())).collect::<Vec<_>>());
    let third = folder.join("third.parquet");
    let (code, told) = score(&input, &third, &[]);
    assert!(
        code == Some(2) && told.contains("2.parquet: the columns of the files before") && told.contains("weight"),
        "{told}"
    );
    assert!(!told.contains("parameters in"), "nothing is loaded: {told}");
    // `filter` mixes nothing either, and does not write over what it reads.
    let model = model();
    let own = folder.join("rows/1.parquet").display().to_string();
    for (output, more, named) in [
        (third.display().to_string(), &[][..], "the columns of the files before"),
        (own.clone(), &["--overwrite"], "the output is the input"),
    ] {
        let all = [
            "filter",
            "--device",
            "cpu",
            "--model",
            &model,
            "--input",
            &input,
            "--min-score=-1e9",
            "--output",
            &output,
        ];
        let done = run(&[&all[..], more].concat());
        assert!(done.status.code() == Some(2) && said(&done).contains(named), "{}", said(&done));
    }
    assert!(!third.exists() && read_table(Path::new(&own)).len() == 4);
}

#[test]
fn an_input_without_rows_and_a_foreign_journal_are_met() {
    let folder = scratch("tables-empty");
    let input = two_files(&folder);
    // An input without rows: `filter` makes one.
    let (first, none) =
        (folder.join("rows/1.parquet").display().to_string(), folder.join("none.parquet").display().to_string());
    let by = ["filter", "--by", "weight", "--input", &first, "--output", &none, "--min-score", "1e9"];
    assert_eq!(run(&by).status.code(), Some(0));
    let (whole, merged) = (folder.join("whole.parquet"), folder.join("merged.parquet"));
    let (code, told) = score(&none, &whole, &[]);
    assert!(code == Some(0) && told.contains("0 of 0 rows"), "{told}");
    let parts: Vec<PathBuf> = (1..=2).map(|number| folder.join(format!("part-{number}.parquet"))).collect();
    for (number, part) in (1..=2).zip(&parts) {
        assert_eq!(score(&none, part, &["--shard", &format!("{number}/2")]).0, Some(0));
    }
    let (code, told) = merge(&[&parts[0], &parts[1]], &merged);
    assert_eq!(code, Some(0), "{told}");
    assert!(fs::read(&merged).unwrap() == fs::read(&whole).unwrap());
    // A journal that is none of ours is left as it is.
    let journal = folder.join("other.parquet.journal");
    fs::write(&journal, "notes of mine, without an end").unwrap();
    let (code, told) = score(&input, &folder.join("other.parquet"), &[]);
    assert!(code == Some(2) && told.contains("it is no journal of rows"), "{told}");
    assert_eq!(fs::read_to_string(&journal).unwrap(), "notes of mine, without an end");
}

/// Begins a shard, and kills it once its journal has some rows; a second process may not begin it meanwhile.
fn kill_when_it_has_begun(input: &str, part: &Path, shard: &str) {
    let (model, output) = (model(), part.display().to_string());
    let mut command = rewardscope_tests::command();
    // Small batches take longer.
    command.args(["score", "--device", "cpu", "--model", &model, "--input", input, "--output", &output]);
    command.args(["--shard", shard]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    let journal = format!("{output}.journal");
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&journal).map_or(0, |found| found.len()) == 0 && Instant::now() < deadline {
        assert!(running.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(Path::new(&journal).exists() && !part.exists());
}

#[test]
fn a_journal_with_some_rows_is_gone_on_from() {
    let folder = scratch("tables-journal");
    let input = two_files(&folder);
    let (whole, again) = (folder.join("whole.parquet"), folder.join("again.parquet"));
    assert_eq!(score(&input, &whole, &[]).0, Some(1));
    let journal = folder.join("again.parquet.journal");
    let full = folder.join("full.parquet");
    // A run that cannot write its table leaves the journal of all rows.
    fs::create_dir(folder.join("again.parquet.part")).unwrap();
    let (code, told) = score(&input, &again, &[]);
    assert!(code == Some(2) && told.contains("again.parquet.part") && journal.exists(), "{told}");
    let kept = fs::read(&journal).unwrap();
    assert_eq!(kept.iter().filter(|&&byte| byte == b'\n').count(), 1 + PROMPTS * COMPLETIONS);
    fs::remove_dir(folder.join("again.parquet.part")).unwrap();
    // Cut in the middle of a line, at several places.
    for share in [0.3, 0.6, 0.9] {
        fs::write(folder.join("full.parquet.journal"), &kept[..(kept.len() as f64 * share) as usize]).unwrap();
        let (code, told) = score(&input, &full, &[]);
        assert_eq!(code, Some(1), "{told}");
        assert!(fs::read(&full).unwrap() == fs::read(&whole).unwrap(), "cut at {share}");
        fs::remove_file(&full).unwrap();
    }
    // A row that has changed is named.
    let first: Vec<Value> = (0..50).map(|at| row(if at == 3 { 39 } else { at % PROMPTS }, at / PROMPTS)).collect();
    write_table(&folder.join("rows/1.parquet"), &first);
    let (code, told) = score(&input, &again, &[]);
    assert!(code == Some(2) && told.contains("row 4 of the input has changed"), "{told}");
}

#[test]
fn lists_of_completions_have_lists_of_rewards_and_serve_as_preferences() {
    let folder = scratch("tables-lists");
    let input = folder.join("rows.parquet");
    let rows: Vec<Value> = (0..30)
        .map(|at| {
            let answers: Vec<String> =
                (0..at % 3 + 2).map(|n| format!("Answer {n} {}", "so ".repeat(n * at))).collect();
            json!({"prompt": format!("Question {at}?"), "completions": answers})
        })
        .collect();
    write_table(&input, &rows);
    let scored = folder.join("scores.parquet");
    let (code, told) = score(&input.display().to_string(), &scored, &[]);
    assert_eq!(code, Some(0), "{told}");
    let found = read_table(&scored);
    for (found, row) in found.iter().zip(&rows) {
        let count = row["completions"].as_array().unwrap().len();
        for name in ["reward", "tokens", "truncated"] {
            assert_eq!(found[name].as_array().unwrap().len(), count, "{found:?}");
        }
    }
    // `fit` and `items` take them as preferences: the best reward is the chosen one.
    let shown = scored.display().to_string();
    let items = run(&["items", "--json", "--rows", "1-3", "--data", &shown]);
    assert!(said(&items).contains("completions with rewards"), "{}", said(&items));
    let first: Value = serde_json::from_str(String::from_utf8_lossy(&items.stdout).lines().next().unwrap()).unwrap();
    let rewards: Vec<f64> = found[0]["reward"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let best = usize::from(rewards[1] > rewards[0]);
    assert_eq!(first["completions"][0], rows[0]["completions"][best]);
    let out = folder.join("head").display().to_string();
    let fit =
        ["fit", "--device", "cpu", "--model", &model(), "--preferences", &shown, "--out", &out, "--no-checkpoint"];
    let done = run(&fit);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
}

#[test]
fn kept_rows_are_chosen_by_a_column_without_a_model() {
    let folder = scratch("tables-by");
    let input = two_files(&folder);
    let scored = folder.join("scores.parquet");
    assert_eq!(score(&input, &scored, &[]).0, Some(1));
    let shown = scored.display().to_string();
    let kept = folder.join("kept.parquet");
    let output = kept.display().to_string();
    let by = |column: &str, more: &[&str]| {
        let all = ["filter", "--by", column, "--input", &shown, "--output", &output, "--overwrite"];
        let done = run(&[&all[..], more].concat());
        (done.status.code(), said(&done))
    };
    let (code, told) = by("reward", &["--top", "0.25"]);
    assert!(code == Some(1) && told.contains("30 kept"), "{told}");
    let mut rewards: Vec<f64> = read_table(&scored).iter().filter_map(|row| row["reward"].as_f64()).collect();
    rewards.sort_by(|a, b| b.total_cmp(a));
    let found = read_table(&kept);
    assert!(found.iter().all(|row| row["reward"].as_f64().unwrap() >= rewards[29]), "{found:?}");
    assert_eq!(found.len(), 30);
    let (code, told) = by("quality", &["--top", "0.25"]);
    assert!(code == Some(2) && told.contains("a column quality was expected") && told.contains("reward"), "{told}");
    let (code, told) = by("prompt", &["--min-score", "0"]);
    assert!(code == Some(1) && told.contains("a number, or a list of them, in prompt"), "{told}");
    let done = run(&["filter", "--input", &shown, "--output", &output, "--top", "0.5"]);
    assert!(said(&done).contains("--model"), "{}", said(&done));
}

#[test]
fn lines_have_shards_too_and_other_inputs_are_refused() {
    let folder = scratch("tables-lines");
    let input = two_files(&folder);
    let whole = folder.join("whole.jsonl");
    assert_eq!(score(&input, &whole, &["--per-token"]).0, Some(1));
    let parts: Vec<PathBuf> = (1..=4).map(|number| folder.join(format!("part-{number}.jsonl"))).collect();
    for (number, part) in (1..=4).zip(&parts) {
        let (code, told) = score(&input, part, &["--per-token", "--shard", &format!("{number}/4")]);
        assert!(code == Some(0) || code == Some(1), "{told}");
    }
    let merged = folder.join("merged.jsonl");
    let all: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    let (code, told) = merge(&all, &merged);
    assert!(code == Some(0) && told.contains("120 rows of 4 shards"), "{told}");
    assert_eq!(fs::read_to_string(&merged).unwrap(), fs::read_to_string(&whole).unwrap());
    fs::remove_file(&merged).unwrap();
    let (code, told) = merge(&all[1..], &merged);
    assert!(code == Some(2) && told.contains("1/4 missing"), "{told}");
    fs::write(folder.join("part-1.jsonl.journal"), "{}").unwrap();
    let (code, told) = merge(&all, &merged);
    assert!(code == Some(2) && told.contains("not complete"), "{told}");
    // Text as input of a table; shards that are none; a pattern that matches nothing.
    let text = whole.display().to_string();
    let table = folder.join("table.parquet");
    let (code, told) = score(&text, &table, &["--columns", "prompt=id,chosen=id"]);
    assert!(code == Some(2) && told.contains("name the output .jsonl"), "{told}");
    for shard in ["0/4", "5/4", "4", "a/b"] {
        let (code, told) = score(&input, &table, &["--shard", shard]);
        assert!(code == Some(2) && told.contains("1/4 to 4/4"), "{told}");
    }
    let (code, told) = score(&folder.join("no/*.parquet").display().to_string(), &table, &[]);
    assert!(code == Some(2) && told.contains("no file has a name of this pattern"), "{told}");
    let (code, told) = score(&input, &merged, &["--prefix", "x_"]);
    assert!(code == Some(2) && told.contains("--prefix"), "{told}");
    assert!(!table.exists() && !merged.exists());
}
