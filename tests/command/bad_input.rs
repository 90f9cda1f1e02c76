//! Bad input ends in one sentence that names the file, what was expected and what was found. Tested on the command
//! line, with real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rewardscope_tests::{fixture, scratch};

fn command() -> Command {
    let mut command = rewardscope_tests::command();
    command.args(["score", "--device", "cpu", "--output", "-"]);
    command
}

/// A copy of the fixture `llama_plain` with one file changed.
fn broken(name: &str, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let path = scratch(name);
    for entry in fs::read_dir(fixture("parity/llama_plain")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    let bytes = fs::read(path.join(file)).unwrap();
    fs::write(path.join(file), change(bytes)).unwrap();
    path
}

fn score(model: &Path, rows: &str) -> Output {
    let input = scratch(&format!("rows-{}", model.file_name().unwrap().to_string_lossy())).join("rows.jsonl");
    fs::write(&input, rows).unwrap();
    command().arg("--model").arg(model).arg("--input").arg(input).output().unwrap()
}

const ROW: &str = r#"{"id": 1, "prompt": "Hi", "completion": "Hello"}"#;

/// Asserts that the command ends with status 2 and one sentence that contains all of `named`, without a panic.
fn refused(model: &Path, named: &[&str]) {
    let output = score(model, ROW);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let sentence =
        said.lines().find(|line| line.starts_with("rewardscope: ")).unwrap_or_else(|| panic!("no sentence: {said}"));
    for part in named {
        assert!(sentence.contains(part), "{sentence:?} does not name {part:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
}

fn text(change: impl Fn(String) -> String) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| change(String::from_utf8(bytes).unwrap()).into_bytes()
}

/// Changes the JSON header of a safetensors file, and its length field to match.
fn header(change: impl Fn(String) -> String) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
        let mut changed = (header.len() as u64).to_le_bytes().to_vec();
        changed.extend(header.into_bytes());
        changed.extend(&bytes[8 + length..]);
        changed
    }
}

/// Renames a column in the footer of a parquet file; both names must have the same length.
fn renamed(mut parquet: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let end = parquet.len() - 8;
    let length = u32::from_le_bytes(parquet[end..end + 4].try_into().unwrap()) as usize;
    let footer = &mut parquet[end - length..end];
    let places: Vec<usize> = (0..footer.len() - from.len()).filter(|&at| footer[at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        footer[at..at + to.len()].copy_from_slice(to);
    }
    parquet
}

fn gguf(name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let stored = rewardscope_tests::root().join("crates/engine/selftest/selftest.gguf");
    let path = scratch(name).join(format!("{name}.gguf"));
    fs::write(&path, change(fs::read(stored).unwrap())).unwrap();
    path
}

#[test]
fn a_model_that_is_not_there() {
    refused(Path::new("/no/such/model.gguf"), &["/no/such/model.gguf", "no such file"]);
    refused(&scratch("empty"), &["config.json", "nothing"]);
}

#[test]
fn a_file_that_is_not_what_its_name_says() {
    refused(&gguf("png", |_| b"\x89PNG\r\n\x1a\n and so on, for a while".to_vec()), &["png.gguf", "GGUF", "PNG"]);
    refused(&gguf("short", |_| b"GGUF".to_vec()), &["short.gguf", "4 bytes"]);
    let model = broken("zip", "model.safetensors", |_| b"PK\x03\x04 this is a zip and no safetensors".to_vec());
    refused(&model, &["model.safetensors", "safetensors header"]);
    refused(&broken("html", "tokenizer.json", |_| b"<!doctype html>".to_vec()), &["tokenizer.json was expected"]);
    refused(&broken("not-json", "config.json", |_| b"hello".to_vec()), &["config.json", "configuration"]);
}

#[test]
fn a_form_that_is_not_read_says_how_to_convert_it() {
    let model = broken("pickle", "config.json", |bytes| bytes);
    fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
    refused(&model, &["pytorch_model.bin", "safe_serialization"]);
    let model = broken("slow", "config.json", |bytes| bytes);
    fs::rename(model.join("tokenizer.json"), model.join("tokenizer.model")).unwrap();
    refused(&model, &["tokenizer.model", "save_pretrained"]);
}

#[test]
fn a_tokenizer_that_would_panic() {
    let changed = |name: &str, change: fn(&mut serde_json::Value)| {
        broken(name, "tokenizer.json", |bytes| {
            let mut tokenizer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            change(&mut tokenizer);
            serde_json::to_vec(&tokenizer).unwrap()
        })
    };
    let model = changed("unexplained", |tokenizer| {
        tokenizer["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "[A]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": {},
        });
    });
    refused(&model, &["tokenizer.json", "[A]"]);
    let model = changed("empty-pattern", |tokenizer| {
        let replace = serde_json::json!({ "type": "Replace", "pattern": { "Regex": " *$" }, "content": "x" });
        tokenizer["normalizer"] = serde_json::json!({ "type": "Sequence", "normalizers": [replace] });
    });
    refused(&model, &["tokenizer.json", "finds the empty text"]);
    let model = changed("short-merge", |tokenizer| {
        tokenizer["model"]["continuing_subword_prefix"] = "a prefix longer than any token there".into();
    });
    refused(&model, &["tokenizer.json", "shorter than the prefix"]);
    let model = changed("prepend", |tokenizer| {
        tokenizer["normalizer"] = serde_json::json!({ "type": "Prepend", "prepend": "" });
    });
    refused(&model, &["tokenizer.json", "prepends nothing"]);
    let model = changed("counts", |tokenizer| {
        let split = serde_json::json!({ "Regex": "a{1,4000}{1,4000}" });
        tokenizer["pre_tokenizer"] =
            serde_json::json!({ "type": "Split", "pattern": split, "behavior": "Isolated", "invert": false });
    });
    refused(&model, &["tokenizer.json", "repeats more than"]);
}

