//! `rewardscope filter` keeps the rows that a model scores well. Rows are streamed twice: first to score them, then to
//! write those that are kept. The scores are in a journal beside the output.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::ArgPredicate;
use indicatif::ProgressBar;
use rewardscope_data::{
    DatasetRow, How, Intake, Opening, RawRow, Reader, Reason, RowWriter, Skip, Skipped, Stored, TakenRow,
};
use rewardscope_engine::{Cancel, Detail, EngineError, Scorer};
use rewardscope_eval::Reading;
use rewardscope_store::{ByteStream, Hasher, Source};
use serde_json::Value;

use crate::dataset::{BadRows, RowOptions, datasets};
use crate::identity::Identity;
use crate::output::{Stopped, on_interrupt, replaced};
use crate::row_journal::{CUT, FAILED, RowJournal, RowRecord, check_outputs, half, key_of};
use crate::{model, progress};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope filter --model ./model --input rows.jsonl --output best.jsonl --top 0.2
  rewardscope filter --model ./model --input pairs.parquet --output clear.parquet --min-margin 1.5
  rewardscope filter --by reward --input scores.parquet --output best.parquet --top 0.2")]
#[command(mut_arg("model", |model| {
    model.required(false).required_unless_present("by").default_value_if("by", ArgPredicate::IsPresent, "")
}))]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// Take the scores from this column, such as the `reward` that `score` writes, in place of a model
    #[arg(long, value_name = "COLUMN", conflicts_with = "model")]
    by: Option<String>,
    /// Rows to filter: a file, a folder, an address, a Hub id or `-`
    ///
    /// A row has a prompt and a completion, or a conversation; for --min-margin it is a preference. A file is parquet,
    /// Arrow, JSON Lines, JSON, CSV or TSV, compressed or not; `-` is standard input.
    #[arg(long)]
    input: String,
    /// File for the kept rows, or `-` for standard output
    ///
    /// Rows are written unchanged, in the input's format. A run that was stopped resumes from OUTPUT.journal.
    #[arg(long)]
    output: PathBuf,
    #[command(flatten)]
    rule: Rule,
    /// Replace an existing output and start over
    #[arg(long)]
    overwrite: bool,
    /// Stop at a row that cannot be read instead of skipping it
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    rows: RowOptions,
}

/// The rule by which rows are kept; exactly one is given.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Rule {
    /// Keep rows whose completion scores at least this
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f64>,
    /// Keep this share of the rows, those with the highest scores
    ///
    /// Above 0 and at most 1. Of rows with equal scores the earlier ones are kept.
    #[arg(long, value_name = "FRACTION")]
    top: Option<f64>,
    /// Keep rows whose chosen completion scores at least this much more than the rejected one
    #[arg(long, value_name = "DIFFERENCE", allow_negative_numbers = true)]
    min_margin: Option<f64>,
}

/// Most failed rows that are printed; the others are only counted.
const SENTENCES: usize = 20;

/// Journal records read at once.
const BLOCK: usize = 1 << 14;

impl Rule {
    fn check(&self) -> anyhow::Result<()> {
        if let Some(top) = self.top.filter(|top| !(*top > 0.0 && *top <= 1.0)) {
            bail!("filtering: --top takes a share above 0 and at most 1, {top} was found");
        }
        for (name, value) in [("--min-score", self.min_score), ("--min-margin", self.min_margin)] {
            if value.is_some_and(f64::is_nan) {
                bail!("filtering: {name} takes a number, NaN was found");
            }
        }
        Ok(())
    }
}

/// The input's files. Each is read twice, once to score its rows and once to keep them.
struct Input<'a> {
    arguments: &'a Arguments,
    sources: Vec<Source>,
}

impl Input<'_> {
    fn how(&self) -> How {
        let columns = self.arguments.rows.columns.clone();
        match self.arguments.rule.min_margin {
            Some(_) => How::Preferences(columns),
            None => How::Completions(columns),
        }
    }

    async fn open(&self, source: &Source) -> anyhow::Result<Rows<'_>> {
        let opening = Opening { split: self.arguments.rows.split.clone(), with_stored: true, ..Opening::default() };
        let stream = ByteStream::of(source);
        let Some(column) = &self.arguments.by else {
            let intake = Intake::open(stream, &self.how(), opening, self.arguments.strict).await?;
            return Ok(Rows::Texts(Box::new(intake)));
        };
        let mut reader = Reader::open(stream, opening).await?;
        let names: Vec<&str> = reader.columns().iter().map(|column| column.name.as_str()).collect();
        if !names.is_empty() && !names.contains(&column.as_str()) {
            bail!("reading {}: a column {column} was expected, found {}", source.name(), names.join(", "));
        }
        reader.select(std::slice::from_ref(column))?;
        Ok(Rows::Scored(Box::new(reader), column))
    }
}

