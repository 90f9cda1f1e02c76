use std::str::FromStr;

use crate::DataError;

/// A range of a file's rows, counted from 1. As text: `12` or `12-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    first: usize,
    last: usize,
}

/// A text is not a range of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("choosing rows: numbers from 1 such as 12 or 12-20 were expected, {0:?} was found")]
pub struct RowsError(String);

impl Rows {
    /// All rows.
    pub const ALL: Self = Self { first: 1, last: usize::MAX };

    /// The first row's number.
    pub(crate) fn first(self) -> usize {
        self.first
    }

    /// The most rows that the range can hold.
    pub(crate) fn most(self) -> usize {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether the row of this number is in the range.
    pub(crate) fn has(self, number: usize) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// Whether the row of this number comes after the range; every later row does too.
    pub(crate) fn is_past(self, number: usize) -> bool {
        number > self.last
    }

    /// For `count` rows from number `first` on: how many of them come before the range, and how many are in it.
    pub(crate) fn within(self, first: usize, count: usize) -> (usize, usize) {
        let end = first.saturating_add(count);
        let from = self.first.clamp(first, end);
        let to = self.last.saturating_add(1).clamp(from, end);
        (from - first, to - from)
    }

    /// Refuses a file that has none of the rows; `found` is how many were read.
    pub(crate) fn refuse_none(self, file: &str, found: usize) -> Result<(), DataError> {
        match found {
            0 => Err(DataError::NoRows { file: file.to_owned(), rows: self.to_string() }),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self == Self::ALL {
            true => to.write_str("at least one row"),
            false => write!(to, "rows {} to {}", self.first, self.last),
        }
    }
}

impl FromStr for Rows {
    type Err = RowsError;

    fn from_str(text: &str) -> Result<Self, RowsError> {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let found = match text.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(text).map(|only| (only, only)),
        };
        let found = found.filter(|&(first, last)| first >= 1 && first <= last && last < usize::MAX);
        found.map(|(first, last)| Self { first, last }).ok_or_else(|| RowsError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_from_one() {
        let rows: Rows = "12-20".parse().expect("rows");
        assert!(rows.has(12) && rows.has(20) && !rows.has(11) && rows.is_past(21));
        assert_eq!(rows.most(), 9);
        assert_eq!(Rows::ALL.most(), usize::MAX);
        for wrong in ["", "0", "3-2", "a", "1-", "-1", "1-2-3"] {
            assert!(wrong.parse::<Rows>().is_err(), "{wrong}");
        }
    }
}
