//! Implicit rewards: how much likelier a policy finds a completion than its reference does.

use serde::{Deserialize, Serialize};

use crate::Cancel;
use crate::error::EngineError;
use crate::scoring::forward::{Forward, PrefixCache, Readings, Row};
use crate::scoring::kept::KeptReference;
use crate::scoring::score::{LogProbabilities, Score};

/// How the log-ratios of a completion's tokens become its reward.
///
/// The log-ratio of a token is `log policy(token) - log reference(token)`, in nats (Rafailov et al.,
/// arXiv:2305.18290, equation 5, without the term that all completions of a prompt share).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LogRatios {
    /// What their sum is multiplied by: DPO's beta.
    pub beta: f64,
    /// Whether their mean is taken, not their sum.
    #[serde(default)]
    pub normalise_length: bool,
}

impl Default for LogRatios {
    /// Their plain sum, as RewardBench takes it.
    fn default() -> Self {
        Self { beta: 1.0, normalise_length: false }
    }
}

impl LogRatios {
    /// What a log-ratio is multiplied by where there are `tokens` of them: the products' sum is the reward.
    fn factor(self, tokens: usize) -> f64 {
        if self.normalise_length { self.beta / tokens.max(1) as f64 } else { self.beta }
    }
}

/// What the rewards of a policy are measured against, for reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Reference {
    /// The reference model's Hub id with the commit, or its name.
    pub model: String,
    /// A hash over its files.
    pub fingerprint: String,
    /// How log-ratios become a reward.
    pub log_ratios: LogRatios,
}

/// What a policy is measured against.
pub(super) struct Against {
    pub by: By,
    pub reference: Reference,
}

/// Where a reference's log-probabilities come from.
pub(super) enum By {
    /// The reference on its device.
    Loaded { forward: Box<Forward>, layers: usize, batch_tokens: usize },
    /// What it said before.
    Kept(KeptReference),
}

impl Against {
    /// As [`Forward::read`], by the reference. It sees the ids that the policy sees.
    pub async fn read(
        &self,
        rows: &[Row<'_>],
        cache: Option<&mut PrefixCache>,
        cancel: &Cancel,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vec<Readings>, EngineError> {
        match &self.by {
            By::Loaded { forward, layers, batch_tokens } => {
                forward.check_ids(&self.reference.model, rows.iter().flat_map(|row| row.ids))?;
                forward.read(rows, *layers, *batch_tokens, cache, cancel, told).await
            }
            By::Kept(kept) => {
                let readings = kept.read(rows)?;
                told(rows.len());
                Ok(readings)
            }
        }
    }

    /// Makes an implicit reward of the policy's score.
    pub fn measure(&self, score: &mut Score, readings: &Readings) {
        let policy = std::mem::take(&mut score.token_scores);
        let factor = self.reference.log_ratios.factor(policy.len());
        let ratios = policy.iter().zip(&readings.values);
        let shares: Vec<f64> = ratios.map(|(&p, &r)| factor * (f64::from(p) - f64::from(r))).collect();
        score.score = shares.iter().sum();
        score.token_scores = shares.into_iter().map(|share| share as f32).collect();
        score.reference_log_probabilities = Some(LogProbabilities::of(&readings.values));
        score.computed_tokens += readings.computed;
    }
}