/// The rows of a file.
enum Rows<'a> {
    /// As prompts with completions.
    Texts(Box<Intake>),
    /// As they are, with the column of their scores.
    Scored(Box<Reader>, &'a str),
}

/// A row that was read.
struct Row {
    number: usize,
    key: [u8; 16],
    /// Its texts, or its scores, or why it has none.
    found: Result<RowOf, Skip>,
}

/// What a row is kept by.
enum RowOf {
    Texts(Box<DatasetRow>),
    Scores(Vec<f64>),
}

impl Rows<'_> {
    /// The next few rows, and the same rows as the file stores them; none at the end.
    async fn next(&mut self) -> anyhow::Result<Option<(Vec<Row>, Stored)>> {
        match self {
            Self::Texts(intake) => {
                let Some((rows, stored)) = intake.next().await? else {
                    return Ok(None);
                };
                let of = |taken: TakenRow| {
                    let key = key_of(&taken.row);
                    Row { number: taken.number, key, found: taken.row.map(|row| RowOf::Texts(Box::new(row))) }
                };
                Ok(Some((rows.into_iter().map(of).collect(), stored)))
            }
            Self::Scored(reader, column) => {
                let Some(found) = reader.next().await? else {
                    return Ok(None);
                };
                Ok(Some((found.rows.into_iter().map(|row| scored(row, column)).collect(), found.stored)))
            }
        }
    }
}

/// A row that has its scores in a column: a number, or a list of them.
fn scored(raw: RawRow, column: &str) -> Row {
    let mut hash = Hasher::sha256();
    let value = raw.record.map(|mut record| record.shift_remove(column).unwrap_or_default());
    hash.update(format!("{value:?}").as_bytes());
    let skip = |reason: Reason, expected: String, found: String| Skip { reason, expected, found };
    let found = value.map_err(|found| skip(Reason::Unreadable, "an object with columns".to_owned(), found));
    let found = found.and_then(|value| {
        let numbers = match &value {
            Value::Array(values) => values.iter().map(number).collect(),
            one => number(one).map(|one| vec![one]),
        };
        let expected = format!("a number, or a list of them, in {column}");
        numbers.map(RowOf::Scores).ok_or_else(|| skip(Reason::NoVerdict, expected, value.to_string()))
    });
    Row { number: raw.number, key: half(hash), found }
}

/// A number, also one that a file without types has as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.rule.check()?;
    let is_stream = arguments.output == Path::new("-");
    let cancel = on_interrupt();
    let sources = datasets(&arguments.input, Reading::Whole, arguments.rows.split.as_deref()).await?;
    if !is_stream {
        check_outputs(&sources, &arguments.output, arguments.overwrite)?;
    }
    let input = Input { arguments, sources };
    input.check_form().await?;
    let loaded = match &arguments.by {
        Some(_) => None,
        None => Some(model::load(&arguments.model).await?),
    };
    let scorer = loaded.as_ref().map(|loaded| &loaded.scorer);
    scorer.map_or(Ok(()), Scorer::check_template)?;
    let mut journal = match &loaded {
        // Numbers that are there are read again in no time.
        None => RowJournal::memory(model::now()),
        Some(loaded) if is_stream => RowJournal::memory(loaded.clock),
        Some(model::Loaded { scorer, clock, .. }) => {
            let what = if arguments.rule.min_margin.is_some() { "margins of rows" } else { "scores of rows" };
            let identity = Identity::new(what, scorer.report(), *clock);
            RowJournal::open(&arguments.output, identity, arguments.model.date, arguments.overwrite).await?
        }
    };
    if let Some(scorer) = scorer {
        scorer.set_clock(journal.clock());
    }
    let shown = arguments.output.display().to_string();
    if journal.len() > 0 {
        eprintln!("{} rows were scored earlier ({shown}); resuming.", journal.len());
    }
    let stopped = |error: anyhow::Error, journal: &RowJournal| match error.downcast::<EngineError>() {
        Ok(EngineError::Cancelled) if is_stream => Stopped("stopped; nothing was written".to_owned()).into(),
        Ok(EngineError::Cancelled) => {
            Stopped(format!("stopped after {} rows; the same command goes on from there", journal.len())).into()
        }
        Ok(error) => error.into(),
        Err(error) => error,
    };
    let rows = match input.score(scorer, &cancel, &mut journal).await {
        Ok(rows) => rows,
        Err(error) => return Err(stopped(error, &journal)),
    };
    let counted = count(&journal)?;
    let choice = Choice::of(&arguments.rule, &journal, rows - counted.failed)?;
    let kept = match is_stream {
        true => input.keep(&shown, BufWriter::new(stdout()), &journal, choice, &cancel).await,
        false => whole(&arguments.output, &input, &journal, choice, &cancel).await,
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) => return Err(stopped(error, &journal)),
    };
    journal.finish()?;
    eprintln!("{rows} rows read, {kept} kept in {shown}, {} could not be scored", counted.failed);
    if let Some(scorer) = scorer.filter(|_| counted.cut > 0) {
        eprintln!(
            "{} of them were cut at {} tokens; their scores do not cover the whole text",
            counted.cut,
            scorer.report().context_tokens
        );
    }
    Ok(ExitCode::from(u8::from(counted.failed > 0)))
}

