//! Writes rows as parquet in blocks of one size, so that the same rows give the same bytes in whatever pieces they come.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::{DataError, format_error};

/// Rows of a block: few, because the texts of a block must have less than 2 GiB.
pub(crate) const BLOCK: usize = 256;

/// Encoded bytes of a row group, about: a writer and a reader each hold one.
pub(crate) const GROUP_BYTES: usize = 64 << 20;

/// A parquet file that is being written.
pub(crate) struct TableWriter<W: Write + Send> {
    name: String,
    schema: SchemaRef,
    writer: ArrowWriter<W>,
    /// Rows that fill no block yet.
    pending: Vec<RecordBatch>,
    rows: usize,
    group_bytes: usize,
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a file. `about` are texts in its footer, by their keys, in place of those that the schema has. Every column
    /// may be null. `group_bytes` is about how many encoded bytes a row group has.
    pub fn new(
        name: &str,
        to: W,
        schema: &Schema,
        about: Vec<(String, String)>,
        group_bytes: usize,
    ) -> Result<Self, DataError> {
        let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let mut metadata = schema.metadata().clone();
        metadata.retain(|key, _| about.iter().all(|(own, _)| own != key));
        let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
        let about = about.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = properties.set_key_value_metadata(Some(about)).build();
        let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties)).map_err(|e| failed(name, &e))?;
        Ok(Self { name: name.to_owned(), schema, writer, pending: Vec::new(), rows: 0, group_bytes })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// When they cannot be written, or have other columns than the file.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        refuse_others(&self.name, &self.schema, &batch.schema())?;
        self.write_columns(batch.columns().to_vec())
    }

    /// Writes rows whose columns are known to be the file's.
    ///
    /// # Errors
    /// When they cannot be written, or have other types.
    pub fn write_columns(&mut self, columns: Vec<ArrayRef>) -> Result<(), DataError> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        let batch = batch.map_err(|e| failed(&self.name, &e))?;
        self.rows += batch.num_rows();
        self.pending.push(batch);
        while self.rows >= BLOCK {
            self.block(BLOCK)?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When its end cannot be written.
    pub fn finish(mut self) -> Result<(), DataError> {
        if self.rows > 0 {
            self.block(self.rows)?;
        }
        let Self { name, writer, .. } = self;
        writer.close().map(|_| ()).map_err(|e| failed(&name, &e))
    }

    /// Writes the first `count` rows of those that are pending.
    fn block(&mut self, count: usize) -> Result<(), DataError> {
        let (mut taken, mut left) = (Vec::new(), count);
        for batch in std::mem::take(&mut self.pending) {
            let first = left.min(batch.num_rows());
            left -= first;
            taken.push(batch.slice(0, first));
            if first < batch.num_rows() {
                self.pending.push(batch.slice(first, batch.num_rows() - first));
            }
        }
        self.rows -= count;
        self.encode(&taken).map_err(|e| failed(&self.name, &e))
    }

    fn encode(&mut self, batches: &[RecordBatch]) -> Result<(), ParquetError> {
        let whole = concat_batches(&self.schema, batches).map_err(|e: ArrowError| ParquetError::from(e))?;
        self.writer.write(&whole)?;
        match self.writer.in_progress_size() >= self.group_bytes {
            true => self.writer.flush(),
            false => Ok(()),
        }
    }
}

/// Refuses rows with other columns than `schema` has: columns are told apart by their places, and would be mixed.
///
/// # Errors
/// When a name or a type is another; the error names it.
pub(crate) fn refuse_others(file: &str, schema: &Schema, found: &Schema) -> Result<(), DataError> {
    let own = schema.fields().iter().map(Some).chain(std::iter::repeat(None));
    let other = found.fields().iter().map(Some).chain(std::iter::repeat(None));
    let shown = |field: Option<&FieldRef>| match field {
        Some(field) => format!("{} ({})", field.name(), field.data_type()),
        None => "none".to_owned(),
    };
    let most = schema.fields().len().max(found.fields().len());
    let is_same = |(own, other): &(Option<&FieldRef>, Option<&FieldRef>)| match (own, other) {
        (Some(own), Some(other)) => own.name() == other.name() && own.data_type() == other.data_type(),
        _ => false,
    };
    match own.zip(other).take(most).find(|both| !is_same(both)) {
        None => Ok(()),
        Some((own, other)) => {
            let expected = format!("the columns of the files before, in their order: {}", shown(own));
            Err(format_error(file, expected, shown(other)))
        }
    }
}

fn failed(name: &str, found: &dyn std::fmt::Display) -> DataError {
    format_error(name, "a file that can be written", found)
}
