//! Records of one size behind a header line that says what they are. They are appended as they come,
//! read by number, and never held whole. A record that was cut off when the process ended is dropped.

use crate::platform::{LogPlace, RawFile, open_log};
use crate::{Source, StoreError};

/// Most bytes of the header line.
const MAX_HEADER_BYTES: usize = 1 << 16;

enum Bytes {
    Memory(Vec<u8>),
    File { file: RawFile, end: u64 },
}

/// A sequence of records of one size, in memory or in a file. The file is open in one process or tab at
/// a time.
pub struct Records {
    bytes: Bytes,
    /// Bytes of the header line, with its end.
    header_bytes: usize,
    record_bytes: usize,
}

impl Records {
    /// An empty sequence in memory; each record will have `record_bytes` bytes.
    pub fn memory(header: &str, record_bytes: usize) -> Self {
        Self { bytes: Bytes::Memory(line(header)), header_bytes: header.len() + 1, record_bytes }
    }

    /// Opens a file of records of `record_bytes` bytes each, or begins one where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open in another process or tab, or has another header.
    pub async fn open(place: &LogPlace, header: &str, record_bytes: usize) -> Result<Self, StoreError> {
        let Some(file) = open_log(place).await? else {
            return Err(StoreError::Read {
                name: format!("{place:?}"),
                reason: "it is open in another process or tab; end that first".to_owned(),
            });
        };
        let (header, found) = (line(header), file.bytes()?);
        let header_bytes = header.len();
        let start = file.read(0, found.min(header_bytes as u64) as usize)?;
        let end = if start == header {
            let records = (found - header_bytes as u64) / record_bytes as u64;
            header_bytes as u64 + records * record_bytes as u64
        } else if header.starts_with(&start) {
            // A new file, or one whose header was cut off.
            file.write(0, &header)?;
            header_bytes as u64
        } else {
            let shown = String::from_utf8_lossy(&start[..start.len().min(200)]).into_owned();
            return Err(StoreError::Format {
                name: file.name().to_owned(),
                expected: format!("records of {}", String::from_utf8_lossy(&header).trim_end()),
                found: format!("{shown}; move that file away, or take another place"),
            });
        };
        file.truncate(end)?;
        Ok(Self { bytes: Bytes::File { file, end }, header_bytes, record_bytes })
    }

    /// The header line of a file of records, without its end.
    ///
    /// # Errors
    /// When the file cannot be read or has no such line.
    pub async fn header_of(source: &Source) -> Result<String, StoreError> {
        let refuse = |found: &str| StoreError::Format {
            name: source.name().to_owned(),
            expected: "records behind a line that says what they are".to_owned(),
            found: found.to_owned(),
        };
        let start = source.read(0, source.bytes().min(MAX_HEADER_BYTES as u64) as usize).await?;
        let end = start.iter().position(|&byte| byte == b'\n').ok_or_else(|| refuse("no such line"))?;
        String::from_utf8(start[..end].to_vec()).map_err(|_| refuse("other bytes"))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        let bytes = match &self.bytes {
            Bytes::Memory(bytes) => bytes.len() as u64,
            Bytes::File { end, .. } => *end,
        };
        ((bytes - self.header_bytes as u64) / self.record_bytes as u64) as usize
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the bytes of `count` records from number `first` on, counted from 0.
    ///
    /// # Errors
    /// When they cannot be read, or there are fewer.
    pub fn read(&self, first: usize, count: usize) -> Result<Vec<u8>, StoreError> {
        let start = self.header_bytes as u64 + first as u64 * self.record_bytes as u64;
        let len = count * self.record_bytes;
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let found = usize::try_from(start).ok().and_then(|start| bytes.get(start..start.checked_add(len)?));
                let past = || StoreError::PastEnd {
                    name: "records in memory".to_owned(),
                    bytes: bytes.len() as u64,
                    start,
                    end: start.saturating_add(len as u64),
                };
                found.map(<[u8]>::to_vec).ok_or_else(past)
            }
            Bytes::File { file, .. } => file.read(start, len),
        }
    }

    /// Keeps the first `count` records and drops the others.
    ///
    /// # Errors
    /// When the file cannot be shortened.
    pub fn truncate(&mut self, count: usize) -> Result<(), StoreError> {
        let until = self.header_bytes as u64 + count.min(self.len()) as u64 * self.record_bytes as u64;
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes.truncate(until as usize),
            Bytes::File { file, end } => {
                file.truncate(until)?;
                *end = until;
            }
        }
        Ok(())
    }

    /// Appends whole records: a multiple of `record_bytes` bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&mut self, records: &[u8]) -> Result<(), StoreError> {
        debug_assert!(records.len().is_multiple_of(self.record_bytes));
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes.extend_from_slice(records),
            Bytes::File { file, end } => {
                file.write(*end, records)?;
                *end += records.len() as u64;
            }
        }
        Ok(())
    }
}

fn line(header: &str) -> Vec<u8> {
    format!("{header}\n").into_bytes()
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn whole_records_survive_and_another_header_is_refused() {
        let path = std::env::temp_dir().join(format!("rewardscope-records-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let open = |header: &str| block_on(Records::open(&path, header, 4)).expect("open");
        let mut records = open("of four");
        records.append(b"onetwofi").expect("written");
        drop(records);
        let whole = std::fs::read(&path).expect("there");
        std::fs::write(&path, [&whole[..], b"cut"].concat()).expect("cut");
        let mut records = open("of four");
        assert_eq!((records.len(), records.read(1, 1).expect("read")), (2, b"wofi".to_vec()));
        records.append(b"more").expect("written");
        assert_eq!(records.read(0, 3).expect("read"), b"onetwofimore");
        drop(records);
        assert_eq!(block_on(Records::header_of(&Source::file(&path).expect("there"))).expect("a line"), "of four");
        let message = block_on(Records::open(&path, "another", 4)).err().expect("refused").to_string();
        assert!(message.contains("of four") && message.contains("another"), "{message}");
        std::fs::remove_file(&path).expect("removed");
        let mut memory = Records::memory("of four", 4);
        memory.append(b"onetwofi").expect("kept");
        assert_eq!((memory.len(), memory.read(1, 1).expect("read")), (2, b"wofi".to_vec()));
        assert!(memory.read(2, 1).is_err());
    }
}
