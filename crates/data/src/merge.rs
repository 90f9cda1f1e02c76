//! Joins the outputs of shards to the output of one run, with the rows in the input's order.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use rewardscope_store::Source;
use serde_json::{Map, Value};

use crate::parquet_file::Batches;
use crate::reader::Lines;
use crate::rewards::{AboutRewards, ROW, unnamed};
use crate::table::{BLOCK, GROUP_BYTES, TableWriter, refuse_others};
use crate::{DataError, Rows, Shard, format_error};

/// The fields of a line that say where its row belongs.
pub const LINE_FIELDS: [&str; 2] = ["row", "shard"];

/// Joins parquet files that were written for shards. Gives the number of rows.
///
/// # Errors
/// When a shard is missing or there twice, the files are of different runs or inputs, a file is damaged or cannot be
/// written.
pub async fn merge_tables<W: Write + Send>(parts: &[Source], name: &str, to: W) -> Result<usize, DataError> {
    let mut tables = Vec::with_capacity(parts.len());
    for part in parts {
        tables.push(Table::open(part).await?);
    }
    let (about, schema) = joined(&tables)?;
    let mut out = TableWriter::new(name, to, &schema, about.in_footer()?, GROUP_BYTES)?;
    let mut order = Order::default();
    for (at, table) in tables.iter().enumerate() {
        order.push(at, &table.name, table.row()?)?;
    }
    // Batches that rows of the next block lie in, the current one of each part first; and the places of those rows.
    let mut held: Vec<RecordBatch> = tables.iter().map(|table| table.batch.clone()).collect();
    let mut current: Vec<usize> = (0..held.len()).collect();
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(BLOCK);
    while let Some(at) = order.next()? {
        let table = &mut tables[at];
        places.push((current[at], table.at));
        if table.step().await? {
            current[at] = held.len();
            held.push(table.batch.clone());
        }
        order.push(at, &table.name, table.row()?)?;
        if places.len() == BLOCK {
            write(&mut out, name, &held, &places)?;
            places.clear();
            held = tables.iter().map(|table| table.batch.clone()).collect();
            current = (0..held.len()).collect();
        }
    }
    order.check(about.rows)?;
    if !places.is_empty() {
        write(&mut out, name, &held, &places)?;
    }
    out.finish()?;
    Ok(about.rows)
}

/// Writes the rows at these places, of a batch and in it.
fn write<W: Write + Send>(
    out: &mut TableWriter<W>,
    name: &str,
    held: &[RecordBatch],
    places: &[(usize, usize)],
) -> Result<(), DataError> {
    let held: Vec<&RecordBatch> = held.iter().collect();
    let block = interleave_record_batch(&held, places);
    out.write(&block.map_err(|e| format_error(name, "a file that can be written", e))?)
}

/// A parquet file of a shard that is being read.
struct Table {
    name: String,
    about: AboutRewards,
    shard: Shard,
    schema: SchemaRef,
    batches: Batches,
    /// The rows at hand, without the column of their numbers, and those numbers.
    batch: RecordBatch,
    numbers: Int64Array,
    /// The next row among them.
    at: usize,
}

impl Table {
    async fn open(source: &Source) -> Result<Self, DataError> {
        let name = source.name().to_owned();
        let batches = Batches::open(source.clone(), Rows::ALL, true).await?;
        let found = batches.schema();
        let about = AboutRewards::in_schema(&found).and_then(|about| Some((about.shard?, about)));
        let place = found.index_of(ROW).ok();
        let (Some((shard, about)), Some(_)) = (about, place) else {
            return Err(format_error(&name, "an output of `rewardscope score --shard`", "another file"));
        };
        let fields = found.fields().iter().filter(|field| field.name() != ROW).cloned();
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let schema = SchemaRef::new(schema.with_metadata(found.metadata().clone()));
        let (batch, numbers) = (RecordBatch::new_empty(schema.clone()), Int64Array::from(Vec::<i64>::new()));
        let mut table = Self { name, about, shard, schema, batches, batch, numbers, at: 0 };
        table.refill().await?;
        Ok(table)
    }

    /// The number of the next row; `None` at the end.
    fn row(&self) -> Result<Option<usize>, DataError> {
        let number = (self.at < self.numbers.len()).then(|| self.numbers.value(self.at));
        let number = number.map(usize::try_from).transpose();
        number.map_err(|_| format_error(&self.name, "rows with numbers from 1", "a negative one"))
    }

