//! What `rewardscope score` is asked, whatever form its output has.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use rewardscope_data::Shard;
use rewardscope_engine::{Cancel, Clock, EngineError, KeptReference, Scorer};

use crate::commands::score_input::{Input, RowIn, is_pipe};
use crate::dataset::RowOptions;
use crate::identity::Identity;
use crate::model;
use crate::output::Stopped;
use crate::reference_first::{self, ReferenceFirst};
use crate::row_out::sequences;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope score --model Skywork/Skywork-Reward-V2-Qwen3-0.6B --input rows.jsonl --output scores.jsonl
  rewardscope score --model ./model --input 'rows/*.parquet' --output part-3.parquet --shard 3/64
  generate | rewardscope score --model ./model --input - --output - | jq .score")]
pub struct Arguments {
    #[command(flatten)]
    pub model: model::Arguments,
    /// Rows to score: a file, a folder, a pattern ('DIR/*.parquet'), an address, a Hub id or `-`
    ///
    /// A row has a prompt and one or more completions, or a conversation that ends with a completion. Every completion
    /// of a preference is scored. A row may also have a prompt and `steps`, a list of texts, or
    /// a `text` that is rendered already, with its special tokens. A file is JSON Lines, JSON, CSV, parquet or Arrow, compressed or not; `-` is standard input.
    #[arg(long)]
    pub input: String,
    /// File for the scores, or `-` for standard output
    ///
    /// The output is JSON Lines with `id`, `score` or `scores`, `tokens` and `truncated`. Named .parquet, it has all
    /// columns of the input, which must be parquet or Arrow, and `reward`, `tokens`, `truncated` and `error`. A run that
    /// was stopped resumes from OUTPUT.journal.
    #[arg(long)]
    pub output: PathBuf,
    /// Score only this part of the rows, such as 3/64, for several machines
    ///
    /// Parts are counted from 1. All rows of one prompt are in one part. `merge` joins the outputs.
    #[arg(long, value_name = "NUMBER/ALL")]
    pub shard: Option<Shard>,
    /// Text to put before the names of the columns that are written to a .parquet output
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// Also write what else is known of the scores, as JSON in the column `details` of a .parquet output
    #[arg(long)]
    pub details: bool,
    /// Also write the tokens' ids and scores, as `input_ids` and `token_scores`
    #[arg(long)]
    pub per_token: bool,
    /// Replace an existing output and start over
    #[arg(long)]
    pub overwrite: bool,
    /// Read the reference before the model is loaded, not beside it [default: where both do not fit into memory]
    ///
    /// The rows are then read twice. What the reference says is kept in OUTPUT.reference until the output is complete.
    #[arg(long, requires = "reference")]
    reference_first: bool,
    /// Stop at a row that cannot be read instead of writing its error
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub rows: RowOptions,
}

impl Arguments {
    /// Opens the input. With `with_stored`, rows are also given with every column.
    pub async fn open(&self, with_stored: bool) -> anyhow::Result<Input<'_>> {
        Input::open(&self.input, &self.rows, self.strict, with_stored).await
    }

    /// Whether a row is one of those to score.
    pub fn has(&self, row: &RowIn) -> bool {
        self.shard.is_none_or(|shard| shard.has(row.prompt))
    }

    /// Whether the input can be read only once.
    pub fn is_read_once(&self) -> bool {
        self.input == "-" || is_pipe(Path::new(&self.input))
    }

    /// Whether the reference is read before the model is loaded.
    pub async fn reads_reference_first(&self, prepared: &model::Prepared<'_>) -> anyhow::Result<bool> {
        Ok(self.reference_first || prepared.fits_alone().await?)
    }

    /// The run that is recorded in a journal, beginning now.
    pub fn identity(&self, scorer: &Scorer, clock: Clock) -> Identity {
        let what = if self.per_token { "scores of every token" } else { "scores" };
        Identity::new(what, scorer.report(), clock).with_shard(self.shard)
    }
}

/// The error of a run that ended after some rows. With `is_kept`, they are on disk.
pub fn stopped(error: anyhow::Error, rows: usize, is_kept: bool) -> anyhow::Error {
    match error.downcast::<EngineError>() {
        Ok(EngineError::Cancelled) => Stopped(match is_kept {
            false => format!("stopped after {rows} rows"),
            true => format!("stopped after {rows} rows; the same command goes on from there"),
        })
        .into(),
        Ok(error) => error.into(),
        Err(error) => error,
    }
}

/// What the reference says of all rows, where it is read before the model is loaded.
pub async fn kept_reference(
    arguments: &Arguments,
    is_stream: bool,
    prepared: &mut model::Prepared<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Option<KeptReference>> {
    if !arguments.reads_reference_first(prepared).await? {
        return Ok(None);
    }
    if arguments.is_read_once() {
        bail!(
            "reading {}: the reference is read before the model is loaded, so that rows are read twice; give a file",
            arguments.input
        );
    }
    let place = (!is_stream).then(|| reference_first::place_of(&arguments.output));
    let mut reference =
        ReferenceFirst::begin(prepared, place, arguments.model.date, arguments.overwrite, cancel.clone()).await?;
    let mut input = arguments.open(false).await?;
    while let Some(few) = input.next().await? {
        for row in few.rows.iter().filter(|row| arguments.has(row)) {
            reference.add(|scorer| sequences(scorer, &row.work)).await?;
        }
    }
    Ok(Some(reference.finish()))
}
