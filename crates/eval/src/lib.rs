//! Runs of reward models over benchmarks: reads items, scores them, keeps the scores, and reports marks.
//!
//! A *score* is the model's number for one completion. A *mark* is the benchmark's number, from 0 to 1, for an item, a
//! subset or all of them. There are two ways to marks:
//!
//! - From a model: [`read_items`] reads a dataset, [`Journal::open`] starts a [`Run`] over its items or continues one,
//!   and [`drive`] scores them. The journal writes each finished item to disk. A run that was stopped, for whatever
//!   reason, continues from there and scores no finished item twice. [`RunFile`] holds the whole run in one file.
//! - From a file of scores: [`ScoreFile::open`] reads it, [`marked_as`] finds the benchmark, and [`ScoreFile::assess`]
//!   gives the marks with their confidence intervals.
//!
//! ```
//! use rewardscope_eval::{ScoreFile, marked_as};
//! use rewardscope_store::Source;
//!
//! # pollster::block_on(async {
//! let rows = r#"{"id":"0","subset":"Math","num_correct":1,"scores":[2.5,-1.0,0.3,0.1]}
//! {"id":"1","subset":"Math","num_correct":1,"scores":[0.2,0.9,-0.4,0.0]}"#;
//! let file = ScoreFile::open(&Source::memory("scores.jsonl", rows.as_bytes()), None).await?;
//! let (benchmark, variant) = marked_as(&file, None, None)?;
//! let assessment = file.assess(benchmark, variant, 0, false)?;
//! assert_eq!(benchmark.name, "reward-bench-2");
//! assert_eq!(assessment.subsets[0].figure.score, 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).expect("marks");
//! ```

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
mod run_identity;
mod run_scorer;
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
pub use journal::{Journal, JournalError, JournalSummary};
pub use marked_as::{MarkedAsError, marked_as};
pub use marks_json::marks_json;
pub use reference_file::{SummaryFile, reference_scores, reference_summary};
pub use report::{RunReport, SubsetProgress};
pub use rewardscope_data::{Columns as DatasetColumns, Rows, Skipped};
pub use run::{
    CompletionScore, Estimate, ItemOutcome, ItemResult, Run, RunProgress, ScoredRow, check_scorer, score_item,
    sequences,
};
pub use run_file::{ProtocolBlock, RunFile, RunItem};
pub use run_identity::RunIdentity;
pub use run_scorer::RunScorer;
pub use score_file::{LengthUnit, OpenedScores, ScoreFile};
pub use score_file_error::ScoreFileError;
