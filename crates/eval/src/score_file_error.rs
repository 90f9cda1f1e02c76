//! Why a file of scores cannot be read or marked.

use rewardscope_benchmarks::MarkError;
use rewardscope_data::DataError;

/// Why a file of scores cannot be read or marked.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum ScoreFileError {
    /// The file could not be read as rows.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file has none of the known forms.
    #[error(
        "reading {file}: a score file was expected (rows with scores and num_correct, or of score_chosen and score_rejected, as JSON Lines, JSON, CSV or parquet; the reference evaluator's parallel arrays; or a run file), {found} was found"
    )]
    Format {
        /// The file's name.
        file: String,
        /// What was found.
        found: String,
    },
    /// A summary has impossible marks.
    #[error("reading {file}: a summary with each subset's mark once, from 0 to 1, was expected, {found} was found")]
    Summary {
        /// The file's name.
        file: String,
        /// What was found.
        found: String,
    },
    /// A row lacks something, or has a wrong value.
    #[error("reading {file}: row {row}: {expected} was expected, {found} was found")]
    Row {
        /// The file's name.
        file: String,
        /// The row's number, from 1.
        row: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Strict marking refuses the run: items are missing, or texts were cut.
    #[error("marking {file}: scores of whole texts were expected for every item, {found}")]
    Incomplete {
        /// The file's name.
        file: String,
        /// What is missing or cut.
        found: String,
    },
    /// The rows cannot be marked.
    #[error("marking {file}: {reason}")]
    Mark {
        /// The file's name.
        file: String,
        /// Why the rows cannot be marked.
        reason: MarkError,
    },
}
