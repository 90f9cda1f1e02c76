use rewardscope_store::Source;

use crate::{DataError, format_error};

/// Read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// The lines of a JSON Lines file one after the other, blank ones skipped.
pub(crate) struct Lines<'a> {
    source: &'a Source,
    /// A longer line is refused.
    max_line_bytes: usize,
    /// First byte that is not read yet.
    at: u64,
    /// What is read and not yet given.
    pending: Vec<u8>,
    /// Where in `pending` the next line begins.
    start: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(source: &'a Source, max_line_bytes: usize) -> Self {
        Self { source, max_line_bytes, at: 0, pending: Vec::new(), start: 0, number: 0 }
    }

    /// The next line with its number from 1.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Vec<u8>)>, DataError> {
        loop {
            let left = &self.pending[self.start..];
            let end = left.iter().position(|&byte| byte == b'\n');
            let is_last = end.is_none() && self.at == self.source.bytes();
            if is_last && left.is_empty() {
                return Ok(None);
            }
            if end.is_some() || is_last {
                let mut line = left[..end.unwrap_or(left.len())].to_vec();
                self.start = (self.start + line.len() + 1).min(self.pending.len());
                self.number += 1;
                // Some editors begin a file with a byte order mark.
                if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
                if !line.trim_ascii().is_empty() {
                    return Ok(Some((self.number, line)));
                }
                continue;
            }
            if left.len() > self.max_line_bytes {
                let found = format!("a line of over {} bytes", self.max_line_bytes);
                return Err(format_error(self.source.name(), "JSON Lines", found));
            }
            self.pending.drain(..self.start);
            self.start = 0;
            let len = (self.source.bytes() - self.at).min(WINDOW_BYTES as u64) as usize;
            self.pending.extend(self.source.read(self.at, len).await?);
            self.at += len as u64;
        }
    }
}
