//! One reader of rows for every form of file: parquet and Arrow by column; JSON Lines, JSON, CSV and TSV as text,
//! packed or not. A file is held whole only where it is one JSON object with the rows inside.

mod arrow_check;
mod arrow_file;
mod bytes;
mod csv;
mod json;
mod look;
mod signature;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use rewardscope_store::{ByteStream, Source};
use serde_json::{Map, Value};

use self::arrow_file::ArrowBatches;
use self::bytes::{Buffer, TextBytes};
use self::csv::Csv;
pub use self::json::{NonFinite, readable};
use self::json::{Scanner, rows_of};
pub use self::look::Column;
use self::look::{LOOKED_AT, LOOKED_AT_BYTES, columns_of, look_at, seen};
pub(crate) use self::look::{columns_by_value, json_list};
use self::signature::{Kind, Packing, kind_of};
use crate::guard::guarded;
use crate::{DataError, Rows, format_error, parquet_file};

/// Most bytes of a line or object that is one row.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Most bytes of one object with the rows inside, which has to be held whole.
const MAX_WHOLE_BYTES: usize = 1 << 30;

/// Most rows of a text that are handed on together.
const TOGETHER: usize = 256;

/// A row as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRow {
    /// The row's number, from 1.
    pub number: usize,
    /// The row's cells by column, or why they cannot be read.
    pub record: Result<Map<String, Value>, String>,
}

/// Rows that were read together, parsed and as the file stores them.
pub struct RawRows {
    /// The rows.
    pub rows: Vec<RawRow>,
    /// The same rows as the file stores them.
    pub stored: Stored,
}

/// A few rows as the file stores them, with every column where [`Opening::with_stored`] is set.
pub enum Stored {
    /// JSON objects, one for each row, without the line ends between them.
    Json(Vec<Vec<u8>>),
    /// The header of a CSV file, and its records with their line ends.
    Csv(Vec<u8>, Vec<Vec<u8>>),
    /// A batch of rows of parquet or Arrow.
    Batch(RecordBatch),
}

/// How a file is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Which rows are read.
    pub rows: Rows,
    /// What becomes of NaN and the infinities.
    pub non_finite: NonFinite,
    /// The name of the list to read, where one JSON object has several lists of rows.
    pub split: Option<String>,
    /// Whether a file of one JSON object is one row, whatever lists the object has.
    pub is_whole: bool,
    /// Whether [`Stored`] rows keep every column and its type.
    pub with_stored: bool,
}

impl Default for Opening {
    fn default() -> Self {
        Self { rows: Rows::ALL, non_finite: NonFinite::Null, split: None, is_whole: false, with_stored: false }
    }
}

/// Reads a file's rows, a few at a time, whatever the file's form.
///
/// ```
/// use rewardscope_data::{Opening, Reader};
/// use rewardscope_store::{ByteStream, Source};
///
/// # pollster::block_on(async {
/// let table = Source::memory("rows.csv", b"prompt,chosen,rejected\n2 + 2?,4,5\n".as_slice());
/// let mut reader = Reader::open(ByteStream::of(&table), Opening::default()).await?;
/// let names: Vec<&str> = reader.columns().iter().map(|column| column.name.as_str()).collect();
/// assert_eq!(names, ["prompt", "chosen", "rejected"]);
/// while let Some(few) = reader.next().await? {
///     assert_eq!(few.rows[0].record.as_ref().expect("a row")["chosen"], "4");
/// }
/// # Ok::<(), rewardscope_data::DataError>(())
/// # }).expect("a table");
/// ```
pub struct Reader {
    name: String,
    form: Form,
    columns: Vec<Column>,
    opening: Opening,
    /// The columns that are read; all where `None`.
    selected: Option<Vec<String>>,
    number: usize,
    /// Rows that were read to find the columns, and not yet given.
    ahead: Vec<TextRow>,
    is_done: bool,
}