/// Writes the kept rows to a temporary file and renames it to the output, so that the output is never half written.
/// Gives their number.
async fn whole(
    output: &Path,
    input: &Input<'_>,
    journal: &RowJournal,
    choice: Choice,
    cancel: &Cancel,
) -> anyhow::Result<usize> {
    let shown = output.display().to_string();
    let kept = replaced(output, async |to| input.keep(&shown, to, journal, choice, cancel).await).await;
    kept.with_context(|| format!("writing {shown}"))
}

impl Input<'_> {
    /// Refuses an output whose format differs from the input's, before anything is scored.
    async fn check_form(&self) -> anyhow::Result<()> {
        if self.arguments.output == Path::new("-") {
            return Ok(());
        }
        let Some(first) = self.sources.first() else {
            return Ok(());
        };
        if let Some((_, stored)) = self.open(first).await?.next().await? {
            RowWriter::<File>::check_name(&stored, &self.arguments.output.display().to_string())?;
        }
        Ok(())
    }

    /// Scores the rows that the journal does not have yet. Gives the number of all rows.
    async fn score(&self, scorer: Option<&Scorer>, cancel: &Cancel, journal: &mut RowJournal) -> anyhow::Result<usize> {
        let bar = ProgressBar::new_spinner().with_style(progress::style("{spinner} {pos} rows")?);
        let mut bad = BadRows::create(self.arguments.rows.bad_rows.as_deref());
        let (done, mut place, mut told) = (journal.len(), 0, 0);
        let mut tell = |file: &str, row: usize, error: &str| {
            told += 1;
            if told <= SENTENCES {
                bar.suspend(|| eprintln!("{file}, row {row}: {error}; it is left out"));
            }
        };
        for source in &self.sources {
            let name = source.name();
            let mut opened = self.open(source).await?;
            if let Rows::Texts(intake) = &opened {
                for remark in intake.report().remarks() {
                    bar.suspend(|| eprintln!("{remark}"));
                }
            }
            while let Some((rows, _)) = opened.next().await? {
                for row in rows {
                    let (number, key) = (row.number, row.key);
                    if let Err(skip) = &row.found {
                        if self.arguments.strict {
                            bail!("reading {name}: row {number}: {skip}");
                        }
                        bad.push(&Skipped::of(name, number, skip));
                    }
                    if place < done {
                        journal.check(place, key, name)?;
                        place += 1;
                        continue;
                    }
                    cancel.check().map_err(|_| EngineError::Cancelled)?;
                    let mut flags = 0;
                    let is_margin = self.arguments.rule.min_margin.is_some();
                    let score = match score(scorer, row.found, is_margin, cancel, &mut flags).await? {
                        Ok(score) => score,
                        Err(error) => {
                            tell(name, number, &error);
                            flags |= FAILED;
                            f64::NAN
                        }
                    };
                    journal.push(RowRecord { key, score, end: 0, flags })?;
                    place += 1;
                    bar.set_position(place as u64);
                }
            }
        }
        bar.finish_and_clear();
        bad.finish()?;
        match place < done {
            true => {
                bail!("resuming: {done} rows were scored earlier, the input has {place}; start over with --overwrite")
            }
            false => Ok(place),
        }
    }

    /// Writes the kept rows. Gives their number.
    async fn keep<W: Write + Send>(
        &self,
        name: &str,
        to: W,
        journal: &RowJournal,
        mut choice: Choice,
        cancel: &Cancel,
    ) -> anyhow::Result<usize> {
        let mut out = RowWriter::new(name, to);
        let (mut place, mut kept) = (0, 0);
        for source in &self.sources {
            let mut opened = self.open(source).await?;
            while let Some((rows, stored)) = opened.next().await? {
                cancel.check().map_err(|_| EngineError::Cancelled)?;
                let records = journal.some(place, rows.len())?;
                place += rows.len();
                let keep: Vec<bool> = records.iter().map(|record| choice.takes(record)).collect();
                kept += keep.iter().filter(|keep| **keep).count();
                out.write(&stored, &keep)?;
            }
        }
        out.finish()?;
        Ok(kept)
    }
}

