//! Lines that must survive: each is on disk before the next is begun, and a line that was cut off
//! when the process ended is forgotten.

use crate::StoreError;
use crate::platform::{LogPlace, RawFile, open_log};

/// An append-only file of lines, open in one process or tab at a time.
pub struct Log {
    file: RawFile,
    end: u64,
}

impl Log {
    /// Opens a log and gives the lines that are whole.
    ///
    /// # Errors
    /// When it cannot be read or is open elsewhere.
    pub async fn open(place: &LogPlace) -> Result<(Self, Vec<String>), StoreError> {
        let Some(file) = open_log(place).await? else {
            return Err(StoreError::Read {
                name: format!("{place:?}"),
                reason: "it is open in another process or tab; end that first".to_owned(),
            });
        };
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

    /// Appends a line; it has survived when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &str) -> Result<(), StoreError> {
        let text = format!("{line}\n");
        self.file.write(self.end, text.as_bytes())?;
        self.file.flush()?;
        self.end += text.len() as u64;
        Ok(())
    }

    /// Forgets every line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        self.file.truncate(0)?;
        self.end = 0;
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
        let (mut log, lines) = block_on(Log::open(&path)).expect("new");
        assert!(lines.is_empty());
        log.append("one").expect("written");
        let message = block_on(Log::open(&path)).err().expect("open already").to_string();
        assert!(message.contains("another process"), "{message}");
        log.append("two ☀").expect("written");
        drop(log);
        let whole = std::fs::read(&path).expect("there");
        std::fs::write(&path, [&whole[..], b"thr\xe2"].concat()).expect("cut");
        let (mut log, lines) = block_on(Log::open(&path)).expect("again");
        assert_eq!(lines, ["one", "two ☀"]);
        log.append("three").expect("written");
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\ntwo ☀\nthree\n");
        std::fs::remove_file(&path).expect("removed");
    }
}
