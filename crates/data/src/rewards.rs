//! Writes rows with the rewards of their completions beside their own columns, as parquet.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, PrimitiveBuilder, StringBuilder,
};
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{ArrayRef, BooleanArray, Int64Array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use rewardscope_store::{ByteStream, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::parquet_file::Batches;
use crate::reader::Column;
use crate::table::{GROUP_BYTES, TableWriter, refuse_others};
use crate::{DataError, Opening, Reader, Rows, Shard, Stored, format_error};

/// The key of [`AboutRewards`] in a parquet file's footer.
pub(crate) const ABOUT: &str = "rewardscope";

/// The column of a row's number in the whole input, which a shard's file has.
pub(crate) const ROW: &str = "rewardscope_row";

/// What scoring a row gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewarded {
    /// The reward of each completion; none where the row could not be scored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<f64>,
    /// The number of tokens of each completion with its prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<usize>,
    /// Whether a text was cut at the context's end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<bool>,
    /// Why the row could not be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whatever else is known of the scores, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// The columns that rewards are written to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardColumns {
    /// What is put before their names.
    pub prefix: String,
    /// Whether there is a column of [`Rewarded::details`].
    pub has_details: bool,
}

/// The names of the columns.
const NAMES: [&str; 5] = ["reward", "tokens", "truncated", "error", "details"];

impl RewardColumns {
    /// The columns' names.
    fn names(&self) -> Vec<String> {
        let count = NAMES.len() - usize::from(!self.has_details);
        NAMES[..count].iter().map(|name| format!("{}{name}", self.prefix)).collect()
    }

    /// Refuses a file that has columns of these names already.
    ///
    /// # Errors
    /// When it has; the error names them.
    pub fn refuse_taken(&self, file: &str, found: &[Column]) -> Result<(), DataError> {
        if found.iter().any(|column| column.name == ROW) {
            let expected = "rows of a whole input (merge the parts of it first)";
            return Err(format_error(file, expected, format!("a part of one: it has the column {ROW}")));
        }
        let own = self.names().into_iter();
        let taken: Vec<String> = own.filter(|name| found.iter().any(|column| column.name == *name)).collect();
        match taken.is_empty() {
            true => Ok(()),
            false => {
                let expected =
                    "rows without the columns that rewards are written to (choose others with --prefix TEXT)";
                Err(format_error(file, expected, taken.join(", ")))
            }
        }
    }
}

/// What a file of rewards says of itself in its footer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AboutRewards {
    /// The number of rows of the whole input.
    pub rows: usize,
    /// A hash over the texts of all its rows, as they were read.
    pub input: String,
    /// Which part of the input's rows the file has; none where it has all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// What gave the rewards: what two parts of one run share.
    pub run: Value,
}

impl AboutRewards {
    /// What a parquet file says of itself; `None` where it is no file of rewards.
    ///
    /// # Errors
    /// When the file is damaged.
    pub async fn of(source: &Source) -> Result<Option<Self>, DataError> {
        Ok(Self::in_schema(&Batches::open(source.clone(), Rows::ALL, true).await?.schema()))
    }

    /// Whether two files are of one run: the same model and settings over the same input. The model's name may differ.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.rows == other.rows && self.input == other.input && unnamed(&self.run) == unnamed(&other.run)
    }

    pub(crate) fn in_schema(schema: &Schema) -> Option<Self> {
        serde_json::from_str(schema.metadata().get(ABOUT)?).ok()
    }

    /// The text of a footer.
    pub(crate) fn in_footer(&self) -> Result<Vec<(String, String)>, DataError> {
        let text = serde_json::to_string(self);
        let text = text.map_err(|e| format_error("a file of rewards", "a description that is JSON", e))?;
        Ok(vec![(ABOUT.to_owned(), text)])
    }
}

/// What is said of a run without the model's name: its fingerprint tells models apart.
pub(crate) fn unnamed(run: &Value) -> Map<String, Value> {
    let mut run = run.as_object().cloned().unwrap_or_default();
    run.shift_remove("model");
    run
}

/// The columns of files whose rows are written with their rewards.
#[derive(Debug, Clone)]
pub struct TableShape(SchemaRef);

impl TableShape {
    /// The columns of these files, which must be the same in all.
    ///
    /// # Errors
    /// When a file does not store rows by columns, is damaged, has other columns than those before, or columns that
    /// parquet or the rewards cannot have.
    pub async fn of(sources: &[Source], rewards: &RewardColumns) -> Result<Self, DataError> {
        let mut shape: Option<SchemaRef> = None;
        for source in sources {
            let file = source.name();
            let opening = Opening { with_stored: true, ..Opening::default() };
            let reader = Reader::open(ByteStream::of(source), opening).await?;
            let Some(schema) = reader.schema()? else {
                let expected = "rows of columns (parquet or Arrow) for a .parquet output; name the output .jsonl";
                return Err(format_error(file, expected, "rows of text"));
            };
            rewards.refuse_taken(file, reader.columns())?;
            match &shape {
                Some(first) => refuse_others(file, first, &schema)?,
                None => {
                    // Found out now, not when all rows are scored.
                    TableWriter::new(file, std::io::sink(), &schema, Vec::new(), GROUP_BYTES)?;
                    shape = Some(schema);
                }
            }
        }
        Ok(Self(shape.unwrap_or_else(|| Arc::new(Schema::empty()))))
    }
}

