//! What a command prints and writes. Whoever reads may have seen enough and close the pipe: that is no failure.

use std::fmt::{Arguments, Formatter};
use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use rewardscope_engine::Cancel;

/// Nobody reads any more.
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("the output was closed")
    }
}

impl std::error::Error for Closed {}

/// Somebody asked the command to stop; what is done stays.
#[derive(Debug)]
pub struct Stopped(pub String);

impl std::fmt::Display for Stopped {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

/// Writes a line.
///
/// # Errors
/// [`Closed`], and whatever else writing runs into.
pub fn line(text: Arguments<'_>) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        other => Ok(other?),
    }
}

/// As `println!`, with a result.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}

pub(crate) use say;

/// A flag that Ctrl-C sets; a second Ctrl-C ends the process.
pub fn on_interrupt() -> Cancel {
    static CANCEL: OnceLock<Cancel> = OnceLock::new();
    let cancel = CANCEL.get_or_init(|| {
        let cancel = Cancel::default();
        let asked = cancel.clone();
        // Where there are no signals, Ctrl-C ends the process as it does anyway.
        let _ = ctrlc::set_handler(move || {
            if asked.is_cancelled() {
                std::process::exit(130);
            }
            eprintln!("stopping after this row; Ctrl-C again stops at once");
            asked.cancel();
        });
        cancel
    });
    cancel.clone()
}

/// Where a file is written before it takes its place.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Writes a whole file: what was there stays until the new one is there.
///
/// # Errors
/// When it cannot be written; nothing of it is left then.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    // What is no regular file, such as /dev/stdout, is written as it is.
    if path.exists() && !path.is_file() {
        return std::fs::write(path, contents).with_context(|| format!("writing {}", path.display()));
    }
    let part = part_of(path);
    let written = std::fs::write(&part, contents).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("writing {}", path.display()))
}