enum Form {
    Parquet(Box<parquet_file::Batches>),
    Arrow(Box<ArrowBatches>),
    Lines(Buffer),
    /// Objects with white space or commas between them; true where they stand in a list.
    Objects(Buffer, Scanner, bool),
    Whole(std::vec::IntoIter<Map<String, Value>>),
    Csv(Box<Csv>),
}

impl Reader {
    /// Opens a file and reads as much of it as its columns need.
    ///
    /// # Errors
    /// When it holds no rows, or is damaged at its beginning.
    pub async fn open(mut stream: ByteStream, opening: Opening) -> Result<Self, DataError> {
        let name = stream.name().to_owned();
        let start = stream.peek(64).await?.to_vec();
        let form = match kind_of(&name, &start)? {
            Kind::Parquet => {
                let source = stream.into_source().await?;
                Form::Parquet(Box::new(parquet_file::Batches::open(source, opening.rows, opening.with_stored).await?))
            }
            Kind::Arrow { is_file } => Form::Arrow(Box::new(ArrowBatches::open(stream, is_file).await?)),
            Kind::Text(packing) => text_form(Buffer::new(TextBytes::new(stream, packing)), &opening).await?,
        };
        let mut reader = Self {
            name,
            form,
            columns: Vec::new(),
            opening,
            selected: None,
            number: 0,
            ahead: Vec::new(),
            is_done: false,
        };
        reader.look_at_columns().await?;
        Ok(reader)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns; in a file of text those of its first rows, or of its header.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether the file is CSV or TSV, where every cell is a text.
    pub fn is_csv(&self) -> bool {
        matches!(self.form, Form::Csv(_))
    }

    /// The columns with their types, where the file stores rows by columns.
    pub(crate) fn schema(&self) -> Result<Option<SchemaRef>, DataError> {
        match &self.form {
            Form::Parquet(batches) => Ok(Some(batches.schema())),
            Form::Arrow(batches) => batches.schema().map(Some),
            _ => Ok(None),
        }
    }

    /// Reads only these columns, where the form stores columns apart. Call it before [`Self::next`].
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn select(&mut self, wanted: &[String]) -> Result<(), DataError> {
        self.selected = Some(wanted.to_vec());
        match &mut self.form {
            Form::Parquet(batches) if !self.opening.with_stored => batches.select(wanted),
            _ => Ok(()),
        }
    }

    /// The next few rows; `None` at the end.
    ///
    /// # Errors
    /// When the file is damaged so that no row can be read any more.
    pub async fn next(&mut self) -> Result<Option<RawRows>, DataError> {
        loop {
            let batch = match &mut self.form {
                Form::Parquet(batches) => batches.next().await?,
                Form::Arrow(batches) => batches.next().await?,
                _ => return self.next_texts().await,
            };
            let Some(batch) = batch else {
                return Ok(None);
            };
            let first = self.number + 1;
            self.number += batch.num_rows();
            let rows = self.opening.rows;
            // The parquet decoder itself leaves out rows that were not asked for.
            let (offset, batch) = match &self.form {
                Form::Parquet(_) => (rows.first() - 1, batch),
                _ => {
                    let (skip, len) = rows.within(first, batch.num_rows());
                    (skip, batch.slice(skip, len))
                }
            };
            if batch.num_rows() == 0 {
                if rows.is_past(first) {
                    return Ok(None);
                }
                continue;
            }
            let wanted = match &self.selected {
                Some(wanted) => selected_of(&self.name, &batch, wanted)?,
                None => batch.clone(),
            };
            let records = records_of(&self.name, &wanted, self.opening.non_finite)?;
            let rows = records.into_iter().enumerate();
            let rows = rows.map(|(at, record)| RawRow { number: first + offset + at, record: Ok(record) }).collect();
            return Ok(Some(RawRows { rows, stored: Stored::Batch(batch) }));
        }
    }

    async fn next_texts(&mut self) -> Result<Option<RawRows>, DataError> {
        let (mut rows, mut stored) = (Vec::new(), Vec::new());
        let header = match &self.form {
            Form::Csv(csv) => Some(csv.header_bytes.clone()),
            _ => None,
        };
        let mut ahead = std::mem::take(&mut self.ahead).into_iter();
        while rows.len() < TOGETHER && !self.is_done {
            let found = match ahead.next() {
                Some(found) => Some(found),
                None => self.read_one().await?,
            };
            let Some((record, bytes)) = found else {
                self.is_done = true;
                break;
            };
            self.number += 1;
            if self.opening.rows.is_past(self.number) {
                self.is_done = true;
                break;
            }
            if self.opening.rows.has(self.number) {
                rows.push(RawRow { number: self.number, record });
                stored.push(bytes);
            }
            // Rows from a pipe are handed on as they come.
            if ahead.len() == 0 && self.must_wait() && !rows.is_empty() {
                break;
            }
        }
        self.ahead = ahead.collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let stored = match header {
            Some(header) => Stored::Csv(header, stored),
            None => Stored::Json(stored),
        };
        Ok(Some(RawRows { rows, stored }))
    }

    /// Whether the next row needs more bytes than were read.
    fn must_wait(&self) -> bool {
        match &self.form {
            Form::Lines(buffer) | Form::Objects(buffer, ..) => buffer.left().trim_ascii().is_empty(),
            _ => false,
        }
    }

    /// The next row of a text with its bytes.
    async fn read_one(&mut self) -> Result<Texts, DataError> {
        let non_finite = self.opening.non_finite;
        match &mut self.form {
            Form::Lines(buffer) => next_line(buffer, non_finite).await,
            Form::Objects(buffer, scanner, is_list) => next_object(buffer, scanner, is_list, non_finite).await,
            Form::Whole(rows) => Ok(rows.next().map(|row| {
                let bytes = serde_json::to_vec(&row).unwrap_or_default();
                (Ok(row), bytes)
            })),
            Form::Csv(csv) => {
                let Some((cells, bytes)) = csv.next().await? else {
                    return Ok(None);
                };
                let cells = cells.map(|cells| {
                    let pair = |(name, cell): (&String, String)| (name.clone(), Value::String(cell));
                    csv.header.iter().zip(cells).filter(|(name, _)| !name.is_empty()).map(pair).collect()
                });
                Ok(Some((cells, bytes)))
            }
            Form::Parquet(_) | Form::Arrow(_) => Ok(None),
        }
    }

    async fn look_at_columns(&mut self) -> Result<(), DataError> {
        if let Some(schema) = self.schema()? {
            self.columns = columns_of(&schema);
            return Ok(());
        }
        let mut columns: Vec<(Column, usize)> = Vec::new();
        if let Form::Csv(csv) = &self.form {
            let column =
                |name: &String| (Column { name: name.clone(), is_text: false, is_json: true, is_pair: true }, 0);
            columns = csv.header.iter().filter(|name| !name.is_empty()).map(column).collect();
        }
        let mut bytes = 0;
        while self.ahead.len() < LOOKED_AT && bytes < LOOKED_AT_BYTES {
            let Some(found) = self.read_one().await? else {
                break;
            };
            bytes += found.1.len();
            if let Ok(record) = &found.0 {
                look_at(record, &mut columns);
            }
            self.ahead.push(found);
            // Do not wait for a pipe that has no more for now.
            if self.must_wait() {
                break;
            }
        }
        self.columns = seen(columns);
        Ok(())
    }
}

/// Tells a text's form by its first bytes and its name.
async fn text_form(mut buffer: Buffer, opening: &Opening) -> Result<Form, DataError> {
    let name = buffer.name().to_owned();
    let stem = ["gz", "zst", "zstd", "bz2"].iter().find_map(|packed| name.strip_suffix(packed)?.strip_suffix('.'));
    let ending = stem.unwrap_or(&name).rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let first = buffer.skip_blank().await?;
    let is_table = ["csv", "tsv", "tab"].contains(&ending.as_str());
    match first {
        None if is_table => Ok(Form::Csv(Box::new(Csv::open(buffer).await?))),
        None => Ok(Form::Lines(buffer)),
        Some(b'[') if !is_table => {
            buffer.take(1);
            Ok(Form::Objects(buffer, Scanner::default(), true))
        }
        Some(b'{') if !is_table => objects_form(buffer, opening).await,
        Some(_) if ["jsonl", "ndjson", "json"].contains(&ending.as_str()) => Ok(Form::Lines(buffer)),
        Some(first) if is_table || first.is_ascii_alphanumeric() || first == b'"' || first >= 0x80 => {
            let start: Vec<u8> = buffer.left().iter().copied().take(60).collect();
            let csv = Csv::open(buffer).await?;
            if csv.header.len() < 2 && !is_table {
                let found = format!("a file that begins with {:?}", String::from_utf8_lossy(&start));
                return Err(format_error(&name, ROWS, found));
            }
            Ok(Form::Csv(Box::new(csv)))
        }
        Some(_) => {
            let start: Vec<u8> = buffer.left().iter().copied().take(40).collect();
            let found = format!("a file that begins with {:?}", String::from_utf8_lossy(&start));
            Err(format_error(&name, ROWS, found))
        }
    }
}

/// The forms that rows are read from, for messages.
const ROWS: &str = "rows in parquet, Arrow, JSON Lines, JSON or CSV with a header";

/// Tells the form of a text that begins with an object: one object on each line, one after another, or one with the
/// rows inside.
async fn objects_form(mut buffer: Buffer, opening: &Opening) -> Result<Form, DataError> {
    let name = buffer.name().to_owned();
    let line = buffer.line(MAX_ROW_BYTES).await?.unwrap_or(buffer.left().len());
    let first = json::value(&buffer.left()[..line], opening.non_finite);
    let is_alone = first.is_ok() && buffer.is_ended() && buffer.left()[line..].trim_ascii().is_empty();
    if first.is_ok() && !is_alone {
        return Ok(Form::Lines(buffer));
    }
    // A damaged first line of JSON Lines: the second line is an object.
    if first.is_err() && buffer.left().len() > line {
        let rest = &buffer.left()[line + 1..];
        let second = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if second.starts_with(b"{") && json::record(second, opening.non_finite).is_ok() {
            return Ok(Form::Lines(buffer));
        }
    }
    // An object over several lines: more objects may follow.
    let mut scanner = Scanner::default();
    let end = loop {
        if let Some(end) = scanner.end(buffer.left()) {
            break Some(end);
        }
        if buffer.left().len() > MAX_WHOLE_BYTES {
            let expected =
                format!("at most {MAX_WHOLE_BYTES} bytes in one JSON object; JSON Lines and parquet may be larger");
            return Err(format_error(&name, expected, "more"));
        }
        if !buffer.fill().await? {
            break None;
        }
    };
    let Some(end) = end else {
        return Ok(Form::Lines(buffer));
    };
    // Look whether another value follows.
    while buffer.left()[end..].trim_ascii().is_empty() && buffer.fill().await? {}
    if !buffer.left()[end..].trim_ascii().is_empty() {
        return Ok(Form::Objects(buffer, Scanner::default(), false));
    }
    let object = json::record(&buffer.left()[..end], opening.non_finite)
        .map_err(|found| format_error(&name, "a JSON object", found))?;
    if opening.is_whole {
        return Ok(Form::Whole(vec![object].into_iter()));
    }
    let rows =
        rows_of(object, opening.split.as_deref()).map_err(|found| format_error(&name, "one list of rows", found))?;
    Ok(Form::Whole(rows.into_iter()))
}

/// A row of a text, and its bytes.
pub(crate) type TextRow = (Result<Map<String, Value>, String>, Vec<u8>);

pub(crate) type Texts = Option<TextRow>;

/// Lines of JSON objects, each with its bytes.
pub(crate) struct Lines(Buffer);

impl Lines {
    /// The lines of a file that is not packed.
    pub fn of(source: &Source) -> Self {
        Self(Buffer::new(TextBytes::new(ByteStream::of(source), Packing::Plain)))
    }

