//! A log of lines that must survive. Each line is on disk before the next begins. A line that was cut
//! off when the process ended is dropped.

use crate::StoreError;
use crate::platform::{LogPlace, RawFile, open_log};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// An append-only file of lines, open in one process or tab at a time.
pub struct Log {
    file: RawFile,
    end: u64,
}

impl Log {
    /// Opens a log and gives its whole lines. With `anew` the log is emptied first.
    ///
    /// # Errors
    /// As [`Self::resume`] and [`Self::read`].
    pub async fn open(place: &LogPlace, anew: bool) -> Result<(Self, Vec<String>), StoreError> {
        let log = Self::resume(place, anew).await?;
        let (mut all, mut at) = (Vec::new(), 0);
        loop {
            let (lines, end) = log.read(at)?;
            if lines.is_empty() {
                return Ok((log, all));
            }
            all.extend(lines);
            at = end;
        }
    }

    /// Opens a log whose lines are read by [`Self::read`], for logs that are not held whole. With `anew` the log is
    /// emptied first.
    ///
    /// # Errors
    /// When it cannot be read, or is open in another process or tab.
    pub async fn resume(place: &LogPlace, anew: bool) -> Result<Self, StoreError> {
        let Some(file) = open_log(place).await? else {
            return Err(StoreError::Read {
                name: format!("{place:?}"),
                reason: "it is open in another process or tab; end that first".to_owned(),
            });
        };
        if anew {
            file.truncate(0)?;
        }
        let mut end = file.bytes()?;
        let whole = loop {
            let start = end.saturating_sub(PIECE);
            let bytes = file.read(start, (end - start) as usize)?;
            match bytes.iter().rposition(|&byte| byte == b'\n') {
                Some(last) => break start + last as u64 + 1,
                None if start == 0 => break 0,
                None => end = start,
            }
        };
        file.truncate(whole)?;
        Ok(Self { file, end: whole })
    }

    /// Reads some lines from byte `at` on, where a line begins. Gives them, and where the next one begins; none at the
    /// end.
    ///
    /// # Errors
    /// When they cannot be read, or are no UTF-8.
    pub fn read(&self, at: u64) -> Result<(Vec<String>, u64), StoreError> {
        let mut most = PIECE;
        loop {
            let left = self.end.saturating_sub(at);
            let bytes = self.file.read(at, left.min(most) as usize)?;
            let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            if whole == 0 && left > most {
                most *= 2;
                continue;
            }
            let text = std::str::from_utf8(&bytes[..whole]).map_err(|e| self.file.failed(e))?;
            return Ok((text.lines().map(str::to_owned).collect(), at + whole as u64));
        }
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        self.file.name()
    }

    /// Whether all lines are on disk; in a page they may be in memory only (see [`Self::append`]).
    pub fn is_kept(&self) -> bool {
        self.file.is_kept()
    }

    /// Appends a line. When this returns, the line is on disk. A page whose browser gives no room goes on in memory:
    /// what is on disk stays there, and the rest lasts until the page closes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &str) -> Result<(), StoreError> {
        let text = format!("{line}\n");
        if let Err(error) = self.write(&text) {
            // No part of a line that failed stays behind.
            let _ = self.file.truncate(self.end);
            let is_full = matches!(error, StoreError::OutOfSpace { .. });
            let Some(memory) = is_full.then(|| self.file.in_memory(self.end)).transpose()?.flatten() else {
                return Err(error);
            };
            self.file = memory;
            self.write(&text)?;
        }
        self.end += text.len() as u64;
        Ok(())
    }

    fn write(&self, text: &str) -> Result<(), StoreError> {
        self.file.write(self.end, text.as_bytes())?;
        self.file.flush()
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn whole_lines_survive_and_a_cut_one_does_not() {
        let path = std::env::temp_dir().join(format!("rewardscope-log-{}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mut log, lines) = block_on(Log::open(&path, false)).expect("new");
        assert!(lines.is_empty());
        log.append("one").expect("written");
        let message = block_on(Log::open(&path, false)).err().expect("open already").to_string();
        assert!(message.contains("another process"), "{message}");
        log.append("two ☀").expect("written");
        drop(log);
        let whole = std::fs::read(&path).expect("there");
        std::fs::write(&path, [&whole[..], b"thr\xe2"].concat()).expect("cut");
        let (mut log, lines) = block_on(Log::open(&path, false)).expect("again");
        assert_eq!(lines, ["one", "two ☀"]);
        log.append("three").expect("written");
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\ntwo ☀\nthree\n");
        // A line that is longer than what is read at once, and then one that was cut off.
        let long = "x".repeat(3 * PIECE as usize);
        std::fs::write(&path, format!("one\n{long}\nthree\n{long}")).expect("written");
        let log = block_on(Log::resume(&path, false)).expect("again");
        let (mut read, mut at) = (Vec::new(), 0);
        while let (lines, end) = log.read(at).expect("read")
            && !lines.is_empty()
        {
            read.extend(lines.iter().map(String::len));
            at = end;
        }
        assert_eq!(read, [3, long.len(), 5]);
        drop(log);
        std::fs::remove_file(&path).expect("removed");
    }
}
