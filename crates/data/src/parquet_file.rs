use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use parquet::file::properties::WriterProperties;
use rewardscope_store::Source;
use serde::Deserialize;

use crate::{COLUMNS, DataError, Row, Rows, format_error};

/// More rows than any benchmark here has; a footer that promises more is damage or malice.
const MAX_ROWS: i64 = 50_000_000;

/// What is read of a row. The column of models is optional, that of metadata is left alone.
#[derive(Deserialize)]
struct Stored {
    id: String,
    prompt: String,
    chosen: Vec<String>,
    rejected: Vec<String>,
    num_correct: i64,
    num_incorrect: i64,
    total_completions: i64,
    #[serde(default)]
    models: Option<Vec<String>>,
    subset: String,
}

/// The rows, reading only the columns that are needed, a row group at a time.
pub(crate) async fn read(source: &Source, rows: Rows) -> Result<Vec<Row>, DataError> {
    let mut batches = Batches::open(source, &COLUMNS, &["models"], rows).await?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.next().await? {
        rows.extend(rows_of(source.name(), &batch)?);
    }
    Ok(rows)
}

/// Gets the columns that are there and gives those to read.
type Choose<'a> = dyn Fn(&[&str]) -> Result<Vec<String>, DataError> + 'a;

/// Some columns of a parquet file, a batch of rows at a time.
pub(crate) struct Batches<'a> {
    source: &'a Source,
    decoder: ParquetPushDecoder,
    /// What the file says beside its rows, such as what pandas or datasets know of them.
    metadata: arrow_schema::Metadata,
}

impl<'a> Batches<'a> {
    /// Of the columns the `required` ones must be there.
    pub(crate) async fn open(
        source: &'a Source,
        required: &[&str],
        optional: &[&str],
        rows: Rows,
    ) -> Result<Self, DataError> {
        Self::open_with(source, rows, &|found| {
            let missing: Vec<&str> = required.iter().copied().filter(|column| !found.contains(column)).collect();
            if !missing.is_empty() {
                return Err(DataError::Columns {
                    file: source.name().to_owned(),
                    missing: missing.join(", "),
                    found: found.join(", "),
                });
            }
            Ok(required.iter().chain(optional).map(|&column| column.to_owned()).collect())
        })
        .await
    }

