//! Rows that pass through as they are stored, some of them left out; never more than a few at once.

use std::io::Write;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rewardscope_store::Source;
use serde_json::{Map, Value};

use crate::dataset::{ScorableRow, require, scorable};
use crate::{Columns, DataError, MAX_LINE_BYTES, Record, Rows, format_error, is_parquet, jsonl, parquet_file};

/// Lines handed on together.
const LINES: usize = 256;

/// A few rows as the file has them, whole.
pub enum Stored {
    /// Lines of JSON Lines, without their ends.
    Lines(Vec<Vec<u8>>),
    /// Rows of parquet with all columns.
    Batch(RecordBatch),
}

/// Hands on a file's rows, a few at a time: what of each is scored, and how they are stored.
///
/// # Errors
/// When the file is neither parquet nor JSON Lines, is damaged or lacks columns; and whatever `take`
/// returns.
pub async fn each_stored<E: From<DataError>>(
    source: &Source,
    columns: &Columns,
    mut take: impl AsyncFnMut(Vec<Result<ScorableRow, String>>, Stored) -> Result<(), E>,
) -> Result<(), E> {
    let of = |records: &[Map<String, Value>]| records.iter().map(|record| scorable(columns, record)).collect();
    if is_parquet(source).await? {
        let all = |found: &[&str]| {
            require(source, columns, found)?;
            Ok(found.iter().map(|&column| column.to_owned()).collect())
        };
        let mut batches = parquet_file::Batches::open_with(source, Rows::ALL, &all).await?;
        while let Some(batch) = batches.next().await? {
            // A column that is only passed on may be of any type.
            let schema = batch.schema();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let wanted = columns.wanted(names.iter().copied());
            let places: Vec<usize> =
                names.iter().enumerate().filter(|(_, name)| wanted.contains(name)).map(|(at, _)| at).collect();
            let scored = batch.project(&places).map_err(|e| format_error(source.name(), "a whole parquet file", e))?;
            let records: Vec<Map<String, Value>> = serde_arrow::from_record_batch(&scored)
                .map_err(|e| format_error(source.name(), "columns of texts, numbers and lists", e.message()))?;
            take(of(&records), Stored::Batch(batch)).await?;
        }
        return Ok(());
    }
    let mut lines = jsonl::Lines::new(source, MAX_LINE_BYTES);
    let (mut records, mut stored, mut is_first) = (Vec::new(), Vec::new(), true);
    while let Some((number, line)) = lines.next().await? {
        let Record(record) = serde_json::from_slice(&line).map_err(|e| {
            let expected = format!("parquet, or JSON Lines with an object on line {number}");
            format_error(source.name(), expected, e)
        })?;
        if is_first {
            require(source, columns, &record.keys().map(String::as_str).collect::<Vec<_>>())?;
            is_first = false;
        }
        records.push(record);
        stored.push(line);
        if stored.len() == LINES {
            take(of(&records), Stored::Lines(std::mem::take(&mut stored))).await?;
            records.clear();
        }
    }
    if !stored.is_empty() {
        take(of(&records), Stored::Lines(stored)).await?;
    }
    Ok(())
}

/// A file of the rows that are kept, of the same form as the one they came from.
pub struct Kept<W: Write + Send> {
    name: String,
    form: Form<W>,
}

enum Form<W: Write + Send> {
    /// Nothing came yet.
    Open(Option<W>),
    Lines(W),
    Parquet(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> Kept<W> {
    /// An empty file; `name` is for messages.
    pub fn new(name: &str, to: W) -> Self {
        Self { name: name.to_owned(), form: Form::Open(Some(to)) }
    }

    /// Writes those of a few rows that `keep` says true for.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, rows: &Stored, keep: &[bool]) -> Result<(), DataError> {
        let name = self.name.clone();
        let failed = |e: &dyn std::fmt::Display| format_error(&name, "a file that can be written", e);
        if let Form::Open(to) = &mut self.form
            && let Some(to) = to.take()
        {
            self.form = match rows {
                Stored::Lines(_) => Form::Lines(to),
                Stored::Batch(batch) => {
                    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                    let writer = ArrowWriter::try_new(to, batch.schema(), Some(properties)).map_err(|e| failed(&e))?;
                    Form::Parquet(Box::new(writer))
                }
            };
        }
        match (&mut self.form, rows) {
            (Form::Lines(to), Stored::Lines(lines)) => {
                for (line, _) in lines.iter().zip(keep).filter(|(_, keep)| **keep) {
                    to.write_all(line).and_then(|()| to.write_all(b"\n")).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            (Form::Parquet(writer), Stored::Batch(batch)) => {
                let kept = filter_record_batch(batch, &BooleanArray::from(keep.to_vec())).map_err(|e| failed(&e))?;
                writer.write(&kept).and_then(|()| writer.flush()).map_err(|e| failed(&e))
            }
            _ => Err(failed(&"rows of two forms")),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When its end cannot be written.
    pub fn finish(self) -> Result<(), DataError> {
        let failed = |e: &dyn std::fmt::Display| format_error(&self.name, "a file that can be written", e);
        match self.form {
            Form::Open(_) => Ok(()),
            Form::Lines(mut to) => to.flush().map_err(|e| failed(&e)),
            Form::Parquet(writer) => writer.close().map(|_| ()).map_err(|e| failed(&e)),
        }
    }
}
