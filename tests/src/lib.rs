//! Shared by the tests: paths, the command, fixtures, the sample's rows, and models.

pub mod construction;
pub mod hub;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use pollster::block_on;
use rewardscope_data::{Row, Rows, read_rows};
use rewardscope_engine::{
    Cancel, Clock, DeviceChoice, DeviceReport, EngineError, LoadOptions, ModelFiles, Pooling, RewardHead, Scorer,
    device,
};
use rewardscope_fit::{FeaturesHeader, FormReport, Gathered, OverlapReport, Pair};
use rewardscope_store::{Folder, Source};
use serde_json::json;

pub use table::{read_table, write_table};

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file or folder below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A JSON file below `tests/fixtures`.
///
/// # Panics
/// When it is missing or no JSON: a missing fixture is a failure.
pub fn json_fixture(path: &str) -> serde_json::Value {
    let path = fixture(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A program of this workspace, built beside the test that asks.
///
/// # Panics
/// When it is not there.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|e| panic!("this test's own path: {e}"));
    let path = test.ancestors().nth(2).unwrap_or(Path::new(".")).join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{}: build it first; cargo xtask test does", path.display());
    path
}

/// The `rewardscope` command.
///
/// # Panics
/// When it is not there.
pub fn command() -> Command {
    Command::new(program("rewardscope"))
}

/// Runs the `rewardscope` command to its end. Gives its status and output.
///
/// # Panics
/// When it cannot be started.
pub fn run(arguments: &[&str]) -> std::process::Output {
    command().args(arguments).output().unwrap_or_else(|e| panic!("starting rewardscope: {e}"))
}

/// The standard error of a command.
pub fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The peak memory of this process in bytes.
///
/// # Panics
/// When the system does not report it.
pub fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.unwrap_or_else(|| panic!("/proc/self/status says nothing of peak memory")) * 1024
}

/// Describes what a bench ran on and with: processor, device, versions and date.
pub fn machine(device: &DeviceReport) -> serde_json::Value {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    json!({
        "cores": cores, "processor": model, "device": device.name, "backend": device.backend,
        "rewardscope": env!("CARGO_PKG_VERSION"), "burn": locked("burn"), "wgpu": locked("wgpu"),
        "date": chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).format("%Y-%m-%d").to_string(),
    })
}

/// A package's version in Cargo.lock.
fn locked(package: &str) -> Option<&'static str> {
    let entry = format!("name = \"{package}\"");
    let mut lines = include_str!("../../Cargo.lock").lines().skip_while(|line| *line != entry);
    lines.nth(1)?.strip_prefix("version = ")?.split('"').nth(1)
}

/// The median; of an even number of values, the upper one of the middle two.
///
/// # Panics
/// When there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes a bench's results to `target/bench/NAME.json`.
///
/// # Panics
/// When it cannot be written.
pub fn write_bench(name: &str, rows: &[serde_json::Value]) {
    let folder = root().join("target/bench");
    let text = serde_json::to_string_pretty(rows).unwrap_or_default() + "\n";
    let written =
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(format!("{name}.json")), text));
    written.unwrap_or_else(|e| panic!("target/bench/{name}.json: {e}"));
    println!("written to target/bench/{name}.json");
}

/// Resets [`peak_bytes`] to the current memory.
///
/// # Panics
/// When the system refuses.
pub fn reset_peak_bytes() {
    // 5 resets the peak: see proc(5).
    std::fs::write("/proc/self/clear_refs", "5").unwrap_or_else(|e| panic!("/proc/self/clear_refs: {e}"));
}

