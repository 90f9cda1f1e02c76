//! From a file's rows to items: the layout that its columns show, what of it is read, and what is passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rewardscope_store::ByteStream;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::columns::{first_of, has, lookup, number_of};
use crate::layouts::{Layout, completions_of, layout_of};
use crate::reader::{Opening, RawRows, Reader, Stored, columns_by_value};
use crate::row::{Builder, DatasetRow, Wanted, unused};
use crate::skip::{Reason, Skip};
use crate::turns::Turn;
use crate::{COUNTS, Column, Columns, DataError};

/// How rows are read.
#[derive(Debug, Clone)]
pub enum How {
    /// As a published benchmark has them: a row that is none of it ends the reading.
    Published(Columns),
    /// As preferences, by the layout that the columns show, but for what is named otherwise: a row that is none is
    /// passed over.
    Preferences(Option<Columns>),
    /// As completions to score, with a prompt or in a conversation, one or several a row.
    Completions(Option<Columns>),
}

/// What became of a file's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IntakeReport {
    /// The file.
    pub file: String,
    /// The layout that its columns show, with what of it tells the better completion, where it is not named.
    pub layout: Option<String>,
    /// Columns that look like text and are not read.
    pub unused: Vec<String>,
    /// Rows read.
    pub rows: usize,
    /// Rows passed over, by reason.
    pub skipped: BTreeMap<Reason, usize>,
}

impl IntakeReport {
    /// Rows passed over.
    pub fn count_skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    /// What the reader should know, a sentence each.
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

/// A row that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file.
    pub file: String,
    /// From 1.
    pub row: usize,
    /// The kind of reason.
    pub reason: Reason,
    /// What was expected and found.
    pub detail: String,
}

impl Skipped {
    /// A row that was passed over, with why.
    pub fn of(file: &str, row: usize, skip: &Skip) -> Self {
        Self { file: file.to_owned(), row, reason: skip.reason, detail: skip.to_string() }
    }
}

/// A row that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenRow {
    /// From 1.
    pub number: usize,
    /// Its id as the file has it; null where it has none.
    pub id: Value,
    /// The row, or why it is none.
    pub row: Result<DatasetRow, Skip>,
}

/// The rows of a file as items, a few at a time.
pub struct Intake {
    reader: Reader,
    builder: Builder,
    report: IntakeReport,
    /// Whether the columns' values were looked at.
    is_known: bool,
    /// Items of rows that belong together, which are known when all rows are.
    grouped: Option<std::vec::IntoIter<TakenRow>>,
    is_strict: bool,
}

/// Whether a file's columns are RewardBench 2's own.
pub fn is_official(found: &[Column]) -> bool {
    let all = ["chosen", "rejected", "subset"].iter().all(|name| has(found, name));
    all && COUNTS.iter().any(|name| has(found, name))
}

impl Intake {
    /// Opens a file and finds where its rows have what.
    ///
    /// # Errors
    /// When it holds no rows, is damaged, or lacks columns.
    pub async fn open(stream: ByteStream, how: &How, opening: Opening, is_strict: bool) -> Result<Self, DataError> {
        Self::from_reader(Reader::open(stream, opening).await?, how, is_strict)
    }

    /// The same of a file that is open.
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
                    // What has no completions of its own may be compared ones.
                    (None, own) => preferences_of(&found, own.as_ref()).1,
                };
                // Named completions are all there is to score.
                let columns = match own {
                    Some(own) if !own.chosen.is_empty() && own.rejected.is_empty() => {
                        Columns { rejected: Vec::new(), ..columns }
                    }
                    _ => columns,
                };
                (columns, Wanted::Completions, None)
            }
        };
        // A file without rows has no columns to miss.
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

    /// What became of the rows so far.
    pub fn report(&self) -> &IntakeReport {
        &self.report
    }

    /// The next few rows, with how the file has them where that was asked for; `None` at the end.
    ///
    /// # Errors
    /// When the file is damaged, or a row is none and that is not borne.
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

    /// Takes note of a row that is none.
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

    /// All rows, those of one prompt together.
    async fn group(&mut self) -> Result<Vec<TakenRow>, DataError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<(String, Vec<Turn>), usize> = HashMap::new();
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

/// Completions of one prompt with what they are worth, and the rows that they stand in.
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

/// Where rows of preferences have what, and the layout that says so.
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

/// Hands on each row of a file in turn, with its number from 1; the file is never held whole.
///
/// # Errors
/// As [`Intake::next`], and whatever `take` returns.
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
