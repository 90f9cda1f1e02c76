//! `rewardscope filter`: the rows of a file that a model scores well. Rows stream through, and what
//! is kept of those that were read is eight bytes each, on disk.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_data::{Columns, Kept, ScorableRow, Stored, each_stored};
use rewardscope_engine::{Cancel, Detail, EngineError, Message, Scorer};
use rewardscope_store::Source;

use crate::eval::columns;
use crate::model;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// Rows with a prompt and a completion, or with a conversation: parquet or JSON Lines.
    #[arg(long)]
    input: PathBuf,
    /// The rows that are kept, as they are, in the input's form.
    #[arg(long)]
    output: PathBuf,
    #[command(flatten)]
    rule: Rule,
    /// Where rows have what, as JSON: {"prompt": ["question"], "chosen": ["answer"]}.
    #[arg(long, value_name = "JSON")]
    columns: Option<String>,
}

/// Which rows are kept.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Rule {
    /// Rows whose completion scores at least this.
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f64>,
    /// The best scored share of the rows, above 0 and at most 1; of equal scores the earlier rows.
    #[arg(long, value_name = "FRACTION")]
    top: Option<f64>,
    /// Rows whose chosen completion scores at least so much more than the rejected one.
    #[arg(long, value_name = "DIFFERENCE", allow_negative_numbers = true)]
    min_margin: Option<f64>,
}

/// Where rows have what, where nothing else is said.
fn usual(has_rejected: bool) -> Columns {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Columns {
        prompt: names(&["prompt", "question", "instruction", "input"]),
        chosen: match has_rejected {
            true => names(&["chosen"]),
            false => names(&["completion", "response", "output", "answer", "chosen", "messages", "conversation"]),
        },
        rejected: if has_rejected { names(&["rejected"]) } else { Vec::new() },
        ..Columns::default()
    }
}

