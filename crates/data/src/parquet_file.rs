//! Reads parquet files by column, and finds damage that the decoder would trust.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use rewardscope_store::Source;
use serde_json::{Map, Value};

use crate::guard::guarded;
use crate::{DataError, Rows, format_error, thrift};

/// Most rows that a file may promise: more than the corpora that people score. A larger promise is damage or malice.
const MAX_ROWS: i64 = 1_000_000_000;

/// Some columns of a parquet file, a batch of rows at a time.
pub(crate) struct Batches {
    source: Source,
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
    rows: Rows,
    keeps_types: bool,
    decoder: ParquetPushDecoder,
    /// Rows to read before the decoder may skip them.
    unproven: Vec<Unproven>,
    /// Pages that were fetched to read those rows: their place in the file, and their bytes.
    at_hand: Vec<(Range<u64>, Bytes)>,
}

/// A decoder of some columns and rows.
struct Decoding {
    decoder: ParquetPushDecoder,
    /// The schema of all columns.
    schema: SchemaRef,
    unproven: Vec<Unproven>,
}

/// Rows of a nested column that the decoder would skip within a page. To skip rows it looks for their ends, for ever
/// where a damaged page has fewer rows. When it reads rows it refuses such a page, so these rows are read first.
struct Unproven {
    /// The row group.
    group: usize,
    /// The leaf column.
    leaf: usize,
    /// The page's first row, counted in the group from 0.
    first: usize,
    /// The first row that is not skipped, counted in the group from 0.
    row: usize,
}

impl Batches {
    /// Reads the footer. With `keeps_types`, columns have the Arrow types that they were written from, such as
    /// dictionaries; this matters to a caller that writes them again. Otherwise they have the file's own types.
    pub(crate) async fn open(source: Source, rows: Rows, keeps_types: bool) -> Result<Self, DataError> {
        let damaged = |e: &dyn std::fmt::Display| damaged(&source, e);
        let mut metadata = footer(&source, None).await?;
        let promised = metadata.file_metadata().num_rows();
        if !(0..=MAX_ROWS).contains(&promised) {
            return Err(format_error(
                source.name(),
                format!("at most {MAX_ROWS} rows"),
                format!("a promise of {promised}"),
            ));
        }
        check(&metadata, source.bytes()).map_err(|found| damaged(&found))?;
        // The places of pages are needed only to read some of the rows.
        if rows != Rows::ALL
            && let Some(indexes) = indexes(&source, &metadata).await?
        {
            metadata = footer(&source, Some((metadata, indexes))).await?;
        }
        let metadata = Arc::new(metadata);
        let Decoding { decoder, schema, unproven } = decoder_of(&source, &metadata, rows, keeps_types, None)?;
        Ok(Self { source, metadata, schema, rows, keeps_types, decoder, unproven, at_hand: Vec::new() })
    }

    /// The schema of all columns of the file.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Starts again at the first row, with these columns only.
    pub(crate) fn select(&mut self, wanted: &[String]) -> Result<(), DataError> {
        let decoding = decoder_of(&self.source, &self.metadata, self.rows, self.keeps_types, Some(wanted))?;
        (self.decoder, self.unproven) = (decoding.decoder, decoding.unproven);
        Ok(())
    }

