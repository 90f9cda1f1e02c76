//! What is said of a load: options before it, progress during it.

use rewardscope_store::{FetchProgress, FetchStage};
use rewardscope_text::Clock;
use serde::{Deserialize, Serialize};

use crate::scoring::score::Aggregate;
use crate::{Dtype, Protocol};

/// What is settled before a model is loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// The time that templates are told.
    pub clock: Clock,
    /// How a language model's log-probabilities become a score.
    pub aggregate: Aggregate,
    /// Cut conversations at so many tokens; never beyond the model's own context.
    pub max_tokens: Option<usize>,
    /// Which logit of a classifier with several is the score.
    pub label: Option<usize>,
    /// How conversations become ids, and where scores are read.
    pub protocol: Protocol,
    /// What the weights are on the device.
    pub dtype: Dtype,
    /// Tokens in a batch; as suits the device where none are given.
    pub batch_tokens: Option<usize>,
}

impl LoadOptions {
    /// All by default: the model's own template, context and only label.
    pub fn new(clock: Clock) -> Self {
        let (aggregate, protocol) = (Aggregate::default(), Protocol::default());
        let dtype = Dtype::default();
        Self { clock, aggregate, max_tokens: None, label: None, protocol, dtype, batch_tokens: None }
    }

    /// As the reference evaluator has it.
    pub fn reference(clock: Clock) -> Self {
        Self { max_tokens: Some(Protocol::REFERENCE_TOKENS), protocol: Protocol::reference(), ..Self::new(clock) }
    }
}

/// What a loading model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum LoadStage {
    /// Files over the network into the cache.
    Download,
    /// Files of the cache against their hashes.
    Check,
    /// Configuration, tokenizer and the weights' headers.
    Headers,
    /// The weights onto the device.
    Weights,
    /// A stored case through the kernels.
    SelfTest,
}

/// How far a loading model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LoadProgress {
    /// What is fetched or loaded.
    pub name: String,
    /// What is being done.
    pub stage: LoadStage,
    /// Bytes fetched, checked or on the device, as stored.
    pub bytes_done: u64,
    /// Bytes of that stage in all.
    pub bytes_total: u64,
    /// What went wrong and is tried again: a sentence.
    pub trouble: Option<String>,
}

impl From<FetchProgress> for LoadProgress {
    fn from(now: FetchProgress) -> Self {
        let stage = match now.stage {
            FetchStage::Downloading => LoadStage::Download,
            FetchStage::Checking => LoadStage::Check,
        };
        Self { name: now.name, stage, bytes_done: now.bytes_done, bytes_total: now.bytes_total, trouble: now.trouble }
    }
}
