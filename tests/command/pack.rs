//! `rewardscope pack`: a packed model gives the scores of its weight type and comes with its licence. Models that
//! cannot be packed are refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rewardscope_store::Manifest;
use rewardscope_tests::{fixture, scratch};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    rewardscope_tests::command().args(arguments).output().unwrap()
}

fn pack(model: &Path, dtype: &[&str], out: &Path) -> Output {
    run(&[&["pack", &model.display().to_string(), "--out", &out.display().to_string()], dtype].concat())
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn scores(model: &Path, base: Option<&Path>, dtype: &str, rows: &Path) -> Vec<f64> {
    let (model, rows) = (model.display().to_string(), rows.display().to_string());
    let mut arguments = vec!["score", "--device", "cpu", "--model", &model, "--dtype", dtype, "--input", &rows];
    let base = base.map(|base| base.display().to_string());
    arguments.extend(base.iter().flat_map(|base| ["--base", base.as_str()]));
    // Some of the fixtures have no chat template. Encoders take none.
    if !model.contains("bert") {
        arguments.extend(["--format", "raw"]);
    }
    arguments.extend(["--output", "-"]);
    let output = run(&arguments);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap()).collect()
}

fn rows(folder: &Path) -> PathBuf {
    let path = folder.join("rows.jsonl");
    let row =
        |i: usize| format!("{{\"id\": {i}, \"prompt\": \"Name a colour.\", \"completion\": \"It is {i} red.\"}}\n");
    fs::write(&path, (0..3).map(row).collect::<String>()).unwrap();
    path
}

#[test]
fn what_is_packed_scores_as_its_type_does() {
    let folder = scratch("pack");
    let rows = rows(&folder);
    for (name, base) in [("llama_rope_scaled", None), ("qwen3", None), ("bert", None), ("lora_llama", Some("base"))] {
        let model = fixture("parity").join(name);
        let base = base.map(|base| model.join(base)).filter(|base| base.exists());
        for dtype in ["f16", "q8", "q4"] {
            let out = folder.join(format!("{name}-{dtype}"));
            let output = pack(&model, &["--dtype", dtype], &out);
            assert!(output.status.success(), "{name}: {}", said(&output));
            assert!(said(&output).contains("licence: unknown"), "{}", said(&output));
            let manifest = fs::read(out.join("parts.json")).unwrap();
            let manifest = Manifest::parse("parts.json", &manifest).unwrap();
            assert!(manifest.files.iter().any(|file| file.name == "model.safetensors"));
            let direct = scores(&model, base.as_deref(), dtype, &rows);
            // Loading as stored and loading as the packed type give the same scores.
            for again in ["auto", dtype] {
                assert_eq!(scores(&out, None, again, &rows), direct, "{name} as {dtype}, read as {again}");
            }
        }
        let plain = scores(&model, base.as_deref(), "f32", &rows);
        assert_ne!(
            scores(&folder.join(format!("{name}-q4")), None, "auto", &rows),
            plain,
            "{name}: nothing was packed"
        );
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_licence_goes_along_with_what_it_asks() {
    let folder = scratch("pack-licence");
    let model = folder.join("model");
    fs::create_dir_all(&model).unwrap();
    for entry in fs::read_dir(fixture("parity/llama_gqa_tied")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(model.join("README.md"), "---\nlicense: llama3.1\n---\n# A model\n").unwrap();
    fs::write(model.join("LICENSE"), "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT").unwrap();
    fs::write(model.join("USE_POLICY.md"), "Acceptable use").unwrap();
    let out = folder.join("out");
    let output = pack(&model, &["--dtype", "q8"], &out);
    assert!(output.status.success() && said(&output).contains("Built with Llama"), "{}", said(&output));
    let manifest = Manifest::parse("parts.json", &fs::read(out.join("parts.json")).unwrap()).unwrap();
    for file in &manifest.files {
        assert_eq!(file.about.licence, "llama3.1");
        assert!(file.about.warning.starts_with("Built with Llama"));
        assert!(file.about.attribution.contains("q8"), "{}", file.about.attribution);
    }
    for name in ["LICENSE", "USE_POLICY.md"] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(model.join(name)).unwrap(), "{name}");
    }
    // `--licence` overrides the model card's licence.
    let output = pack(&model, &["--dtype", "q8", "--licence", "gemma"], &folder.join("other"));
    assert!(said(&output).contains("Gemma Terms of Use"), "{}", said(&output));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_cannot_be_packed_is_refused_with_the_way_out() {
    let folder = scratch("pack-refused");
    let model = fixture("parity/llama_plain");
    let full = folder.join("full");
    fs::create_dir_all(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    for (output, part) in [
        (pack(&model, &["--dtype", "q4"], &full), "an empty folder was expected"),
        (pack(&model, &[], &folder.join("a")), "--dtype f16, q8 or q4"),
        (pack(&folder.join("none"), &["--dtype", "q4"], &folder.join("b")), "none"),
    ] {
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(part), "{}", said(&output));
    }
    fs::remove_dir_all(folder).unwrap();
}
