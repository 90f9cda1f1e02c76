//! One of several parts of a dataset's rows, which several machines score.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of a dataset's rows. All rows of one prompt are in one part. As text: `3/64` is the third of 64.
///
/// ```
/// use rewardscope_data::Shard;
///
/// let shard: Shard = "3/64".parse()?;
/// assert!(shard.has(64 + 2) && !shard.has(64 + 3));
/// assert!("0/64".parse::<Shard>().is_err());
/// # Ok::<(), rewardscope_data::ShardError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Its number, from 1.
    number: u64,
    /// The number of all parts.
    of: u64,
}

/// A text names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected NUMBER/ALL, counted from 1 (1/4 to 4/4), found {0:?}")]
pub struct ShardError(String);

impl Shard {
    /// Whether rows with this hash of their prompt belong to it.
    pub fn has(self, prompt: u64) -> bool {
        prompt % self.of == self.number - 1
    }

    /// The number of all parts.
    pub fn all(self) -> u64 {
        self.of
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let found = numbers.filter(|&(number, of): &(u64, u64)| number >= 1 && number <= of);
        found.map(|(number, of)| Self { number, of }).ok_or_else(|| ShardError(text.chars().take(40).collect()))
    }
}

impl Display for Shard {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.number, self.of)
    }
}

impl Serialize for Shard {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
