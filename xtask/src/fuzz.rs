//! Fuzzes the parsers: libFuzzer, guided by coverage, on the targets of `fuzz/`.

use std::process::Command;

use anyhow::Context;

use crate::setup::target_folder;
use crate::stage::run;

const TARGETS: [&str; 10] = [
    "safetensors",
    "gguf",
    "tokenizer",
    "readers",
    "layouts",
    "adapter",
    "tokenizer_config",
    "config",
    "verdicts",
    "bodies",
];

/// rustc's flags for libFuzzer's coverage, as cargo-fuzz sets them. There is no sanitizer, because only nightly
/// compilers have one.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Builds the targets.
pub fn build() -> anyhow::Result<()> {
    let host = host()?;
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--release"]);
    run(build.args(["--target", &host, "--target-dir", &folder()]).env("RUSTFLAGS", COVERAGE))
}

/// Builds the targets and runs them; together they run for `seconds`. Inputs that fail are left in `fuzz/artifacts`.
/// The committed corpus is only read; new inputs go to the target folder.
pub fn fuzz(seconds: u32) -> anyhow::Result<()> {
    build()?;
    let (host, target) = (host()?, folder());
    std::fs::create_dir_all("fuzz/artifacts")?;
    let seconds = seconds / TARGETS.len() as u32;
    for name in TARGETS {
        let grown = format!("{target}/corpus/{name}");
        std::fs::create_dir_all(&grown)?;
        let mut fuzz = Command::new(format!("{target}/{host}/release/{name}"));
        fuzz.args([&grown, &format!("fuzz/corpus/{name}"), &format!("-max_total_time={seconds}")]);
        fuzz.args(["-rss_limit_mb=2048", "-timeout=10", "-max_len=4096", "-verbosity=0", "-print_final_stats=1"]);
        run(fuzz.arg(format!("-artifact_prefix=fuzz/artifacts/{name}-")))
            .with_context(|| format!("fuzzing {name}: the input is in fuzz/artifacts"))?;
    }
    Ok(())
}

/// The folder that the targets are built in.
fn folder() -> String {
    format!("{}/fuzz", target_folder())
}

/// The host, by rustc's name for it.
fn host() -> anyhow::Result<String> {
    let about = Command::new("rustc").arg("-vV").output().context("asking rustc for its host")?;
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    about.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc names no host")
}
