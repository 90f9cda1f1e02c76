use rewardscope_store::StoreError;

/// Why a file gave no rows. Every message names the file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DataError {
    /// The bytes could not be read or fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what its name says, or is damaged.
    #[error("reading {file}: {expected} was expected, {found} was found")]
    Format {
        /// The file's name.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file is of a kind that holds no rows (an archive, a picture, a web page), whatever its name says.
    #[error("reading {file}: rows were expected (parquet, Arrow, JSON Lines, JSON or CSV), found {found}")]
    NotRows {
        /// The file's name.
        file: String,
        /// What the file is, and what to do about it.
        found: String,
    },
    /// The file lacks columns that every row needs.
    #[error(
        "reading {file}: the columns {missing} were expected, the file has {found}; is it another benchmark's, or are its columns called otherwise (--columns prompt=NAME,chosen=NAME,rejected=NAME)?"
    )]
    Columns {
        /// The file's name.
        file: String,
        /// The missing columns, joined by commas.
        missing: String,
        /// The columns that the file has, joined by commas.
        found: String,
    },
    /// The file has none of the rows that were asked for.
    #[error("reading {file}: {rows} were expected, the file has none of them")]
    NoRows {
        /// The file's name.
        file: String,
        /// Which rows were asked for.
        rows: String,
    },
    /// A row is faulty, and faulty rows are not skipped here.
    #[error("reading {file}: row {row}: expected {expected}, found {found} ({})", reason.name())]
    Row {
        /// The file's name.
        file: String,
        /// The row's number, from 1.
        row: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
        /// The kind of reason.
        reason: crate::Reason,
    },
}

impl DataError {
    /// The error for a file of a kind that holds no rows; `found` says what it is and what to do.
    pub(crate) fn not_rows(file: &str, found: &str) -> Self {
        Self::NotRows { file: file.to_owned(), found: found.to_owned() }
    }
}

pub(crate) fn format_error(file: &str, expected: impl Into<String>, found: impl ToString) -> DataError {
    DataError::Format { file: file.to_owned(), expected: expected.into(), found: found.to_string() }
}
