//! Token sequences packed one after the other, and the keys and values that are kept of them.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rewardscope_kernels::{Group, Plan};

/// Token sequences that go through a network together, packed one after the other. There is no padding, and a beginning
/// that several sequences share is computed once.
///
/// # Example
/// Two completions, `[3, 4]` and `[5]`, of the prompt `[1, 2]`:
/// ```
/// use rewardscope_models::Batch;
///
/// let mut batch = Batch::default();
/// let prompt = batch.push(&[1, 2], &[], vec![]);
/// let before = vec![batch.rows(prompt)];
/// let first = batch.push(&[3, 4], &[], before.clone());
/// let second = batch.push(&[5], &[], before);
/// assert_eq!((first, second, batch.tokens()), (2..4, 4..5, 5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    segments: Vec<Segment<'a>>,
    /// Rows of the state that it continues.
    prefix_tokens: usize,
    tokens: usize,
}

/// A run of tokens of one sequence.
#[derive(Debug, Clone)]
struct Segment<'a> {
    ids: &'a [u32],
    /// The tokens' types; shorter than `ids` where they are not known.
    types: &'a [u32],
    /// Rows of the keys before it in its sequence, oldest first.
    before: Vec<Range<usize>>,
    /// Its tokens' indices in the batch.
    tokens: Range<usize>,
}

impl Segment<'_> {
    /// The position of its first token in its sequence.
    fn position(&self) -> usize {
        self.before.iter().map(ExactSizeIterator::len).sum()
    }
}

impl<'a> Batch<'a> {
    /// A batch without tokens that continues a [`State`] of `kept` rows.
    pub fn after(prefix_tokens: usize) -> Self {
        Self { segments: Vec::new(), prefix_tokens, tokens: 0 }
    }

    /// A batch of whole sequences, which share nothing.
    pub fn of(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for ids in sequences {
            batch.push(ids, &[], Vec::new());
        }
        batch
    }

    /// Adds a run of tokens and returns their indices in the batch. `types` are their token types, which say which text
    /// of a pair they belong to; empty for models that read none. `before` are the rows of what comes before them in
    /// their sequence, oldest first: rows of the state that the batch continues, and rows of earlier tokens of the
    /// batch ([`Self::rows`]).
    pub fn push(&mut self, ids: &'a [u32], types: &'a [u32], before: Vec<Range<usize>>) -> Range<usize> {
        let tokens = self.tokens..self.tokens + ids.len();
        self.tokens = tokens.end;
        self.segments.push(Segment { ids, types, before, tokens: tokens.clone() });
        tokens
    }

    /// The rows of these tokens' keys and values, which come after those of the state that the batch continues. In a
    /// state that is kept of this batch, they have the same rows.
    pub fn rows(&self, tokens: Range<usize>) -> Range<usize> {
        self.prefix_tokens + tokens.start..self.prefix_tokens + tokens.end
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rows of the state that it continues.
    pub fn prefix_tokens(&self) -> usize {
        self.prefix_tokens
    }

    /// The tokens of each segment that has any.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.segments.iter().map(|segment| segment.tokens.clone()).filter(|tokens| !tokens.is_empty())
    }

    /// `[tokens]`: the id of each.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.segments.iter().flat_map(|segment| segment.ids).copied().collect()
    }

    /// `[tokens]`: the token type of each; 0 where it is not known.
    pub(crate) fn types(&self) -> Vec<u32> {
        let of = |segment: &Segment<'a>| {
            let missing = segment.ids.len().saturating_sub(segment.types.len());
            segment
                .types
                .iter()
                .copied()
                .take(segment.ids.len())
                .chain(std::iter::repeat_n(0, missing))
                .collect::<Vec<_>>()
        };
        self.segments.iter().flat_map(of).collect()
    }

    /// `[tokens]`: the position of each in its sequence.
    pub(crate) fn positions(&self) -> Vec<usize> {
        self.segments.iter().flat_map(|segment| (segment.position()..).take(segment.ids.len())).collect()
    }

    /// `[tokens]`: the length of the sequence of each, up to its segment's end.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        let of = |segment: &Segment<'a>| std::iter::repeat_n(segment.position() + segment.ids.len(), segment.ids.len());
        self.segments.iter().flat_map(of).collect()
    }

    /// Which keys the queries of `tokens` see: a group for each segment. `tokens` are indices in ascending order.
    fn plan(&self, tokens: &[usize]) -> Plan {
        let mut next = 0;
        Plan::new(self.segments.iter().map(|segment| {
            let first = next;
            let own = tokens[first..].iter().take_while(|&&token| token < segment.tokens.end);
            let start = segment.position();
            let positions: Vec<usize> = own.map(|token| start + token - segment.tokens.start).collect();
            next += positions.len();
            let own = self.rows(segment.tokens.clone());
            let keys = segment.before.iter().cloned().chain([own]).filter(|range| !range.is_empty()).collect();
            Group { queries: first..next, positions, keys }
        }))
    }
}

/// The tokens whose queries a layer computes: all, or in the last layer those that are read.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    pub plan: Plan,
    /// `[queries]`: their indices in the batch; `None` for all tokens.
    pub tokens: Option<Tensor<1, Int>>,
}

impl Queries {
    /// The queries of all tokens.
    pub fn all(batch: &Batch<'_>) -> Self {
        Self { plan: batch.plan(&(0..batch.tokens()).collect::<Vec<_>>()), tokens: None }
    }

