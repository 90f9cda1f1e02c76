//! `rewardscope score` scores rows. It writes one row for each row of the input, in the same order, as each is scored.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rewardscope_data::Skipped;
use rewardscope_engine::{
    Cancel, Detail, Duel, EngineError, KeptReference, Objective, PositionBias, Score, Scorer, StepScores, TokenSequence,
};
use serde::Serialize;
use serde_json::Value;

use crate::commands::score_input::{Input, RowIn, Work, is_pipe};
use crate::dataset::{BadRows, RowOptions};
use crate::model;
use crate::output::{Closed, Stopped, on_interrupt};
use crate::reference_first::{self, ReferenceFirst};
use crate::row_journal::{CUT, FAILED, RowJournal, RowRecord, check_output, place_of};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope score --model Skywork/Skywork-Reward-V2-Qwen3-0.6B --input rows.jsonl --output scores.jsonl
  generate | rewardscope score --model ./model --input - --output - | jq .score")]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// File of rows to score, or `-` for standard input
    ///
    /// A row has a prompt and one or more completions, or a conversation that ends with a completion. Every completion
    /// of a preference is scored. A row may also have a prompt and `steps`, a list of texts. A file
    /// is JSON Lines, JSON, CSV, parquet or Arrow, compressed or not.
    #[arg(long)]
    input: PathBuf,
    /// File for the scores, or `-` for standard output
    ///
    /// The output is JSON Lines with `id`, `score` or `scores`, `tokens` and `truncated`. A run that was stopped
    /// resumes from OUTPUT.journal.
    #[arg(long)]
    output: PathBuf,
    /// Also write the tokens' ids and scores, as `input_ids` and `token_scores`
    #[arg(long)]
    per_token: bool,
    /// Replace an existing output and start over
    #[arg(long)]
    overwrite: bool,
    /// Read the reference before the model is loaded, not beside it [default: where both do not fit into memory]
    ///
    /// The rows are then read twice. What the reference says is kept in OUTPUT.reference until the output is complete.
    #[arg(long, requires = "reference")]
    reference_first: bool,
    /// Stop at a row that cannot be read instead of writing its error
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    rows: RowOptions,
}

