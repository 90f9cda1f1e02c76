//! What a reference says of all texts, computed before its policy is loaded, for devices that cannot hold both. It is
//! written to a file as it is computed, so that a command that was stopped does not compute it again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_engine::{Cancel, Clock, EngineError, KeptReference, KeptText, Scorer, TokenSequence};
use rewardscope_store::Log;
use serde::{Deserialize, Serialize};

use crate::model::Prepared;
use crate::output::Stopped;

/// The file's first line.
#[derive(Serialize, Deserialize)]
struct Header {
    /// The version of the file's form.
    rewardscope_reference: u32,
    /// The time that chat templates are told, in seconds of local time.
    local_seconds: i64,
    #[serde(flatten)]
    reference: KeptReference,
}

/// The version that is written and read.
const VERSION: u32 = 1;

/// A loaded reference with what it has said, and the file of that.
pub struct ReferenceFirst {
    reference: Scorer,
    log: Option<Log>,
    kept: KeptReference,
    cancel: Cancel,
}

/// The path of the file beside an output, `OUTPUT.reference`.
pub fn place_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".reference");
    name.into()
}

/// Removes the file beside an output that is complete.
pub fn remove(output: &Path) -> anyhow::Result<()> {
    let place = place_of(output);
    match place.exists() {
        true => std::fs::remove_file(&place).with_context(|| format!("removing {}", place.display())),
        false => Ok(()),
    }
}

impl ReferenceFirst {
    /// Loads the reference of a model. What it says is kept in the file at `place`, where an earlier one is gone on with
    /// unless `anew` is set, or in memory. A new file is told the model's time; an earlier one keeps its own, unless
    /// `date` asks for another. The reference and the model are then told the file's: a template that writes the date
    /// must give both the same texts.
    ///
    /// # Errors
    /// When the reference cannot be loaded, or as [`opened`].
    pub async fn begin(
        prepared: &mut Prepared<'_>,
        place: Option<PathBuf>,
        date: Option<Clock>,
        anew: bool,
        cancel: Cancel,
    ) -> anyhow::Result<Self> {
        let reference = prepared.reference().await?;
        let (log, kept) = match place {
            None => (None, reference.kept()),
            Some(place) => {
                let (log, kept, clock) = opened(&place, reference.kept(), (prepared.clock(), date), anew).await?;
                reference.set_clock(clock);
                prepared.set_clock(clock);
                (Some(log), kept)
            }
        };
        Ok(Self { reference, log, kept, cancel })
    }

    /// Adds what the reference says of texts that are not there yet; `texts` makes them by its tokenizer. A text that it
    /// cannot read is left out: the policy says why.
    ///
    /// # Errors
    /// [`Stopped`] when the work is cancelled; when the device fails, or the file cannot be written.
    pub async fn add(
        &mut self,
        texts: impl FnOnce(&Scorer) -> Result<Vec<TokenSequence>, EngineError>,
    ) -> anyhow::Result<()> {
        let found = match texts(&self.reference) {
            _ if self.cancel.is_cancelled() => Err(EngineError::Cancelled),
            Ok(texts) => self.reference.keep(&texts, &self.kept, &self.cancel).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(EngineError::Cancelled) => {
                let goes_on = if self.log.is_some() { "; the same command goes on from there" } else { "" };
                return Err(Stopped(format!("stopped while the reference was read{goes_on}")).into());
            }
            Err(error @ EngineError::DeviceFailed { .. }) => return Err(error.into()),
            Err(_) => return Ok(()),
        };
        for text in found {
            if let Some(log) = &mut self.log {
                log.append(&serde_json::to_string(&text)?)?;
            }
            self.kept.push(text);
        }
        Ok(())
    }

    /// What the reference says. Its weights are let go.
    pub fn finish(self) -> KeptReference {
        self.kept
    }
}

/// Opens the file at `place`, and goes on with an earlier one unless `anew` is set. Also gives what is kept in it, and
/// the time that chat templates are told.
///
/// # Errors
/// When it is another reference's, was told another time, is damaged, or cannot be read or written.
async fn opened(
    place: &PathBuf,
    mut kept: KeptReference,
    (clock, date): (Clock, Option<Clock>),
    anew: bool,
) -> anyhow::Result<(Log, KeptReference, Clock)> {
    let shown = place.display();
    let (mut log, lines) = Log::open(place, anew).await?;
    let Some((first, texts)) = lines.split_first() else {
        let (rewardscope_reference, local_seconds) = (VERSION, clock.local_seconds());
        let header = Header { rewardscope_reference, local_seconds, reference: kept };
        log.append(&serde_json::to_string(&header)?)?;
        return Ok((log, header.reference, clock));
    };
    let found: Header = serde_json::from_str(first)
        .with_context(|| format!("resuming {shown}: it is not what a reference says of texts; move it away"))?;
    if found.rewardscope_reference != VERSION || found.reference != kept {
        bail!("resuming {shown}: it belongs to another reference; choose another output, or remove it");
    }
    let told = Clock::from_local_seconds(found.local_seconds);
    if date.is_some_and(|date| date != told) {
        bail!(
            "resuming {shown}: its chat templates were told the date {told}, not that of --date; leave out --date, or remove it"
        );
    }
    for (number, line) in texts.iter().enumerate() {
        let text: KeptText =
            serde_json::from_str(line).with_context(|| format!("resuming {shown}: line {}", number + 2))?;
        kept.push(text);
    }
    Ok((log, kept, told))
}
