//! Attention whose scores get a learned number for each distance and head, as in T5 (Raffel et al., 2019,
//! arXiv:1910.10683) and MPNet. Far distances share buckets.
//!
//! Matches `relative_position_bucket` of `transformers/models/mpnet/modeling_mpnet.py`.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use rewardscope_kernels::products;

use crate::layers::{Embedding, split_heads};
use crate::{ModelError, Tensors};

/// Number of buckets.
pub(crate) const BUCKETS: usize = 32;
/// The distance from which on all share the last bucket.
const FARTHEST: f32 = 128.0;

/// The bucket of the distance from a query to a key: half of them for keys before it, half for keys after it; in each
/// half, the nearer half of the distances by themselves, the others by their logarithm.
fn bucket(query: usize, key: usize) -> u32 {
    let half = BUCKETS / 2;
    let (exact, distance) = (half / 2, query.abs_diff(key));
    let near = if distance < exact {
        distance
    } else {
        let share = (distance as f32 / exact as f32).ln() / f64::from(FARTHEST / exact as f32).ln() as f32;
        (exact + (share * (half - exact) as f32) as usize).min(half - 1)
    };
    (near + if key > query { half } else { 0 }) as u32
}

/// The learned numbers.
#[derive(Debug)]
pub(crate) struct RelativeBias {
    /// `[buckets, heads]`
    table: Embedding,
    heads: usize,
}

impl RelativeBias {
    /// Takes the table of this name.
    pub fn take(tensors: &mut Tensors, name: &str, heads: usize) -> Result<Self, ModelError> {
        Ok(Self { table: Embedding::take_table(tensors, name, [BUCKETS, heads])?, heads })
    }

    /// What is added to the scores of texts of up to `longest` tokens: `[heads, longest, longest]`, by query and key.
    pub fn of(&self, longest: usize) -> Tensor<3> {
        let buckets: Vec<u32> =
            (0..longest).flat_map(|query| (0..longest).map(move |key| bucket(query, key))).collect();
        self.table.of(&buckets).swap_dims(0, 1).reshape([self.heads, longest, longest])
    }

    /// The attention, each text by itself: queries, keys and values `[tokens, hidden]` to the same. `bias` is that of the
    /// longest text.
    pub fn attend(&self, [q, k, v]: [Tensor<2>; 3], bias: &Tensor<3>, spans: &[Range<usize>]) -> Tensor<2> {
        let scale = ((q.dims()[1] / self.heads) as f64).powf(-0.5);
        let of_text = |span: &Range<usize>| {
            let own = |x: &Tensor<2>| split_heads(x.clone().narrow(0, span.start, span.len()), self.heads);
            let (q, k, v) = (own(&q), own(&k), own(&v));
            let [heads, tokens, width] = q.dims();
            let bias = bias.clone().narrow(1, 0, tokens).narrow(2, 0, tokens);
            let weights = softmax(products(q, k).mul_scalar(scale) + bias, 2);
            products(weights, v.swap_dims(1, 2)).swap_dims(0, 1).reshape([tokens, heads * width])
        };
        Tensor::cat(spans.iter().map(of_text).collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values by `relative_position_bucket` of transformers, for keys before and after the query.
    #[test]
    fn far_distances_share_buckets() {
        let before: Vec<u32> = [0, 1, 7, 8, 11, 12, 16, 31, 64, 127, 128, 500].map(|d| bucket(1000, 1000 - d)).to_vec();
        assert_eq!(before, [0, 1, 7, 8, 8, 9, 10, 11, 14, 15, 15, 15]);
        let after: Vec<u32> = [1, 7, 8, 16, 128].map(|d| bucket(1000, 1000 + d)).to_vec();
        assert_eq!(after, [17, 23, 24, 26, 31]);
    }
}
