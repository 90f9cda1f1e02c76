//! `cargo xtask bench`: the page's sizes, times and memory, the engine on this processor, and both compared with
//! peers: other programs that do the same work.

use std::path::Path;
use std::process::Command;

use crate::packages::{MINILM, SMOLLM2};
use crate::stage::{Stages, call, fingerprint, unless_current};
use crate::test::{NATIVE, node_at};
use crate::{browsers, oracle, python, setup};

/// Folder of the peers' packages and of the page that they run in.
const PEERS: &str = "tests/peers";

/// Folder of the models that the peers are timed on.
const MODELS: &str = ".cache/peers";

/// Python packages that the peers need in addition to the oracle's.
const PACKAGES: [&str; 2] = ["onnx==1.23.2", "onnxscript==0.7.2"];

/// Python packages of the peers that read rows.
const ROW_PACKAGES: [&str; 2] = ["duckdb==2.0.1", "polars==2.1.0"];
/// The virtual environment of [`ROW_PACKAGES`], separate from the oracle's.
const ROW_ENVIRONMENT: &str = ".cache/row-peers";

/// Runs every bench. With `parts`, runs only these parts of the comparison with peers; `rows` alone times only the
/// readers of rows.
pub fn run(parts: &[String]) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    if parts.is_empty() || parts.iter().any(|part| part == "rows") {
        rows(&mut stages)?;
    }
    if parts.len() == 1 && parts[0] == "rows" {
        stages.summary();
        return Ok(());
    }
    let browsers = stages.run("browsers and adapter", browsers::find)?;
    setup::site(&mut stages)?;
    stages.run("models of the bench", || MINILM.fetch())?;
    stages.run("native build", || call("cargo", ["build", "--locked", "--bins"].into_iter().chain(NATIVE)))?;
    stages.run("peers", peers)?;
    let site = setup::served_with(
        [("/peers/", PEERS), ("/peers-models/", MODELS), ("/peers-gguf/", ".cache/models")],
        // Without these headers a browser gives the peers no threads.
        [("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Embedder-Policy", "require-corp")],
    );
    let port = site.serve(0)?.port;
    let node = |script: &str, arguments: &[String]| {
        let arguments: Vec<&str> = [script].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        node_at(port, &browsers, false, &arguments)
    };
    if parts.is_empty() {
        stages.run("PyTorch", pytorch)?;
        stages.run("release build of the engine", || {
            let bins = ["--bin", "bench-engine", "--bin", "bench-kernels"];
            call("cargo", ["build", "--locked", "--release"].into_iter().chain(bins).chain(NATIVE))
        })?;
        stages.run("engine", || call(&release("bench-engine"), [""; 0]))?;
        stages.run("kernels", || call(&release("bench-kernels"), ["cpu"]))?;
        stages.run("page", || node("tests/browser/measure.mjs", &[]))?;
    }
    stages.run("beside peers", || node("tests/peers/bench.mjs", parts))?;
    stages.summary();
    Ok(())
}

/// Times each reader on a million rows, compared with DuckDB and polars.
fn rows(stages: &mut Stages) -> anyhow::Result<()> {
    let python = stages.run("peers that read rows", || python::environment(ROW_ENVIRONMENT, ROW_PACKAGES))?;
    stages.run("release build of the reader", || {
        // Only the reader: the engine would take ten minutes to build.
        call("cargo", ["build", "--locked", "--release", "--example", "rows", "-p", "rewardscope-data"])
    })?;
    stages.run("rows", || {
        let scratch = format!("{}/bench/rows", setup::target_folder());
        let out = format!("{}/bench/rows.json", setup::target_folder());
        call(&python, [format!("{PEERS}/rows.py"), release("examples/rows"), scratch, out])
    })
}

/// Path of one of our bench programs in the release build.
fn release(name: &str) -> String {
    format!("{}/release/{name}", setup::target_folder())
}

/// Times on this machine's GPU: native kernels, the site's module on Dawn, ONNX Runtime's WebGPU, and PyTorch. Builds
/// nothing: the programs and models that an earlier [`run`] made can be copied to a machine with a GPU.
pub fn gpu() -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let models: Vec<String> = ["minilm", "smollm2", "llama"]
        .map(|name| format!("{MODELS}/{name}"))
        .into_iter()
        .filter(|folder| Path::new(folder).exists())
        .collect();
    stages.run("kernels", || call(&release("bench-kernels"), ["gpu"]))?;
    stages.run("engine", || call(&release("bench-engine"), ["gpu".to_owned()].into_iter().chain(models)))?;
    stages.run("Dawn", || call("node", [format!("{PEERS}/gpu.mjs")]))?;
    stages.run("PyTorch", pytorch)?;
    stages.summary();
    Ok(())
}

/// Times PyTorch, where the oracle's environment is installed.
fn pytorch() -> anyhow::Result<()> {
    if !Path::new(oracle::PYTHON).exists() {
        println!("{} is not there: PyTorch is not timed", oracle::PYTHON);
        return Ok(());
    }
    call(oracle::PYTHON, [format!("{PEERS}/pytorch.py"), MODELS.to_owned()])
}

/// Installs the peers, exports their models, and writes the Ties items that they score.
fn peers() -> anyhow::Result<()> {
    let lock = fingerprint([Path::new("tests/peers/package-lock.json")])?;
    let installed = Path::new("tests/peers/node_modules/.xtask");
    unless_current(installed, &lock, Path::new("tests/peers/node_modules/onnxruntime-web"), || {
        // Their install scripts would fetch programs for GPUs that are not used here.
        call("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix", PEERS])
    })?;
    let python = oracle::environment(&PACKAGES)?;
    let script = format!("{PEERS}/export.py");
    let key = fingerprint([Path::new(&script)])?;
    unless_current(Path::new(".cache/peers/.xtask"), &key, Path::new(".cache/peers/smollm2/expected.json"), || {
        let [smollm2, minilm] = [SMOLLM2.path(), MINILM.folder()].map(|path| path.display().to_string());
        call(python, [&script, &smollm2, &minilm, MODELS])
    })?;
    // The sample's items, as `rewardscope` reads them.
    let items = Command::new(format!("{}/debug/rewardscope", setup::target_folder()))
        .args(["items", "--data", "sample/sample.parquet", "--rows", "1-100000", "--json"])
        .output()?;
    anyhow::ensure!(items.status.success(), "reading the sample: {}", String::from_utf8_lossy(&items.stderr));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(items.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ties: Vec<_> = lines.into_iter().filter(|item| item["subset"] == "Ties").collect();
    Ok(std::fs::write(format!("{MODELS}/ties.json"), serde_json::to_string(&ties)?)?)
}
