//! A run: items in, scores kept as they come, report out. A [`Journal`] has every finished item on
//! disk before the next is begun, so a run that was stopped, by whatever, goes on where it was and
//! scores nothing twice.

mod board;
mod claims;
mod comparison;
mod dataset;
mod drive;
mod explore;
mod insight;
mod item_report;
mod journal;
mod json_floats;
mod marked_as;
mod marks_json;
mod reference_file;
mod report;
mod run;
mod run_file;
mod score_file;
mod score_file_error;
mod score_row;

pub use board::{BoardError, BoardMark, BoardRow, Contribution};
pub use claims::{ClaimError, Claims, score_claim};
pub use comparison::{ComparisonError, RunComparison, RunsTogether};
pub use dataset::{
    Asked, Dataset, DatasetError, Reading, benchmark_of, columns_of, conversation, dataset_name, fetch_dataset, how_of,
    open_remote_dataset, read_items, rows_of_folder,
};
pub use drive::{DriveError, Driven, drive};
pub use explore::{ExploreQuery, Explorer, Found, Order, Verdict};
pub use insight::{Bar, Insight, LengthPoint};
pub use item_report::{CompletionReport, ItemReport, ItemSummary, item_with, row_without_texts};
pub use journal::{Journal, JournalError, JournalSummary, RunIdentity};
pub use marked_as::{MarkedAsError, marked_as};
pub use marks_json::marks_json;
pub use reference_file::{SummaryFile, reference_scores, reference_summary};
pub use report::{RunReport, SubsetProgress};
pub use rewardscope_data::{Columns as DatasetColumns, Rows, Skipped};
pub use run::{CompletionScore, Estimate, ItemOutcome, ItemResult, Run, RunProgress, ScoredRow, score_item};
pub use run_file::{ProtocolBlock, RunFile, RunItem};
pub use score_file::{LengthUnit, OpenedScores, ScoreFile};
pub use score_file_error::ScoreFileError;
