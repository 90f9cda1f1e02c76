//! `rewardscope filter` keeps the rows that a model scores well.

use std::fs;
use std::path::Path;

use super::asked::{file, lines, refused, run};
use rewardscope_data::to_parquet;
use rewardscope_tests::{fixture, sample_rows, scratch};
use serde_json::{Value, json};

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
    // Half of the rows have a prompt, half have a conversation before the completions.
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
    // Rows are kept unchanged, with their other columns.
    assert_eq!(filtered(&["--min-score", &least.to_string()], "min.jsonl"), expected(&|i| scores[i][0] >= least));
    let margins: Vec<f64> = scores.iter().map(|of| of[1] - of[2]).collect();
    assert_eq!(filtered(&["--min-margin", "0.0"], "margin.jsonl"), expected(&|i| margins[i] >= 0.0));
    // A quarter is ten rows; of equal scores the earlier rows are kept.
    let mut order: Vec<usize> = (0..40).collect();
    order.sort_by(|&a, &b| scores[b][0].total_cmp(&scores[a][0]).then(a.cmp(&b)));
    let best: Vec<usize> = order[..10].to_vec();
    assert_eq!(filtered(&["--top", "0.25"], "top.jsonl"), expected(&|i| best.contains(&i)));
    assert!(!folder.join("top.jsonl.scores").exists());
    // A bad row is skipped and does not stop the others. No rule, or an output that is the input, is refused.
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
    // An existing output is replaced only with `--overwrite`. A line that is not JSON is skipped.
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
    // A column says which of two completions is the better one. Where it says the second, the margin changes its sign.
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
    // The output `-` is standard output, not a file of that name.
    let done =
        run(&["filter", "--device", "cpu", "--model", &model, "--input", &input, "--output", "-", "--top", "0.25"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), 10);
    assert!(!Path::new("-").exists());
    // Parquet input gives parquet output with all columns.
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
