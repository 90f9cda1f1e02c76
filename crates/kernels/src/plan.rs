//! Which keys each query of a packed batch sees.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Which keys a query may see, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Keys up to the query's own position. With a window: the last so many of these, the query's own included.
    Back(Option<usize>),
    /// All keys. With a reach: those at most so many positions away.
    Around(Option<usize>),
}

impl Sight {
    /// The positions that a query at `position` sees, of `keys` keys.
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

/// The queries of one sequence, and the place of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Rows of the queries in the tensor of queries.
    pub queries: Range<usize>,
    /// The position of each query among the keys, ascending.
    pub positions: Vec<usize>,
    /// Rows of the keys and values in their tensors, in the order of their positions: the first row is position
    /// 0.
    pub keys: Vec<Range<usize>>,
}

impl Group {
    /// Number of keys.
    pub fn key_count(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }

    /// The positions that at least one query from `first` to `last` sees.
    pub(crate) fn span(&self, sight: Sight, first: usize, last: usize) -> Range<usize> {
        let keys = self.key_count();
        sight.of(self.positions[first], keys).start..sight.of(self.positions[last], keys).end
    }
}

/// Which queries of a packed batch see which keys. Clones share their data. Use a plan on one device only: its
/// table for kernels is kept on the device that used it first.
#[derive(Debug, Clone)]
pub struct Plan(Arc<Planned>);

impl Plan {
    /// A plan of these groups. They must be in the order of their queries' rows, and every row must belong to
    /// one. Groups without queries are dropped.
    pub fn new(groups: impl IntoIterator<Item = Group>) -> Self {
        let groups = groups.into_iter().filter(|group| !group.queries.is_empty()).collect();
        Self(Arc::new(Planned { groups, table: OnceLock::new() }))
    }

    /// The groups that have queries.
    pub fn groups(&self) -> &[Group] {
        &self.0.groups
    }

    /// The plan as kernels read it. It is made and brought to the device once, for all layers.
    pub(crate) fn table(&self, device: &Device, values: impl FnOnce() -> Vec<i32>) -> Tensor<1, Int> {
        let make = || {
            let values = values();
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [count]), device)
        };
        self.0.table.get_or_init(make).clone()
    }
}

/// The heads of attention, and how their scores are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Number of query heads.
    pub queries: usize,
    /// Number of key and value heads. Each is shared by a group of query heads.
    pub keys: usize,
    /// Factor of the products of queries and keys.
    pub scale: f64,
    /// With a cap, scores become `cap tanh(score / cap)` (Gemma Team, 2024, arXiv:2408.00118).
    pub softcap: Option<f64>,
    /// Which keys each query sees.
    pub sight: Sight,
}

#[derive(Debug)]
struct Planned {
    groups: Vec<Group>,
    /// The plan as kernels read it, on the device that asked first.
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
