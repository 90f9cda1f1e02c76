use serde::{Deserialize, Serialize};

/// Why scores could not be marked.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum MarkError {
    /// An item without scores has no best completion.
    #[error(
        "marking item {id} of subset {subset}: it has no scores; score at least one completion or leave the item out"
    )]
    NoScores {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
    },
    /// The benchmark's items have another form.
    #[error(
        "marking item {id} of subset {subset}: {expected} was expected, {found} was found; is this {benchmark}'s data?"
    )]
    Form {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The benchmark that marks.
        benchmark: &'static str,
        /// What its items have.
        expected: String,
        /// What the item has.
        found: String,
    },
    /// A subset that the benchmark does not have.
    #[error(
        "marking item {id}: {benchmark} has no subset {subset:?}; it has {known}. Is this another benchmark's file?"
    )]
    Subset {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The benchmark that marks.
        benchmark: &'static str,
        /// Some of the subsets that it has.
        known: String,
    },
    /// A Ties id says its kind and its pair's number.
    #[error("marking Ties: the id {id:?} is neither `ref:NUMBER` nor `tied:NUMBER`")]
    TiesId {
        /// The id found.
        id: String,
    },
    /// A Ties item is judged by the gap between its correct and its incorrect completions.
    #[error(
        "marking Ties: {id} has {correct} correct and {incorrect} incorrect completions; it needs at least one of each"
    )]
    TiesNeedsBoth {
        /// The item's id.
        id: String,
        /// Correct completions found.
        correct: usize,
        /// Incorrect completions found.
        incorrect: usize,
    },
    /// The spread of a tied prompt is taken over its correct completions.
    #[error(
        "marking Ties: {id} has 1 correct completion; a tied prompt that is paired with a reference needs at least 2"
    )]
    TiedNeedsTwo {
        /// The item's id.
        id: String,
    },
    /// A file of a benchmark's own form is required to be whole.
    #[error(
        "marking Ties: tied:{prompt} has no ref:{prompt}; the margin parts compare the two. Add it, or leave the prompt out"
    )]
    TiedWithoutRef {
        /// The pair's number.
        prompt: u64,
    },
    /// Strict marking refuses what is not a number.
    #[error(
        "marking item {id} of subset {subset}: score {place} is {found}; a finite score was expected. Without strict marking it counts as the reference counts it"
    )]
    NotFinite {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The score's place, from 1.
        place: usize,
        /// The score.
        found: String,
    },
}

/// The marks of a set of scored items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Marks {
    /// The benchmark's one number; `None` unless all of its parts are there.
    pub overall: Option<f64>,
    /// The unweighted mean of the subsets that are there, where `overall` is `None` and there are
    /// two or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<f64>,
    /// Sections, for benchmarks that have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SectionMark>,
    /// Subsets in the benchmark's order, then any other names in the order in which they appear.
    pub subsets: Vec<SubsetMark>,
    /// One mark an item, 0 to 1, in the order of the items.
    pub items: Vec<f64>,
}

/// The mark of one section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SectionMark {
    /// The section's name.
    pub section: String,
    /// Its mark.
    pub score: f64,
}

/// The mark of one subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetMark {
    /// The subset's name.
    pub subset: String,
    /// 0 to 1; -0.01 to 1.01 for RewardBench 2's Ties.
    pub score: f64,
    /// Items marked.
    pub count: usize,
    /// The parts of the Ties score; `None` for other subsets.
    pub ties: Option<Ties>,
}

/// The Ties score with all its parts, under the reference evaluator's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Ties {
    /// `0.30 tied_accuracy + 0.30 ref_accuracy + 0.20 correctness_preferred
    /// + 0.20 correctness_preferred_hard + 0.01 correctness_margin_score`: -0.01 to 1.01.
    pub overall_score: f64,
    /// Share of reference prompts whose correct completion outscores every incorrect one.
    pub ref_accuracy: f64,
    /// Share of tied prompts whose correct completions all outscore every incorrect one.
    pub tied_accuracy: f64,
    /// Share of pairs where the tied prompt's gap is larger than its spread.
    pub correctness_preferred: f64,
    /// The same with the smaller gap of the tied prompt and its reference.
    pub correctness_preferred_hard: f64,
    /// Mean over pairs of `tanh(min(gap) / spread - 1)`, with 0 for 0/0: -1 to 1.
    pub correctness_margin_score: f64,
    /// The pairs in ascending order of their number.
    pub per_prompt: Vec<TiesPair>,
}

/// One tied prompt with its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct TiesPair {
    /// The pair's number N in `ref:N` and `tied:N`.
    pub prompt: u64,
    /// Best minus worst correct score of the tied prompt.
    pub spread: f64,
    /// Worst correct minus best incorrect score of the tied prompt.
    pub margin_tied: f64,
    /// The same of the reference prompt.
    pub margin_ref: f64,
    /// `tanh(min(margin_ref, margin_tied) / spread - 1)`, 0 where that is NaN.
    pub margin_score: f64,
}
