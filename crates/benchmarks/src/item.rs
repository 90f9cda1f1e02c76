use serde::{Deserialize, Serialize};

/// One prompt of a benchmark with its completions, the correct ones first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Unique only together with `subset`: RewardBench 2 numbers each subset afresh.
    pub id: String,
    /// The benchmark's own name of the part this item belongs to, such as `Precise IF`.
    pub subset: String,
    /// What the user asked, as plain text; of several turns the last of the user's.
    pub prompt: String,
    /// The conversation up to the completion where it is more than one turn of the user's; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
    /// The completions, chosen ones first, each as plain text.
    pub completions: Vec<String>,
    /// How many of `completions`, counted from the front, are correct (chosen).
    pub num_correct: usize,
    /// The models that wrote the completions, where the dataset says; empty otherwise.
    pub models: Vec<String>,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What marking needs of an item: which completions are correct, and a score for each.
#[derive(Debug, Clone, Copy)]
pub struct ScoredItem<'a> {
    /// As in [`Item::id`].
    pub id: &'a str,
    /// As in [`Item::subset`].
    pub subset: &'a str,
    /// As in [`Item::num_correct`].
    pub num_correct: usize,
    /// One score a completion, in the order of [`Item::completions`].
    pub scores: &'a [f64],
}