    /// The queries of some tokens, whose indices are in ascending order.
    pub fn of(batch: &Batch<'_>, tokens: &[usize], device: &Device) -> Self {
        if tokens.len() == batch.tokens() {
            return Self::all(batch);
        }
        let index: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let index = Tensor::from_data(TensorData::new(index, [tokens.len()]), device);
        Self { plan: batch.plan(tokens), tokens: Some(index) }
    }

    /// The rows of `[tokens, width]` that belong to the queries.
    pub fn select(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.tokens {
            Some(tokens) => x.select(0, tokens.clone()),
            None => x,
        }
    }
}

/// A decoder's KV: the keys and values of tokens in each layer, which later tokens of the same sequences need.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Keys and values of each layer, each `[rows, key_value_heads * head_dim]`.
    layers: Vec<[Tensor<2>; 2]>,
}

impl State {
    /// Number of its rows, one for each token.
    pub fn rows(&self) -> usize {
        self.layers.first().map_or(0, |[keys, _]| keys.dims()[0])
    }

    /// A state of some of its rows, in this order. It is a copy: a view would keep all of this state in memory.
    #[must_use]
    pub fn select(&self, rows: &[Range<usize>]) -> Self {
        let rows: Vec<i32> = rows.iter().cloned().flatten().map(|row| row as i32).collect();
        let of = |side: &Tensor<2>| {
            let rows = TensorData::new(rows.clone(), [rows.len()]);
            side.clone().select(0, Tensor::<1, Int>::from_data(rows, &side.device()))
        };
        Self { layers: self.layers.iter().map(|[keys, values]| [of(keys), of(values)]).collect() }
    }

    /// Some rows of several states of one network, one after the other. Without states it has no rows.
    #[must_use]
    pub fn joined(parts: &[(&Self, Range<usize>)]) -> Self {
        let layers = parts.iter().map(|(state, _)| state.layers.len()).max().unwrap_or_default();
        let side = |layer: usize, side: usize| {
            let of = |(state, rows): &(&Self, Range<usize>)| {
                Some(state.layers.get(layer)?[side].clone().narrow(0, rows.start, rows.len()))
            };
            Tensor::cat(parts.iter().filter(|(_, rows)| !rows.is_empty()).filter_map(of).collect(), 0)
        };
        Self { layers: (0..layers).map(|layer| [side(layer, 0), side(layer, 1)]).collect() }
    }

    /// A state of `layers` layers whose rows are `width` zeros: a stand-in for tests.
    pub fn of_zeros(layers: usize, rows: usize, width: usize, device: &Device) -> Self {
        let side = || Tensor::zeros([rows, width], device);
        Self { layers: (0..layers).map(|_| [side(), side()]).collect() }
    }

    /// Bytes of its keys and values on the device.
    pub fn bytes(&self) -> u64 {
        let side = |side: &Tensor<2>| side.dims().iter().product::<usize>() * size_of::<f32>();
        self.layers.iter().flatten().map(side).sum::<usize>() as u64
    }
}

/// Keys and values as a network goes through its layers. Those of the state come before those of the batch, and both
/// are noted where they must be kept.
pub(crate) struct Keys<'a> {
    before: Option<&'a State>,
    noted: Option<State>,
}

impl<'a> Keys<'a> {
    /// Starts before the first layer. `keep` says whether keys and values must be kept.
    pub fn new(before: Option<&'a State>, keeps_state: bool) -> Self {
        Self { before: before.filter(|state| state.rows() > 0), noted: keeps_state.then(State::default) }
    }

    /// The keys and values of a layer after those of the state, each `[rows, key_value_heads * head_dim]`.
    pub fn of(&mut self, layer: usize, keys: Tensor<2>, values: Tensor<2>) -> [Tensor<2>; 2] {
        let both = match self.before.and_then(|state| state.layers.get(layer)) {
            Some([earlier_keys, earlier_values]) => {
                [Tensor::cat(vec![earlier_keys.clone(), keys], 0), Tensor::cat(vec![earlier_values.clone(), values], 0)]
            }
            None => [keys, values],
        };
        if let Some(noted) = &mut self.noted {
            noted.layers.push(both.clone());
        }
        both
    }

    /// All layers' keys and values, where they must be kept.
    pub fn into_state(self) -> Option<State> {
        self.noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_go_on_from_their_prefix() {
        let mut batch = Batch::after(10);
        let prefix = batch.push(&[1, 2, 3], &[], vec![2..4]);
        let rows = vec![2..4, batch.rows(prefix)];
        let first = batch.push(&[4, 5], &[], rows.clone());
        let second = batch.push(&[6], &[1], rows);
        assert_eq!((first, second.clone(), batch.tokens()), (3..5, 5..6, 6));
        assert_eq!(batch.positions(), [2, 3, 4, 5, 6, 5]);
        assert_eq!(batch.lengths(), [5, 5, 5, 7, 7, 6]);
        assert_eq!(batch.types(), [0, 0, 0, 0, 0, 1]);
        let plan = batch.plan(&[2, 5]);
        let [prefix, second] = plan.groups() else { panic!("two segments are read, {plan:?}") };
        assert_eq!((prefix.queries.clone(), prefix.positions.as_slice()), (0..1, [4].as_slice()));
        assert_eq!((second.queries.clone(), second.positions.as_slice()), (1..2, [5].as_slice()));
        assert_eq!(second.keys, [2..4, 10..13, 15..16]);
    }
}
