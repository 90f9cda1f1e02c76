//! `rewardscope score` with a table as output: all columns of the input, and behind them what scoring gave. Rows of one
//! prompt that lie near each other are scored together, so that the prompt is computed once.

use std::collections::HashMap;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use rewardscope_data::{AboutRewards, RewardColumns, RewardWriter, Rewarded, Skipped, TableShape};
use rewardscope_engine::{Cancel, Detail, EngineError, KeptReference, Scorer};
use rewardscope_store::{Hasher, Source};
use serde_json::Value;

use crate::commands::score_arguments::{Arguments, kept_reference, stopped};
use crate::commands::score_input::{FewRows, Input, RowIn, Work};
use crate::dataset::BadRows;
use crate::output::replaced;
use crate::reference_first::{self, ReferenceFirst};
use crate::row_journal::{check_outputs, place_of};
use crate::row_out::{RowOut, scored, sequences};
use crate::table_journal::TableJournal;
use crate::{model, progress};

/// Most rows that are held at once. Rows of one prompt are scored together within them, counted in the whole input, so
/// that a shard's rows are scored with the same others as without shards.
const WINDOW_ROWS: usize = 4096;

/// Most bytes of their texts, about.
const WINDOW_BYTES: usize = 64 << 20;

/// Most rows that are scored together, and lost when a run is killed.
const GROUP_ROWS: usize = 256;

/// How long scores may wait to be written to the journal.
const WAIT: Duration = Duration::from_secs(1);

/// What was found while the rows were scored.
#[derive(Default)]
struct Found {
    /// Rows of the whole input, those that belong to the shard, and those of them that could not be scored.
    rows: usize,
    own: usize,
    failed: usize,
    /// A hash over the texts of all rows.
    input: String,
    /// Whether any row of the input has several completions.
    is_list: bool,
    /// Tokens of the texts that were scored now, and of them those that were computed.
    tokens: usize,
    computed: usize,
}

/// Scores the rows and writes the table.
///
/// # Errors
/// When the input cannot be read, the output would destroy something, the device fails, or the user interrupts.
pub async fn run(arguments: &Arguments, cancel: &Cancel) -> anyhow::Result<ExitCode> {
    let shown = arguments.output.display().to_string();
    let has_details = arguments.details || arguments.per_token;
    let columns = RewardColumns { prefix: arguments.prefix.clone(), has_details };
    if arguments.is_read_once() {
        bail!("reading {}: rows are read twice for a table; give a file", arguments.input);
    }
    let input = arguments.open(false).await?;
    // What is there already is looked at below.
    check_outputs(input.sources(), &arguments.output, true)?;
    let shape = TableShape::of(input.sources(), &columns).await?;
    let there = there(arguments).await?;
    let mut prepared = model::prepare(&arguments.model).await?;
    let kept = match &there {
        Some(_) => reference_alone(arguments, &mut prepared, cancel).await?,
        None => kept_reference(arguments, false, &mut prepared, cancel).await?,
    };
    let model::Loaded { scorer, clock, .. } = prepared.load(kept).await?;
    let identity = arguments.identity(&scorer, clock).with_columns(columns.clone());
    let tells_time = scorer.report().template_seconds.is_some();
    if let Some(there) = there {
        return complete(arguments, &there, identity.about(tells_time)?).await;
    }
    let mut journal =
        TableJournal::open(&arguments.output, identity, arguments.model.date, arguments.overwrite).await?;
    // A resumed run tells chat templates the same date as before, even on another day.
    scorer.set_clock(journal.identity().clock());
    let mut found = Found::default();
    let bar = ProgressBar::new_spinner().with_style(progress::style("{spinner} {pos} rows")?);
    let mut bad = BadRows::create(arguments.rows.bad_rows.as_deref());
    let all = score(arguments, &columns, &scorer, cancel, &mut journal, &mut found, (&bar, &mut bad)).await;
    bar.finish_and_clear();
    let all = bad.finish().and(all);
    journal.flush()?;
    all.map_err(|error| stopped(error, found.own, true))?;
    let run = journal.identity().about(tells_time)?;
    let about = AboutRewards { rows: found.rows, input: found.input.clone(), shard: arguments.shard, run };
    journal.rewind()?;
    write(arguments, shape, (columns, found.is_list), &mut journal, &about).await?;
    journal.finish()?;
    reference_first::remove(&arguments.output)?;
    eprintln!(
        "{} of {} rows are in {shown}, {} could not be scored; {} tokens were computed now, of {} in the texts",
        found.own, found.rows, found.failed, found.computed, found.tokens
    );
    Ok(ExitCode::from(u8::from(found.failed > 0)))
}