/// An empty temporary folder for one test.
///
/// # Panics
/// When it cannot be made.
pub fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("rewardscope-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}

/// The sample's files, in the order of their rows in the parquet.
pub const SAMPLE_FILES: [&str; 6] =
    ["factuality.jsonl", "precise-if.jsonl", "math.jsonl", "safety.jsonl", "focus.jsonl", "ties.jsonl"];

/// Every row of the sample, with its metadata.
///
/// # Panics
/// When a file is missing or damaged.
pub fn sample_rows() -> Vec<Row> {
    let read = |file: &&str| {
        let source = Source::file(&root().join("sample").join(file)).unwrap_or_else(|e| panic!("{e}"));
        block_on(read_rows(&source, Rows::ALL)).unwrap_or_else(|e| panic!("{e}"))
    };
    SAMPLE_FILES.iter().flat_map(read).collect()
}

/// The files of a checkpoint folder.
///
/// # Panics
/// When the folder is not a checkpoint.
pub fn model(folder: &Path) -> ModelFiles {
    let opened = Folder::open(folder).unwrap_or_else(|e| panic!("{e}"));
    let sources = opened.sources().cloned().collect();
    ModelFiles::from_sources(&folder.display().to_string(), sources).unwrap_or_else(|e| panic!("{e}"))
}

/// Loads a model on the CPU, with or without a head. Chat templates are told the date 1970-01-01.
///
/// # Errors
/// As [`Scorer::load`].
pub fn load(files: &ModelFiles, head: Option<&RewardHead>) -> Result<Scorer, EngineError> {
    let device = block_on(device::open(DeviceChoice::Cpu))?;
    let options = LoadOptions::new(Clock::from_local_seconds(0));
    block_on(Scorer::load(files, head, device, options, &Cancel::default(), &mut |_| {}))
}

/// MiniLM with a classifier of zeros. It has none of its own and could not be loaded without; the score is not used.
///
/// # Panics
/// When the model was not fetched.
pub fn minilm() -> ModelFiles {
    let path = root().join(".cache/packages/minilm");
    let open = Folder::open(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask test fetches it"));
    let read = |name: &str| block_on(async { open.get(name)?.read_all().await }).unwrap_or_else(|e| panic!("{e}"));
    let mut config: serde_json::Value = serde_json::from_slice(&read("config.json")).unwrap_or_else(|e| panic!("{e}"));
    config["architectures"] = json!(["BertForSequenceClassification"]);
    config["num_labels"] = json!(1);
    let width = config["hidden_size"].as_u64().unwrap_or_default() as usize;
    let weights = safetensors_with(&read("model.safetensors"), |tensors, end| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor)).collect();
        let bytes = 4 * width;
        let span = |first: usize, last: usize| json!([end + first, end + last]);
        let weight = json!({ "dtype": "F32", "shape": [1, width], "data_offsets": span(0, bytes) });
        let bias = json!({ "dtype": "F32", "shape": [1], "data_offsets": span(bytes, bytes + 4) });
        tensors.insert("classifier.weight".to_owned(), weight);
        tensors.insert("classifier.bias".to_owned(), bias);
        vec![0; bytes + 4]
    });
    let sources = ["tokenizer.json", "tokenizer_config.json"].map(|name| Source::memory(name, read(name)));
    let own =
        [Source::memory("config.json", config.to_string().into_bytes()), Source::memory("model.safetensors", weights)];
    ModelFiles::from_sources("minilm", sources.into_iter().chain(own).collect()).unwrap_or_else(|e| panic!("{e}"))
}

/// The header of a file of made-up features.
pub fn made_up_header(width: usize) -> FeaturesHeader {
    FeaturesHeader {
        backbone: "made up".to_owned(),
        layers: 1,
        pooling: Pooling::LastToken,
        hidden_size: width,
        has_likelihood: false,
    }
}

/// Pairs for made-up features, with empty reports.
pub fn made_up(pairs: Vec<Pair>) -> Gathered {
    Gathered {
        name: "made up".to_owned(),
        data_hash: String::new(),
        pairs,
        subsets: Vec::new(),
        form: FormReport::default(),
        overlap: OverlapReport::default(),
        cut_completions: 0,
        refused: 0,
    }
}

/// A JSON number, or a text with one of Python's non-finite numbers.
///
/// # Panics
/// When the value is neither.
pub fn number(value: &serde_json::Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(other) => panic!("{other:?} is no number"),
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is no number")),
    }
}

/// A safetensors file with a changed header and more data. `change` gets the header's entries and the size of the data
/// in bytes; it changes the entries and gives the bytes to append.
///
/// # Panics
/// When the file is not safetensors.
pub fn safetensors_with(
    file: &[u8],
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>, usize) -> Vec<u8>,
) -> Vec<u8> {
    let length = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length)) as usize;
    let (header, data) = file[8..].split_at(length);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap_or_else(|e| panic!("{e}"));
    let tensors = header.as_object_mut().unwrap_or_else(|| panic!("a header is an object"));
    tensors.remove("__metadata__");
    let added = change(tensors, data.len());
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data, &added].concat()
}
