//! Token sequences packed one after the other, and what is kept of them.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rewardscope_kernels::{Group, Plan};

/// Token sequences that go through a network together, packed: no token is computed that counts
/// for nothing, and what several sequences begin with is computed once.
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    segments: Vec<Segment<'a>>,
    kept: usize,
    tokens: usize,
}

/// A run of tokens of one sequence.
#[derive(Debug, Clone)]
struct Segment<'a> {
    ids: &'a [u32],
    types: &'a [u32],
    before: Vec<Range<usize>>,
    tokens: Range<usize>,
}

impl Segment<'_> {
    fn position(&self) -> usize {
        self.before.iter().map(ExactSizeIterator::len).sum()
    }
}

impl<'a> Batch<'a> {
    /// One without tokens, that goes on from a [`State`] of so many rows.
    pub fn after(kept: usize) -> Self {
        Self { segments: Vec::new(), kept, tokens: 0 }
    }

    /// Whole sequences, each on its own.
    pub fn of(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for ids in sequences {
            batch.push(ids, &[], Vec::new());
        }
        batch
    }

    /// Adds tokens and gives their numbers in the batch. `types` are the parts of a pair that they
    /// belong to, for models that are told. `before` is what comes before them in their sequence,
    /// oldest first, as rows of the state and after it of the batch ([`Self::rows`]).
    pub fn push(&mut self, ids: &'a [u32], types: &'a [u32], before: Vec<Range<usize>>) -> Range<usize> {
        let tokens = self.tokens..self.tokens + ids.len();
        self.tokens = tokens.end;
        self.segments.push(Segment { ids, types, before, tokens: tokens.clone() });
        tokens
    }

    /// The rows that tokens of this batch have in a state made of it.
    pub fn rows(&self, tokens: Range<usize>) -> Range<usize> {
        self.kept + tokens.start..self.kept + tokens.end
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rows of the state that it goes on from.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// The tokens of each segment that has any.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.segments.iter().map(|segment| segment.tokens.clone()).filter(|tokens| !tokens.is_empty())
    }

    /// `[tokens]`
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.segments.iter().flat_map(|segment| segment.ids).copied().collect()
    }

    /// `[tokens]`: the part of a pair of each; 0 where it is not told.
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

    /// `[tokens]`: the place of each in its sequence.
    pub(crate) fn positions(&self) -> Vec<usize> {
        self.segments.iter().flat_map(|segment| (segment.position()..).take(segment.ids.len())).collect()
    }

    /// `[tokens]`: the length of the sequence of each, up to its segment's end.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        let of = |segment: &Segment<'a>| std::iter::repeat_n(segment.position() + segment.ids.len(), segment.ids.len());
        self.segments.iter().flat_map(of).collect()
    }

    /// Each segment with the numbers of those of its tokens that are among `tokens`.
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

/// Whose queries a layer computes: every token's, or in the last layer those that are read.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    pub plan: Plan,
    /// `[queries]`: their tokens; `None` where they are all.
    pub tokens: Option<Tensor<1, Int>>,
}

impl Queries {
    /// Every token's.
    pub fn all(batch: &Batch<'_>) -> Self {
        Self { plan: batch.plan(&(0..batch.tokens()).collect::<Vec<_>>()), tokens: None }
    }

    /// Those of some tokens, in ascending order.
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

/// The keys and values that a decoder made of tokens, layer by layer: what later tokens need of
/// them.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// `[rows, key_value_heads * head_dim]` each.
    layers: Vec<[Tensor<2>; 2]>,
}

impl State {
    /// Tokens in it.
    pub fn rows(&self) -> usize {
        self.layers.first().map_or(0, |[keys, _]| keys.dims()[0])
    }

    /// Some of its rows, in this order.
    #[must_use]
    pub fn select(&self, rows: &[Range<usize>]) -> Self {
        let of = |side: &Tensor<2>| {
            let part = |range: &Range<usize>| side.clone().narrow(0, range.start, range.len());
            Tensor::cat(rows.iter().filter(|range| !range.is_empty()).map(part).collect(), 0)
        };
        Self { layers: self.layers.iter().map(|[keys, values]| [of(keys), of(values)]).collect() }
    }
}

/// Keys and values as a network goes through its layers: those of a state before those of the
/// batch, and all of them noted where they are to be kept.
pub(crate) struct Keys<'a> {
    before: Option<&'a State>,
    noted: Option<State>,
}

impl<'a> Keys<'a> {
    pub fn new(before: Option<&'a State>, keep: bool) -> Self {
        Self { before: before.filter(|state| state.rows() > 0), noted: keep.then(State::default) }
    }

    /// The keys and values of layer `layer`, with what comes before them.
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

    pub fn kept(self) -> Option<State> {
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
