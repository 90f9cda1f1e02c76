//! The journal of a table of rewards, a file of lines beside the output: what scoring each row gave, in any order within
//! a window of rows. A run that was stopped resumes from it and scores no row twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_data::Rewarded;
use rewardscope_engine::Clock;
use rewardscope_store::Log;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::row_journal::place_of;

/// How the first line begins, and how long it may be.
const BEGINNING: &str = r#"{"rewardscope_rows":"#;
const MOST_HEADER_BYTES: u64 = 1 << 16;

/// A line: what scoring a row gave.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The row's number in the whole input, from 1.
    row: usize,
    /// The row's key, to recognise it.
    key: String,
    #[serde(flatten)]
    rewarded: Rewarded,
}

/// A journal that is read from its beginning, and then added to.
pub struct TableJournal {
    log: Log,
    place: PathBuf,
    identity: Identity,
    /// Where the first line of rows begins, and where the next line to be read does.
    first: u64,
    at: u64,
    /// Lines that were read: the rows' keys and what scoring them gave.
    ahead: BTreeMap<usize, (String, Rewarded)>,
    /// The last row that was read.
    until: usize,
    is_read: bool,
    /// Lines that are not written yet.
    pending: String,
}

impl TableJournal {
    /// Opens the journal of an output and resumes an earlier one, unless `overwrite` is set. `date` is the time that
    /// `--date` asks for; a resumed run keeps its own time.
    ///
    /// # Errors
    /// When it belongs to another run, is open elsewhere, or cannot be read or written.
    pub async fn open(output: &Path, identity: Identity, date: Option<Clock>, overwrite: bool) -> anyhow::Result<Self> {
        let place = place_of(output);
        // Looked at before it is opened: to open a log cuts off what is no whole line.
        let found = if overwrite { None } else { header_of(&place)? };
        let identity = match found {
            Some(found) => identity.resumed(found, &place, date)?,
            None => identity,
        };
        let mut log = Log::resume(&place, overwrite).await?;
        let line = match log.read(0)?.0.into_iter().next() {
            Some(line) => line,
            None => {
                let line = serde_json::to_string(&identity)?;
                log.append(&line)?;
                line
            }
        };
        let first = line.len() as u64 + 1;
        let (ahead, pending) = (BTreeMap::new(), String::new());
        Ok(Self { log, place, identity, first, at: first, ahead, until: 0, is_read: false, pending })
    }

    /// The run that is recorded.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is known of a row and those before it that were not asked for. Rows must be asked for window by window:
    /// `last` is the last row of the window.
    ///
    /// # Errors
    /// When the input has another row at this place now, or the journal is damaged.
    pub fn take(&mut self, row: usize, last: usize, key: [u8; 16]) -> anyhow::Result<Option<Rewarded>> {
        self.read(last)?;
        let Some((found, rewarded)) = self.ahead.remove(&row) else {
            return Ok(None);
        };
        if found != shown(key) {
            bail!("resuming {}: row {row} of the input has changed; start over with --overwrite", self.place.display());
        }
        Ok(Some(rewarded))
    }

    /// Reads lines until one of a later row than `last`.
    fn read(&mut self, last: usize) -> anyhow::Result<()> {
        while self.until <= last && !self.is_read {
            let (lines, end) = self.log.read(self.at)?;
            self.is_read = lines.is_empty();
            self.at = end;
            for line in lines {
                let line: Line = serde_json::from_str(&line)
                    .with_context(|| format!("resuming {}: a line of it is damaged", self.place.display()))?;
                self.until = self.until.max(line.row);
                self.ahead.insert(line.row, (line.key, line.rewarded));
            }
        }
        Ok(())
    }

    /// Adds what scoring a row gave. It is on disk after [`Self::flush`].
    ///
    /// # Errors
    /// Never in practice: all of it is JSON.
    pub fn push(&mut self, row: usize, key: [u8; 16], rewarded: &Rewarded) -> anyhow::Result<()> {
        let line = serde_json::to_string(&Line { row, key: shown(key), rewarded: rewarded.clone() })?;
        self.pending.push_str(&line);
        self.pending.push('\n');
        Ok(())
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(lines) = self.pending.strip_suffix('\n') {
            self.log.append(lines)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Starts again at the first row.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn rewind(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.ahead.clear();
        (self.at, self.until, self.is_read) = (self.first, 0, false);
        Ok(())
    }

    /// Removes the journal, because the output is complete.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { log, place, .. } = self;
        // Removed while it is still open, so that no other process can take it up in between.
        std::fs::remove_file(&place).with_context(|| format!("removing {}", place.display()))?;
        drop(log);
        Ok(())
    }
}

/// The run of the journal at `place`; none where there is none, or its first line was cut off.
///
/// # Errors
/// When it is no journal.
fn header_of(place: &Path) -> anyhow::Result<Option<Identity>> {
    let mut start = String::new();
    let no_journal = || format!("resuming {}: it is no journal of rows; move it away", place.display());
    match File::open(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => BufReader::new(file?.take(MOST_HEADER_BYTES)).read_line(&mut start).with_context(no_journal)?,
    };
    match start.strip_suffix('\n') {
        Some(line) => Ok(Some(serde_json::from_str(line).with_context(no_journal)?)),
        None if BEGINNING.starts_with(&start) || start.starts_with(BEGINNING) => Ok(None),
        None => bail!(no_journal()),
    }
}

/// A key as a text, half of it: enough to recognise a row.
fn shown(key: [u8; 16]) -> String {
    key[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