    /// The next batch of rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, DataError> {
        for unproven in std::mem::take(&mut self.unproven) {
            self.prove(&unproven).await?;
        }
        loop {
            let decoder = &mut self.decoder;
            let decoded = guarded(|| decoder.try_decode()).map_err(|e| damaged(&self.source, &e))?;
            match decoded.map_err(|e| damaged(&self.source, &e))? {
                DecodeResult::Data(batch) => {
                    let metadata = self.schema.metadata().clone();
                    let schema = batch.schema().as_ref().clone().with_metadata(metadata);
                    return batch.with_schema(Arc::new(schema)).map(Some).map_err(|e| damaged(&self.source, &e));
                }
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.pages(&ranges).await?;
                    self.decoder.push_ranges(ranges, bytes).map_err(|e| damaged(&self.source, &e))?;
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }
}

impl Batches {
    /// The bytes of pages, whose headers are checked.
    async fn pages(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, DataError> {
        let known =
            |range: &Range<u64>| self.at_hand.iter().find(|(of, _)| of == range).map(|(_, bytes)| bytes.clone());
        let missing: Vec<Range<u64>> = ranges.iter().filter(|range| known(range).is_none()).cloned().collect();
        let fetched = fetch(&self.source, &missing).await?;
        let checked = fetched.iter().try_for_each(|bytes| thrift::check_pages(bytes));
        checked.map_err(|found| damaged(&self.source, &found))?;
        let mut fetched = fetched.into_iter();
        Ok(ranges.iter().filter_map(|range| known(range).or_else(|| fetched.next())).collect())
    }

    /// Reads the rows that the decoder will skip within a page, and the row after them.
    async fn prove(&mut self, unproven: &Unproven) -> Result<(), DataError> {
        let &Unproven { group, leaf, first, row } = unproven;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder =
            guarded(|| ParquetPushDecoderBuilder::try_new_decoder_with_options(self.metadata.clone(), options))
                .map_err(|e| damaged(&self.source, &e))?
                .map_err(|e| damaged(&self.source, &e))?;
        let leaves = ProjectionMask::leaves(self.metadata.file_metadata().schema_descr(), [leaf]);
        let builder = builder.with_projection(leaves).with_row_groups(vec![group]);
        let mut decoder =
            builder.with_offset(first).with_limit(row - first + 1).build().map_err(|e| damaged(&self.source, &e))?;
        loop {
            let decoded = guarded(|| decoder.try_decode()).map_err(|e| damaged(&self.source, &e))?;
            match decoded.map_err(|e| damaged(&self.source, &e))? {
                DecodeResult::Data(_) => {}
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.pages(&ranges).await?;
                    self.at_hand.extend(ranges.iter().cloned().zip(bytes.iter().cloned()));
                    decoder.push_ranges(ranges, bytes).map_err(|e| damaged(&self.source, &e))?;
                }
                DecodeResult::Finished => return Ok(()),
            }
        }
    }
}

/// Reads a file's footer. With `known`, the footer that was read before and the page indexes, it also reads the places
/// of the pages.
async fn footer(source: &Source, known: Option<(ParquetMetaData, Part)>) -> Result<ParquetMetaData, DataError> {
    let damaged = |e: &dyn std::fmt::Display| damaged(source, e);
    let pages = if known.is_some() { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
    let (decoder, part) = match known {
        None => (ParquetMetaDataPushDecoder::try_new(source.bytes()), None),
        Some((known, part)) => (ParquetMetaDataPushDecoder::try_new_with_metadata(source.bytes(), known), Some(part)),
    };
    let mut decoder = decoder.map_err(|e| damaged(&e))?.with_page_index_policy(pages);
    loop {
        match guarded(|| decoder.try_decode()).map_err(|e| damaged(&e))?.map_err(|e| damaged(&e))? {
            DecodeResult::Data(metadata) => return Ok(metadata),
            DecodeResult::NeedsData(ranges) => {
                let at_hand: Option<Vec<Bytes>> = ranges.iter().map(|range| part.as_ref()?.slice(range)).collect();
                let bytes = match at_hand {
                    Some(bytes) => bytes,
                    None => fetch(source, &ranges).await?,
                };
                // The last eight bytes are not Thrift: the footer's length and the signature.
                let mut footers = bytes.iter().filter(|bytes| part.is_none() && bytes.len() > 8);
                footers.try_for_each(|bytes| thrift::check(bytes)).map_err(|found| damaged(&found))?;
                decoder.push_ranges(ranges, bytes).map_err(|e| damaged(&e))?;
            }
            DecodeResult::Finished => return Err(damaged(&"no footer")),
        }
    }
}

/// Bytes of a file from `first` on.
struct Part {
    first: u64,
    bytes: Bytes,
}

impl Part {
    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.first)?).ok().filter(|at| *at <= self.bytes.len());
        let (start, end) = (place(range.start)?, place(range.end)?);
        (start <= end).then(|| self.bytes.slice(start..end))
    }
}

