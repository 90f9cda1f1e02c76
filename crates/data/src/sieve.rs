//! Writes the kept rows to a file, a few at a time, in the form that they were read in.

use std::io::Write;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::rewards::ABOUT;
use crate::table::refuse_others;
use crate::{DataError, Stored, format_error};

/// Writes the kept rows to a file in the form that they were read in: JSON Lines, a JSON list, CSV, parquet or Arrow.
/// The file's name decides between JSON Lines and a list, between parquet and Arrow, and on gzip.
pub struct RowWriter<W: Write + Send> {
    name: String,
    form: Form<W>,
}

enum Form<W: Write + Send> {
    /// No rows came yet.
    Open(Option<W>),
    /// The writer, whether the rows stand in a list, and whether one was written.
    Json(Packed<W>, bool, bool),
    Csv(Packed<W>),
    /// The writer, and the columns of the rows before.
    Parquet(Box<ArrowWriter<W>>, Option<SchemaRef>),
    Arrow(Box<FileWriter<W>>),
}

/// A writer of plain bytes or of gzip.
enum Packed<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
}

impl<W: Write> Packed<W> {
    fn new(to: W, is_packed: bool) -> Self {
        if is_packed { Self::Gzip(Box::new(GzEncoder::new(to, Level::default()))) } else { Self::Plain(to) }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Plain(mut to) => to.flush(),
            Self::Gzip(to) => to.finish().and_then(|mut to| to.flush()),
        }
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Gzip(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Gzip(to) => to.flush(),
        }
    }
}

/// The ending of a name in small letters, without `.gz`, and whether it had `.gz`.
fn ending(name: &str) -> (String, bool) {
    let lower = name.to_ascii_lowercase();
    let (stem, is_packed) = lower.strip_suffix(".gz").map_or((lower.as_str(), false), |stem| (stem, true));
    let last = stem.rsplit(['/', '\\']).next().unwrap_or(stem);
    (last.rsplit_once('.').map_or("", |(_, ending)| ending).to_owned(), is_packed)
}

/// Refuses a name whose ending belongs to another form than the rows have.
///
/// # Errors
/// When the ending belongs to another form; the error names the rows' form and an ending for it.
pub(crate) fn refuse_other_form(rows: &Stored, name: &str) -> Result<(), DataError> {
    let (ending, is_packed) = ending(name);
    let (form, names): (&str, &[&str]) = match rows {
        Stored::Json(_) => ("JSON", &["jsonl", "ndjson", "json"]),
        Stored::Csv(..) => ("CSV", &["csv", "tsv", "tab", "txt"]),
        Stored::Batch(_) => ("columns (parquet or Arrow)", &["parquet", "arrow", "feather"]),
    };
    let all = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow", "feather", "zst", "bz2", "xz", "zip"];
    let is_other = all.contains(&ending.as_str()) && !names.contains(&ending.as_str());
    if is_other || (is_packed && matches!(rows, Stored::Batch(_))) {
        let expected =
            format!("an output named .{}: rows are kept in the form that they have, which is {form}", names[0]);
        return Err(format_error(name, expected, format!(".{ending}{}", if is_packed { ".gz" } else { "" })));
    }
    Ok(())
}

impl<W: Write + Send> RowWriter<W> {
    /// Begins a file. `name` decides its form where the rows allow several, and names it in messages.
    pub fn new(name: &str, to: W) -> Self {
        Self { name: name.to_owned(), form: Form::Open(Some(to)) }
    }

    /// Refuses a name whose ending belongs to another form than the rows have.
    ///
    /// # Errors
    /// When the ending belongs to another form; the error names the rows' form and an ending for it.
    pub fn check_name(rows: &Stored, name: &str) -> Result<(), DataError> {
        refuse_other_form(rows, name)
    }

