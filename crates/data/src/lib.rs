//! Bytes to typed rows and back. A [`Reader`] gives the rows of a file whatever its form; an [`Intake`] makes of them
//! prompts with better and worse completions, by the layout that the file's columns show or by [`Columns`] that
//! somebody names; what is no preference is passed over and counted.

mod columns;
mod error;
mod guard;
mod intake;
mod layouts;
mod official;
mod parquet_file;
mod reader;
mod record;
mod row;
mod rows;
mod sieve;
mod skip;
mod thrift;
mod turns;
mod verdict;

use error::format_error;

pub use columns::{COUNTS, Columns, ColumnsError};
pub use error::DataError;
pub use guard::is_guarded;
pub use intake::{How, Intake, IntakeReport, Skipped, TakenRow, each_row, is_official};
pub use layouts::{LAYOUTS, Layout};
pub use official::{COLUMNS, Row, read_rows, to_parquet};
pub use reader::{Column, NonFinite, Opening, RawRow, RawRows, Reader, Stored, readable};
pub use record::Record;
pub use row::DatasetRow;
pub use rows::Rows;
pub use sieve::Kept;
pub use skip::{Reason, Skip};
pub use turns::Turn;