    /// Reads the footer; `choose` gets the columns that are there and gives those to read.
    pub(crate) async fn open_with(source: &'a Source, rows: Rows, choose: &Choose<'_>) -> Result<Self, DataError> {
        let damaged = |e: &dyn std::fmt::Display| damaged(source, e);
        // Where pages lie matters only to whoever wants some of them.
        let pages = if rows == Rows::ALL { PageIndexPolicy::Skip } else { PageIndexPolicy::Optional };
        let mut decoder =
            ParquetMetaDataPushDecoder::try_new(source.bytes()).map_err(|e| damaged(&e))?.with_page_index_policy(pages);
        let metadata = loop {
            match decoder.try_decode().map_err(|e| damaged(&e))? {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(ranges) => {
                    let bytes = fetch(source, &ranges).await?;
                    decoder.push_ranges(ranges, bytes).map_err(|e| damaged(&e))?;
                }
                DecodeResult::Finished => return Err(damaged(&"no footer")),
            }
        };
        let promised = metadata.file_metadata().num_rows();
        if !(0..=MAX_ROWS).contains(&promised) {
            return Err(format_error(
                source.name(),
                format!("at most {MAX_ROWS} rows"),
                format!("a promise of {promised}"),
            ));
        }
        let schema = metadata.file_metadata().schema_descr();
        let found: BTreeSet<&str> = schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
        let wanted = choose(&found.into_iter().collect::<Vec<_>>())?;
        let fields = schema.root_schema().get_fields();
        let roots = wanted.iter().filter_map(|column| fields.iter().position(|field| field.name() == column));
        let projection = ProjectionMask::roots(schema, roots);
        let (groups, skipped) = groups_of(&metadata, rows);
        let builder = ParquetPushDecoderBuilder::try_new_decoder(Arc::new(metadata)).map_err(|e| damaged(&e))?;
        let metadata = builder.schema().metadata().clone();
        let builder = builder.with_projection(projection);
        let builder = match rows == Rows::ALL {
            true => builder,
            false => builder.with_row_groups(groups).with_offset(skipped).with_limit(rows.most()),
        };
        Ok(Self { source, decoder: builder.build().map_err(|e| damaged(&e))?, metadata })
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, DataError> {
        loop {
            match self.decoder.try_decode().map_err(|e| damaged(self.source, &e))? {
                DecodeResult::Data(batch) => {
                    let schema = batch.schema().as_ref().clone().with_metadata(self.metadata.clone());
                    return batch.with_schema(Arc::new(schema)).map(Some).map_err(|e| damaged(self.source, &e));
                }
                DecodeResult::NeedsData(ranges) => {
                    let bytes = fetch(self.source, &ranges).await?;
                    self.decoder.push_ranges(ranges, bytes).map_err(|e| damaged(self.source, &e))?;
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }
}

/// The row groups that some rows lie in, and how many rows of the first come before them.
fn groups_of(metadata: &ParquetMetaData, rows: Rows) -> (Vec<usize>, usize) {
    let (mut groups, mut skipped, mut next) = (Vec::new(), 0, 1usize);
    for (group, found) in metadata.row_groups().iter().enumerate() {
        let first = next;
        next = next.saturating_add(usize::try_from(found.num_rows()).unwrap_or_default());
        if rows.first() < next && !rows.is_past(first) {
            if groups.is_empty() {
                skipped = rows.first().saturating_sub(first);
            }
            groups.push(group);
        }
    }
    (groups, skipped)
}

fn damaged(source: &Source, found: &dyn std::fmt::Display) -> DataError {
    let found = found.to_string();
    if let Some((_, codec)) = found.split_once("Disabled feature at compile time: ") {
        return format_error(
            source.name(),
            "parquet that is compressed with snappy, or not at all",
            format!("{codec}; write it anew, as by pandas' to_parquet(compression=\"snappy\")"),
        );
    }
    format_error(source.name(), "a whole parquet file", found)
}

async fn fetch(source: &Source, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, DataError> {
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let len = range.end.saturating_sub(range.start) as usize;
        parts.push(source.read(range.start, len).await?.into());
    }
    Ok(parts)
}

fn rows_of(file: &str, batch: &RecordBatch) -> Result<Vec<Row>, DataError> {
    let stored: Vec<Stored> = serde_arrow::from_record_batch(batch)
        .map_err(|e| format_error(file, "columns of RewardBench 2's types", e.message()))?;
    Ok(stored
        .into_iter()
        .map(|row| Row {
            id: row.id,
            prompt: row.prompt,
            chosen: row.chosen,
            rejected: row.rejected,
            num_correct: row.num_correct,
            num_incorrect: row.num_incorrect,
            total_completions: row.total_completions,
            models: row.models.unwrap_or_default(),
            subset: row.subset,
            additional_metadata: None,
        })
        .collect())
}

/// Rows as a parquet file in the official schema, `additional_metadata` a struct of texts. The same
/// rows give the same bytes.
///
/// # Errors
/// When a row cannot be written, which names nothing: the rows come from memory.
pub fn to_parquet(rows: &[Row]) -> Result<Vec<u8>, DataError> {
    let failed = |e: &dyn std::fmt::Display| format_error("the rows to write", "rows that parquet holds", e);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let texts = |name: &str| {
        let item = Field::new("item", DataType::Utf8, false);
        Field::new(name, DataType::List(Arc::new(item)), false)
    };
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let keys: BTreeSet<&String> =
        rows.iter().filter_map(|row| row.additional_metadata.as_ref()).flat_map(|m| m.keys()).collect();
    let mut fields = vec![
        text("id"),
        text("prompt"),
        texts("chosen"),
        texts("rejected"),
        number("num_correct"),
        number("num_incorrect"),
        number("total_completions"),
        texts("models"),
        text("subset"),
    ];
    if !keys.is_empty() {
        let keys = keys.into_iter().map(|key| Field::new(key, DataType::Utf8, true)).collect::<Vec<_>>();
        fields.push(Field::new("additional_metadata", DataType::Struct(keys.into()), true));
    }
    let fields: Vec<FieldRef> = fields.into_iter().map(Arc::new).collect();
    let arrays = serde_arrow::to_arrow(&fields, rows).map_err(|e| failed(&e))?;
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| failed(&e))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(|e| failed(&e))?;
    writer.write(&batch).and_then(|()| writer.close()).map_err(|e| failed(&e))?;
    Ok(bytes)
}
