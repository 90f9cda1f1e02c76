//! Token sequences that are scored, and what a model tells of each.

use serde::{Deserialize, Serialize};

use crate::scoring::score::LogProbabilities;

/// Token ids to score, and where the completion begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequence {
    /// Token ids of the whole conversation.
    pub input_ids: Vec<u32>,
    /// Index of the completion's first token. A language model's log-probabilities are read from this token on.
    pub first_completion_token: usize,
    /// Token types: they say which part of a pair each token belongs to. Empty where the model reads none.
    pub token_type_ids: Vec<u32>,
    /// Number of tokens that the tokenizer cut off already. It must do so where special tokens follow the cut.
    pub cut_tokens: usize,
    /// The tokens at which a reader reads, in ascending order; empty for the last.
    pub read_at: Vec<usize>,
    /// For a model that compares completions: the ids of this one where it stands second. `input_ids` are then the prompt
    /// with this completion standing first, and `read_at` the tokens that begin them, and the second one in its own ids.
    /// Empty for all other models.
    pub as_second: Vec<u32>,
}

impl TokenSequence {
    /// A whole conversation without token types.
    pub fn new(input_ids: Vec<u32>, first_completion_token: usize) -> Self {
        let (token_type_ids, read_at, as_second) = (Vec::new(), Vec::new(), Vec::new());
        Self { input_ids, first_completion_token, token_type_ids, cut_tokens: 0, read_at, as_second }
    }

    /// The token types of the first `tokens` tokens; empty where there are none.
    pub(crate) fn types(&self, tokens: usize) -> &[u32] {
        &self.token_type_ids[..self.token_type_ids.len().min(tokens)]
    }
}

/// What a reward head sees of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `[hidden]`: the pooled hidden state.
    pub state: Vec<f32>,
    /// A language model's log-probabilities of the completion.
    pub log_probabilities: Option<LogProbabilities>,
    /// Number of tokens of the whole conversation that the model saw.
    pub tokens: usize,
    /// Number of tokens that truncation cut off.
    pub cut_tokens: usize,
}

/// A token as the model saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct TracedToken {
    /// Its token id.
    pub id: u32,
    /// The text that it stands for.
    pub text: String,
    /// A decoder's score if the text ended here, or a language model's log-probability of the token in nats;
    /// `None` where there is neither.
    pub value: Option<f64>,
}

/// A conversation token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Trace {
    /// All tokens that the model saw.
    pub tokens: Vec<TracedToken>,
    /// Index of the completion's first token.
    pub first_completion_token: usize,
    /// The completion's score.
    pub score: f64,
    /// Whether values are rewards; otherwise they are log-probabilities in nats.
    pub is_reward: bool,
}
