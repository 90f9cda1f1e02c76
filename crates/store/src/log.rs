//! A log of lines that must survive. Each line is on disk before the next begins. A line that was cut
//! off when the process ended is dropped.

use crate::StoreError;
use crate::platform::{LogPlace, RawFile, open_log};

/// An append-only file of lines, open in one process or tab at a time.
pub struct Log {
    file: RawFile,
    end: u64,
}

impl Log {
    /// Opens a log and gives its whole lines. With `anew` the log is emptied first.
    ///
    /// # Errors
    /// When it cannot be read, or is open in another process or tab.
    pub async fn open(place: &LogPlace, anew: bool) -> Result<(Self, Vec<String>), StoreError> {
        let Some(file) = open_log(place).await? else {
            return Err(StoreError::Read {
                name: format!("{place:?}"),
                reason: "it is open in another process or tab; end that first".to_owned(),
            });
        };
        if anew {
            file.truncate(0)?;
        }
        let bytes = file.read(0, file.bytes()? as usize)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|e| file.failed(e))?;
        let lines = text.lines().map(str::to_owned).collect();
        file.truncate(whole as u64)?;
        Ok((Self { file, end: whole as u64 }, lines))
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
        std::fs::remove_file(&path).expect("removed");
    }
}
