//! Fits a linear reward head on preferences.
//!
//! The backbone stays frozen: each completion is one pooled hidden state, `[hidden]`. The head minimises the
//! Bradley-Terry loss with an L2 penalty on the differences of chosen and rejected states. Cross-validation over
//! prompts chooses the strength of the penalty. A report says how good the head is on prompts that it was not fitted
//! on.
//!
//! [`gather`] checks files of preferences and gets the features of their pairs, from a [`FeatureCache`] or from the
//! engine. [`learn`] fits and reports. [`marks_on`] marks the head on a benchmark's items.
//!
//! ```no_run
//! use rewardscope_engine::{Cancel, Pooling, Scorer};
//! use rewardscope_fit::{FeatureCache, FeaturesHeader, FitError, OverlapRule, PreferenceFiles, Tell, gather, learn};
//! use rewardscope_store::Source;
//!
//! async fn fit(backbone: &Scorer, file: Source) -> Result<String, FitError> {
//!     let (files, cancel) = ([file], Cancel::default());
//!     let mut cache = FeatureCache::memory(FeaturesHeader::of(backbone.report(), None, Pooling::LastToken)?);
//!     let mut tell = Tell { progress: &mut |_done, _all| {}, bad: &mut |_row| {} };
//!     let (files, benchmark) = (PreferenceFiles::of(&files), ("my benchmark", ["What is 2 + 2?"]));
//!     let pairs = gather(backbone, &files, benchmark, OverlapRule::Drop, &mut cache, &cancel, &mut tell).await?;
//!     let learned = learn(&pairs, &cache, 0, &cancel, &mut |_share| {}).await?;
//!     Ok(learned.report.markdown("my head"))
//! }
//! ```

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
    /// Features could not be written or read.
    #[error(transparent)]
    Store(StoreError),
    /// The backbone could not compute features.
    #[error(transparent)]
    Engine(EngineError),
    /// No usable pair is left.
    #[error(
        "reading {file}: at least one usable preference was expected; of {} rows {} are no preference, and of {} pairs {} have an empty completion, {} identical ones, {} stand there twice, {} stand there both ways round, {} share their prompt with a benchmark{}",
        form.rows, form.unreadable, form.pairs, form.empty, form.identical, form.duplicates, form.contradictory, form.overlapping,
        form.examples.first().map(|example| format!(" ({example})")).unwrap_or_default()
    )]
    NoPairs {
        /// The file's name.
        file: String,
        /// How many rows and pairs were left out, by reason.
        form: Box<FormReport>,
    },
    /// There are too few different prompts to hold some out.
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
        /// How many layers it has.
        most: usize,
        /// How many were asked for.
        found: usize,
    },
    /// The backbone was loaded with another protocol than the default one, with which the head will be used.
    #[error(
        "fitting on {model}: a head does not record a protocol, so the default one was expected, {found} was found; load the model without it"
    )]
    OtherProtocol {
        /// The backbone's name.
        model: String,
        /// The protocol that it was loaded with.
        found: String,
    },
    /// A file is not a file of features, or holds those of another backbone.
    #[error("reading {file}: features of {expected} were expected, {found} was found")]
    OtherFeatures {
        /// The file's name.
        file: String,
        /// The backbone, layers and pooling of the expected features.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A feature, or the fitted weight, is NaN or infinite.
    #[error(
        "fitting on {file}: {what} has a hidden state that is no number; the backbone overflows on it, leave it out or take another backbone"
    )]
    NotFinite {
        /// The file's name.
        file: String,
        /// Which completion, or `the fitted weight`.
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
