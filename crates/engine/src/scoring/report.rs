//! What there is to say of a loaded model.

use serde::{Deserialize, Serialize};

use crate::device::DeviceReport;
use crate::error::EngineError;
use crate::scoring::score::Aggregate;
use crate::{Backbone, Dtype, HeadConfig, SelfTest};

/// What there is to say of a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ModelReport {
    /// The file's or folder's name.
    pub name: String,
    /// [`ModelFiles::origin`]
    pub origin: Option<String>,
    /// A hash over its files and its fitted head, which tells models apart.
    pub fingerprint: String,
    /// A hash over its files alone.
    pub backbone_fingerprint: String,
    /// The fitted head on it, where there is one.
    pub head: Option<HeadConfig>,
    /// The architecture's name.
    pub architecture: String,
    /// Whether scores are rewards; otherwise they are log-probabilities.
    pub is_reward_model: bool,
    /// How log-probabilities become a score; a reward model's need not.
    pub aggregate: Option<Aggregate>,
    /// A hash over what turns text into token ids.
    pub tokenizer_fingerprint: String,
    /// [`Protocol::described`]
    pub protocol: String,
    /// What makes a text of a conversation: `tokenizer` for the model's own template, a format's
    /// name, or `none`, where prompt and completion are read as a pair or one after the other.
    pub template: String,
    /// Which of a classifier's logits is the score, where it has several.
    pub label: Option<usize>,
    /// The time that the template was told, in seconds of [`Clock`], where it asks: scores depend
    /// on it.
    pub template_seconds: Option<i64>,
    /// Tokens that it can attend over, after any limit that was set.
    pub context_tokens: usize,
    /// What whoever compares its scores should know: sentences.
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
    /// What the weights are on the device.
    pub dtype: Dtype,
    /// Bytes of the weights there.
    pub device_bytes: u64,
    /// Where it runs.
    pub device: DeviceReport,
    /// How the device did on known answers.
    pub self_test: SelfTest,
    /// Milliseconds from the first byte to the last upload.
    pub load_ms: f64,
}

pub(crate) fn tokenizer_fingerprint(tokenizer: &rewardscope_text::Tokenizer) -> Result<String, EngineError> {
    let mut hash = rewardscope_store::Hasher::sha256();
    hash.update(tokenizer.to_json()?.as_bytes());
    Ok(hash.finish().hex())
}

impl Backbone {
    /// A loaded model as one.
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
