//! Turns a file's rows into items: recognises the layout, reads the columns that it needs, and counts what it skips.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rewardscope_store::ByteStream;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::columns::{first_of, has, lookup, number_of};
use crate::layouts::{Layout, completions_of, layout_of};
use crate::reader::{Opening, RawRows, Reader, Stored, columns_by_value};
use crate::row::{Builder, DatasetRow, Wanted, unused};
use crate::skip::{Reason, Skip};
use crate::{COUNTS, Column, Columns, DataError};
use rewardscope_conversation::Message;

/// What the rows of a file are read as.
#[derive(Debug, Clone)]
pub enum How {
    /// Items of a published benchmark, taken as they are, from these columns. Read such a file strictly: it has no rows
    /// to skip.
    Published(Columns),
    /// Preferences: better and worse completions that differ. The layout is recognised by the columns; columns that the
    /// caller names come before it.
    Preferences(Option<Columns>),
    /// Completions to score, with a prompt or in a conversation, one or several for each row.
    Completions(Option<Columns>),
}

/// What became of a file's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IntakeReport {
    /// The file's name.
    pub file: String,
    /// The layout that was recognised by the columns, and the columns that tell the better completion; `None` where no
    /// layout was looked for or found.
    pub layout: Option<String>,
    /// Names of columns that look like text and are not read.
    pub unused: Vec<String>,
    /// How many rows were read, skipped ones included.
    pub rows: usize,
    /// How many rows were skipped, by reason.
    pub skipped: BTreeMap<Reason, usize>,
}

impl IntakeReport {
    /// How many rows were skipped, for whatever reason.
    pub fn count_skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    /// What a person should know about the reading, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let file = self.file.rsplit(['/', '\\']).next().unwrap_or(&self.file);
        if let Some(layout) = &self.layout {
            remarks.push(format!("{file}: read as {layout}"));
        }
        if !self.unused.is_empty() {
            let names = self.unused.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
            remarks.push(format!("{file}: columns with text that are not read: {names}"));
        }
        if !self.skipped.is_empty() {
            let kinds: Vec<String> =
                self.skipped.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
            remarks.push(format!(
                "{file}: {} of {} rows skipped ({})",
                self.count_skipped(),
                self.rows,
                kinds.join("; ")
            ));
        }
        remarks
    }
}

/// A row that was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file's name.
    pub file: String,
    /// The row's number, from 1.
    pub row: usize,
    /// The kind of reason.
    pub reason: Reason,
    /// What was expected and found.
    pub detail: String,
}

impl Skipped {
    /// The record of a skipped row: its file, its number from 1, and why.
    pub fn of(file: &str, row: usize, skip: &Skip) -> Self {
        Self { file: file.to_owned(), row, reason: skip.reason, detail: skip.to_string() }
    }
}

/// A row that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenRow {
    /// The row's number, from 1.
    pub number: usize,
    /// The row's id as the file has it; null where it has none.
    pub id: Value,
    /// The item, or why the row was skipped.
    pub row: Result<DatasetRow, Skip>,
}

/// Gives the rows of a file as items, a few at a time.
pub struct Intake {
    reader: Reader,
    builder: Builder,
    report: IntakeReport,
    /// Whether the columns' values were looked at.
    is_known: bool,
    /// Items made of several rows with one prompt ([`Columns::label`]); known once all rows are read.
    grouped: Option<std::vec::IntoIter<TakenRow>>,
    is_strict: bool,
}

/// Whether a file's columns are RewardBench 2's own.
pub fn is_official(found: &[Column]) -> bool {
    let all = ["chosen", "rejected", "subset"].iter().all(|name| has(found, name));
    all && COUNTS.iter().any(|name| has(found, name))
}

/// Whether a file's columns hold completions to score, as far as their names tell.
pub fn has_completions(found: &[Column]) -> bool {
    completions_of(found).is_some() || layout_of(found).is_some()
}

impl Intake {
    /// Opens a file and finds which columns hold an item's fields. With `is_strict` the first faulty row is an error;
    /// otherwise such rows are skipped and counted.
    ///
    /// # Errors
    /// When it holds no rows, is damaged, or lacks columns.
    pub async fn open(stream: ByteStream, how: &How, opening: Opening, is_strict: bool) -> Result<Self, DataError> {
        Self::from_reader(Reader::open(stream, opening).await?, how, is_strict)
    }

