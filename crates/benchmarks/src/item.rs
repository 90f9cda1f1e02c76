use rewardscope_conversation::Message;
use serde::{Deserialize, Serialize};

/// One prompt of a benchmark with its completions, the correct ones first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The item's id. Unique only together with `subset`: RewardBench 2 numbers each subset afresh.
    pub id: String,
    /// The part of the benchmark that the item belongs to, under the benchmark's own name, such as `Precise IF`.
    pub subset: String,
    /// What the user asked, as plain text. In a conversation of several turns: the user's last turn.
    pub prompt: String,
    /// The conversation up to the completion, where it is more than one user turn; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Message>,
    /// The completions, chosen ones first, each as plain text.
    pub completions: Vec<String>,
    /// How many of `completions`, counted from the front, are correct (chosen).
    pub num_correct: usize,
    /// Whether the completions are the steps of one solution, in their order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub are_steps: bool,
    /// The models that wrote the completions, where the dataset names them; otherwise empty.
    pub models: Vec<String>,
}

/// What marking needs of an item: how many completions are correct, and a score for each completion.
#[derive(Debug, Clone, Copy)]
pub struct ScoredItem<'a> {
    /// As in [`Item::id`].
    pub id: &'a str,
    /// As in [`Item::subset`].
    pub subset: &'a str,
    /// As in [`Item::num_correct`].
    pub num_correct: usize,
    /// One score per completion, in the order of [`Item::completions`].
    pub scores: &'a [f64],
}