    fn open(&mut self, rows: &Stored) -> Result<(), DataError> {
        let name = self.name.clone();
        let failed = |e: &dyn std::fmt::Display| format_error(&name, "a file that can be written", e);
        let Form::Open(to) = &mut self.form else {
            return Ok(());
        };
        let Some(to) = to.take() else {
            return Ok(());
        };
        let (ending, is_packed) = ending(&name);
        self.form = match rows {
            Stored::Json(_) => Form::Json(Packed::new(to, is_packed), ending == "json", false),
            Stored::Csv(header, _) => {
                let mut to = Packed::new(to, is_packed);
                to.write_all(header).map_err(|e| failed(&e))?;
                if !header.ends_with(b"\n") {
                    to.write_all(b"\n").map_err(|e| failed(&e))?;
                }
                Form::Csv(to)
            }
            Stored::Batch(batch) if ending == "arrow" || ending == "feather" => {
                Form::Arrow(Box::new(FileWriter::try_new(to, &batch.schema()).map_err(|e| failed(&e))?))
            }
            Stored::Batch(batch) => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let schema = without_about(&batch.schema());
                let writer = ArrowWriter::try_new(to, schema, Some(properties)).map_err(|e| failed(&e))?;
                Form::Parquet(Box::new(writer), None)
            }
        };
        Ok(())
    }

    /// Writes the rows whose flag in `keep` is true; `keep` has one flag for each row.
    ///
    /// # Errors
    /// When they cannot be written, or have another form than the rows before.
    pub fn write(&mut self, rows: &Stored, keep: &[bool]) -> Result<(), DataError> {
        self.open(rows)?;
        let name = &self.name;
        let failed = |e: &dyn std::fmt::Display| format_error(name, "a file that can be written", e);
        let kept = |lines: &'_ [Vec<u8>]| {
            lines.iter().zip(keep).filter(|(_, keep)| **keep).map(|(line, _)| line.clone()).collect::<Vec<_>>()
        };
        match (&mut self.form, rows) {
            (Form::Json(to, is_list, is_started), Stored::Json(lines)) => {
                for line in kept(lines) {
                    let before: &[u8] = match (*is_list, *is_started) {
                        (true, true) => b",\n",
                        (true, false) => b"[\n",
                        (false, _) => b"",
                    };
                    *is_started = true;
                    let after: &[u8] = if *is_list { b"" } else { b"\n" };
                    // In JSON Lines an object over several lines becomes one line.
                    let line = if *is_list || !line.contains(&b'\n') { line } else { on_one_line(&line) };
                    [before, line.as_slice(), after]
                        .iter()
                        .try_for_each(|part| to.write_all(part))
                        .map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            (Form::Csv(to), Stored::Csv(_, records)) => {
                for record in kept(records) {
                    let end: &[u8] = if record.ends_with(b"\n") || record.ends_with(b"\r") { b"" } else { b"\n" };
                    to.write_all(&record).and_then(|()| to.write_all(end)).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            (Form::Parquet(writer, shape), Stored::Batch(batch)) => {
                let kept = filtered(batch, keep).map_err(|e| failed(&e))?;
                let schema = without_about(&kept.schema());
                if let Some(first) = shape {
                    refuse_others(name, first, &schema)?;
                } else {
                    *shape = Some(schema.clone());
                }
                let kept = RecordBatch::try_new(schema, kept.columns().to_vec()).map_err(|e| failed(&e))?;
                writer.write(&kept).and_then(|()| writer.flush()).map_err(|e| failed(&e))
            }
            (Form::Arrow(writer), Stored::Batch(batch)) => {
                let kept = filtered(batch, keep).map_err(|e| failed(&e))?;
                writer.write(&kept).map_err(|e| failed(&e))
            }
            _ => Err(failed(&"rows of two forms")),
        }
    }

    /// Ends the file. Without any call of [`Self::write`] the file stays empty.
    ///
    /// # Errors
    /// When its end cannot be written.
    pub fn finish(self) -> Result<(), DataError> {
        let failed = |e: &dyn std::fmt::Display| format_error(&self.name, "a file that can be written", e);
        match self.form {
            Form::Open(_) => Ok(()),
            Form::Json(mut to, is_list, is_started) => {
                let end: &[u8] = match (is_list, is_started) {
                    (true, true) => b"\n]\n",
                    (true, false) => b"[]\n",
                    (false, _) => b"",
                };
                to.write_all(end).and_then(|()| to.finish()).map_err(|e| failed(&e))
            }
            Form::Csv(to) => to.finish().map_err(|e| failed(&e)),
            Form::Parquet(writer, _) => writer.close().map(|_| ()).map_err(|e| failed(&e)),
            Form::Arrow(mut writer) => writer.finish().map_err(|e| failed(&e)),
        }
    }
}

/// Columns without what a file of rewards says of itself: of some of its rows it is not true.
fn without_about(schema: &Schema) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.remove(ABOUT);
    SchemaRef::new(schema.clone().with_metadata(metadata))
}

fn filtered(batch: &RecordBatch, keep: &[bool]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    filter_record_batch(batch, &BooleanArray::from(keep.to_vec()))
}

/// JSON with spaces for line breaks. Texts keep theirs: JSON escapes them.
fn on_one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}