#[test]
fn a_truncated_file() {
    refused(&gguf("cut-header", |bytes| bytes[..300].to_vec()), &["cut-header.gguf", "truncated"]);
    refused(&gguf("cut-values", |bytes| bytes[..bytes.len() - 4096].to_vec()), &["cut-values.gguf", "truncated"]);
    let model = broken("cut", "model.safetensors", |bytes| bytes[..bytes.len() - 1000].to_vec());
    refused(&model, &["model.safetensors", "truncated"]);
}

#[test]
fn a_header_that_promises_more_than_there_is() {
    let model = broken("promise", "model.safetensors", |mut bytes| {
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes
    });
    refused(&model, &["model.safetensors", "18446744073709551615"]);
    let many = gguf("promise", |mut bytes| {
        // These bytes are the number of tensors.
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes
    });
    refused(&many, &["promise.gguf", "number of tensors"]);
}

#[test]
fn a_missing_tensor_and_a_wrong_shape() {
    let model = broken("no-head", "model.safetensors", header(|h| h.replace("score.weight", "scope.weight")));
    refused(&model, &["score.weight", "no such tensor"]);
    let model =
        broken("shape", "config.json", text(|c| c.replace("\"intermediate_size\": 96", "\"intermediate_size\": 128")));
    refused(&model, &["gate_proj", "[128, 48]", "[96, 48]"]);
}

