//! Reads files of preferences in almost any form, and writes the kept rows back.
//!
//! - [`Reader`] gives the raw rows of a file: parquet, Arrow, JSON Lines, JSON, CSV or TSV, packed or not.
//! - [`Intake`] turns raw rows into prompts with better and worse completions ([`DatasetRow`]). It recognises the
//!   layout by the file's columns ([`LAYOUTS`]), or reads the [`Columns`] that the caller names. [`each_row`] does
//!   this for a whole file.
//! - A row that is no preference is skipped and counted by its [`Reason`].
//! - [`RowWriter`] writes chosen rows in the form that they were read in; [`RewardWriter`] writes rows with the rewards of
//!   their completions, perhaps of one [`Shard`], and [`merge_tables`] joins those.
//!
//! ```
//! use rewardscope_data::{DataError, How, Opening, Reason, each_row};
//! use rewardscope_store::{ByteStream, Source};
//!
//! let lines = r#"{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
//! {"prompt": "3 + 3?", "chosen": "6", "rejected": "6"}"#;
//! let source = Source::memory("rows.jsonl", lines.as_bytes());
//! let mut better = Vec::new();
//! let (how, opening) = (How::Preferences(None), Opening::default());
//! let read = each_row(ByteStream::of(&source), &how, opening, false, async |_number, row| {
//!     better.extend(row.into_iter().flat_map(|row| row.chosen));
//!     Ok::<(), DataError>(())
//! });
//! let report = pollster::block_on(read)?;
//! assert_eq!((better, report.skipped[&Reason::Equal]), (vec!["4".to_owned()], 1));
//! # Ok::<(), DataError>(())
//! ```

mod columns;
mod error;
mod guard;
mod intake;
mod layouts;
mod merge;
mod official;
mod parquet_file;
mod reader;
mod record;
mod rewards;
mod row;
mod rows;
mod shard;
mod sieve;
mod skip;
mod table;
mod thrift;
mod turns;
mod verdict;

use error::format_error;

pub use columns::{COUNTS, Columns, ColumnsError};
pub use error::DataError;
pub use guard::is_guarded;
pub use intake::{How, Intake, IntakeReport, Skipped, TakenRow, each_row, has_completions, is_official};
pub use layouts::{LAYOUTS, Layout};
pub use merge::{LINE_FIELDS, merge_lines, merge_tables};
pub use official::{COLUMNS, Row, read_rows, to_parquet};
pub use reader::{Column, NonFinite, Opening, RawRow, RawRows, Reader, Stored, readable};
pub use record::Record;
pub use rewards::{AboutRewards, RewardColumns, RewardWriter, Rewarded, TableShape};
pub use rewardscope_conversation::Message;
pub use row::DatasetRow;
pub use rows::Rows;
pub use shard::{Shard, ShardError};
pub use sieve::RowWriter;
pub use skip::{Reason, Skip};
