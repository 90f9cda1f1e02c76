//! `rewardscope score` scores rows. It writes one row for each row of the input, in the same order, as each is scored.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use rewardscope_data::Skipped;
use rewardscope_engine::{Cancel, EngineError, Scorer};

pub use crate::commands::score_arguments::Arguments;
use crate::commands::score_arguments::{kept_reference, stopped};
use crate::commands::score_input::{Input, is_pipe};
use crate::commands::score_table;
use crate::dataset::BadRows;
use crate::model;
use crate::output::{Closed, is_table, on_interrupt};
use crate::reference_first;
use crate::row_journal::{CUT, FAILED, RowJournal, RowRecord, check_outputs, place_of};
use crate::row_out::scored;

/// Where output rows are written.
enum Out {
    Stream(Box<dyn Write>),
    File(File),
}

impl Out {
    /// Writes a line. Gives the output's size in bytes after it; `end` is the size before.
    fn line(&mut self, line: &[u8], end: u64) -> anyhow::Result<u64> {
        let written = match self {
            Self::Stream(to) => to.write_all(line).and_then(|()| to.flush()),
            Self::File(file) => file.write_all(line),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
            other => Ok(other.map(|()| end + line.len() as u64)?),
        }
    }
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cancel = on_interrupt();
    if is_table(&arguments.output) {
        return score_table::run(arguments, &cancel).await;
    }
    if !arguments.prefix.is_empty() || arguments.details {
        bail!(
            "writing {}: --prefix and --details are for columns of a .parquet output; lines have all that is known",
            arguments.output.display()
        );
    }
    let is_stream = arguments.output == Path::new("-") || is_pipe(&arguments.output);
    let mut input = arguments.open(false).await?;
    if !is_stream {
        check_outputs(input.sources(), &arguments.output, arguments.overwrite)?;
    }
    let mut prepared = model::prepare(&arguments.model).await?;
    let kept = kept_reference(arguments, is_stream, &mut prepared, &cancel).await?;
    let model::Loaded { scorer, clock, .. } = prepared.load(kept).await?;
    let (mut journal, mut out) = match is_stream {
        true => (RowJournal::memory(clock), stream(&arguments.output)?),
        false => {
            let (identity, overwrite) = (arguments.identity(&scorer, clock), arguments.overwrite);
            let mut journal = RowJournal::open(&arguments.output, identity, arguments.model.date, overwrite).await?;
            let file = resumed(&arguments.output, &mut journal, overwrite)?;
            (journal, Out::File(file))
        }
    };
    // A resumed run tells chat templates the same date as before, even on another day.
    scorer.set_clock(journal.clock());
    let shown = arguments.output.display().to_string();
    let done = journal.len();
    if done > 0 {
        eprintln!("{done} rows were scored earlier ({shown}); resuming.");
    }
    let mut rows = Rows { place: 0, end: end_of(&journal)?, failed: false };
    let mut bad = BadRows::create(arguments.rows.bad_rows.as_deref());
    let scored = each(&mut input, arguments, &scorer, &cancel, &mut journal, &mut out, &mut rows, &mut bad).await;
    bad.finish()?;
    scored.map_err(|error| stopped(error, rows.place, !is_stream))?;
    if rows.place < done {
        bail!(
            "resuming {shown}: {done} rows were scored earlier, the input has {}; start over with --overwrite",
            rows.place
        );
    }
    if let Out::File(file) = &out {
        file.sync_all().with_context(|| format!("writing {shown}"))?;
    }
    journal.finish()?;
    if !is_stream {
        reference_first::remove(&arguments.output)?;
    }
    Ok(ExitCode::from(u8::from(rows.failed)))
}

/// The progress of a run.
struct Rows {
    /// Rows done.
    place: usize,
    /// Size of the output in bytes.
    end: u64,
    /// Whether any row could not be scored.
    failed: bool,
}

#[allow(clippy::too_many_arguments, reason = "one caller, above, which says what each is")]
async fn each(
    input: &mut Input<'_>,
    arguments: &Arguments,
    scorer: &Scorer,
    cancel: &Cancel,
    journal: &mut RowJournal,
    out: &mut Out,
    rows: &mut Rows,
    bad: &mut BadRows<'_>,
) -> anyhow::Result<()> {
    let shown = arguments.output.display().to_string();
    let done = journal.len();
    while let Some(few) = input.next().await? {
        for row in few.rows.into_iter().filter(|row| arguments.has(row)) {
            if let Some(skip) = &row.bad {
                bad.push(&Skipped::of(&few.file, row.number, skip));
            }
            let place = rows.place;
            if place < done {
                rows.failed |= journal.check(place, row.key, &few.file)?.flags & FAILED != 0;
                rows.place += 1;
                continue;
            }
            cancel.check().map_err(|_| EngineError::Cancelled)?;
            let mut found = scored(scorer, &row, arguments.per_token, cancel).await?;
            if arguments.shard.is_some() {
                (found.row, found.shard) = (Some(row.place), arguments.shard);
            }
            let flags = if found.error.is_some() { FAILED } else { 0 } | if found.is_cut() { CUT } else { 0 };
            let mut line = serde_json::to_vec(&found)?;
            line.push(b'\n');
            rows.end = out.line(&line, rows.end).with_context(|| format!("writing {shown}"))?;
            let score = found.score.unwrap_or(f64::NAN);
            journal.push(RowRecord { key: row.key, score, end: rows.end, flags })?;
            rows.failed |= found.error.is_some();
            rows.place += 1;
        }
    }
    Ok(())
}

fn stream(output: &Path) -> anyhow::Result<Out> {
    if output == Path::new("-") {
        return Ok(Out::Stream(Box::new(stdout().lock())));
    }
    let pipe = OpenOptions::new().write(true).open(output);
    Ok(Out::Stream(Box::new(pipe.with_context(|| format!("opening {}", output.display()))?)))
}

fn end_of(journal: &RowJournal) -> anyhow::Result<u64> {
    match journal.len() {
        0 => Ok(0),
        rows => Ok(journal.get(rows - 1)?.end),
    }
}

/// Opens the output and cuts it to the rows that the journal has. Drops journal records whose rows did not reach the
/// disk, so that these rows are scored again.
fn resumed(output: &Path, journal: &mut RowJournal, overwrite: bool) -> anyhow::Result<File> {
    let shown = || format!("writing {}", output.display());
    if !overwrite && journal.len() == 0 && std::fs::metadata(output).is_ok_and(|found| found.len() > 0) {
        // With an empty journal, only an unfinished first line can be from a stopped run; a whole line is someone
        // else's.
        let mut text = String::new();
        File::open(output).and_then(|mut file| file.read_to_string(&mut text)).with_context(shown)?;
        if text.contains('\n') {
            bail!(
                "{}: it is there already and {} has no record of it; name another file, or replace it with --overwrite",
                shown(),
                place_of(output).display()
            );
        }
    }
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(output).with_context(shown)?;
    let bytes = file.metadata().with_context(shown)?.len();
    while journal.len() > 0 && end_of(journal)? > bytes {
        journal.truncate(journal.len() - 1)?;
    }
    let end = end_of(journal)?;
    file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).with_context(shown)?;
    Ok(file)
}