/// A row's score, or with `is_margin` the difference of its two scores. The inner error says why there is none. Sets
/// [`CUT`] in `flags` where a text was cut.
async fn score(
    scorer: Option<&Scorer>,
    found: Result<RowOf, Skip>,
    is_margin: bool,
    cancel: &Cancel,
    flags: &mut u64,
) -> anyhow::Result<Result<f64, String>> {
    let (row, scores) = match found {
        Err(skip) => return Ok(Err(skip.to_string())),
        Ok(RowOf::Texts(row)) => (Some(row), Vec::new()),
        Ok(RowOf::Scores(scores)) => (None, scores),
    };
    let (chosen, rejected) = match &row {
        Some(row) => (row.chosen.len(), row.rejected.len()),
        // Of two completions that are compared, the first is the better one.
        None if is_margin => (scores.len().min(1), scores.len().saturating_sub(1)),
        None => (scores.len(), 0),
    };
    if chosen != 1 {
        return Ok(Err(format!("expected one completion, found {chosen}")));
    }
    if is_margin && rejected != 1 {
        return Ok(Err(format!("expected one rejected completion, found {rejected}")));
    }
    let scores = match (row, scorer) {
        (Some(row), Some(scorer)) => {
            let all = row.chosen.iter().chain(row.rejected.iter().take(usize::from(is_margin))).map(String::as_str);
            match scorer.score(&row.prompt, all, Detail::Score, cancel).await {
                Ok(scores) => {
                    if scores.iter().any(|score| score.cut_tokens > 0) {
                        *flags |= CUT;
                    }
                    scores.iter().map(|score| score.score).collect()
                }
                Err(error @ (EngineError::DeviceFailed { .. } | EngineError::Cancelled)) => return Err(error.into()),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        _ => scores,
    };
    let score = match scores.as_slice() {
        [chosen, rejected] => chosen - rejected,
        [only, ..] => *only,
        [] => f64::NAN,
    };
    Ok(match score.is_finite() {
        true => Ok(score),
        false => Err(format!("expected a finite score, found {score}")),
    })
}

/// Number of rows that failed, and of rows whose text was cut.
#[derive(Default)]
struct Counted {
    failed: usize,
    cut: usize,
}

fn count(journal: &RowJournal) -> anyhow::Result<Counted> {
    let mut counted = Counted::default();
    each_record(journal, |record| {
        counted.failed += usize::from(record.flags & FAILED != 0);
        counted.cut += usize::from(record.flags & CUT != 0);
    })?;
    Ok(counted)
}

fn each_record(journal: &RowJournal, mut take: impl FnMut(&RowRecord)) -> anyhow::Result<()> {
    for first in (0..journal.len()).step_by(BLOCK) {
        journal.some(first, BLOCK.min(journal.len() - first))?.iter().for_each(&mut take);
    }
    Ok(())
}

/// Decides which rows are kept. Rows must be asked about in their order.
struct Choice {
    /// The least score that is kept, as a number by [`order`].
    least: u64,
    /// How many rows with exactly that score are still to be kept.
    left_at_least: u64,
}

impl Choice {
    fn of(rule: &Rule, journal: &RowJournal, scored: usize) -> anyhow::Result<Self> {
        let Some(top) = rule.top else {
            let least = rule.min_score.or(rule.min_margin).unwrap_or(f64::NEG_INFINITY);
            return Ok(Self { least: order(least), left_at_least: u64::MAX });
        };
        let count = (top * scored as f64).round() as u64;
        let reach = |of: &dyn Fn(u64) -> bool| -> anyhow::Result<u64> {
            let mut reached = 0;
            each_record(journal, |record| reached += u64::from(of(order(record.score))))?;
            Ok(reached)
        };
        // The highest bound that at least `count` rows reach. It is found bit by bit, with one pass over the journal
        // for each bit, so that the scores need not be held in memory.
        let mut least = 0u64;
        for bit in (0..u64::BITS).rev() {
            let tried = least | 1 << bit;
            if reach(&|order| order >= tried)? >= count {
                least = tried;
            }
        }
        let above = reach(&|order| order > least)?;
        Ok(Self { least, left_at_least: count.saturating_sub(above) })
    }

    fn takes(&mut self, record: &RowRecord) -> bool {
        let order = order(record.score);
        let is_last = order == self.least && order > 0 && self.left_at_least > 0;
        self.left_at_least -= u64::from(is_last);
        order > self.least || is_last
    }
}

/// A score as an integer that sorts in the same order; 0, the lowest, for NaN.
fn order(score: f64) -> u64 {
    // Makes 0.0 of -0.0, which is equal but has other bits.
    let score = score + 0.0;
    if score.is_nan() {
        return 0;
    }
    let bits = score.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}
