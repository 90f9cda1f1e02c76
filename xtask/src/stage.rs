//! Steps that print their name and how long they took.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// The stages of one call: name, and time in seconds.
#[derive(Default)]
pub struct Stages(Vec<(String, f64)>);

impl Stages {
    /// Runs a stage and prints its name and time. An error gets the stage's name as context.
    pub fn run<T>(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("== {name}");
        let started = Instant::now();
        let done = work().with_context(|| name.to_owned());
        let seconds = started.elapsed().as_secs_f64();
        println!("== {name}: {} after {seconds:.1} s", if done.is_ok() { "done" } else { "failed" });
        self.0.push((name.to_owned(), seconds));
        done
    }

    /// Prints a table of all stages' times.
    pub fn summary(&self) {
        println!("\nstage                                      seconds");
        for (name, seconds) in &self.0 {
            println!("{name:<40} {seconds:>9.1}");
        }
        let total: f64 = self.0.iter().map(|(_, seconds)| seconds).sum();
        println!("{:<40} {total:>9.1}\n", "total");
    }
}

/// Runs a program to its end and shows its output.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub fn call<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> anyhow::Result<()> {
    run(Command::new(program).args(arguments))
}

/// The same as [`call`], for a command with its own folder or environment.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Whether a program answers `--version`.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// sha256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    std::io::copy(&mut file, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// sha256 over the paths and contents of files. A folder stands for every file below it.
pub fn fingerprint<'a>(paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for path in paths {
        add(path, &mut hash)?;
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn add(path: &Path, hash: &mut Sha256) -> anyhow::Result<()> {
    if path.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            add(&entry.path(), hash)?;
        }
        return Ok(());
    }
    hash.update(path.to_string_lossy().as_bytes());
    hash.update(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?);
    Ok(())
}

/// Does the work, unless `made` exists and the file `stamp` has this fingerprint. Writes the fingerprint to `stamp`
/// afterwards.
pub fn unless_current(
    stamp: &Path,
    fingerprint: &str,
    made: &Path,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if made.exists() && std::fs::read_to_string(stamp).is_ok_and(|known| known == fingerprint) {
        println!("nothing changed");
        return Ok(());
    }
    work()?;
    if let Some(folder) = stamp.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(stamp, fingerprint)?)
}