/// Fetches and checks the page indexes that a footer points to; `None` where it points to none.
async fn indexes(source: &Source, metadata: &ParquetMetaData) -> Result<Option<Part>, DataError> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let indexes = [
            (column.column_index_offset(), column.column_index_length()),
            (column.offset_index_offset(), column.offset_index_length()),
        ];
        for (start, length) in indexes.into_iter().filter_map(|(start, length)| start.zip(length)) {
            let (start, length) = (u64::try_from(start).ok(), u64::try_from(length).ok());
            let range = start.zip(length).map(|(start, length)| start..start.saturating_add(length));
            let range = range.filter(|range| range.end <= source.bytes());
            let outside = || damaged(source, &"an index of pages that lies outside of the file");
            ranges.push(range.ok_or_else(outside)?);
        }
    }
    let Some(first) = ranges.iter().map(|range| range.start).min() else {
        return Ok(None);
    };
    let end = ranges.iter().map(|range| range.end).max().unwrap_or_default();
    // Writers put the indexes one after another: one range covers them all.
    let bytes = fetch(source, &[first..end]).await?.pop().unwrap_or_default();
    let part = Part { first, bytes };
    for index in ranges.iter().filter_map(|range| part.slice(range)) {
        thrift::check(&index).map_err(|found| damaged(source, &found))?;
    }
    Ok(Some(part))
}

/// Refuses a footer whose columns lie outside of the file, or whose counts are impossible: the decoder trusts both.
fn check(metadata: &ParquetMetaData, file_bytes: u64) -> Result<(), String> {
    let mut rows = 0i64;
    for group in metadata.row_groups() {
        if !(0..=MAX_ROWS).contains(&group.num_rows()) {
            return Err(format!("a group of {} rows", group.num_rows()));
        }
        rows += group.num_rows();
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let lies_within =
                start >= 0 && column.compressed_size() >= 0 && end.is_some_and(|end| end as u64 <= file_bytes);
            let is_counted = column.num_values() >= 0;
            if !lies_within || !is_counted {
                return Err(format!("a column that lies outside of the file ({start} to {end:?})"));
            }
        }
    }
    match rows == metadata.file_metadata().num_rows() {
        true => Ok(()),
        false => Err(format!("groups of {rows} rows, where {} are promised", metadata.file_metadata().num_rows())),
    }
}

/// Makes a decoder of the wanted columns (all with `None`) and rows.
fn decoder_of(
    source: &Source,
    metadata: &Arc<ParquetMetaData>,
    rows: Rows,
    keeps_types: bool,
    wanted: Option<&[String]>,
) -> Result<Decoding, DataError> {
    let damaged = |e: &dyn std::fmt::Display| damaged(source, e);
    let open = |keeps_types: bool| {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(!keeps_types);
        ParquetPushDecoderBuilder::try_new_decoder_with_options(metadata.clone(), options)
    };
    // The Arrow types that a writer noted may not fit the file's columns.
    let builder = guarded(|| open(keeps_types).or_else(|_| open(false)));
    let builder = builder.map_err(|e| damaged(&e))?.map_err(|e| damaged(&e))?;
    let schema = builder.schema().clone();
    let columns = metadata.file_metadata().schema_descr();
    let projection = match wanted {
        None => ProjectionMask::all(),
        Some(wanted) => {
            let fields = columns.root_schema().get_fields();
            let roots = wanted.iter().filter_map(|name| fields.iter().position(|field| field.name() == name));
            ProjectionMask::roots(columns, roots)
        }
    };
    let nested: Vec<usize> = (0..columns.num_columns())
        .filter(|&leaf| projection.leaf_included(leaf) && columns.column(leaf).max_rep_level() > 0)
        .collect();
    let builder = builder.with_projection(projection);
    let (builder, unproven) = match rows == Rows::ALL {
        true => (builder, Vec::new()),
        false => {
            let (groups, skipped) = groups_of(metadata, rows);
            let of = |leaf: usize| {
                let group = *groups.first()?;
                let first = page_start(metadata, group, leaf, skipped);
                (first < skipped).then_some(Unproven { group, leaf, first, row: skipped })
            };
            let unproven = nested.into_iter().filter_map(of).collect();
            (builder.with_row_groups(groups).with_offset(skipped).with_limit(rows.most()), unproven)
        }
    };
    Ok(Decoding { decoder: builder.build().map_err(|e| damaged(&e))?, schema, unproven })
}

