use serde::{Deserialize, Serialize};

/// Why scores could not be marked.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum MarkError {
    /// The item has no scores, so no completion is the best.
    #[error(
        "marking item {id} of subset {subset}: it has no scores; score at least one completion or leave the item out"
    )]
    NoScores {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
    },
    /// The item has another form than the benchmark's items.
    #[error(
        "marking item {id} of subset {subset}: {expected} was expected, {found} was found; is this {benchmark}'s data?"
    )]
    Form {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The benchmark's name.
        benchmark: &'static str,
        /// The form of the benchmark's items.
        expected: String,
        /// The form of this item.
        found: String,
    },
    /// The benchmark has no such subset.
    #[error(
        "marking item {id}: {benchmark} has no subset {subset:?}; it has {known}. Is this another benchmark's file?"
    )]
    Subset {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The benchmark's name.
        benchmark: &'static str,
        /// Some of the subsets that it has.
        known: String,
    },
    /// The id of a Ties item does not give its kind and its pair's number.
    #[error("marking Ties: the id {id:?} is neither `ref:NUMBER` nor `tied:NUMBER`")]
    TiesId {
        /// The id found.
        id: String,
    },
    /// A Ties item lacks correct or incorrect completions, so there is no gap between the two to mark it by.
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
    /// A tied prompt has a single correct completion, but its spread is taken over several.
    #[error(
        "marking Ties: {id} has 1 correct completion; a tied prompt that is paired with a reference needs at least 2"
    )]
    TiedNeedsTwo {
        /// The item's id.
        id: String,
    },
    /// Strict marking found one half of a Ties pair without the other.
    #[error(
        "marking Ties: tied:{prompt} has no ref:{prompt}; the margin parts compare the two. Add it, or leave the prompt out"
    )]
    TiedWithoutRef {
        /// The pair's number.
        prompt: u64,
    },
    /// Strict marking found a score that is NaN or infinite.
    #[error(
        "marking item {id} of subset {subset}: score {place} is {found}; a finite score was expected. Without strict marking it counts as the reference counts it"
    )]
    NotFinite {
        /// The item's id.
        id: String,
        /// The item's subset.
        subset: String,
        /// The score's position in the item, from 1.
        place: usize,
        /// The score as text.
        found: String,
    },
}

/// The marks of a set of scored items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Marks {
    /// The overall mark; `None` unless all parts of the benchmark are present.
    pub overall: Option<f64>,
    /// The unweighted mean of the subsets that are present, where `overall` is `None` and two or more are present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<f64>,
    /// Sections, for benchmarks that have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SectionMark>,
    /// Subsets in the benchmark's order, then any other names in the order in which they appear.
    pub subsets: Vec<SubsetMark>,
    /// One mark per item, 0 to 1, in the order of the items.
    pub items: Vec<f64>,
}

/// The mark of one section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SectionMark {
    /// The section's name.
    pub section: String,
    /// Its mark, 0 to 1.
    pub score: f64,
}

/// The mark of one subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetMark {
    /// The subset's name.
    pub subset: String,
    /// Its mark, 0 to 1; -0.01 to 1.01 for RewardBench 2's Ties.
    pub score: f64,
    /// Number of items marked.
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
    /// The same with the smaller of two gaps: the tied prompt's and its reference's.
    pub correctness_preferred_hard: f64,
    /// Mean over pairs of `tanh(min(margin_ref, margin_tied) / spread - 1)`, with 0 for 0/0: -1 to 1.
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
    /// Worst correct minus best incorrect score of the reference prompt.
    pub margin_ref: f64,
    /// `tanh(min(margin_ref, margin_tied) / spread - 1)`; 0 where that is NaN or where the variant leaves the pair out.
    pub margin_score: f64,
}
