//! What is known of a loaded model.

use serde::{Deserialize, Serialize};

use crate::device::DeviceReport;
use crate::error::EngineError;
use crate::scoring::score::Aggregate;
use crate::{Backbone, Dtype, Gives, HeadConfig, PairAggregate, Reader, Reference, SelfTest, StepAggregate};

/// What is known of a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ModelReport {
    /// The file's or folder's name.
    pub name: String,
    /// Where it came from, if from the Hub: [`ModelFiles::origin`](crate::ModelFiles::origin).
    pub origin: Option<String>,
    /// A hash over its files and its fitted head, which tells models apart.
    pub fingerprint: String,
    /// A hash over its files alone.
    pub backbone_fingerprint: String,
    /// The reward head on it, where there is one.
    pub head: Option<HeadConfig>,
    /// The architecture's name.
    pub architecture: String,
    /// Whether scores are rewards; otherwise they are what the reader gives, or log-probabilities.
    pub is_reward_model: bool,
    /// How log-probabilities become a score; `None` for a reward model.
    pub aggregate: Option<Aggregate>,
    /// A hash over everything that turns text into token ids.
    pub tokenizer_fingerprint: String,
    /// The settings of the protocol that are not the default:
    /// [`Protocol::described`](crate::Protocol::described).
    pub protocol: String,
    /// What turns a conversation into a text: `tokenizer` for the model's own template, the name of a format,
    /// or `none`. With `none`, the prompt and the completion are read as a pair, or one after the other.
    pub template: String,
    /// How the score is read, where the head is another than a classifier's: its name, and what becomes of its outputs.
    #[serde(default)]
    pub reading: String,
    /// The reader that reads it, where there is one, with the instruction that it asks by.
    #[serde(default)]
    pub reader: Option<Reader>,
    /// The model that rewards are measured against, where they are implicit.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// How outcomes against other completions become the score, where the model compares them.
    #[serde(default)]
    pub pair_aggregate: Option<PairAggregate>,
    /// How the values of steps become the score, where the reader reads steps.
    #[serde(default)]
    pub step_aggregate: Option<StepAggregate>,
    /// Which of a classifier's logits is the score, where it has several.
    pub label: Option<usize>,
    /// The time that the template saw, where it asks for the time, in seconds as
    /// [`Clock::local_seconds`](crate::Clock::local_seconds): scores depend on it.
    pub template_seconds: Option<i64>,
    /// Most tokens that it can attend over, after any limit that was set.
    pub context_tokens: usize,
    /// What people who compare its scores should know: sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Number of layers that run.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Stored bytes of the weights.
    pub weight_bytes: u64,
    /// Weight type on the device.
    pub dtype: Dtype,
    /// Bytes of the weights on the device.
    pub device_bytes: u64,
    /// The device that it runs on.
    pub device: DeviceReport,
    /// What the self-test found on this device.
    pub self_test: SelfTest,
    /// Milliseconds from the first byte read to the last upload.
    pub load_ms: f64,
}

impl ModelReport {
    /// What its scores are, in words: `rewards`, or what they are in place of rewards.
    pub fn scores(&self) -> &'static str {
        match &self.reader {
            Some(reader) => reader.spec.gives.scores(),
            None if self.reference.is_some() => "implicit rewards",
            None if self.pair_aggregate.is_some() => "outcomes of comparisons",
            None if self.is_reward_model => Gives::Reward.scores(),
            None => "log-probabilities: a likelihood baseline, not rewards",
        }
    }
}

/// A hash over everything that turns text into token ids.
pub(crate) fn tokenizer_fingerprint(tokenizer: &rewardscope_text::Tokenizer) -> Result<String, EngineError> {
    let mut hash = rewardscope_store::Hasher::sha256();
    hash.update(tokenizer.to_json()?.as_bytes());
    Ok(hash.finish().hex())
}

impl Backbone {
    /// A loaded model as the backbone of a head; `id` is its Hub id.
    pub fn of(model: &ModelReport, id: Option<String>) -> Self {
        Self {
            name: model.name.clone(),
            id,
            fingerprint: model.backbone_fingerprint.clone(),
            architecture: model.architecture.clone(),
            hidden_size: model.hidden_size,
        }
    }
}