    /// Goes to the next row; true where a new batch was read for it.
    async fn step(&mut self) -> Result<bool, DataError> {
        self.at += 1;
        if self.at < self.numbers.len() {
            return Ok(false);
        }
        self.refill().await?;
        Ok(true)
    }

    async fn refill(&mut self) -> Result<(), DataError> {
        self.at = 0;
        self.numbers = Int64Array::from(Vec::<i64>::new());
        while self.numbers.is_empty() {
            let Some(mut batch) = self.batches.next().await? else {
                return Ok(());
            };
            let damaged = |e: &dyn std::fmt::Display| format_error(&self.name, "the rows of a shard", e);
            let place = batch.schema().index_of(ROW).map_err(|e| damaged(&e))?;
            let numbers = batch.remove_column(place);
            let numbers = numbers.as_primitive_opt::<Int64Type>().filter(|numbers| numbers.null_count() == 0);
            self.numbers = numbers.ok_or_else(|| damaged(&"rows without numbers"))?.clone();
            self.batch =
                RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec()).map_err(|e| damaged(&e))?;
        }
        Ok(())
    }
}

/// What the joined file says of itself, and its columns.
///
/// # Errors
/// When the files do not make one run's output.
fn joined(tables: &[Table]) -> Result<(AboutRewards, SchemaRef), DataError> {
    let Some(first) = tables.first() else {
        return Err(format_error("the parts", "at least one file", "none"));
    };
    all_there(tables.iter().map(|table| (table.name.as_str(), table.shard)), 0)?;
    for table in tables {
        let one = format!("another part of the run that {} is of", first.name);
        if table.about.rows != first.about.rows || table.about.input != first.about.input {
            let found = format!("a part of another input, of {} rows and {}", table.about.rows, first.about.rows);
            return Err(format_error(&table.name, one, found));
        }
        if !table.about.is_same_run(&first.about) {
            return Err(format_error(&table.name, one, difference(&first.about.run, &table.about.run)));
        }
        refuse_others(&table.name, &first.schema, &table.schema)?;
    }
    Ok((AboutRewards { shard: None, ..first.about.clone() }, first.schema.clone()))
}

/// Names what differs between two runs.
fn difference(one: &Value, other: &Value) -> String {
    let (one, other) = (&unnamed(one), &unnamed(other));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let different: Vec<String> = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| {
            let shown = |of: &Map<String, Value>| {
                of.get(name).map_or("none".to_owned(), Value::to_string).chars().take(80).collect::<String>()
            };
            format!("{name} {} there, {} here", shown(one), shown(other))
        })
        .collect();
    format!("one that differs: {}", different.join("; "))
}

/// Checks that each shard is there once. `empty` is the number of files without rows, which name no shard.
fn all_there<'a>(found: impl Iterator<Item = (&'a str, Shard)>, empty: usize) -> Result<(), DataError> {
    let (mut seen, mut all): (BTreeSet<Shard>, Option<u64>) = (BTreeSet::new(), None);
    for (name, shard) in found {
        let of = *all.get_or_insert(shard.all());
        if of != shard.all() {
            return Err(format_error(name, format!("one of {of} shards"), shard));
        }
        if !seen.insert(shard) {
            return Err(format_error(name, "each shard once", format!("{shard} twice")));
        }
    }
    let all = all.unwrap_or_default();
    if ((seen.len() + empty) as u64) < all {
        let missing = (1..=all).filter_map(|number| format!("{number}/{all}").parse::<Shard>().ok());
        let missing = missing.filter(|shard| !seen.contains(shard)).map(|shard| shard.to_string());
        let shown = missing.take(8).collect::<Vec<_>>().join(", ");
        return Err(format_error("the parts", format!("all {all} shards"), format!("{shown} missing")));
    }
    Ok(())
}

/// Which part has the next row: each row from 1 on comes once.
#[derive(Default)]
struct Order {
    heads: BinaryHeap<Reverse<(usize, usize)>>,
    done: usize,
}

