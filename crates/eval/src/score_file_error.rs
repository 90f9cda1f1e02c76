//! Why a file of scores cannot be read or marked.

use rewardscope_benchmarks::MarkError;
use rewardscope_data::DataError;

/// Why a file gave no scores.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum ScoreFileError {
    /// It could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It is none of the forms that are known.
    #[error(
        "reading {file}: a score file was expected (rows with scores and num_correct, or of score_chosen and score_rejected, as JSON Lines, JSON, CSV or parquet; the reference evaluator's parallel arrays; or a run file), {found} was found"
    )]
    Format {
        /// The file.
        file: String,
        /// What is there.
        found: String,
    },
    /// A summary has marks that cannot be.
    #[error("reading {file}: a summary with each subset's mark once, from 0 to 1, was expected, {found} was found")]
    Summary {
        /// The file.
        file: String,
        /// What is there.
        found: String,
    },
    /// A row has not what it needs.
    #[error("reading {file}: row {row}: {expected} was expected, {found} was found")]
    Row {
        /// The file.
        file: String,
        /// From 1.
        row: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A run that strict marking refuses.
    #[error("marking {file}: scores of whole texts were expected for every item, {found}")]
    Incomplete {
        /// The file.
        file: String,
        /// What is missing or cut.
        found: String,
    },
    /// Its rows cannot be marked.
    #[error("marking {file}: {reason}")]
    Mark {
        /// The file.
        file: String,
        /// Why not.
        reason: MarkError,
    },
}