    /// Does the same with a file that is already open.
    ///
    /// # Errors
    /// When it lacks columns.
    pub fn from_reader(mut reader: Reader, how: &How, is_strict: bool) -> Result<Self, DataError> {
        let found = reader.columns().to_vec();
        let file = reader.name().to_owned();
        let (columns, wanted, layout) = match how {
            How::Published(columns) => (columns.clone(), Wanted::Published, None),
            How::Preferences(own) => {
                let (layout, columns) = preferences_of(&found, own.as_ref());
                (columns, Wanted::Preferences, layout)
            }
            How::Completions(own) => {
                let columns = match (completions_of(&found), own) {
                    (Some(columns), None) => columns,
                    (Some(columns), Some(own)) => columns.overlaid(own),
                    // A file without completions to score may have compared ones.
                    (None, own) => preferences_of(&found, own.as_ref()).1,
                };
                // Where the caller names the completions, only those are scored.
                let columns = match own {
                    Some(own) if !own.chosen.is_empty() && own.rejected.is_empty() => {
                        Columns { rejected: Vec::new(), ..columns }
                    }
                    _ => columns,
                };
                (columns, Wanted::Completions, None)
            }
        };
        // A file without rows has no columns, and lacks none.
        if !found.is_empty() {
            columns.require(&file, &found)?;
        }
        if wanted == Wanted::Preferences && columns.rejected.is_empty() && !columns.has_list_verdict() {
            let missing =
                "rejected, or what tells the better of several (index, ranks, scores, correct, label)".to_owned();
            let names: Vec<&str> = found.iter().take(40).map(|column| column.name.as_str()).collect();
            return Err(DataError::Columns { file, missing, found: names.join(", ") });
        }
        let names: Vec<String> =
            columns.wanted(found.iter().map(|column| column.name.as_str())).into_iter().map(str::to_owned).collect();
        reader.select(&names)?;
        let layout = layout.map(|layout| format!("{}: {}", layout.name, columns.told_by(&found)));
        let report = IntakeReport { file, layout, unused: unused(&columns, &found), ..IntakeReport::default() };
        let mut builder = Builder { columns, wanted, json: BTreeSet::new() };
        if wanted != Wanted::Published || reader.is_csv() {
            builder.note_json(&found);
        }
        Ok(Self { reader, builder, report, is_known: false, grouped: None, is_strict })
    }

    /// What became of the rows that were read so far.
    pub fn report(&self) -> &IntakeReport {
        &self.report
    }

    /// The next few rows, and the same rows as the file stores them; `None` at the end. Items made of several rows come
    /// without stored rows.
    ///
    /// # Errors
    /// When the file is damaged, or a row is faulty and the intake is strict.
    pub async fn next(&mut self) -> Result<Option<(Vec<TakenRow>, Stored)>, DataError> {
        if self.builder.columns.label.is_some() && self.builder.wanted == Wanted::Preferences {
            if self.grouped.is_none() {
                self.grouped = Some(self.group().await?.into_iter());
            }
            const TOGETHER: usize = 256;
            let few: Vec<TakenRow> = self.grouped.iter_mut().flatten().take(TOGETHER).collect();
            for taken in &few {
                self.count(taken.number, &taken.row)?;
            }
            return Ok((!few.is_empty()).then_some((few, Stored::Json(Vec::new()))));
        }
        let Some(RawRows { rows, stored }) = self.read().await? else {
            return Ok(None);
        };
        let mut taken = Vec::with_capacity(rows.len());
        for raw in rows {
            let id = raw.record.as_ref().ok().and_then(|record| first_of(record, &self.builder.columns.id));
            let id = id.map_or(Value::Null, |(_, id)| id);
            let row = unreadable(raw.record).and_then(|record| self.builder.row(&record));
            self.report.rows += 1;
            self.count(raw.number, &row)?;
            taken.push(TakenRow { number: raw.number, id, row });
        }
        Ok(Some((taken, stored)))
    }

    async fn read(&mut self) -> Result<Option<RawRows>, DataError> {
        let raw = self.reader.next().await?;
        if let Some(raw) = raw.as_ref().filter(|_| !self.is_known) {
            self.is_known = true;
            if matches!(raw.stored, Stored::Batch(_)) && self.builder.wanted != Wanted::Published {
                self.builder.note_json(&columns_by_value(&raw.rows));
            }
        }
        Ok(raw)
    }

    /// Counts a skipped row, or refuses it where the intake is strict.
    fn count(&mut self, number: usize, row: &Result<DatasetRow, Skip>) -> Result<(), DataError> {
        let Err(skip) = row else {
            return Ok(());
        };
        if self.is_strict {
            return Err(DataError::Row {
                file: self.report.file.clone(),
                row: number,
                expected: skip.expected.clone(),
                found: skip.found.clone(),
                reason: skip.reason,
            });
        }
        *self.report.skipped.entry(skip.reason).or_default() += 1;
        Ok(())
    }

