//! Attention of every query over the keys that it may see, with f32 scores and softmax.

use std::ops::Range;

use burn::backend::Dispatch;
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use crate::plan::{Heads, Plan};
use crate::{Operations, gpu, is_cpu, products, traffic};

/// Added to the scores of keys that a query may not see: large enough that the softmax gives
/// exactly 0 in f32, small enough that no sum overflows.
const MASKED: f32 = -1e30;

/// Most attention scores held at once, over all heads: 32 MiB of f32. Longer inputs are computed in tiles of
/// queries, so that memory grows with the length and not with its square.
const SCORES: usize = 8 << 20;

/// Attention, `softmax(scale q k^T) v` for each head (Vaswani et al., 2017, arXiv:1706.03762). Each query sees
/// the keys that `plan` and [`Heads::sight`] allow.
///
/// `q` is `[queries, heads * head_dim]`; `k` and `v` are `[keys, key_value_heads * head_dim]`. The result has
/// the shape of `q`. A GPU uses burn's own operations where `head_dim` is above 256 or not a multiple of 4.
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: &Plan, heads: Heads) -> Tensor<2> {
    let device = q.device();
    if !is_cpu(&device) && !gpu::can_attend(q.dims()[1] / heads.queries) {
        return plain(q, k, v, plan, heads);
    }
    let [tokens, width] = q.dims();
    traffic::attention(tokens, width, plan, heads);
    let table = plan.table(&device, || if is_cpu(&device) { vec![0] } else { gpu::table(plan) }).into_dispatch();
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Operations>::attention(q, k, v, table, plan.clone(), heads))
}

/// The same in burn's own operations, with the scores in memory.
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
            // Query heads that share a key head are stacked, so that the keys are not repeated.
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
