//! Printing and writing of files. A reader, such as `head`, may close the pipe early: that is not a failure.

use std::fmt::{Arguments, Formatter};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use rewardscope_engine::Cancel;

/// The reader of standard output closed the pipe; the command then ends with status 0.
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("the output was closed")
    }
}

impl std::error::Error for Closed {}

/// The user interrupted the command, with the message to print. Finished work is kept; the exit status is 130.
#[derive(Debug)]
pub struct Stopped(pub String);

impl std::fmt::Display for Stopped {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

/// Prints a line on standard output.
///
/// # Errors
/// [`Closed`] when the reader closed the pipe; any other failure to write.
pub fn line(text: Arguments<'_>) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        other => Ok(other?),
    }
}

/// Prints like `println!`, but returns the error of [`line()`].
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}

pub(crate) use say;

/// A flag that the first Ctrl-C sets; a second Ctrl-C ends the process at once, with status 130.
pub fn on_interrupt() -> Cancel {
    static CANCEL: OnceLock<Cancel> = OnceLock::new();
    let cancel = CANCEL.get_or_init(|| {
        let cancel = Cancel::default();
        let asked = cancel.clone();
        // If the handler cannot be set, Ctrl-C ends the process at once, which is the default.
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

/// The path of the temporary file, `PATH.part`, that becomes `path` when it is complete.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Whether a path is that of a parquet file.
pub fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// Writes a file by way of [`part_of`], a piece at a time: the old content stays until `write` is done, and the new file
/// has its permissions.
///
/// # Errors
/// Those of `write`, and when the file cannot be written; the temporary file is then removed.
pub async fn replaced<T>(
    path: &Path,
    write: impl AsyncFnOnce(BufWriter<File>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let part = part_of(path);
    let file = File::create(&part).with_context(|| format!("writing {}", part.display()))?;
    let written = async {
        let written = write(BufWriter::new(file.try_clone()?)).await?;
        if let Ok(found) = std::fs::metadata(path) {
            file.set_permissions(found.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        anyhow::Ok(written)
    }
    .await;
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Writes a whole file by way of [`part_of`]: the old content stays until the new content is complete.
///
/// # Errors
/// When it cannot be written; the temporary file is then removed.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    // Something that is not a regular file, such as /dev/stdout, is written directly.
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
