//! What a reference says of all texts, computed before its policy is loaded, for devices that cannot hold both. It is
//! written to a file as it is computed, so that a command that was stopped does not compute it again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_engine::{Cancel, Clock, EngineError, KeptReference, KeptText, Scorer, TokenSequence};
use rewardscope_store::Log;
use serde::{Deserialize, Serialize};

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

/// What a reference says, with its file.
pub struct KeptFile {
    log: Option<Log>,
    kept: KeptReference,
    clock: Clock,
}

/// The path of the file beside an output, `OUTPUT.reference`.
pub fn place_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".reference");
    name.into()
}

impl KeptFile {
    /// In memory, for an output that cannot be resumed.
    pub fn memory(reference: &Scorer, clock: Clock) -> Self {
        Self { log: None, kept: reference.kept(), clock }
    }

    /// Opens the file at `place`, and goes on with an earlier one unless `anew` is set. `clock` is the time that chat
    /// templates are told from a new file on; an earlier one keeps its own, unless `date` asks for another.
    ///
    /// # Errors
    /// When it is another reference's, was told another time, is damaged, or cannot be read or written.
    pub async fn open(
        place: &PathBuf,
        reference: &Scorer,
        (clock, date): (Clock, Option<Clock>),
        anew: bool,
    ) -> anyhow::Result<Self> {
        let shown = place.display();
        let (mut log, lines) = Log::open(place, anew).await?;
        let mut kept = reference.kept();
        let Some((first, texts)) = lines.split_first() else {
            let (rewardscope_reference, local_seconds) = (VERSION, clock.local_seconds());
            let header = Header { rewardscope_reference, local_seconds, reference: kept };
            log.append(&serde_json::to_string(&header)?)?;
            return Ok(Self { log: Some(log), kept: header.reference, clock });
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
        Ok(Self { log: Some(log), kept, clock: told })
    }

    /// The time that chat templates are told.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Adds what the reference says of texts that are not there yet. A text that it cannot read is left out: the policy
    /// says why.
    ///
    /// # Errors
    /// When the device fails, the work is cancelled, or the file cannot be written.
    pub async fn add(
        &mut self,
        reference: &Scorer,
        texts: Result<Vec<TokenSequence>, EngineError>,
        cancel: &Cancel,
    ) -> anyhow::Result<()> {
        let Ok(texts) = texts else {
            return Ok(());
        };
        let found = match reference.keep(&texts, &self.kept, cancel).await {
            Ok(found) => found,
            Err(error @ (EngineError::DeviceFailed { .. } | EngineError::Cancelled)) => return Err(error.into()),
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

    /// What the reference says.
    pub fn finish(self) -> KeptReference {
        self.kept
    }
}
