//! Attention of every query over the keys that it may see, in tiles of queries, with f32 scores and
//! softmax.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Added to the scores of keys that a query may not see: large enough that the softmax gives
/// exactly 0 in f32, small enough that no sum overflows.
const MASKED: f32 = -1e30;

/// Attention scores held at once, over batch and heads: 32 MiB. Longer sequences go through in
/// tiles of queries, so that memory grows with the length and not with its square.
const SCORES: usize = 8 << 20;

/// Which keys a query may see, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Those up to its own; with a window the last so many of them, its own included.
    Back(Option<usize>),
    /// All; with a reach those at most so far away.
    Around(Option<usize>),
}

impl Sight {
    fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Self::Back(window) => key <= query && window.is_none_or(|window| query - key < window),
            Self::Around(reach) => reach.is_none_or(|reach| query.abs_diff(key) <= reach),
        }
    }

    /// The span of keys that some of these queries see.
    fn keys(self, queries: Range<usize>, seq: usize) -> Range<usize> {
        match self {
            Self::Back(window) => window.map_or(0, |window| (queries.start + 1).saturating_sub(window))..queries.end,
            Self::Around(Some(reach)) => queries.start.saturating_sub(reach)..(queries.end + reach).min(seq),
            Self::Around(None) => 0..seq,
        }
    }
}

/// One sight over the rows of a batch: the tiles of queries, and what each may see.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    tiles: Vec<Tile>,
}

#[derive(Debug, Clone)]
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
    /// 0 where a query may look, [`MASKED`] where not: `[1, 1, queries, last]` over the last of
    /// the keys, those before them being seen by all; `None` where all are.
    hidden: Option<Tensor<4>>,
    /// `[batch, 1, 1, keys]`: the same for padding; `None` where none of it is in sight.
    padding: Option<Tensor<4>>,
}

impl Mask {
    /// For rows of these lengths, padded on the right to `seq`.
    pub fn new(sight: Sight, lengths: &[usize], seq: usize, heads: usize, device: &Device) -> Self {
        let tile = (SCORES / (lengths.len() * heads * seq)).clamp(1, seq);
        // No query looks ahead of itself into padding, but one that looks around does.
        let padded = matches!(sight, Sight::Around(_)) && lengths.iter().any(|&length| length < seq);
        // Without a window one diagonal serves every tile: keys before it are seen by all.
        let diagonal = (sight == Sight::Back(None)).then(|| grid(sight, 0..tile, 0..tile, device));
        let tiles = (0..seq).step_by(tile).map(|first| {
            let queries = first..(first + tile).min(seq);
            let keys = sight.keys(queries.clone(), seq);
            let hidden = match &diagonal {
                Some(diagonal) => Some(diagonal.clone().narrow(2, 0, queries.len()).narrow(3, 0, queries.len())),
                None if sight == Sight::Around(None) => None,
                None => Some(grid(sight, queries.clone(), keys.clone(), device)),
            };
            let padding = padded.then(|| hide_padding(lengths, keys.clone(), device));
            Tile { queries, keys, hidden, padding }
        });
        Self { tiles: tiles.collect() }
    }
}

/// `[batch, 1, 1, keys]`: 0 for tokens of rows of these lengths, [`MASKED`] for their padding.
pub(crate) fn hide_padding(lengths: &[usize], keys: Range<usize>, device: &Device) -> Tensor<4> {
    let shape = [lengths.len(), 1, 1, keys.len()];
    let row = |length: usize| keys.clone().map(move |key| if key < length { 0.0 } else { MASKED });
    let values: Vec<f32> = lengths.iter().flat_map(|&length| row(length)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn grid(sight: Sight, queries: Range<usize>, keys: Range<usize>, device: &Device) -> Tensor<4> {
    let shape = [1, 1, queries.len(), keys.len()];
    let row = |query: usize| keys.clone().map(move |key| if sight.sees(query, key) { 0.0 } else { MASKED });
    let values: Vec<f32> = queries.flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// How scores are made of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    /// What products are multiplied by.
    pub scale: f64,
    /// Where there is one, scores become `cap tanh(score / cap)`.
    pub softcap: Option<f64>,
}

impl Tile {
    /// `[batch, heads, queries, keys]`, with what may not be seen far below all else.
    fn masked(&self, scores: Tensor<4>) -> Tensor<4> {
        let scores = match &self.hidden {
            Some(hidden) if hidden.dims()[3] < self.keys.len() => {
                let seen = self.keys.len() - hidden.dims()[3];
                let zeros = Tensor::zeros([1, 1, self.queries.len(), seen], &hidden.device());
                scores + Tensor::cat(vec![zeros, hidden.clone()], 3)
            }
            Some(hidden) => scores + hidden.clone(),
            None => scores,
        };
        match &self.padding {
            Some(padding) => scores + padding.clone(),
            None => scores,
        }
    }
}

/// `softmax(q k^T) v`: q `[batch, heads, seq, head_dim]`; k and v `[batch, key_value_heads, seq,
/// head_dim]`, each shared by a group of heads; to `[batch * seq, heads * head_dim]`.
pub(crate) fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, how: Scores, mask: &Mask) -> Tensor<2> {
    let [batch, heads, seq, head_dim] = q.dims();
    let key_value_heads = k.dims()[1];
    let group = heads / key_value_heads;
    let tiles = mask.tiles.iter().map(|tile| {
        let (rows, keys) = (tile.queries.len(), tile.keys.len());
        // The heads that share keys are stacked along the sequence, so that keys are not repeated.
        let q = q.clone().narrow(2, tile.queries.start, rows);
        let q = q.reshape([batch, key_value_heads, group * rows, head_dim]);
        let k = k.clone().narrow(2, tile.keys.start, keys).swap_dims(2, 3);
        let mut scores = q.matmul(k).mul_scalar(how.scale);
        if let Some(cap) = how.softcap {
            scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
        }
        let scores = tile.masked(scores.reshape([batch, heads, rows, keys]));
        let weights = softmax(scores, 3).reshape([batch, key_value_heads, group * rows, keys]);
        let mixed = weights.matmul(v.clone().narrow(2, tile.keys.start, keys));
        mixed.reshape([batch, heads, rows, head_dim])
    });
    let mixed = Tensor::cat(tiles.collect(), 2).swap_dims(1, 2);
    mixed.reshape([batch * seq, heads * head_dim])
}

/// `[batch * seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
pub(crate) fn heads(x: Tensor<2>, batch: usize, heads: usize) -> Tensor<4> {
    let [tokens, width] = x.dims();
    x.reshape([batch, tokens / batch, heads, width / heads]).swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_the_query_and_reaches_do_not() {
        assert!(Sight::Back(Some(4)).sees(9, 6) && !Sight::Back(Some(4)).sees(9, 5));
        assert!(!Sight::Back(None).sees(3, 4));
        assert!(Sight::Around(Some(4)).sees(9, 5) && Sight::Around(Some(4)).sees(5, 9));
        assert!(!Sight::Around(Some(4)).sees(9, 4));
        assert_eq!(Sight::Back(Some(4)).keys(8..10, 20), 5..10);
        assert_eq!(Sight::Around(Some(4)).keys(8..10, 12), 4..12);
    }
}
