//! A linear reward head from preferences: pooled hidden states of a frozen backbone for each
//! completion, Bradley-Terry loss with L2 on their differences, the strength by cross-validation
//! over prompts, and a report of what the head is worth on prompts that it was not fitted on.
//!
//! [`gather`] checks a file of preferences and has its features, from a [`FeatureCache`] or from
//! the engine; [`learn`] solves and reports; [`marks_on`] marks the head on a benchmark's items.

mod benchmark;
mod features;
mod learn;
mod overlap;
mod preferences;
mod report;
mod solve;

use rewardscope_data::DataError;
use rewardscope_engine::EngineError;
use rewardscope_store::{Cancelled, StoreError};

pub use benchmark::marks_on;
pub use features::{FeatureCache, FeaturesHeader, Gathered, Pair, Tell, gather};
pub use learn::{Learned, STRENGTHS, learn};
pub use overlap::{OverlapReport, OverlapRule};
pub use preferences::{FormReport, PreferenceFiles};
pub use report::{
    Accuracy, BenchmarkReport, CalibrationBin, Curve, FOLDS, FitMargins, FitReport, RivalReport, ScorerMarks,
    SubsetAccuracy, Training,
};

/// Why no head could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The preferences could not be read.
    #[error(transparent)]
    Data(DataError),
    /// Features could not be kept or read.
    #[error(transparent)]
    Store(StoreError),
    /// The backbone could not be asked.
    #[error(transparent)]
    Engine(EngineError),
    /// No pair is left.
    #[error(
        "reading {file}: at least one usable preference was expected; of {} rows {} are no preference, and of {} pairs {} have an empty completion, {} identical ones, {} stand there twice, {} stand there both ways round, {} share their prompt with a benchmark{}",
        form.rows, form.unreadable, form.pairs, form.empty, form.identical, form.duplicates, form.contradictory, form.overlapping,
        form.examples.first().map(|example| format!(" ({example})")).unwrap_or_default()
    )]
    NoPairs {
        /// The file's name.
        file: String,
        /// What is wrong with each.
        form: Box<FormReport>,
    },
    /// Too few prompts to hold some out.
    #[error(
        "fitting on {file}: at least {least} different prompts were expected, {found} were found; with fewer nothing can be held out to say what the head is worth"
    )]
    FewPrompts {
        /// The file's name.
        file: String,
        /// How many there must be.
        least: usize,
        /// How many there are.
        found: usize,
    },
    /// The backbone has no such layer.
    #[error("fitting on {model}: 1 to {most} layers were expected, {found} was found")]
    NoSuchLayer {
        /// The backbone's name.
        model: String,
        /// Its layers.
        most: usize,
        /// What was asked for.
        found: usize,
    },
    /// The backbone reads conversations otherwise than the head's users will.
    #[error(
        "fitting on {model}: a head does not record a protocol, so the default one was expected, {found} was found; load the model without it"
    )]
    OtherProtocol {
        /// The backbone's name.
        model: String,
        /// How it was loaded.
        found: String,
    },
    /// A file of features is not one, or is of another backbone.
    #[error("reading {file}: features of {expected} were expected, {found} was found")]
    OtherFeatures {
        /// The file's name.
        file: String,
        /// Whose they should be.
        expected: String,
        /// Whose they are.
        found: String,
    },
    /// A feature is no number.
    #[error(
        "fitting on {file}: {what} has a hidden state that is no number; the backbone overflows on it, leave it out or take another backbone"
    )]
    NotFinite {
        /// The file's name.
        file: String,
        /// Which completion.
        what: String,
    },
    /// The benchmark's items could not be marked.
    #[error("marking the head: {reason}")]
    Marks {
        /// What is wrong with an item.
        reason: String,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for FitError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<StoreError> for FitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled(_) => Self::Cancelled,
            other => Self::Store(other),
        }
    }
}

impl From<DataError> for FitError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Store(error) => error.into(),
            other => Self::Data(other),
        }
    }
}

impl From<EngineError> for FitError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled => Self::Cancelled,
            other => Self::Engine(other),
        }
    }
}
