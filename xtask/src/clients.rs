//! Others' clients, from PyPI, against the server of this project.

use std::path::Path;
use std::process::Command;

use crate::setup::target_folder;
use crate::stage::{call, run};

const ENVIRONMENT: &str = ".cache/clients";
const PYTHON: &str = ".cache/clients/bin/python";

/// Installs the clients, each file checked by its hash, and runs their tests.
pub fn test() -> anyhow::Result<()> {
    if !Path::new(PYTHON).exists() {
        call("python3", ["-m", "venv", ENVIRONMENT])?;
    }
    let pinned = ["--require-hashes", "-r", "tests/clients/requirements.txt"];
    call(PYTHON, ["-m", "pip", "install", "--quiet"].into_iter().chain(pinned))?;
    let mut tests = Command::new(PYTHON);
    tests.args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/clients"]);
    tests.env("REWARDSCOPE_COMMAND", format!("{}/debug/rewardscope", target_folder()));
    run(tests.env("REWARDSCOPE_FIXTURES", "tests/fixtures"))
}