/// Writes rows, all columns as they came, and behind them what scoring them gave. In a shard's file each row has its
/// number, too.
pub struct RewardWriter<W: Write + Send> {
    name: String,
    columns: RewardColumns,
    /// Whether any row of the input has several completions: then every row has lists.
    is_list: bool,
    is_part: bool,
    /// The columns of the input.
    shape: TableShape,
    table: TableWriter<W>,
}

impl<W: Write + Send> RewardWriter<W> {
    /// Begins a file. `name` is for messages.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(
        name: &str,
        to: W,
        shape: TableShape,
        (columns, is_list): (RewardColumns, bool),
        about: &AboutRewards,
    ) -> Result<Self, DataError> {
        let mut fields: Vec<FieldRef> = shape.0.fields().iter().cloned().collect();
        let own = columns.names().into_iter().zip(arrays(&columns, is_list, &[]));
        fields.extend(own.map(|(name, array)| Arc::new(Field::new(name, array.data_type().clone(), true))));
        if about.shard.is_some() {
            fields.push(Arc::new(Field::new(ROW, DataType::Int64, true)));
        }
        let schema = Schema::new(fields).with_metadata(shape.0.metadata().clone());
        // Whoever joins parts holds a row group of each.
        let group_bytes = about.shard.map_or(GROUP_BYTES, |shard| {
            let all = usize::try_from(shard.all()).unwrap_or(usize::MAX);
            (GROUP_BYTES / all).max(1 << 20)
        });
        let table = TableWriter::new(name, to, &schema, about.in_footer()?, group_bytes)?;
        Ok(Self { name: name.to_owned(), columns, is_list, is_part: about.shard.is_some(), shape, table })
    }

    /// Writes those of the rows that have been scored. `first` is the number of the first of them, from 1.
    ///
    /// # Errors
    /// When they cannot be written, are no rows of columns, or have other columns than the input.
    pub fn write(&mut self, rows: &Stored, rewarded: &[Option<Rewarded>], first: usize) -> Result<(), DataError> {
        let failed = |e: &dyn std::fmt::Display| format_error(&self.name, "a file that can be written", e);
        let Stored::Batch(batch) = rows else {
            return Err(failed(&"rows of text"));
        };
        refuse_others(&self.name, &self.shape.0, &batch.schema())?;
        let keep: Vec<bool> = rewarded.iter().map(Option::is_some).collect();
        let kept = filter_record_batch(batch, &BooleanArray::from(keep)).map_err(|e| failed(&e))?;
        let mut all: Vec<ArrayRef> = kept.columns().to_vec();
        all.extend(arrays(&self.columns, self.is_list, rewarded));
        if self.is_part {
            let numbers = (first..).zip(rewarded).filter(|(_, row)| row.is_some()).map(|(number, _)| number as i64);
            all.push(Arc::new(Int64Array::from_iter_values(numbers)));
        }
        self.table.write_columns(all)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When its end cannot be written.
    pub fn finish(self) -> Result<(), DataError> {
        self.table.finish()
    }
}

/// The columns of the rows that have been scored.
fn arrays(columns: &RewardColumns, is_list: bool, rewarded: &[Option<Rewarded>]) -> Vec<ArrayRef> {
    let rows = || rewarded.iter().flatten();
    let mut errors = StringBuilder::new();
    let mut details = StringBuilder::new();
    for row in rows() {
        errors.append_option(row.error.as_deref());
        details.append_option(row.details.as_deref());
    }
    let rewards = numbers(Float64Builder::new(), rows().map(|row| row.rewards.iter().copied()), is_list);
    let tokens = rows().map(|row| row.tokens.iter().map(|&tokens| tokens as i64));
    let tokens = numbers(Int64Builder::new(), tokens, is_list);
    let truncated = flags(rows().map(|row| row.truncated.as_slice()), is_list);
    let mut arrays = vec![rewards, tokens, truncated, Arc::new(errors.finish())];
    if columns.has_details {
        arrays.push(Arc::new(details.finish()));
    }
    arrays
}

/// A column of numbers, or of lists of them; null for a row without any.
fn numbers<T: ArrowPrimitiveType, I: Iterator<Item = T::Native>>(
    one: PrimitiveBuilder<T>,
    rows: impl Iterator<Item = I>,
    is_list: bool,
) -> ArrayRef {
    if !is_list {
        let mut one = one;
        rows.for_each(|mut row| one.append_option(row.next()));
        return Arc::new(one.finish());
    }
    let mut many = ListBuilder::new(one);
    for row in rows {
        let before = many.values().len();
        row.for_each(|value| many.values().append_value(value));
        let has_some = many.values().len() > before;
        many.append(has_some);
    }
    Arc::new(many.finish())
}

/// As [`numbers`], of true and false.
fn flags<'a>(rows: impl Iterator<Item = &'a [bool]>, is_list: bool) -> ArrayRef {
    if !is_list {
        let mut one = BooleanBuilder::new();
        rows.for_each(|row| one.append_option(row.first().copied()));
        return Arc::new(one.finish());
    }
    let mut many = ListBuilder::new(BooleanBuilder::new());
    for row in rows {
        row.iter().for_each(|&flag| many.values().append_value(flag));
        many.append(!row.is_empty());
    }
    Arc::new(many.finish())
}
