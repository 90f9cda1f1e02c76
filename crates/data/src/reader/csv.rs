//! Reads CSV and TSV a record at a time: the record's cells, and its bytes as the file has them.

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::bytes::Buffer;
use crate::{DataError, format_error};

/// The delimiters that are recognised.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// Most bytes of a record.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// Most cells of a record.
const MAX_CELLS: usize = 4096;

/// The records of a file with a header.
pub(crate) struct Csv {
    buffer: Buffer,
    reader: csv_core::Reader,
    pub header: Vec<String>,
    /// The header's bytes as the file has them.
    pub header_bytes: Vec<u8>,
    cells: Vec<u8>,
    ends: Vec<usize>,
    number: usize,
}

/// The delimiter of a header: the one that gives the most cells.
fn delimiter_of(line: &[u8]) -> u8 {
    let count = |delimiter: u8| {
        let mut is_text = false;
        line.iter()
            .filter(|byte| {
                is_text ^= **byte == b'"';
                !is_text && **byte == delimiter
            })
            .count()
    };
    let mut best = (b',', count(b','));
    for delimiter in DELIMITERS {
        if count(delimiter) > best.1 {
            best = (delimiter, count(delimiter));
        }
    }
    best.0
}

impl Csv {
    /// Reads the header.
    pub async fn open(mut buffer: Buffer) -> Result<Self, DataError> {
        let line = buffer.line(MAX_RECORD_BYTES).await?.unwrap_or_default();
        let delimiter = delimiter_of(&buffer.left()[..line]);
        let mut found = Self {
            buffer,
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            header: Vec::new(),
            header_bytes: Vec::new(),
            cells: vec![0; 1 << 16],
            ends: vec![0; MAX_CELLS],
            number: 0,
        };
        let Some((cells, bytes)) = found.record().await? else {
            return Ok(found);
        };
        let name = found.buffer.name().to_owned();
        let mut header = Vec::with_capacity(cells.len());
        for cell in cells {
            let cell = String::from_utf8(cell).map_err(|_| not_utf8(&name, 0))?.trim().to_owned();
            if header.contains(&cell) && !cell.is_empty() {
                return Err(format_error(&name, "a column once in CSV's header", format!("{cell:?} twice")));
            }
            header.push(cell);
        }
        (found.header, found.header_bytes, found.number) = (header, bytes, 0);
        Ok(found)
    }

    /// The next record's cells in the header's order, or what is wrong with it, and its bytes; `None` at the end.
    #[allow(clippy::type_complexity, reason = "a record, twice")]
    pub async fn next(&mut self) -> Result<Option<(Result<Vec<String>, String>, Vec<u8>)>, DataError> {
        loop {
            let Some((cells, bytes)) = self.record().await? else {
                return Ok(None);
            };
            // A line of white space is not a record.
            if let [only] = cells.as_slice()
                && only.trim_ascii().is_empty()
                && self.header.len() > 1
            {
                continue;
            }
            let count = cells.len();
            if count != self.header.len() {
                let found = format!("{count} cells, where the header has {}", self.header.len());
                return Ok(Some((Err(found), bytes)));
            }
            let cells: Result<Vec<String>, _> = cells.into_iter().map(String::from_utf8).collect();
            return Ok(Some((cells.map_err(|_| "bytes that are no text in UTF-8".to_owned()), bytes)));
        }
    }

    #[allow(clippy::type_complexity, reason = "cells and bytes")]
    async fn record(&mut self) -> Result<Option<(Vec<Vec<u8>>, Vec<u8>)>, DataError> {
        let (mut at, mut written, mut ended) = (0, 0, 0);
        let mut bytes = Vec::new();
        loop {
            let left = self.buffer.left();
            // The reader takes an empty input for the end, so it gets one only there.
            if left.is_empty() && !self.buffer.is_ended() {
                self.buffer.fill().await?;
                continue;
            }
            let (result, read, wrote, ends) =
                self.reader.read_record(left, &mut self.cells[written..], &mut self.ends[ended..]);
            bytes.extend_from_slice(&left[..read]);
            self.buffer.take(read);
            (at, written, ended) = (at + read, written + wrote, ended + ends);
            match result {
                ReadRecordResult::InputEmpty => {
                    if self.buffer.left().is_empty() {
                        self.buffer.fill().await?;
                    }
                }
                ReadRecordResult::OutputFull => self.cells.resize(2 * self.cells.len(), 0),
                ReadRecordResult::OutputEndsFull => {
                    let expected = format!("at most {MAX_CELLS} cells in a row of CSV");
                    return Err(format_error(self.buffer.name(), expected, format!("more in row {}", self.number + 1)));
                }
                ReadRecordResult::Record => {
                    self.number += 1;
                    let starts = std::iter::once(0).chain(self.ends[..ended].iter().copied());
                    let cells = starts.zip(&self.ends[..ended]).map(|(start, end)| self.cells[start..*end].to_vec());
                    return Ok(Some((cells.collect(), bytes)));
                }
                ReadRecordResult::End => return Ok(None),
            }
            if at > MAX_RECORD_BYTES {
                let found =
                    format!("a row of over {MAX_RECORD_BYTES} bytes at row {}; is a quote left open?", self.number + 1);
                return Err(format_error(self.buffer.name(), "CSV with a header", found));
            }
        }
    }
}

fn not_utf8(file: &str, row: usize) -> DataError {
    format_error(file, "text in UTF-8", format!("other bytes in row {row}; save it as UTF-8"))
}
