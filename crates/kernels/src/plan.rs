//! Which rows of a batch see which.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Which keys a query may see, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Those up to its own; with a window the last so many of them, its own included.
    Back(Option<usize>),
    /// All; with a reach those at most so far away.
    Around(Option<usize>),
}

impl Sight {
    /// The positions that a query sees, of so many keys.
    pub fn of(self, position: usize, keys: usize) -> Range<usize> {
        match self {
            Self::Back(window) => {
                let end = (position + 1).min(keys);
                window.map_or(0, |window| (position + 1).saturating_sub(window))..end
            }
            Self::Around(Some(reach)) => position.saturating_sub(reach)..(position + reach + 1).min(keys),
            Self::Around(None) => 0..keys,
        }
    }
}

/// The queries of one sequence, and where its keys lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Rows of the queries.
    pub queries: Range<usize>,
    /// The position of each of them among the keys, ascending.
    pub positions: Vec<usize>,
    /// Rows of the keys and values, by position: what comes before first.
    pub keys: Vec<Range<usize>>,
}

impl Group {
    /// Keys in all.
    pub fn key_count(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }

    /// The positions that some of the queries from `first` to `last` see.
    pub(crate) fn span(&self, sight: Sight, first: usize, last: usize) -> Range<usize> {
        let keys = self.key_count();
        sight.of(self.positions[first], keys).start..sight.of(self.positions[last], keys).end
    }
}

/// Which queries of a packed batch see which keys. Clones share it.
#[derive(Debug, Clone)]
pub struct Plan(Arc<Planned>);

impl Plan {
    /// Groups of queries, in the order of their rows, which leave none out.
    pub fn new(groups: impl IntoIterator<Item = Group>) -> Self {
        let groups = groups.into_iter().filter(|group| !group.queries.is_empty()).collect();
        Self(Arc::new(Planned { groups, table: OnceLock::new() }))
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.0.groups
    }

    /// As kernels read it: made and brought to the device once, for all layers.
    pub(crate) fn table(&self, device: &Device, values: impl FnOnce() -> Vec<i32>) -> Tensor<1, Int> {
        let make = || {
            let values = values();
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [count]), device)
        };
        self.0.table.get_or_init(make).clone()
    }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Heads of the queries.
    pub queries: usize,
    /// Heads of keys and values, each shared by a group of query heads.
    pub keys: usize,
    /// What products are multiplied by.
    pub scale: f64,
    /// Where there is one, scores become `cap tanh(score / cap)`.
    pub softcap: Option<f64>,
    /// Which keys are seen.
    pub sight: Sight,
}

#[derive(Debug)]
struct Planned {
    groups: Vec<Group>,
    /// As kernels read it, on the device that asked first.
    table: OnceLock<Tensor<1, Int>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_the_query_and_reaches_do_not() {
        assert_eq!(Sight::Back(Some(4)).of(9, 10), 6..10);
        assert_eq!(Sight::Back(None).of(3, 10), 0..4);
        assert_eq!(Sight::Around(Some(4)).of(9, 20), 5..14);
        assert_eq!(Sight::Around(Some(4)).of(9, 12), 5..12);
        assert_eq!(Sight::Around(None).of(9, 12), 0..12);
    }
}
