//! Attention of every query over the keys that it may see, with f32 scores and softmax.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::backend::Dispatch;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{Operations, gpu, is_cpu, products, traffic};

/// Added to the scores of keys that a query may not see: large enough that the softmax gives
/// exactly 0 in f32, small enough that no sum overflows.
const MASKED: f32 = -1e30;

/// Attention scores held at once over all heads: 32 MiB. More go through in tiles of queries, so
/// that memory grows with the length and not with its square.
const SCORES: usize = 8 << 20;

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

#[derive(Debug)]
struct Planned {
    groups: Vec<Group>,
    /// As kernels read it, on the device that asked first.
    table: OnceLock<Tensor<1, Int>>,
}

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

    /// Brought to the device once, for all layers.
    fn table(&self, device: &Device) -> Tensor<1, Int> {
        let make = || {
            let values = if is_cpu(device) { vec![0] } else { gpu::table(self) };
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

/// `softmax(q k^T) v`: `[queries, heads * head_dim]` of queries, `[keys, key_value_heads *
/// head_dim]` of keys and values, to the shape of the queries.
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: &Plan, heads: Heads) -> Tensor<2> {
    let device = q.device();
    if !is_cpu(&device) && !gpu::can_attend(q.dims()[1] / heads.queries) {
        return plain(q, k, v, plan, heads);
    }
    let [tokens, width] = q.dims();
    traffic::attention(tokens, width, plan, heads);
    let table = plan.table(&device).into_dispatch();
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Operations>::attention(q, k, v, table, plan.clone(), heads))
}

/// In burn's own operations, with the scores in memory.
pub(crate) fn plain(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: &Plan, heads: Heads) -> Tensor<2> {
    let device = q.device();
    let [_, width] = q.dims();
    let head_dim = width / heads.queries;
    let group = heads.queries / heads.keys;
    // `[rows, heads * head_dim]` to `[heads, rows, head_dim]`.
    let split = |x: Tensor<2>, count: usize| -> Tensor<3> {
        let rows = x.dims()[0];
        x.reshape([rows, count, head_dim]).swap_dims(0, 1)
    };
    let gathered = |x: &Tensor<2>, ranges: &[Range<usize>]| {
        let parts: Vec<_> = ranges
            .iter()
            .filter(|range| !range.is_empty())
            .map(|range| x.clone().narrow(0, range.start, range.len()))
            .collect();
        Tensor::cat(parts, 0)
    };
    let mut mixed = Vec::new();
    for of in plan.groups() {
        let keys = of.key_count();
        let k = split(gathered(&k, &of.keys), heads.keys);
        let v = split(gathered(&v, &of.keys), heads.keys);
        let tile = (SCORES / (heads.queries * keys)).clamp(1, of.queries.len());
        for first in (0..of.queries.len()).step_by(tile) {
            let rows = tile.min(of.queries.len() - first);
            let span = of.span(heads.sight, first, first + rows - 1);
            // The heads that share keys are stacked, so that keys are not repeated.
            let q = split(q.clone().narrow(0, of.queries.start + first, rows), heads.queries);
            let q = q.reshape([heads.keys, group * rows, head_dim]);
            let k = k.clone().narrow(1, span.start, span.len());
            let mut scores = products(q, k).mul_scalar(heads.scale);
            if let Some(cap) = heads.softcap {
                scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
            }
            let seen: Vec<f32> = of.positions[first..first + rows]
                .iter()
                .flat_map(|&position| {
                    let seen = heads.sight.of(position, keys);
                    span.clone().map(move |key| if seen.contains(&key) { 0.0 } else { MASKED })
                })
                .collect();
            let mut scores = scores.reshape([heads.queries, rows, span.len()]);
            if seen.iter().any(|&hidden| hidden != 0.0) {
                scores = scores + Tensor::<3>::from_data(TensorData::new(seen, [1, rows, span.len()]), &device);
            }
            let weights = softmax(scores, 2).reshape([heads.keys, group * rows, span.len()]);
            let out = products(weights, v.clone().narrow(1, span.start, span.len()).swap_dims(1, 2));
            let out: Tensor<3> = out.reshape([heads.queries, rows, head_dim]).swap_dims(0, 1);
            mixed.push(out.reshape([rows, width]));
        }
    }
    Tensor::cat(mixed, 0)
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