/// What the output says of itself, where it is complete; `None` where the run has to begin or go on.
async fn there(arguments: &Arguments) -> anyhow::Result<Option<AboutRewards>> {
    let output = &arguments.output;
    let has_rows = std::fs::metadata(output).is_ok_and(|found| found.len() > 0);
    if arguments.overwrite || !has_rows || place_of(output).exists() {
        return Ok(None);
    }
    let found = AboutRewards::of(&Source::file(output)?).await;
    let is_other = || {
        let shown = output.display();
        format!("writing {shown}: it is there already; name another file, or replace it with --overwrite")
    };
    match found.with_context(is_other)? {
        Some(about) => Ok(Some(about)),
        None => bail!(is_other()),
    }
}

/// What a reference is, where it does not fit beside the model: to recognise a run, nothing of what it says is needed.
async fn reference_alone(
    arguments: &Arguments,
    prepared: &mut model::Prepared<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Option<KeptReference>> {
    if !arguments.reads_reference_first(prepared).await? {
        return Ok(None);
    }
    let date = arguments.model.date;
    let reference = ReferenceFirst::begin(prepared, None, date, false, cancel.clone()).await?;
    Ok(Some(reference.finish()))
}

/// Ends a run whose output is complete already.
///
/// # Errors
/// When the output is another run's, or of another input.
async fn complete(arguments: &Arguments, there: &AboutRewards, mut run: Value) -> anyhow::Result<ExitCode> {
    let mut found = there.clone();
    if arguments.model.date.is_none() {
        // The run may have begun on another day.
        let both = [&mut found.run, &mut run].into_iter().filter_map(Value::as_object_mut);
        both.for_each(|of| _ = of.shift_remove("template_date"));
    }
    let (mut rows, mut input) = (0, Hasher::sha256());
    let mut windows = Windows { input: arguments.open(false).await? };
    while let Some(window) = windows.next().await? {
        window.rows().for_each(|(_, row)| input.update(&row.key));
        rows = window.last();
    }
    let own = AboutRewards { rows, input: input.finish().hex(), shard: arguments.shard, run };
    let shown = arguments.output.display();
    if found.shard != own.shard || !found.is_same_run(&own) {
        bail!(
            "writing {shown}: it is there already, of another run or input; name another file, or replace it with --overwrite"
        );
    }
    reference_first::remove(&arguments.output)?;
    eprintln!("{shown} is complete already; --overwrite scores its rows again.");
    Ok(ExitCode::SUCCESS)
}

/// Scores the rows that the journal does not have.
#[allow(clippy::too_many_arguments, reason = "one caller, above, which says what each is")]
async fn score(
    arguments: &Arguments,
    columns: &RewardColumns,
    scorer: &Scorer,
    cancel: &Cancel,
    journal: &mut TableJournal,
    found: &mut Found,
    (bar, bad): (&ProgressBar, &mut BadRows<'_>),
) -> anyhow::Result<()> {
    let (mut windows, mut flushed) = (Windows { input: arguments.open(false).await? }, Instant::now());
    let mut input = Hasher::sha256();
    while let Some(window) = windows.next().await? {
        found.rows = window.last();
        let mut groups = Groups::default();
        for (file, row) in window.rows() {
            found.is_list |= row.work.is_many();
            input.update(&row.key);
            if !arguments.has(row) {
                continue;
            }
            if let Some(skip) = &row.bad {
                bad.push(&Skipped::of(file, row.number, skip));
            }
            let known = journal.take(row.place, window.last(), row.key)?;
            groups.push(row, known.as_ref());
        }
        for group in groups.all {
            if let Some(failed) = group.failed_earlier {
                found.failed += failed;
            } else {
                cancel.check().map_err(|_| EngineError::Cancelled)?;
                let outs = together(scorer, &group.rows, arguments.per_token, cancel, found).await?;
                for (row, out) in group.rows.iter().zip(outs) {
                    let rewarded = out.rewarded(columns.has_details)?;
                    found.failed += usize::from(rewarded.error.is_some());
                    journal.push(row.place, row.key, &rewarded)?;
                }
            }
            found.own += group.rows.len();
            bar.set_position(found.own as u64);
            if flushed.elapsed() > WAIT {
                journal.flush()?;
                flushed = Instant::now();
            }
        }
    }
    found.input = input.finish().hex();
    Ok(())
}

/// Rows of a window by their prompts, in the order in which these come first.
#[derive(Default)]
struct Groups<'a> {
    all: Vec<Group<'a>>,
    places: HashMap<u64, usize>,
}

/// Rows of one prompt.
struct Group<'a> {
    rows: Vec<&'a RowIn>,
    /// How many of them could not be scored, where all were tried in an earlier run. Otherwise all are scored again:
    /// what is computed together must not depend on when a run was stopped.
    failed_earlier: Option<usize>,
}

