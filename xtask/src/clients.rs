//! Others' clients, from PyPI, against the server of this project.

use std::process::Command;

use crate::python;
use crate::setup::target_folder;
use crate::stage::run;

const ENVIRONMENT: &str = ".cache/clients";

/// Installs the clients, each file checked by its hash, and runs their tests.
pub fn test() -> anyhow::Result<()> {
    let python = python::environment(ENVIRONMENT, ["--require-hashes", "-r", "tests/clients/requirements.txt"])?;
    let mut tests = Command::new(python);
    tests.args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/clients"]);
    tests.env("REWARDSCOPE_COMMAND", format!("{}/debug/rewardscope", target_folder()));
    run(tests.env("REWARDSCOPE_FIXTURES", "tests/fixtures"))
}
