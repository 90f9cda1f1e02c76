//! Python's virtual environments of the oracle, the peers and others' clients.

use std::path::Path;

use crate::stage::call;

/// Makes the environment in `folder`, where it is not there, and installs what `pip install` is told. Gives its
/// interpreter.
pub fn environment<'a>(folder: &str, install: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let python = format!("{folder}/bin/python");
    if !Path::new(&python).exists() {
        call("python3", ["-m", "venv", folder])?;
    }
    call(&python, ["-m", "pip", "install", "--quiet"].into_iter().chain(install))?;
    Ok(python)
}