    /// The next line: its object, or why it is none, and its bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Texts, DataError> {
        next_line(&mut self.0, NonFinite::Null).await
    }
}

async fn next_line(buffer: &mut Buffer, non_finite: NonFinite) -> Result<Texts, DataError> {
    loop {
        let Some(line) = buffer.line(MAX_ROW_BYTES).await? else {
            let found = format!("a line of over {MAX_ROW_BYTES} bytes");
            return Err(format_error(buffer.name(), "JSON Lines", found));
        };
        if line == 0 && buffer.left().is_empty() {
            return Ok(None);
        }
        let mut text = buffer.left()[..line].to_vec();
        buffer.take(line + 1);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        if !text.trim_ascii().is_empty() {
            return Ok(Some((json::record(&text, non_finite), text)));
        }
    }
}

async fn next_object(
    buffer: &mut Buffer,
    scanner: &mut Scanner,
    is_list: &mut bool,
    non_finite: NonFinite,
) -> Result<Texts, DataError> {
    loop {
        match buffer.skip_blank().await? {
            None if *is_list => return Err(format_error(buffer.name(), "a JSON list", "its end is missing")),
            None => return Ok(None),
            Some(b']') if *is_list => {
                buffer.take(1);
                *is_list = false;
                return match buffer.skip_blank().await? {
                    None => Ok(None),
                    Some(_) => Err(format_error(buffer.name(), "one JSON list", "more after its end")),
                };
            }
            Some(b',') => buffer.take(1),
            Some(b'{') => break,
            Some(_) => {
                let found: String = String::from_utf8_lossy(buffer.left()).chars().take(40).collect();
                let expected = if *is_list { "objects in a JSON list" } else { "JSON objects one after another" };
                return Err(format_error(buffer.name(), expected, format!("{found:?}")));
            }
        }
    }
    let end = loop {
        if let Some(end) = scanner.end(buffer.left()) {
            break end;
        }
        if buffer.left().len() > MAX_ROW_BYTES {
            return Err(format_error(buffer.name(), "a JSON list", format!("an object of over {MAX_ROW_BYTES} bytes")));
        }
        if !buffer.fill().await? {
            return Err(format_error(buffer.name(), "a JSON list", "an object without its end"));
        }
    };
    let text = buffer.left()[..end].to_vec();
    buffer.take(end);
    Ok(Some((json::record(&text, non_finite), text)))
}

fn selected_of(file: &str, batch: &RecordBatch, wanted: &[String]) -> Result<RecordBatch, DataError> {
    let schema = batch.schema();
    let places: Vec<usize> = wanted.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    batch.project(&places).map_err(|e| format_error(file, "a whole Arrow file", e))
}

/// Turns a batch's rows into records.
pub(crate) fn records_of(
    file: &str,
    batch: &RecordBatch,
    non_finite: NonFinite,
) -> Result<Vec<Map<String, Value>>, DataError> {
    let batch = parquet_file::readable(file, batch)?;
    let wrong = |found: &str| format_error(file, "columns of texts, numbers and lists", found);
    let read = guarded(|| serde_arrow::from_record_batch(&batch)).map_err(wrong)?;
    let mut records: Vec<Map<String, Value>> = read.map_err(|e| wrong(e.message()))?;
    // A JSON value has no NaN: serde_json makes it null, which is what rows of a table need.
    if non_finite == NonFinite::Named {
        parquet_file::name_non_finite(&batch, &mut records);
    }
    Ok(records)
}
