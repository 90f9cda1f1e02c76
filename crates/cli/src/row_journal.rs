//! The journal of `score` and `filter`, a file beside the output. A run that was stopped for any reason resumes from it
//! and scores no row twice. It has one record for each row: which row it was, its outcome, and where the output ends.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_data::{DatasetRow, Skip};
use rewardscope_engine::Clock;
use rewardscope_store::{Digest, Hasher, Records, Source};

use crate::identity::Identity;

/// Bytes of a record: key, score, end of the output, flags.
const RECORD_BYTES: usize = 16 + 8 + 8 + 8;

/// Flag: the row could not be read or scored.
pub const FAILED: u64 = 1;

/// Flag: a text was cut at the context's end.
pub const CUT: u64 = 2;

/// The outcome of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowRecord {
    /// Hash of the row's texts, to recognise the row: see [`key_of`].
    pub key: [u8; 16],
    /// The row's score, or with `--min-margin` the difference of two; NaN where it has none.
    pub score: f64,
    /// Bytes of the output up to the end of this row; 0 in `filter`, which writes its output later.
    pub end: u64,
    /// [`FAILED`] and [`CUT`], combined by `|`.
    pub flags: u64,
}

impl RowRecord {
    fn bytes(self) -> Vec<u8> {
        let numbers = [self.score.to_le_bytes(), self.end.to_le_bytes(), self.flags.to_le_bytes()];
        [self.key.as_slice(), numbers.as_flattened()].concat()
    }

    fn of(bytes: &[u8]) -> Self {
        let number = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        Self {
            key: std::array::from_fn(|i| bytes[i]),
            score: f64::from_le_bytes(number(16)),
            end: u64::from_le_bytes(number(24)),
            flags: u64::from_le_bytes(number(32)),
        }
    }
}

/// The journal of an output. Each journal belongs to one run over one input.
pub struct RowJournal {
    records: Records,
    place: Option<PathBuf>,
    clock: Clock,
}

/// The path of an output's journal, `OUTPUT.journal`.
pub fn place_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// Refuses an output that would destroy something: one that is the input, or that exists with rows but without a
/// journal and without `--overwrite`. Refuses a folder and a place that cannot be written, too.
fn check_output(input: &Path, output: &Path, overwrite: bool) -> anyhow::Result<()> {
    let shown = output.display();
    if matches!((input.canonicalize(), output.canonicalize()), (Ok(one), Ok(other)) if one == other) {
        bail!("writing {shown}: the output is the input; name another file");
    }
    if output.is_dir() {
        bail!("writing {shown}: a file was expected, a folder was found");
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Checked here because loading a model may take minutes.
    tempfile::tempfile_in(folder).with_context(|| format!("writing {shown}: its folder cannot be written"))?;
    let has_journal = place_of(output).exists();
    let has_rows = std::fs::metadata(output).is_ok_and(|found| found.is_file() && found.len() > 0);
    if has_rows && !has_journal && !overwrite {
        bail!("writing {shown}: it is there already; name another file, or replace it with --overwrite");
    }
    Ok(())
}

/// As [`check_output`], for an input of several files; none stand for a pipe.
pub fn check_outputs(inputs: &[Source], output: &Path, overwrite: bool) -> anyhow::Result<()> {
    if inputs.is_empty() {
        return check_output(Path::new(""), output, overwrite);
    }
    inputs.iter().try_for_each(|input| check_output(Path::new(input.name()), output, overwrite))
}

impl RowJournal {
    /// A journal in memory, for an output that cannot be resumed.
    pub fn memory(clock: Clock) -> Self {
        Self { records: Records::memory("{}", RECORD_BYTES), place: None, clock }
    }

    /// Opens the journal of an output and resumes an earlier one, unless `overwrite` is set. `date` is the time that
    /// `--date` asks for; a resumed run keeps its own time.
    ///
    /// # Errors
    /// When the earlier journal belongs to another run or was told another time, or a file cannot be read or written.
    pub async fn open(output: &Path, identity: Identity, date: Option<Clock>, overwrite: bool) -> anyhow::Result<Self> {
        let place = place_of(output);
        if overwrite && place.exists() {
            std::fs::remove_file(&place).with_context(|| format!("beginning {} anew", place.display()))?;
        }
        let mut identity = identity;
        if place.exists() && std::fs::metadata(&place)?.len() > 0 {
            let found = Records::header_of(&Source::file(&place)?).await;
            // A header that was cut off is replaced below.
            if let Some(found) = found.ok().and_then(|line| serde_json::from_str::<Identity>(&line).ok()) {
                identity = identity.resumed(found, &place, date)?;
            }
        }
        let header = serde_json::to_string(&identity)?;
        let records = Records::open(&place, &header, RECORD_BYTES).await?;
        Ok(Self { records, place: Some(place), clock: identity.clock() })
    }

    /// The time that chat templates are told.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Number of rows that are done.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The record of a row, counted from 0.
    pub fn get(&self, row: usize) -> anyhow::Result<RowRecord> {
        Ok(RowRecord::of(&self.records.read(row, 1)?))
    }

    /// The records of `count` rows from `first` on.
    pub fn some(&self, first: usize, count: usize) -> anyhow::Result<Vec<RowRecord>> {
        let bytes = self.records.read(first, count)?;
        Ok(bytes.chunks_exact(RECORD_BYTES).map(RowRecord::of).collect())
    }

    /// Adds the record of the next row.
    pub fn push(&mut self, record: RowRecord) -> anyhow::Result<()> {
        Ok(self.records.append(&record.bytes())?)
    }

    /// Keeps the first `rows` records and drops the others.
    pub fn truncate(&mut self, rows: usize) -> anyhow::Result<()> {
        Ok(self.records.truncate(rows)?)
    }

    /// The record of a row, if `key` is the key that was recorded for it.
    ///
    /// # Errors
    /// When the input has another row at this place now.
    pub fn check(&self, row: usize, key: [u8; 16], input: &str) -> anyhow::Result<RowRecord> {
        let found = self.get(row)?;
        if found.key != key {
            bail!(
                "resuming {}: row {} of {input} has changed; start over with --overwrite",
                self.place.as_deref().unwrap_or(Path::new("")).display(),
                row + 1
            );
        }
        Ok(found)
    }

    /// Removes the journal, because the output is complete.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { records, place, .. } = self;
        if let Some(place) = place {
            // Removed while it is still open, so that no other process can take it up in between.
            std::fs::remove_file(&place).with_context(|| format!("removing {}", place.display()))?;
        }
        drop(records);
        Ok(())
    }
}

/// Hash of a row's texts, or of the reason why it was skipped, by which the row is recognised.
pub fn key_of(row: &Result<DatasetRow, Skip>) -> [u8; 16] {
    let mut hash = Hasher::sha256();
    let mut text = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    match row {
        Ok(row) => {
            row.prompt.iter().for_each(|turn| {
                text(&turn.role);
                text(&turn.content);
            });
            row.chosen.iter().chain(&row.rejected).for_each(|completion| text(completion));
            text(&row.chosen.len().to_string());
        }
        Err(skip) => text(&skip.to_string()),
    }
    half(hash)
}

/// The first 16 bytes of a hash.
pub fn half(hash: Hasher) -> [u8; 16] {
    match hash.finish() {
        Digest::Sha256(bytes) => std::array::from_fn(|i| bytes[i]),
        Digest::GitBlob(bytes) => std::array::from_fn(|i| bytes[i]),
    }
}