    /// Reads all rows and puts those of one prompt together.
    async fn group(&mut self) -> Result<Vec<TakenRow>, DataError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<(String, Vec<Message>), usize> = HashMap::new();
        let mut taken: Vec<TakenRow> = Vec::new();
        while let Some(RawRows { rows, .. }) = self.read().await? {
            for raw in rows {
                self.report.rows += 1;
                let row = unreadable(raw.record).and_then(|record| {
                    let row = self.builder.row(&record)?;
                    Ok((row, label_of(&self.builder.columns, &record)?))
                });
                match row {
                    Err(skip) => taken.push(none(raw.number, skip)),
                    Ok((row, label)) => {
                        let key = (row.subset.clone(), row.prompt.clone());
                        let place = *places.entry(key).or_insert_with(|| {
                            groups.push(Group { row: row.clone(), completions: Vec::new() });
                            groups.len() - 1
                        });
                        let completions = row.chosen.into_iter().map(|text| (text, label, raw.number));
                        groups[place].completions.extend(completions);
                    }
                }
            }
        }
        taken.extend(groups.into_iter().flat_map(Group::item));
        taken.sort_by_key(|taken| taken.number);
        Ok(taken)
    }
}

/// Completions of one prompt: the text, its label and its row's number.
struct Group {
    row: DatasetRow,
    completions: Vec<(String, f64, usize)>,
}

impl Group {
    fn item(self) -> Vec<TakenRow> {
        let best = self.completions.iter().map(|(_, label, _)| *label).fold(f64::NEG_INFINITY, f64::max);
        let is_alike = self.completions.iter().all(|(_, label, _)| *label == best);
        if is_alike {
            let skip = Skip::new(Reason::Unpaired, "completions of a prompt with different labels", "one label");
            return self.completions.into_iter().map(|(_, _, number)| none(number, skip.clone())).collect();
        }
        let first = self.completions.iter().map(|(_, _, number)| *number).min().unwrap_or_default();
        let side = |is_best: bool| {
            let of = self.completions.iter().filter(move |(_, label, _)| (*label == best) == is_best);
            of.map(|(text, _, _)| text.clone()).collect::<Vec<_>>()
        };
        let (chosen, rejected) = (side(true), side(false));
        if chosen.iter().any(|text| rejected.contains(text)) {
            let skip = Skip::new(Reason::Equal, "chosen and rejected that differ", "equal texts");
            return vec![none(first, skip)];
        }
        let row = DatasetRow { chosen, rejected, models: Vec::new(), ..self.row };
        vec![TakenRow { number: first, id: Value::from(row.id.as_str()), row: Ok(row) }]
    }
}

fn none(number: usize, skip: Skip) -> TakenRow {
    TakenRow { number, id: Value::Null, row: Err(skip) }
}

fn label_of(columns: &Columns, record: &Map<String, Value>) -> Result<f64, Skip> {
    let name = columns.label.as_deref().unwrap_or_default();
    let found = lookup(record, name);
    let truth = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
        "true" | "good" | "yes" => Some(1.0),
        "false" | "bad" | "no" => Some(0.0),
        _ => None,
    };
    let label = found.as_ref().and_then(|label| number_of(label).or_else(|| truth(label.as_str()?)));
    label.ok_or_else(|| {
        let expected = format!("true, false or a number in {name}");
        Skip::new(Reason::NoVerdict, expected, crate::turns::shown(found.as_ref()))
    })
}

fn unreadable(record: Result<Map<String, Value>, String>) -> Result<Map<String, Value>, Skip> {
    record.map_err(|found| Skip::new(Reason::Unreadable, "an object with columns", found))
}

/// The columns that hold the fields of preferences, and the layout that was recognised by them.
fn preferences_of(found: &[Column], own: Option<&Columns>) -> (Option<&'static Layout>, Columns) {
    let known = layout_of(found);
    let plain = || Columns::of(&["prompt"], &["chosen"], &["rejected"]);
    match (known, own) {
        (Some((layout, columns)), None) => (Some(layout), columns),
        (None, None) => (None, plain()),
        (known, Some(own)) => {
            let base = known.map_or_else(plain, |(_, columns)| columns);
            (None, base.overlaid(own))
        }
    }
}

/// Calls `take` with each row of a file in turn and the row's number from 1, and reports what became of the rows. The
/// file is never held whole, unless rows of one prompt make an item ([`Columns::label`]).
///
/// # Errors
/// As [`Intake::open`] and [`Intake::next`], and whatever `take` returns.
pub async fn each_row<E: From<DataError>>(
    stream: ByteStream,
    how: &How,
    opening: Opening,
    is_strict: bool,
    mut take: impl AsyncFnMut(usize, Result<DatasetRow, Skip>) -> Result<(), E>,
) -> Result<IntakeReport, E> {
    let mut intake = Intake::open(stream, how, opening, is_strict).await?;
    while let Some((rows, _)) = intake.next().await? {
        for taken in rows {
            take(taken.number, taken.row).await?;
        }
    }
    Ok(intake.report.clone())
}
