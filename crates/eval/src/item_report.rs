//! One item with everything known about it: texts, scores, ranks, and the scores of a second run.

use rewardscope_benchmarks::{Item, Message};
use serde::{Deserialize, Serialize};

use crate::{ScoreFile, conversation};

/// One line in a list of items, as `Explorer::window` gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemSummary {
    /// The item's index among all items, from 0; opens the item.
    pub item: usize,
    /// The item's id.
    pub id: String,
    /// The item's subset.
    pub subset: String,
    /// The first characters of the prompt; empty where the texts are not available.
    pub prompt: String,
    /// The item's mark, 0 to 1; `None` where it was not scored.
    pub mark: Option<f64>,
    /// Worst correct score minus best incorrect score; `None` where a score is missing or NaN.
    pub margin: Option<f64>,
    /// The item's mark in the second run.
    pub other_mark: Option<f64>,
    /// The item's margin in the second run.
    pub other_margin: Option<f64>,
    /// Whether a completion's conversation was cut at the context limit.
    pub truncated: bool,
}

/// One item with everything known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemReport {
    /// The item's id.
    pub id: String,
    /// The item's subset.
    pub subset: String,
    /// The conversation that the completions answer; empty where the texts are not available.
    pub turns: Vec<Message>,
    /// The completions, correct ones first, in the dataset's order.
    pub completions: Vec<CompletionReport>,
    /// Why the item could not be scored: one sentence.
    pub error: Option<String>,
    /// Notes for the reader, one sentence each.
    pub remarks: Vec<String>,
}

/// One completion with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct CompletionReport {
    /// The completion's text; empty where the texts are not available.
    pub text: String,
    /// Whether the dataset calls the completion correct.
    pub correct: bool,
    /// The score; `None` where there is none.
    pub score: Option<f64>,
    /// The rank among the item's completions, from 1, best first. Equal scores share a rank; NaN has none.
    pub rank: Option<usize>,
    /// Tokens of the conversation that the model saw, prompt included; `None` for a row of a file.
    pub tokens: Option<usize>,
    /// Tokens that were cut off at the context limit; `None` for a row of a file.
    pub cut_tokens: Option<usize>,
    /// The score in the second run.
    pub other_score: Option<f64>,
    /// The rank in the second run.
    pub other_rank: Option<usize>,
}

/// A report with an item's texts and no scores.
pub(crate) fn texts_of(item: &Item) -> ItemReport {
    let completion = |(place, text): (usize, &String)| CompletionReport {
        text: text.clone(),
        correct: place < item.num_correct,
        score: None,
        rank: None,
        tokens: None,
        cut_tokens: None,
        other_score: None,
        other_rank: None,
    };
    ItemReport {
        id: item.id.clone(),
        subset: item.subset.clone(),
        turns: conversation(item),
        completions: item.completions.iter().enumerate().map(completion).collect(),
        error: None,
        remarks: Vec::new(),
    }
}

/// An item with its scores in a first file and in a second file, where given. A file's row is left out where it has not
/// one score per completion: it belongs to another version of the item.
pub fn item_with(item: &Item, first: Option<&ScoreFile>, second: Option<&ScoreFile>) -> ItemReport {
    let mut report = texts_of(item);
    report.take_file(first, false);
    report.take_file(second, true);
    report
}

/// An item from a score file alone, with empty texts; `None` where `file` has no row of this subset and id. `second` is
/// the file of a second run.
pub fn row_without_texts(file: &ScoreFile, subset: &str, id: &str, second: Option<&ScoreFile>) -> Option<ItemReport> {
    let row = file.rows.iter().find(|row| row.subset == subset && row.id == id)?;
    let item = Item {
        id: row.id.clone(),
        subset: row.subset.clone(),
        prompt: String::new(),
        turns: Vec::new(),
        completions: vec![String::new(); row.scores.len()],
        num_correct: row.num_correct,
        are_steps: false,
        models: Vec::new(),
    };
    Some(ItemReport { turns: Vec::new(), ..item_with(&item, Some(file), second) })
}

/// The rank of the score at index `place` among an item's scores, from 1, best first. Equal scores share a rank.
/// `None` for NaN.
pub(crate) fn rank(scores: &[f64], place: usize) -> Option<usize> {
    let score = scores.get(place).filter(|score| !score.is_nan())?;
    Some(1 + scores.iter().filter(|&other| other > score).count())
}

impl ItemReport {
    /// Adds the scores and ranks that a file has for this item, as those of the first or of the second run.
    pub(crate) fn take_file(&mut self, file: Option<&ScoreFile>, is_second: bool) {
        let row = file.and_then(|file| file.rows.iter().find(|row| row.subset == self.subset && row.id == self.id));
        let Some(row) = row.filter(|row| row.scores.len() == self.completions.len()) else { return };
        for (place, completion) in self.completions.iter_mut().enumerate() {
            let (score, rank) = (row.scores.get(place).copied(), rank(&row.scores, place));
            if is_second {
                (completion.other_score, completion.other_rank) = (score, rank);
            } else {
                (completion.score, completion.rank) = (score, rank);
            }
        }
    }
}