/// The first row of the page that holds `row` of a leaf column, both counted in the group from 0; 0 where no index says
/// where pages begin.
fn page_start(metadata: &ParquetMetaData, group: usize, leaf: usize, row: usize) -> usize {
    let index = metadata.page_index_for_row_group(group);
    let first_rows = index.page_locations(leaf).into_iter().flatten();
    let first_rows = first_rows.filter_map(|page| usize::try_from(page.first_row_index).ok());
    first_rows.filter(|first| *first <= row).max().unwrap_or(0)
}

/// A batch with its columns of bytes as texts. Bytes that are not UTF-8 become null.
pub(crate) fn readable(file: &str, batch: &RecordBatch) -> Result<RecordBatch, DataError> {
    let is_binary = |of: &DataType| matches!(of, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    if !batch.schema().fields().iter().any(|field| is_binary(field.data_type())) {
        return Ok(batch.clone());
    }
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let texts: Option<StringArray> = match field.data_type() {
            DataType::Binary => column.as_binary_opt::<i32>().map(|bytes| bytes.iter().map(text_of).collect()),
            DataType::LargeBinary => column.as_binary_opt::<i64>().map(|bytes| bytes.iter().map(text_of).collect()),
            DataType::BinaryView => column.as_binary_view_opt().map(|bytes| bytes.iter().map(text_of).collect()),
            _ => None,
        };
        match texts {
            Some(texts) => {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
                columns.push(Arc::new(texts));
            }
            None => {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| format_error(file, "columns of texts, numbers and lists", e))
}

fn text_of(bytes: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(bytes?).ok()
}

/// Puts the names of NaN and the infinities into records, which have null where a column has such a number.
pub(crate) fn name_non_finite(batch: &RecordBatch, records: &mut [Map<String, Value>]) {
    let name = |x: f64| match x {
        x if x.is_nan() => "NaN",
        x if x > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        for (row, record) in records.iter_mut().enumerate() {
            if column.is_null(row) {
                continue;
            }
            let Some(values) = floats(column, row) else {
                break;
            };
            match (record.get_mut(field.name()), values.as_slice()) {
                (Some(Value::Array(list)), values) if list.len() == values.len() => {
                    for (value, x) in list.iter_mut().zip(values).filter(|(value, x)| value.is_null() && !x.is_finite())
                    {
                        *value = Value::from(name(*x));
                    }
                }
                (Some(value @ Value::Null), [x]) if !x.is_finite() => *value = Value::from(name(*x)),
                _ => {}
            }
        }
    }
}

/// The numbers of a cell: one, or those of a list, null as 0. `None` where a column holds no floating-point numbers.
fn floats(column: &ArrayRef, row: usize) -> Option<Vec<f64>> {
    fn of(column: &ArrayRef) -> Option<Vec<f64>> {
        if let Some(values) = column.as_primitive_opt::<Float64Type>() {
            return Some(values.iter().map(Option::unwrap_or_default).collect());
        }
        let values = column.as_primitive_opt::<Float32Type>()?;
        Some(values.iter().map(|x| f64::from(x.unwrap_or_default())).collect())
    }
    match column.data_type() {
        DataType::Float64 | DataType::Float32 => of(&column.slice(row, 1)),
        DataType::List(_) => of(&column.as_list_opt::<i32>()?.value(row)),
        DataType::LargeList(_) => of(&column.as_list_opt::<i64>()?.value(row)),
        _ => None,
    }
}

/// The row groups that hold the rows, and how many rows of the first group come before them.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of a nested column promises more values than it has levels: the decoder would skip them for ever.
    #[test]
    fn a_page_whose_levels_end_early_is_refused() {
        // The first byte is the fuzz target's.
        let bytes = &include_bytes!("../../../fuzz/corpus/readers/levels-that-end-parquet")[1..];
        let source = Source::memory("rows.parquet", bytes.to_vec());
        let rows: Rows = "2-3".parse().expect("rows");
        let read = async {
            let mut batches = Batches::open(source, rows, false).await?;
            while batches.next().await?.is_some() {}
            Ok::<(), DataError>(())
        };
        let message = pollster::block_on(read).expect_err("refused").to_string();
        assert!(message.contains("a whole parquet file"), "{message}");
    }
}