impl Order {
    /// Takes note of the next row of a part; `None` at its end.
    fn push(&mut self, part: usize, name: &str, row: Option<usize>) -> Result<(), DataError> {
        match row {
            Some(row) if row <= self.done => {
                let expected = format!("row {} or a later one, in order and once", self.done + 1);
                Err(format_error(name, expected, format!("row {row}")))
            }
            Some(row) => {
                self.heads.push(Reverse((row, part)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The part that has the next row; `None` at the end of all.
    fn next(&mut self) -> Result<Option<usize>, DataError> {
        let Some(Reverse((row, part))) = self.heads.pop() else {
            return Ok(None);
        };
        self.done += 1;
        match row.cmp(&self.done) {
            Ordering::Equal => Ok(Some(part)),
            Ordering::Greater => Err(missing(self.done)),
            Ordering::Less => Err(format_error("the parts", "each row of the input once", format!("row {row} twice"))),
        }
    }

    /// Checks that there were this many rows.
    fn check(&self, rows: usize) -> Result<(), DataError> {
        if self.done == rows { Ok(()) } else { Err(missing(self.done + 1)) }
    }
}

fn missing(row: usize) -> DataError {
    format_error("the parts", format!("row {row} of the input"), "none of the parts has it")
}

/// Joins files of JSON Lines that were written for shards. Gives the number of rows. Unlike tables, lines do not say which
/// model gave them, nor how many rows there are in all.
///
/// # Errors
/// As [`merge_tables`], as far as lines can tell.
pub async fn merge_lines<W: Write>(parts: &[Source], name: &str, mut to: W) -> Result<usize, DataError> {
    let (mut files, mut shards, mut empty) = (Vec::new(), Vec::new(), 0);
    let mut order = Order::default();
    for part in parts {
        let mut lines = Part::of(part);
        match lines.next().await? {
            Some((row, shard)) => {
                order.push(files.len(), part.name(), Some(row))?;
                shards.push((part.name(), shard));
                files.push(lines);
            }
            None => empty += 1,
        }
    }
    all_there(shards.iter().copied(), empty)?;
    while let Some(at) = order.next()? {
        let file = &mut files[at];
        let written = to.write_all(&file.line).and_then(|()| to.write_all(b"\n"));
        written.map_err(|e| format_error(name, "a file that can be written", e))?;
        let next = file.next().await?;
        if let Some((_, shard)) = next.filter(|(_, shard)| *shard != shards[at].1) {
            return Err(format_error(shards[at].0, format!("rows of shard {}", shards[at].1), shard));
        }
        order.push(at, shards[at].0, next.map(|(row, _)| row))?;
    }
    to.flush().map_err(|e| format_error(name, "a file that can be written", e))?;
    Ok(order.done)
}

/// A shard's file of lines.
struct Part {
    name: String,
    lines: Lines,
    /// The number of the line at hand.
    number: usize,
    /// Its bytes, without what says where it belongs.
    line: Vec<u8>,
}

impl Part {
    fn of(source: &Source) -> Self {
        Self { name: source.name().to_owned(), lines: Lines::of(source), number: 0, line: Vec::new() }
    }

    /// The next line's row and shard; `None` at the end.
    async fn next(&mut self) -> Result<Option<(usize, Shard)>, DataError> {
        let Some((record, bytes)) = self.lines.next().await? else {
            return Ok(None);
        };
        self.number += 1;
        let refuse = |found: &str| {
            let expected = format!("lines of `rewardscope score --shard` ({})", LINE_FIELDS.join(", "));
            format_error(&self.name, expected, format!("{found} in line {}", self.number))
        };
        let record = record.map_err(|found| refuse(&found))?;
        let [place, shard] = LINE_FIELDS.map(|name| record.get(name));
        let place = place.and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok());
        let shard = shard.and_then(Value::as_str).and_then(|shard| shard.parse::<Shard>().ok());
        let (place, shard) = place.zip(shard).ok_or_else(|| refuse("another row"))?;
        // As it was written: numbers keep their digits.
        let [row, of] = LINE_FIELDS;
        let before = format!("{{\"{row}\":{place},\"{of}\":\"{shard}\",");
        let rest = bytes.strip_prefix(before.as_bytes()).ok_or_else(|| refuse("another order of fields"))?;
        self.line = [b"{", rest].concat();
        Ok(Some((place, shard)))
    }
}
