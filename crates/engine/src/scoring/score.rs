//! Scores, and how log-probabilities become one.

use serde::{Deserialize, Serialize};

use crate::reader::verdict::StepScores;
use crate::scoring::reading::Objective;
use crate::scoring::round_robin::Duel;

/// How the log-probabilities of a completion's tokens become one number, by the names of the
/// reference evaluator (`allenai/reward-bench`, `rewardbench/dpo.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// Their mean, in nats per token.
    #[default]
    Avg,
    /// Their sum, in nats.
    Sum,
    /// Their negated Euclidean norm, in nats.
    Norm,
}

/// The three aggregates of one completion's log-probabilities, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LogProbabilities {
    /// [`Aggregate::Avg`]
    pub avg: f64,
    /// [`Aggregate::Sum`]
    pub sum: f64,
    /// [`Aggregate::Norm`]
    pub norm: f64,
}

impl LogProbabilities {
    /// The aggregates of the tokens' log-probabilities, summed in f64 in their order. The average of none is 0.
    pub fn of(tokens: &[f32]) -> Self {
        let sum: f64 = tokens.iter().map(|&p| f64::from(p)).sum();
        let squares: f64 = tokens.iter().map(|&p| f64::from(p) * f64::from(p)).sum();
        Self { avg: sum / tokens.len().max(1) as f64, sum, norm: -squares.sqrt() }
    }

    /// The value of one aggregate.
    pub fn get(&self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Avg => self.avg,
            Aggregate::Sum => self.sum,
            Aggregate::Norm => self.norm,
        }
    }
}

/// How much detail scores have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The score only.
    Score,
    /// The score, and a decoder's score at every token.
    EveryToken,
}

/// How far the scoring of one prompt's completions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ScoreProgress {
    /// Completions that have their score.
    pub completions_done: usize,
    /// All completions.
    pub completions_total: usize,
}

/// The score of one completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Score {
    /// A reward model's logit, what a reader makes of its outputs, a language model's chosen aggregate of
    /// log-probabilities, a policy's implicit reward, or what becomes of a completion's outcomes against the others.
    pub score: f64,
    /// A language model's three aggregates, a policy's too; `None` for a reward model. They are never rewards.
    pub log_probabilities: Option<LogProbabilities>,
    /// The same by the reference that a policy's rewards are measured against; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_log_probabilities: Option<LogProbabilities>,
    /// Number of tokens of the whole conversation that the model saw.
    pub tokens: usize,
    /// Number of these tokens that belong to the completion.
    pub completion_tokens: usize,
    /// Number of tokens that truncation cut off; 0 where nothing was cut.
    pub cut_tokens: usize,
    /// Number of tokens that were computed for it. It is less than `tokens` where completions begin with the
    /// same tokens: those count for the first completion only.
    pub computed_tokens: usize,
    /// The token ids that the model saw.
    pub input_ids: Vec<u32>,
    /// A decoder's logit at every token, where [`Detail::EveryToken`] was asked for; empty for an encoder. For
    /// a language model, the log-probability of each token of the completion, in nats; with a reference, what each
    /// token adds to the reward.
    pub token_scores: Vec<f32>,
    /// The objectives whose weighted sum is the score; empty where the head has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<Objective>,
    /// For a reader that takes a softmax at one token: the share of each of its tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f64>,
    /// For a reader whose score is a difference of logits, and for a cross-encoder of sentence-transformers whose
    /// activation it is: its sigmoid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// For a reader that reads at several tokens: the value of each step, and what becomes of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepScores>,
    /// For a model that compares completions: this one against each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duels: Vec<Duel>,
}

impl Score {
    /// Whether tokens were cut off.
    pub fn truncated(&self) -> bool {
        self.cut_tokens > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_equal_the_reference_evaluators() {
        let fixture = include_str!("../../../../tests/fixtures/metrics/torch_ports.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        let expected = &fixture["dpo_get_batch_logps"]["expected"];
        let labels = fixture["dpo_get_batch_logps"]["labels"].as_array().expect("labels");
        for (row, tokens) in expected["per_token"].as_array().expect("rows").iter().enumerate() {
            // The reference masks by label; label t belongs to per-token entry t - 1.
            let kept: Vec<f64> = tokens
                .as_array()
                .expect("tokens")
                .iter()
                .zip(&labels[row].as_array().expect("labels")[1..])
                .filter(|(_, label)| label.as_i64() != Some(-100))
                .map(|(p, _)| p.as_f64().expect("a number"))
                .collect();
            let found = LogProbabilities::of(&kept.iter().map(|&p| p as f32).collect::<Vec<_>>());
            for (name, value) in [("avg", found.avg), ("sum", found.sum), ("norm", found.norm)] {
                let want = expected[name][row].as_f64().expect("a number");
                assert!((value - want).abs() < 1e-5, "{name} of row {row}: {value} is not {want}");
            }
        }
    }
}