/// One number for one completion, a list for several.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A row of the output.
#[derive(Default, Serialize)]
struct RowOut {
    id: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    subset: String,
    /// For preferences: how many of the scores, counted from the first, belong to chosen completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    num_correct: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<OneOrMany<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<OneOrMany<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ids: Option<OneOrMany<Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_scores: Option<OneOrMany<Vec<f32>>>,
    /// The objectives whose weighted sum is the score, where the model's head has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    objectives: Option<OneOrMany<Vec<Objective>>>,
    /// The sums of log-probabilities by a policy and by its reference, where rewards are implicit.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_log_probability: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_log_probability: Option<OneOrMany<f64>>,
    /// The sigmoid of a score that is a difference of logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<OneOrMany<f64>>,
    /// The shares of a reader's tokens, where it takes a softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<OneOrMany<Vec<f64>>>,
    /// The value of each step, where a reader reads steps, and what becomes of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_scores: Option<OneOrMany<Vec<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<OneOrMany<f64>>,
    /// Each completion against each other, where the model compares them, and how much their order decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    duels: Option<OneOrMany<Vec<Duel>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_bias: Option<PositionBias>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

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
    let is_stream = arguments.output == Path::new("-") || is_pipe(&arguments.output);
    if !is_stream {
        check_output(&arguments.input, &arguments.output, arguments.overwrite)?;
    }
    let cancel = on_interrupt();
    let mut input = Input::open(&arguments.input, &arguments.rows, arguments.strict).await?;
    let mut prepared = model::prepare(&arguments.model).await?;
    let kept = match arguments.reference_first || prepared.fits_alone().await? {
        true => Some(reference_first(arguments, is_stream, &mut prepared, &cancel).await?),
        false => None,
    };
    let model::Loaded { scorer, clock, .. } = prepared.load(kept).await?;
    let (mut journal, mut out) = match is_stream {
        true => (RowJournal::memory(clock), stream(&arguments.output)?),
        false => {
            let what = if arguments.per_token { "scores of every token" } else { "scores" };
            let overwrite = arguments.overwrite;
            let mut journal =
                RowJournal::open(&arguments.output, what, scorer.report(), (clock, arguments.model.date), overwrite)
                    .await?;
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
    if let Err(error) = scored {
        return Err(match error.downcast::<EngineError>() {
            Ok(EngineError::Cancelled) => Stopped(match is_stream {
                true => format!("stopped after {} rows", rows.place),
                false => format!("stopped after {} rows; the same command goes on from there", rows.place),
            })
            .into(),
            Ok(error) => error.into(),
            Err(error) => error,
        });
    }
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
    let of_reference = reference_first::place_of(&arguments.output);
    if !is_stream && of_reference.exists() {
        std::fs::remove_file(&of_reference).with_context(|| format!("removing {}", of_reference.display()))?;
    }
    Ok(ExitCode::from(u8::from(rows.failed)))
}

/// Computes what the reference says of all rows.
async fn reference_first(
    arguments: &Arguments,
    is_stream: bool,
    prepared: &mut model::Prepared<'_>,
    cancel: &Cancel,
) -> anyhow::Result<KeptReference> {
    let shown = arguments.input.display();
    if arguments.input == Path::new("-") || is_pipe(&arguments.input) {
        bail!(
            "reading {shown}: the reference is read before the model is loaded, so that rows are read twice; give a file"
        );
    }
    let place = (!is_stream).then(|| reference_first::place_of(&arguments.output));
    let mut reference =
        ReferenceFirst::begin(prepared, place, arguments.model.date, arguments.overwrite, cancel.clone()).await?;
    let mut input = Input::open(&arguments.input, &arguments.rows, arguments.strict).await?;
    while let Some(few) = input.next().await? {
        for RowIn { work, .. } in few {
            reference.add(|scorer| sequences(scorer, &work)).await?;
        }
    }
    Ok(reference.finish())
}

/// The token sequences of a row; none where it has nothing to score.
fn sequences(scorer: &Scorer, work: &Work) -> Result<Vec<TokenSequence>, EngineError> {
    match work {
        Work::None(_) => Ok(Vec::new()),
        Work::Tokens(sequence) => Ok(vec![sequence.clone()]),
        Work::Steps(row) => scorer.tokenize_steps(&row.prompt(), std::slice::from_ref(&row.steps)),
        Work::Texts(row) => scorer.tokenize(&row.prompt, row.chosen.iter().chain(&row.rejected).map(String::as_str)),
    }
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
    input: &mut Input,
    arguments: &Arguments,
    scorer: &Scorer,
    cancel: &Cancel,
    journal: &mut RowJournal,
    out: &mut Out,
    rows: &mut Rows,
    bad: &mut BadRows<'_>,
) -> anyhow::Result<()> {
    let shown = arguments.output.display().to_string();
    let name = arguments.input.display().to_string();
    let done = journal.len();
    while let Some(few) = input.next().await? {
        for row in few {
            if let Some(skip) = &row.bad {
                bad.push(&Skipped::of(&name, row.number, skip));
            }
            let place = rows.place;
            if place < done {
                rows.failed |= journal.check(place, row.key, &name)?.flags & FAILED != 0;
                rows.place += 1;
                continue;
            }
            cancel.check().map_err(|_| EngineError::Cancelled)?;
            let key = row.key;
            let row = scored(scorer, row, arguments.per_token, cancel).await?;
            let is_cut = match &row.truncated {
                Some(OneOrMany::One(cut)) => *cut,
                Some(OneOrMany::Many(cut)) => cut.contains(&true),
                None => false,
            };
            let flags = if row.error.is_some() { FAILED } else { 0 } | if is_cut { CUT } else { 0 };
            let mut line = serde_json::to_vec(&row)?;
            line.push(b'\n');
            rows.end = out.line(&line, rows.end).with_context(|| format!("writing {shown}"))?;
            journal.push(RowRecord { key, score: row.score.unwrap_or(f64::NAN), end: rows.end, flags })?;
            rows.failed |= row.error.is_some();
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

/// Scores a row. A row that cannot be scored gives an output row with its error.
///
/// # Errors
/// When the device failed or the user interrupted: both end the run.
async fn scored(scorer: &Scorer, row: RowIn, per_token: bool, cancel: &Cancel) -> anyhow::Result<RowOut> {
    let RowIn { number, id, work, .. } = row;
    let failed =
        |error: String| RowOut { id: id.clone(), error: Some(format!("row {number}: {error}")), ..RowOut::default() };
    let found = sequences(scorer, &work);
    let (many, num_correct, subset) = match work {
        Work::None(error) => return Ok(failed(error)),
        Work::Tokens(_) | Work::Steps(_) => (false, None, String::new()),
        Work::Texts(row) => {
            let is_compared = !row.rejected.is_empty();
            let subset = if is_compared { row.subset } else { String::new() };
            (row.is_list || is_compared, is_compared.then_some(row.chosen.len()), subset)
        }
    };
    let sequences = match found {
        Ok(sequences) => sequences,
        Err(error) => return Ok(failed(error.to_string())),
    };
    let detail = if per_token { Detail::EveryToken } else { Detail::Score };
    let scores = match scorer.score_tokens(&sequences, detail, cancel).await {
        Ok(scores) => scores,
        Err(error @ (EngineError::DeviceFailed { .. } | EngineError::Cancelled)) => return Err(error.into()),
        Err(error) => return Ok(failed(error.to_string())),
    };
    let values: Vec<f64> = scores.iter().map(|s| s.score).collect();
    let steps = |of: fn(&StepScores) -> f64| each_known(&scores, many, |s| s.steps.as_ref().map(of));
    let has_objectives = scores.iter().any(|s| !s.objectives.is_empty());
    Ok(RowOut {
        id,
        subset,
        num_correct,
        score: if many { None } else { values.first().copied() },
        tokens: each_of(&scores, many, |s| s.tokens),
        truncated: each_of(&scores, many, Score::truncated),
        input_ids: if per_token { each_of(&scores, many, |s| s.input_ids.clone()) } else { None },
        token_scores: if per_token { each_of(&scores, many, |s| s.token_scores.clone()) } else { None },
        objectives: each_of(&scores, many, |s| s.objectives.clone()).filter(|_| has_objectives),
        policy_log_probability: each_known(&scores, many, |s| {
            s.log_probabilities.filter(|_| s.reference_log_probabilities.is_some()).map(|all| all.sum)
        }),
        reference_log_probability: each_known(&scores, many, |s| s.reference_log_probabilities.map(|all| all.sum)),
        probability: each_known(&scores, many, |s| s.probability),
        probabilities: each_known(&scores, many, |s| Some(s.probabilities.clone()).filter(|all| !all.is_empty())),
        step_scores: each_known(&scores, many, |s| s.steps.as_ref().map(|steps| steps.scores.clone())),
        min: steps(|steps| steps.min),
        product: steps(|steps| steps.product),
        last: steps(|steps| steps.last),
        duels: each_known(&scores, many, |s| Some(s.duels.clone()).filter(|duels| !duels.is_empty())),
        position_bias: PositionBias::of(scores.iter().map(|s| s.duels.as_slice())),
        scores: many.then_some(values),
        error: None,
    })
}

/// As [`each_of`]; nothing where a score lacks it.
fn each_known<T>(scores: &[Score], many: bool, of: impl Fn(&Score) -> Option<T>) -> Option<OneOrMany<T>> {
    let values: Vec<T> = scores.iter().map(of).collect::<Option<_>>()?;
    if many { Some(OneOrMany::Many(values)) } else { values.into_iter().map(OneOrMany::One).next() }
}

fn each_of<T>(scores: &[Score], many: bool, of: impl Fn(&Score) -> T) -> Option<OneOrMany<T>> {
    let values = scores.iter().map(of);
    if many { Some(OneOrMany::Many(values.collect())) } else { values.map(OneOrMany::One).next() }
}
