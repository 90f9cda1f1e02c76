//! Every check.

use std::process::Command;

use crate::browsers::{self, Browsers};
use crate::setup;
use crate::stage::{Stages, call, run as run_command};

/// What builds natively; `rewardscope-web` is wasm alone. Always the same set, so that features
/// are unified the same way and nothing is built twice.
const NATIVE: [&str; 3] = ["--workspace", "--exclude", "rewardscope-web"];

pub fn run(all: bool) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let browsers = stages.run("browsers and adapter", browsers::find)?;
    stages.run("format", || call("cargo", ["fmt", "--all", "--check"]))?;
    setup::site(&mut stages)?;
    stages.run("front end checks", setup::front_end_checks)?;
    stages
        .run("native build", || call("cargo", ["build", "--locked", "--tests", "--bins"].into_iter().chain(NATIVE)))?;
    stages.run("native tests", || {
        let mut tests = Command::new("cargo");
        tests.args(["test", "--locked", "--quiet"]).args(NATIVE);
        run_command(with_environment(&mut tests, &browsers, all))
    })?;
    stages.run("browser tests", || node(&browsers, all, &["--test", "tests/browser/page.test.mjs"]))?;
    stages.run("clippy", || {
        let deny = ["--", "-D", "warnings"];
        call("cargo", ["clippy", "--locked", "--all-targets"].into_iter().chain(NATIVE).chain(deny))?;
        let wasm =
            ["clippy", "--locked", "--profile", "wasm", "--target", "wasm32-unknown-unknown", "-p", "rewardscope-web"];
        call("cargo", wasm.into_iter().chain(deny))
    })?;
    stages.summary();
    Ok(())
}

/// Sizes, times and memory of the page.
pub fn bench() -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let browsers = stages.run("browsers and adapter", browsers::find)?;
    setup::site(&mut stages)?;
    node(&browsers, false, &["tests/browser/measure.mjs"])
}

fn node(browsers: &Browsers, all: bool, arguments: &[&str]) -> anyhow::Result<()> {
    let port = setup::served().serve(0)?.port;
    let mut node = Command::new("node");
    node.args(arguments).env("REWARDSCOPE_URL", format!("http://localhost:{port}/"));
    run_command(with_environment(&mut node, browsers, all))
}

fn with_environment<'a>(command: &'a mut Command, browsers: &Browsers, all: bool) -> &'a mut Command {
    command
        .env("REWARDSCOPE_CHROMIUM", &browsers.chromium)
        .env("REWARDSCOPE_FIREFOX", &browsers.firefox)
        .env("VK_DRIVER_FILES", &browsers.lavapipe)
        .env("REWARDSCOPE_TARGET", setup::target_folder())
        .env("REWARDSCOPE_ALL", if all { "1" } else { "" })
}
