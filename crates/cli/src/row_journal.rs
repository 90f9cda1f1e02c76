//! What was scored of a file's rows, on disk beside the output: a run that is stopped, by whatever, goes on where it
//! was and scores nothing twice. A record a row: which row it was, what came of it, and where the output ends.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_data::{DatasetRow, Skip};
use rewardscope_engine::{Clock, ModelReport};
use rewardscope_store::{Digest, Hasher, Records, Source};
use serde::{Deserialize, Serialize};

/// The row's key, its score, where the output ends behind it, and what there is to say.
const RECORD_BYTES: usize = 16 + 8 + 8 + 8;

/// The row was none, or could not be scored.
pub const FAILED: u64 = 1;

/// A text was cut at the context's end.
pub const CUT: u64 = 2;

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowRecord {
    /// What tells it from another row.
    pub key: [u8; 16],
    /// Its score; NaN where it has none.
    pub score: f64,
    /// Bytes of the output up to here.
    pub end: u64,
    /// [`FAILED`] and [`CUT`].
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

/// What makes two runs over rows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Identity {
    /// The command and what of it changes scores.
    rewardscope_rows: String,
    model_fingerprint: String,
    model: String,
    aggregate: Option<String>,
    context_tokens: usize,
    protocol: String,
    label: Option<usize>,
    dtype: Option<String>,
    /// What templates are told of the time, from first to last row.
    local_seconds: i64,
}

/// The journal of an output.
pub struct RowJournal {
    records: Records,
    place: Option<PathBuf>,
    clock: Clock,
}

/// Where an output's journal lies.
pub fn place_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// Refuses an output that would take something away: one that is the input, or that is there and not asked to be
/// overwritten.
pub fn check_output(input: &Path, output: &Path, overwrite: bool) -> anyhow::Result<()> {
    let shown = output.display();
    if matches!((input.canonicalize(), output.canonicalize()), (Ok(one), Ok(other)) if one == other) {
        bail!("writing {shown}: the output is the input; name another file");
    }
    if output.is_dir() {
        bail!("writing {shown}: a file was expected, a folder was found");
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Better known before a model is loaded than after.
    tempfile::tempfile_in(folder).with_context(|| format!("writing {shown}: its folder cannot be written"))?;
    let has_journal = place_of(output).exists();
    let has_rows = std::fs::metadata(output).is_ok_and(|found| found.is_file() && found.len() > 0);
    if has_rows && !has_journal && !overwrite {
        bail!("writing {shown}: it is there already; name another file, or have it replaced with --overwrite");
    }
    Ok(())
}

impl RowJournal {
    /// A journal that is gone with the process.
    pub fn memory(clock: Clock) -> Self {
        Self { records: Records::memory("{}", RECORD_BYTES), place: None, clock }
    }

    /// Opens the journal of an output: an earlier one is gone on with, unless it is to be begun anew. `date` is what
    /// templates are asked to be told of the time, `clock` what they are told otherwise.
    pub async fn open(
        output: &Path,
        what: &str,
        model: &ModelReport,
        (clock, date): (Clock, Option<Clock>),
        overwrite: bool,
    ) -> anyhow::Result<Self> {
        let place = place_of(output);
        let identity = |local_seconds: i64| Identity {
            rewardscope_rows: what.to_owned(),
            model_fingerprint: model.fingerprint.clone(),
            model: model.origin.as_ref().unwrap_or(&model.name).clone(),
            aggregate: model.aggregate.map(|aggregate| format!("{aggregate:?}")),
            context_tokens: model.context_tokens,
            protocol: model.protocol.clone(),
            label: model.label,
            dtype: model.dtype.approximation().map(str::to_owned),
            local_seconds,
        };
        if overwrite && place.exists() {
            std::fs::remove_file(&place).with_context(|| format!("beginning {} anew", place.display()))?;
        }
        let mut clock = clock;
        if place.exists() && std::fs::metadata(&place)?.len() > 0 {
            let found = Records::header_of(&Source::file(&place)?).await;
            // A header that was cut off is written anew.
            if let Some(found) = found.ok().and_then(|line| serde_json::from_str::<Identity>(&line).ok()) {
                let same = Identity { model: found.model.clone(), ..identity(found.local_seconds) };
                if found != same {
                    bail!(
                        "going on with {}: it is of {} with {}; take another output, or begin anew with --overwrite",
                        place.display(),
                        found.rewardscope_rows,
                        found.model
                    );
                }
                clock = Clock::from_local_seconds(found.local_seconds);
                if date.is_some_and(|date| date != clock) {
                    bail!(
                        "going on with {}: its templates were told {clock}, --date is another; leave --date away, or begin anew with --overwrite",
                        place.display()
                    );
                }
                let header = serde_json::to_string(&found)?;
                let records = Records::open(&place, &header, RECORD_BYTES).await?;
                return Ok(Self { records, place: Some(place), clock });
            }
        }
        let header = serde_json::to_string(&identity(clock.local_seconds()))?;
        Ok(Self { records: Records::open(&place, &header, RECORD_BYTES).await?, place: Some(place), clock })
    }

    /// What templates are told of the time.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How many rows are done.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// What came of a row.
    pub fn get(&self, row: usize) -> anyhow::Result<RowRecord> {
        Ok(RowRecord::of(&self.records.read(row, 1)?))
    }

    /// Several rows from one on.
    pub fn some(&self, first: usize, count: usize) -> anyhow::Result<Vec<RowRecord>> {
        let bytes = self.records.read(first, count)?;
        Ok(bytes.chunks_exact(RECORD_BYTES).map(RowRecord::of).collect())
    }

    /// Notes what came of the next row.
    pub fn push(&mut self, record: RowRecord) -> anyhow::Result<()> {
        Ok(self.records.append(&record.bytes())?)
    }

    /// Forgets the rows from one on.
    pub fn truncate(&mut self, rows: usize) -> anyhow::Result<()> {
        Ok(self.records.truncate(rows)?)
    }

    /// Whether a row is the one that was done at its place.
    pub fn check(&self, row: usize, key: [u8; 16], input: &str) -> anyhow::Result<RowRecord> {
        let found = self.get(row)?;
        if found.key != key {
            bail!(
                "going on with {}: row {} of {input} is another than it was; begin anew with --overwrite",
                self.place.as_deref().unwrap_or(Path::new("")).display(),
                row + 1
            );
        }
        Ok(found)
    }

    /// Takes the journal away: the output is whole.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { records, place, .. } = self;
        if let Some(place) = place {
            // Before another process can take it up.
            std::fs::remove_file(&place).with_context(|| format!("removing {}", place.display()))?;
        }
        drop(records);
        Ok(())
    }
}

/// What tells a row from another.
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

/// The first half of a hash.
pub fn half(hash: Hasher) -> [u8; 16] {
    match hash.finish() {
        Digest::Sha256(bytes) => std::array::from_fn(|i| bytes[i]),
        Digest::GitBlob(bytes) => std::array::from_fn(|i| bytes[i]),
    }
}
