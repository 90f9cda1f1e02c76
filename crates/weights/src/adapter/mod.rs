//! Low-rank adapters (LoRA; Hu et al., 2021, arXiv:2106.09685) as the library peft writes them, merged into their base
//! while it is read. Everything in an adapter is either used or refused by name.

mod config;
mod merge;

use std::collections::BTreeSet;

use rewardscope_store::Folder;

use crate::{Checkpoint, WeightsError};
use config::Config;

pub(crate) use merge::{added, added_transposed};

/// The name of the configuration file, which makes a folder an adapter.
pub const CONFIG: &str = "adapter_config.json";

/// The name of the file with the adapter's tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// An opened adapter: its configuration and its tensors, whose values are not read yet.
#[derive(Debug, Clone)]
pub struct Adapter {
    config: Config,
    checkpoint: Checkpoint,
}

/// A base with an adapter merged into it.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The base's tensors, with the adapter's changes.
    pub checkpoint: Checkpoint,
    /// The names, as in the base, of the tensors that the adapter changed or added.
    pub changed: BTreeSet<String>,
}

/// The name of an adapter's base model, as its configuration gives it: a path or a Hub id.
///
/// # Errors
/// When the configuration is missing or damaged, or names no base model.
pub async fn base(folder: &Folder) -> Result<String, WeightsError> {
    let source = folder.get(CONFIG)?;
    Config::base(source.name(), &source.read_all().await?)
}

impl Adapter {
    /// Opens an adapter's folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the adapter is of a kind that is not merged here.
    pub async fn open(folder: &Folder) -> Result<Self, WeightsError> {
        let source = folder.get(CONFIG)?;
        let config = Config::read(source.name(), &source.read_all().await?)?;
        let checkpoint = Checkpoint::from_safetensors(folder.get(WEIGHTS)?).await?;
        Ok(Self { config, checkpoint })
    }

    /// Whether it was trained as a sequence classifier.
    pub fn classifies(&self) -> bool {
        self.config.task_type.as_deref() == Some("SEQ_CLS")
    }

    /// The adapter's own tensors, as they are stored.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// Checks an `adapter_config.json` by itself; for fuzzing with arbitrary files.
///
/// # Errors
/// When the file is damaged, or asks for something that is not merged here.
pub fn check_config(bytes: &[u8]) -> Result<(), WeightsError> {
    Config::read(CONFIG, bytes).map(|_| ())
}
