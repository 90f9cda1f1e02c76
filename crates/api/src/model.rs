//! What requests need to know of the model.

use rewardscope_engine::{Combine, ModelReport};

/// What requests need to know of the model.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The name that requests may give, and answers have.
    pub name: String,
    /// Where it came from: a Hub id, or the name of its file or folder.
    pub root: String,
    /// A hash over its files.
    pub fingerprint: String,
    /// The type of its weights on the device.
    pub dtype: String,
    /// What its scores are, in words.
    pub scores: String,
    /// Whether its score is a logit, whose sigmoid is a probability; others are probabilities, ratings or likelihoods
    /// already, and are given as they are.
    pub is_logit: bool,
    /// Whether it compares the completions of a prompt with each other.
    pub compares: bool,
    /// Whether its scores are those of steps.
    pub reads_steps: bool,
    /// Most tokens that it sees of a text.
    pub context_tokens: usize,
    /// Seconds since 1970 at which it was loaded.
    pub loaded_at: u64,
}

impl Model {
    /// A loaded model under a name.
    pub fn new(name: String, report: &ModelReport) -> Self {
        Self {
            name,
            root: report.origin.as_ref().unwrap_or(&report.name).clone(),
            fingerprint: report.fingerprint.clone(),
            dtype: report.dtype.name().to_owned(),
            scores: report.scores().to_owned(),
            is_logit: is_logit(report),
            compares: report.pair_aggregate.is_some(),
            reads_steps: report.step_aggregate.is_some(),
            context_tokens: report.context_tokens,
            loaded_at: now(),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether a model's score is a logit.
fn is_logit(report: &ModelReport) -> bool {
    let is_reader = report.reader.as_ref().map(|reader| &reader.spec.combine);
    match is_reader {
        Some(combine) => matches!(combine, Combine::Logit | Combine::Difference),
        None => report.pair_aggregate.is_none() && report.aggregate.is_none(),
    }
}
