//! Token sequences that are scored, and what is told of each.

use serde::{Deserialize, Serialize};

use crate::scoring::score::LogProbabilities;

/// Ids to score, and where in them the completion begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequence {
    /// The whole conversation.
    pub input_ids: Vec<u32>,
    /// A language model's log-probabilities are read from this token on.
    pub first_completion_token: usize,
    /// Which part of a pair each token belongs to, for encoders that are told; empty where there
    /// are no parts.
    pub token_type_ids: Vec<u32>,
    /// Tokens that tokenizing cut off already, as it must where special tokens follow them.
    pub cut_tokens: usize,
}

impl TokenSequence {
    /// Ids of a conversation, whole.
    pub fn new(input_ids: Vec<u32>, first_completion_token: usize) -> Self {
        Self { input_ids, first_completion_token, token_type_ids: Vec::new(), cut_tokens: 0 }
    }

    /// The types of its first tokens.
    pub(crate) fn types(&self, tokens: usize) -> &[u32] {
        &self.token_type_ids[..self.token_type_ids.len().min(tokens)]
    }
}

/// What a reward head sees of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `[hidden]`: the pooled hidden state.
    pub state: Vec<f32>,
    /// A language model's own word on the completion.
    pub log_probabilities: Option<LogProbabilities>,
    /// Tokens of the whole conversation that the model saw.
    pub tokens: usize,
    /// Tokens cut off at the context's end.
    pub cut_tokens: usize,
}

/// A token as the model saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct TracedToken {
    /// Its id.
    pub id: u32,
    /// What it stands for in the text.
    pub text: String,
    /// A decoder's score up to it, or its log-probability; none where there is no such value.
    pub value: Option<f64>,
}

/// A conversation token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Trace {
    /// All that the model saw.
    pub tokens: Vec<TracedToken>,
    /// Where among them the completion begins.
    pub first_completion_token: usize,
    /// The completion's score.
    pub score: f64,
    /// Whether values are rewards; otherwise they are log-probabilities in nats.
    pub is_reward: bool,
}
