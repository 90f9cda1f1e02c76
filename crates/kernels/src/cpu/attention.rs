//! Attention on the CPU: scores, softmax and weighted values of a tile of queries, head by head.

use rayon::prelude::*;

use super::exponential::exp;
use super::product::{Lines, Order, product};
use super::{Matrix, threads};
use crate::{Group, Heads, Plan};

/// Queries that are computed together. Their scores over a few thousand keys stay in the cache.
const TILE: usize = 64;

/// Some queries of a group: the first, and how many.
struct Tile<'a> {
    group: &'a Group,
    first: usize,
    count: usize,
}

/// Attention of all queries into `out`, which has the shape of `q`.
pub(super) fn attention(q: Matrix<'_>, k: Matrix<'_>, v: Matrix<'_>, plan: &Plan, heads: Heads, out: &mut [f32]) {
    let mut tiles = Vec::new();
    let mut left = out;
    for group in plan.groups() {
        for first in (0..group.queries.len()).step_by(TILE) {
            let count = TILE.min(group.queries.len() - first);
            let (own, after) = left.split_at_mut(count * q.width);
            left = after;
            tiles.push((Tile { group, first, count }, own));
        }
    }
    if threads() == 1 || tiles.len() == 1 {
        tiles.into_iter().for_each(|(tile, out)| attend(q, k, v, &tile, heads, out));
    } else {
        tiles.into_par_iter().for_each(|(tile, out)| attend(q, k, v, &tile, heads, out));
    }
}

/// Attention of one tile into `out`, `[queries of the tile, heads * head_dim]`.
fn attend(q: Matrix<'_>, k: Matrix<'_>, v: Matrix<'_>, tile: &Tile<'_>, heads: Heads, out: &mut [f32]) {
    let Tile { group, first, count } = *tile;
    let head_dim = q.width / heads.queries;
    let shared = heads.queries / heads.keys;
    let span = group.span(heads.sight, first, first + count - 1);
    let keys = group.key_count();
    // Runs of keys in the span: the first column of their scores, their first row, and their number.
    let mut parts = Vec::with_capacity(group.keys.len());
    let mut position = 0;
    for range in &group.keys {
        let from = span.start.clamp(position, position + range.len());
        let to = span.end.clamp(position, position + range.len());
        if from < to {
            parts.push((from - span.start, range.start + from - position, to - from));
        }
        position += range.len();
    }
    let mut scores = vec![0.0; count * span.len()];
    for head in 0..heads.queries {
        let queries = &q.data[(group.queries.start + first) * q.stride + head * head_dim..];
        let side = (head / shared) * head_dim;
        for &(column, row, len) in &parts {
            product(
                [count, len, head_dim],
                (&mut scores[column..], span.len()),
                false,
                heads.scale as f32,
                Lines { data: queries, stride: q.stride },
                (Lines { data: &k.data[row * k.stride + side..], stride: k.stride }, Order::Columns),
            );
        }
        for (at, scores) in scores.chunks_exact_mut(span.len()).enumerate() {
            let seen = heads.sight.of(group.positions[first + at], keys);
            weigh(scores, seen.start - span.start..seen.end - span.start, heads.softcap);
        }
        for (part, &(column, row, len)) in parts.iter().enumerate() {
            product(
                [count, head_dim, len],
                (&mut out[head * head_dim..], q.width),
                part > 0,
                1.0,
                Lines { data: &scores[column..], stride: span.len() },
                (Lines { data: &v.data[row * v.stride + side..], stride: v.stride }, Order::Rows),
            );
        }
    }
}

/// Replaces scores by the softmax over those that are seen, and the others by 0.
fn weigh(scores: &mut [f32], seen: std::ops::Range<usize>, softcap: Option<f64>) {
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let seen = &mut scores[seen];
    if let Some(cap) = softcap {
        let cap = cap as f32;
        seen.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
    }
    let largest = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    seen.iter_mut().for_each(|score| *score = exp(*score - largest));
    let sum = super::norm::sum(seen, |weight| weight);
    let share = 1.0 / sum;
    seen.iter_mut().for_each(|score| *score *= share);
}