impl<'a> Groups<'a> {
    fn push(&mut self, row: &'a RowIn, known: Option<&Rewarded>) {
        let place = self.places.get(&row.prompt).copied().filter(|&place| self.all[place].rows.len() < GROUP_ROWS);
        let place = place.unwrap_or_else(|| {
            self.all.push(Group { rows: Vec::new(), failed_earlier: Some(0) });
            self.places.insert(row.prompt, self.all.len() - 1);
            self.all.len() - 1
        });
        let group = &mut self.all[place];
        group.rows.push(row);
        let failed = known.map(|known| usize::from(known.error.is_some()));
        group.failed_earlier = group.failed_earlier.zip(failed).map(|(all, failed)| all + failed);
    }
}

/// Scores rows of one prompt, which is computed once. Rows that cannot be scored give their errors.
///
/// # Errors
/// When the device failed or the user interrupted.
async fn together(
    scorer: &Scorer,
    rows: &[&RowIn],
    per_token: bool,
    cancel: &Cancel,
    found: &mut Found,
) -> Result<Vec<RowOut>, EngineError> {
    let mut all = Vec::new();
    let mut spans: Vec<Option<Range<usize>>> = Vec::with_capacity(rows.len());
    for row in rows {
        let own = match &row.work {
            Work::None(_) => None,
            work => sequences(scorer, work).ok(),
        };
        spans.push(own.map(|own| {
            let first = all.len();
            all.extend(own);
            first..all.len()
        }));
    }
    let detail = if per_token { Detail::EveryToken } else { Detail::Score };
    // Completions that are compared with each other are those of one row.
    let scores = match scorer.compares() || all.is_empty() {
        true => None,
        false => match scorer.score_tokens(&all, detail, cancel).await {
            Ok(scores) => Some(scores),
            Err(error @ (EngineError::DeviceFailed { .. } | EngineError::Cancelled)) => return Err(error),
            Err(_) => None,
        },
    };
    let mut outs = Vec::with_capacity(rows.len());
    for (row, span) in rows.iter().zip(spans) {
        outs.push(match (&scores, span) {
            (Some(scores), Some(span)) => {
                let own = &scores[span];
                found.tokens += own.iter().map(|score| score.tokens).sum::<usize>();
                found.computed += own.iter().map(|score| score.computed_tokens).sum::<usize>();
                RowOut::of(row, own, per_token)
            }
            // Alone, so that each row has its own error.
            _ => {
                let own = sequences(scorer, &row.work).unwrap_or_default();
                found.tokens += own.iter().map(|sequence| sequence.input_ids.len()).sum::<usize>();
                found.computed += scorer.computed_tokens(&own).unwrap_or_default();
                scored(scorer, row, per_token, cancel).await?
            }
        });
    }
    Ok(outs)
}

/// Writes all rows of the shard to a temporary file and renames it to the output.
async fn write(
    arguments: &Arguments,
    shape: TableShape,
    columns: (RewardColumns, bool),
    journal: &mut TableJournal,
    about: &AboutRewards,
) -> anyhow::Result<()> {
    let shown = arguments.output.display().to_string();
    let written = replaced(&arguments.output, async |to| {
        let mut out = RewardWriter::new(&shown, to, shape, columns, about)?;
        let mut windows = Windows { input: arguments.open(true).await? };
        while let Some(window) = windows.next().await? {
            for few in &window.parts {
                let known = |row: &RowIn| -> anyhow::Result<Option<Rewarded>> {
                    if !arguments.has(row) {
                        return Ok(None);
                    }
                    let known = journal.take(row.place, window.last(), row.key)?;
                    known.map(Some).with_context(|| format!("{} has changed while it was scored", row.named()))
                };
                let rewarded = few.rows.iter().map(known).collect::<anyhow::Result<Vec<_>>>()?;
                out.write(&few.stored, &rewarded, few.rows.first().map_or(1, |row| row.place))?;
            }
        }
        Ok(out.finish()?)
    });
    written.await.with_context(|| format!("writing {shown}"))
}

/// Rows that are held at once, with what their file stores.
struct Window {
    parts: Vec<FewRows>,
}

impl Window {
    /// The rows, each with its file's name.
    fn rows(&self) -> impl Iterator<Item = (&str, &RowIn)> {
        self.parts.iter().flat_map(|part| part.rows.iter().map(|row| (part.file.as_str(), row)))
    }

    /// The number of its last row.
    fn last(&self) -> usize {
        self.parts.iter().rev().find_map(|part| part.rows.last()).map_or(0, |row| row.place)
    }
}

/// The input, a window at a time. Where one ends depends on the input alone.
struct Windows<'a> {
    input: Input<'a>,
}

impl Windows<'_> {
    async fn next(&mut self) -> anyhow::Result<Option<Window>> {
        let (mut window, mut rows, mut bytes) = (Window { parts: Vec::new() }, 0, 0);
        while rows < WINDOW_ROWS && bytes < WINDOW_BYTES {
            let Some(few) = self.input.next().await? else {
                break;
            };
            rows += few.rows.len();
            bytes += few.rows.iter().map(|row| row.work.bytes()).sum::<usize>();
            window.parts.push(few);
        }
        Ok((rows > 0).then_some(window))
    }
}
