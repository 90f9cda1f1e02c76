//! One item with all that is known of it: texts, scores, places, and what a second run says.

use rewardscope_benchmarks::{Item, Turn};
use serde::{Deserialize, Serialize};

use crate::{ScoreFile, conversation};

/// One line of a list of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemSummary {
    /// What opens it.
    pub item: usize,
    /// Its id.
    pub id: String,
    /// Its subset.
    pub subset: String,
    /// The beginning of its prompt; empty where the texts are not at hand.
    pub prompt: String,
    /// Its mark; `None` where it was not scored.
    pub mark: Option<f64>,
    /// Worst correct minus best incorrect score; none where a score is NaN.
    pub margin: Option<f64>,
    /// The mark that a second run gives it.
    pub other_mark: Option<f64>,
    /// The margin of a second run.
    pub other_margin: Option<f64>,
    /// Whether a completion of it was cut.
    pub truncated: bool,
}

/// An item with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ItemReport {
    /// Its id.
    pub id: String,
    /// Its subset.
    pub subset: String,
    /// The conversation that the completions answer; empty where the texts are not at hand.
    pub turns: Vec<Turn>,
    /// Its completions, in the dataset's order.
    pub completions: Vec<CompletionReport>,
    /// Why it could not be scored.
    pub error: Option<String>,
    /// What the reader should know: a sentence each.
    pub remarks: Vec<String>,
}

/// A completion with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct CompletionReport {
    /// The completion.
    pub text: String,
    /// Whether the dataset calls it correct.
    pub correct: bool,
    /// Its score, where there is one.
    pub score: Option<f64>,
    /// Its place among the item's completions, best first, from 1; equal scores share a place, NaN
    /// has none.
    pub rank: Option<usize>,
    /// Tokens of the conversation that the model saw.
    pub tokens: Option<usize>,
    /// Tokens that were cut off.
    pub cut_tokens: Option<usize>,
    /// The score that a second run gives it.
    pub other_score: Option<f64>,
    /// Its place there.
    pub other_rank: Option<usize>,
}

/// An item's texts, without scores.
pub(crate) fn texts_of(item: &Item) -> ItemReport {
    let turns = conversation(item).into_iter().map(|message| Turn { role: message.role, content: message.content });
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
        turns: turns.collect(),
        completions: item.completions.iter().enumerate().map(completion).collect(),
        error: None,
        remarks: Vec::new(),
    }
}

/// An item with scores of one run, and of a second where there is one. Scores of another number than
/// the completions are not theirs.
pub fn item_with(item: &Item, first: Option<&ScoreFile>, second: Option<&ScoreFile>) -> ItemReport {
    let mut report = texts_of(item);
    report.take_file(first, false);
    report.take_file(second, true);
    report
}

/// A row of a file of scores whose texts are not at hand.
pub fn row_without_texts(file: &ScoreFile, subset: &str, id: &str, second: Option<&ScoreFile>) -> Option<ItemReport> {
    let row = file.rows.iter().find(|row| row.subset == subset && row.id == id)?;
    let item = Item {
        id: row.id.clone(),
        subset: row.subset.clone(),
        prompt: String::new(),
        turns: Vec::new(),
        completions: vec![String::new(); row.scores.len()],
        num_correct: row.num_correct,
        models: Vec::new(),
    };
    Some(ItemReport { turns: Vec::new(), ..item_with(&item, Some(file), second) })
}

/// A score's place among its item's, best first, from 1; equal scores share a place, NaN has none.
pub(crate) fn rank(scores: &[f64], place: usize) -> Option<usize> {
    let score = scores.get(place).filter(|score| !score.is_nan())?;
    Some(1 + scores.iter().filter(|&other| other > score).count())
}

impl ItemReport {
    /// Puts the scores beside that a file has of this item.
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
