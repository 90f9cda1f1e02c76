//! The options of a load, and its progress.

use rewardscope_store::{FetchProgress, FetchStage};
use rewardscope_text::Clock;
use serde::{Deserialize, Serialize};

use crate::reader::spec::ReaderChoice;
use crate::reader::verdict::StepAggregate;
use crate::scoring::round_robin::PairAggregate;
use crate::scoring::score::Aggregate;
use crate::{Dtype, Protocol};

/// The options of a load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The time that chat templates see.
    pub clock: Clock,
    /// How a language model's log-probabilities become a score.
    pub aggregate: Aggregate,
    /// Most tokens of a conversation; longer ones are truncated. `None` leaves the model's own limit, which is
    /// never exceeded.
    pub max_tokens: Option<usize>,
    /// Which logit is the score, for a classifier with several.
    pub label: Option<usize>,
    /// What reads a verdict, where the score is no head's own output.
    pub reader: ReaderChoice,
    /// What a reader asks by, in place of its own instruction.
    pub instruction: Option<String>,
    /// How the values of a solution's steps become its score.
    pub step_aggregate: StepAggregate,
    /// How outcomes against other completions become a score, for a model that compares them.
    pub pair_aggregate: PairAggregate,
    /// How conversations become token ids, and which token the score is read at.
    pub protocol: Protocol,
    /// Weight type on the device.
    pub dtype: Dtype,
    /// Most tokens in a batch; `None` for a number that suits the device and the model.
    pub batch_tokens: Option<usize>,
}

impl LoadOptions {
    /// The default options: the model's own template, context and only label.
    pub fn new(clock: Clock) -> Self {
        let (aggregate, protocol) = (Aggregate::default(), Protocol::default());
        let dtype = Dtype::default();
        Self {
            clock,
            aggregate,
            max_tokens: None,
            label: None,
            reader: ReaderChoice::default(),
            instruction: None,
            step_aggregate: StepAggregate::default(),
            pair_aggregate: PairAggregate::default(),
            protocol,
            dtype,
            batch_tokens: None,
        }
    }

    /// The options of RewardBench for a policy and its reference: [`Protocol::rewardbench_dpo`], with at most
    /// [`Protocol::REFERENCE_TOKENS`] tokens.
    pub fn rewardbench_dpo(clock: Clock) -> Self {
        let protocol = Protocol::rewardbench_dpo();
        Self { max_tokens: Some(Protocol::REFERENCE_TOKENS), protocol, ..Self::new(clock) }
    }

    /// The options of the reference evaluator, RewardBench: [`Protocol::reference`], with at most
    /// [`Protocol::REFERENCE_TOKENS`] tokens.
    pub fn reference(clock: Clock) -> Self {
        Self { max_tokens: Some(Protocol::REFERENCE_TOKENS), protocol: Protocol::reference(), ..Self::new(clock) }
    }
}

/// A stage of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum LoadStage {
    /// Fetches files over the network into the cache.
    Download,
    /// Checks files of the cache against their hashes.
    Check,
    /// Reads the configuration, the tokenizer and the weights' headers.
    Headers,
    /// Brings the weights onto the device.
    Weights,
    /// Tests the device against known answers.
    SelfTest,
}

/// The progress of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LoadProgress {
    /// Name of the files that are fetched or loaded.
    pub name: String,
    /// The current stage.
    pub stage: LoadStage,
    /// Bytes fetched, checked or brought onto the device so far, counted as stored.
    pub bytes_done: u64,
    /// Bytes of the whole stage.
    pub bytes_total: u64,
    /// What went wrong and is being tried again: a sentence.
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
