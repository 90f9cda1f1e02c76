//! Rows of every benchmark are scored and marked.

use std::fs;
use std::path::{Path, PathBuf};

use super::asked::{file, json_of, lines, refused, run};
use rewardscope_tests::{fixture, scratch};
use serde_json::{Value, json};

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
    // A cell of preferences that looks like a list stays a text.
    let own = ["--benchmark", "preferences"];
    let answer = file(&folder, "answer.csv", "prompt,chosen,rejected\n1+1?,\"[1, 2]\",[3]\n");
    assert_eq!(items(&answer, &own)[0]["completions"], json!(["[1, 2]", "[3]"]));
    // `--columns` replaces the columns that it names; the others keep their usual names.
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

/// Writes a small file of rows for each benchmark, in its dataset's layout. Gives the benchmark's name, the file's path
/// and the number of items.
pub(crate) fn datasets(folder: &Path) -> Vec<(&'static str, String, usize)> {
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
    // Two models answer the same question.
    let answered = |model: &str| json!({"question_id": "q1", "model_name": model, "prompt": "1+1?", "response_1": "2", "response_2": "3", "response_10": "two", "scores": [true, false, true], "sampled_conflict_pairs": [[0, 1]]});
    let ppe = [answered("m"), answered("n")];
    let german: Vec<Value> = reward_bench
        .iter()
        .map(|row| {
            let mut row = row.clone();
            row["language"] = json!("deu_Latn");
            // On the Hub the subset is in the column `source`.
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
        // The run file alone gives the same marks and the run's other results.
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
    // JudgeBench's label chooses the answer, correct completions come first, and subsets have their language.
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
    // A folder stands for its files, and several `--data` for all their files. An id that comes twice in a
    // subset gets a number.
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
    // Rows of another benchmark, and rows that lack columns.
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

/// Writes a copy of a run file with another length limit. Gives its path.
pub(crate) fn other_context(folder: &Path, run: &str) -> String {
    let mut other: Value = serde_json::from_slice(&fs::read(run).unwrap()).unwrap();
    other["protocol"]["context_tokens"] = json!(17);
    file(folder, "other-context.json", other.to_string())
}
