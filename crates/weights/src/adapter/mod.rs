//! Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) as the library peft writes them, merged
//! into their base while it is read. What an adapter holds is used, or it is refused by name.

mod config;
mod merge;

use std::collections::BTreeSet;

use rewardscope_store::Folder;

use crate::{Checkpoint, WeightsError};
use config::Config;

pub(crate) use merge::{added, added_transposed};

/// The file that makes a folder an adapter.
pub const CONFIG: &str = "adapter_config.json";

/// The file with its tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter without the values of its tensors.
#[derive(Debug, Clone)]
pub struct Adapter {
    config: Config,
    checkpoint: Checkpoint,
}

/// A base with an adapter in it.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The base's tensors, changed.
    pub checkpoint: Checkpoint,
    /// The base's names of those that the adapter changed or brought.
    pub changed: BTreeSet<String>,
}

/// The name of the model that an adapter's folder belongs to, as its configuration has it: a path
/// or a Hub id.
///
/// # Errors
/// When the configuration is damaged, or names none.
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

    /// The tensors as they are stored.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// The keys of an `adapter_config.json` as peft reads them, for whoever tries unseen files.
///
/// # Errors
/// When it is damaged, or asks for what is not merged here.
pub fn check_config(bytes: &[u8]) -> Result<(), WeightsError> {
    Config::read(CONFIG, bytes).map(|_| ())
}