/// Sentences about rows that are written; the others are counted.
const SENTENCES: usize = 20;

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let rule = &arguments.rule;
    if let Some(top) = rule.top.filter(|top| !(*top > 0.0 && *top <= 1.0)) {
        bail!("filtering: --top takes a share above 0 and at most 1, {top} was found");
    }
    for (name, value) in [("--min-score", rule.min_score), ("--min-margin", rule.min_margin)] {
        if value.is_some_and(f64::is_nan) {
            bail!("filtering: {name} takes a number, NaN was found");
        }
    }
    let usual = usual(rule.min_margin.is_some());
    let columns = match &arguments.columns {
        Some(text) => over(usual, columns(text)?),
        None => usual,
    };
    let source = Source::file(&arguments.input)?;
    if same_file(&arguments.input, &arguments.output) {
        bail!("filtering {}: the output is the input; name another file", arguments.input.display());
    }
    same_form(&arguments.input, &arguments.output)?;
    let scorer = model::load(&arguments.model).await?.scorer;
    scorer.check_template()?;
    let shown = arguments.output.display().to_string();
    // What is there stays until all rows are written: a run that breaks off leaves no half of a file.
    let folder = arguments.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("creating a file beside {shown}"))?;
    let create = || written.reopen().with_context(|| format!("writing {shown}"));
    let (mut rows, mut failed, mut kept, mut cut) = (0usize, 0usize, 0usize, 0usize);
    let bar = ProgressBar::new_spinner().with_style(model::style("{spinner} {pos} rows, {msg}")?);
    let tell = |row: usize, error: String, failed: &mut usize| {
        *failed += 1;
        if *failed <= SENTENCES {
            bar.suspend(|| eprintln!("row {row}: {error}; it is left out"));
        }
    };
    if let Some(top) = rule.top {
        let mut scores = Scores::new(folder)?;
        each_stored::<anyhow::Error>(&source, &columns, async |found, _| {
            for row in found {
                rows += 1;
                match score(&scorer, row, None, &mut cut).await? {
                    Ok(score) => scores.push(score)?,
                    Err(error) => {
                        tell(rows, error, &mut failed);
                        scores.push(f64::NAN)?;
                    }
                }
                bar.set_position(rows as u64);
            }
            Ok(())
        })
        .await?;
        let mut choice = scores.best((top * (rows - failed) as f64).round() as u64)?;
        let mut out = Kept::new(&shown, BufWriter::new(create()?));
        each_stored::<anyhow::Error>(&source, &columns, async |found, stored: Stored| {
            let keep: Vec<bool> = found.iter().map(|_| choice.next()).collect::<Result<_, _>>()?;
            kept += keep.iter().filter(|keep| **keep).count();
            Ok(out.write(&stored, &keep)?)
        })
        .await?;
        out.finish()?;
    } else {
        let least = rule.min_score.or(rule.min_margin).unwrap_or(f64::NEG_INFINITY);
        let mut out = Kept::new(&shown, BufWriter::new(create()?));
        each_stored::<anyhow::Error>(&source, &columns, async |found, stored: Stored| {
            let mut keep = Vec::with_capacity(found.len());
            for row in found {
                rows += 1;
                let score = score(&scorer, row, rule.min_margin, &mut cut).await?;
                keep.push(score.as_ref().is_ok_and(|&score| score >= least));
                kept += usize::from(keep.last() == Some(&true));
                if let Err(error) = score {
                    tell(rows, error, &mut failed);
                }
                bar.set_position(rows as u64);
                bar.set_message(format!("{kept} kept"));
            }
            Ok(out.write(&stored, &keep)?)
        })
        .await?;
        out.finish()?;
    }
    bar.finish_and_clear();
    keep_permissions(written.as_file(), &arguments.output)?;
    written.persist(&arguments.output).with_context(|| format!("writing {shown}"))?;
    eprintln!("{rows} rows read, {kept} kept in {shown}, {failed} could not be scored");
    if cut > 0 {
        eprintln!(
            "{cut} of them were cut at {} tokens: their scores are not of all that they say",
            scorer.report().context_tokens
        );
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Rows stay in the form that they have.
fn same_form(input: &Path, output: &Path) -> anyhow::Result<()> {
    let mut start = [0; 4];
    let is_parquet = File::open(input).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"PAR1";
    let named = output.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let other = match is_parquet {
        true => ["jsonl", "json", "csv"].contains(&named.as_str()),
        false => named == "parquet",
    };
    if other {
        let form = if is_parquet { "parquet" } else { "JSON Lines" };
        bail!(
            "filtering {}: rows are kept in the form that they have, which is {form}; name the output so, not .{named}",
            input.display()
        );
    }
    Ok(())
}

/// A file beside others is one's own until it takes its place among them.
fn keep_permissions(file: &File, place: &Path) -> anyhow::Result<()> {
    let of_place = std::fs::metadata(place).map(|found| found.permissions()).ok();
    #[cfg(unix)]
    let of_place = {
        use std::os::unix::fs::PermissionsExt;
        of_place.or_else(|| Some(std::fs::Permissions::from_mode(0o644)))
    };
    match of_place {
        Some(permissions) => Ok(file.set_permissions(permissions)?),
        None => Ok(()),
    }
}

/// The usual columns, but for those that somebody names otherwise.
fn over(usual: Columns, own: Columns) -> Columns {
    let of = |usual: Vec<String>, own: &Vec<String>| if own.is_empty() { usual } else { own.clone() };
    Columns {
        prompt: of(usual.prompt, &own.prompt),
        chosen: of(usual.chosen, &own.chosen),
        rejected: of(usual.rejected, &own.rejected),
        must_have: [&own.prompt, &own.chosen, &own.rejected].into_iter().filter(|of| !of.is_empty()).cloned().collect(),
        ..usual
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The row's score, or with a margin asked for the difference of its two; or why there is none.
async fn score(
    scorer: &Scorer,
    row: Result<ScorableRow, String>,
    margin: Option<f64>,
    cut: &mut usize,
) -> anyhow::Result<Result<f64, String>> {
    let row = match row {
        Ok(row) => row,
        Err(error) => return Ok(Err(error)),
    };
    let prompt: Vec<Message> =
        row.prompt.iter().map(|turn| Message::new(turn.role.as_str(), turn.content.as_str())).collect();
    let completions = row.chosen.as_slice();
    if completions.len() != 1 || (margin.is_some() && row.rejected.len() != 1) {
        return Ok(Err(format!("one completion was expected, {} were found", completions.len())));
    }
    let all = completions.iter().chain(row.rejected.iter().take(usize::from(margin.is_some()))).map(String::as_str);
    match scorer.score(&prompt, all, Detail::Score, &Cancel::default()).await {
        Ok(scores) => {
            *cut += usize::from(scores.iter().any(|score| score.cut_tokens > 0));
            let score = match scores.as_slice() {
                [chosen, rejected] => chosen.score - rejected.score,
                [only, ..] => only.score,
                [] => f64::NAN,
            };
            Ok(if score.is_finite() {
                Ok(score)
            } else {
                Err(format!("a finite score was expected, {score} was found"))
            })
        }
        Err(error @ EngineError::DeviceFailed { .. }) => bail!(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The scores of all rows, in a file without a name that is gone when this is.
struct Scores {
    file: BufWriter<File>,
}

impl Scores {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let file = tempfile::tempfile_in(folder).with_context(|| format!("creating a file in {}", folder.display()))?;
        Ok(Self { file: BufWriter::new(file) })
    }

    fn push(&mut self, score: f64) -> anyhow::Result<()> {
        self.file.write_all(&order(score).to_le_bytes()).context("writing the scores of rows")
    }

    /// Says of each row in turn whether it is among the best so many.
    fn best(mut self, count: u64) -> anyhow::Result<Choice> {
        // The score that so many reach: found bit by bit, each in a pass over the file.
        let mut least = 0u64;
        for bit in (0..u64::BITS).rev() {
            let tried = least | 1 << bit;
            if self.count(|order| order >= tried)? >= count {
                least = tried;
            }
        }
        let above = self.count(|order| order > least)?;
        self.rewind()?;
        let file = self.file.get_ref().try_clone()?;
        Ok(Choice { _scores: self, file: BufReader::new(file), least, left_at_least: count.saturating_sub(above) })
    }

    fn rewind(&mut self) -> anyhow::Result<()> {
        self.file.flush()?;
        self.file.get_mut().seek(SeekFrom::Start(0))?;
        Ok(())
    }

    fn count(&mut self, of: impl Fn(u64) -> bool) -> anyhow::Result<u64> {
        self.rewind()?;
        let mut file = BufReader::with_capacity(1 << 20, self.file.get_ref());
        let (mut bytes, mut count) = ([0; 8], 0);
        while file.read_exact(&mut bytes).is_ok() {
            count += u64::from(of(u64::from_le_bytes(bytes)));
        }
        Ok(count)
    }
}

/// A score as a number that is the larger, the larger the score; 0 for NaN.
fn order(score: f64) -> u64 {
    if score.is_nan() {
        return 0;
    }
    let bits = score.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

struct Choice {
    /// Keeps the file.
    _scores: Scores,
    file: BufReader<File>,
    least: u64,
    /// Rows with just that score that are still to be kept.
    left_at_least: u64,
}

impl Choice {
    fn next(&mut self) -> anyhow::Result<bool> {
        let mut bytes = [0; 8];
        self.file.read_exact(&mut bytes).context("reading the scores again: the input has grown meanwhile")?;
        let order = u64::from_le_bytes(bytes);
        let is_last = order == self.least && order > 0 && self.left_at_least > 0;
        self.left_at_least -= u64::from(is_last);
        Ok(order > self.least || is_last)
    }
}