#[test]
fn an_unsupported_architecture_or_type() {
    let model = broken("opt", "config.json", text(|c| c.replace("LlamaForSequenceClassification", "OPTForCausalLM")));
    refused(&model, &["config.json", "OPTForCausalLM", "LlamaForSequenceClassification"]);
    let ints = broken("ints", "model.safetensors", header(|h| h.replacen("\"F32\"", "\"I32\"", 1)));
    refused(&ints, &["model.safetensors", "I32", "F32, F16, BF16"]);
    let blocks = gguf("blocks", |mut bytes| {
        // A tensor's type follows its name, its number of dimensions and its two dimensions.
        let name = b"blk.0.attn_q.weight";
        let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 4 + 16;
        assert_eq!(bytes[at..at + 4], 3u32.to_le_bytes());
        bytes[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
        bytes
    });
    refused(&blocks, &["blocks.gguf", "blk.0.attn_q.weight", "Q2_K"]);
}

#[test]
fn a_template_that_fails_costs_its_row_and_no_other() {
    let template = "{{ bos_token }}{% for m in messages %}{% if 'stop' in m.content %}{{ raise_exception('No stopping here') }}{% endif %}{{ m.content }}{% endfor %}";
    let model = broken("template", "tokenizer_config.json", |_| {
        serde_json::to_vec(&serde_json::json!({"bos_token": "<|begin_of_text|>", "chat_template": template})).unwrap()
    });
    let rows = "{\"id\": 1, \"prompt\": \"go\", \"completion\": \"on\"}\n{\"id\": 2, \"prompt\": \"stop\", \"completion\": \"it\"}\n{\"id\": 3, \"prompt\": \"go\", \"completion\": \"\"}\nno json\n";
    let output = score(&model, rows);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let out: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(out.len(), 4);
    assert!(out[0]["score"].is_f64());
    let error = out[1]["error"].as_str().unwrap();
    assert!(error.contains("No stopping here") && error.contains("tokenizer_config.json"), "{error}");
    assert!(out[2]["score"].is_f64(), "an empty completion is scored: {}", out[2]);
    assert!(out[3]["error"].as_str().unwrap().contains("row 4"));
    let bare = broken("no-template", "tokenizer_config.json", |_| b"{}".to_vec());
    let output = score(&bare, "{\"id\": 1, \"prompt\": \"go\", \"completion\": \"on\"}\n");
    assert_eq!(output.status.code(), Some(1));
    let out: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = out["error"].as_str().unwrap();
    assert!(error.contains("a chat_template was expected") && error.contains("tokenizer.json"), "{error}");
}

#[test]
fn a_conversation_longer_than_the_context_is_cut_and_said() {
    let input = scratch("long").join("rows.jsonl");
    fs::write(&input, format!("{{\"id\": 1, \"prompt\": \"Hi\", \"completion\": \"{}\"}}", "word ".repeat(200)))
        .unwrap();
    let output = command()
        .arg("--model")
        .arg(fixture("parity/llama_plain"))
        .arg("--input")
        .arg(&input)
        .args(["--max-length", "64"])
        .output()
        .unwrap();
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((row["tokens"].as_u64(), row["truncated"].as_bool()), (Some(64), Some(true)), "{row}");
}

#[test]
fn a_dataset_without_its_columns_or_cut_short() {
    let eval = |data: &Path| {
        let mut command = command();
        let program = command.get_program().to_owned();
        command = Command::new(program);
        let out = scratch("eval-out");
        command
            .args(["eval", "--device", "cpu", "--model"])
            .arg(fixture("parity/llama_plain"))
            .arg("--data")
            .arg(data)
            .arg("--out")
            .arg(out);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let folder = scratch("data");
    let sample = fs::read(rewardscope_tests::root().join("sample/sample.parquet")).unwrap();
    let cut = folder.join("cut.parquet");
    fs::write(&cut, &sample[..sample.len() / 2]).unwrap();
    assert!(eval(&cut).contains("cut.parquet: a whole parquet file was expected"), "{}", eval(&cut));
    let columns = folder.join("columns.parquet");
    fs::write(&columns, renamed(sample, b"prompt", b"wished")).unwrap();
    let said = eval(&columns);
    assert!(said.contains("columns.parquet: the columns prompt were expected") && said.contains("wished"), "{said}");
    let unmarkable = folder.join("unmarkable.jsonl");
    fs::write(&unmarkable, "{\"id\":\"7\",\"prompt\":\"p\",\"chosen\":[\"a\"],\"rejected\":[\"b\"],\"num_correct\":1,\"num_incorrect\":1,\"total_completions\":2,\"subset\":\"Ties\"}\n").unwrap();
    let said = eval(&unmarkable);
    assert!(said.contains("unmarkable.jsonl") && said.contains("ref:NUMBER"), "{said}");
    let other = folder.join("other.jsonl");
    fs::write(&other, "{\"question\": \"?\"}\n").unwrap();
    let said = eval(&other);
    assert!(said.contains("chosen") && said.contains("has question") && said.contains("--columns"), "{said}");
}
