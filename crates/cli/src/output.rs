//! What a command prints. Whoever reads may have seen enough and close the pipe: that is no failure.

use std::fmt::{Arguments, Formatter};
use std::io::{ErrorKind, Write, stdout};

/// Nobody reads any more.
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("the output was closed")
    }
}

impl std::error::Error for Closed {}

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
