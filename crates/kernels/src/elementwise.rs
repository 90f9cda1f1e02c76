//! Operations on each value, or on pairs of values: activations and rotary positions.

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};

use crate::kinds::Activation;
use crate::{Operations, traffic};

impl Activation {
    /// Applies the activation to each value of `[tokens, width]`; the shape stays.
    pub fn of(self, x: Tensor<2>) -> Tensor<2> {
        traffic::rows("activation", x.dims(), 1, 1);
        Tensor::from_dispatch(<Dispatch as Operations>::activate(x.into_dispatch(), self))
    }

    /// `activation(gate) * up`, value by value. Both are `[tokens, width]`, and so is the result.
    pub fn gate(self, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
        traffic::rows("gated activation", gate.dims(), 2, 1);
        let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
        Tensor::from_dispatch(<Dispatch as Operations>::gate(gate, up, self))
    }
}

/// The same as [`Activation::of`] in burn's own operations.
#[cfg(test)]
pub(crate) fn plain_activation(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    use burn::tensor::activation::{gelu, gelu_approximate, silu};

    match activation {
        Activation::Silu => silu(x),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_approximate(x),
        Activation::Tanh => x.tanh(),
    }
}

/// Rotary position embeddings (Su et al., 2021, arXiv:2104.09864): the cosines and sines of each token's
/// angles, each `[tokens, turned / 2]`. `turned` is the number of coordinates of a head that are rotated.
#[derive(Debug, Clone)]
pub struct Turns {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Turns {
    /// The angles of the tokens at these positions (counted in tokens, from 0). There are `turned / 2`
    /// frequencies, in radians per position.
    pub fn new(positions: &[usize], frequencies: &[f32], device: &Device) -> Self {
        Self::of(positions, |_| frequencies, 1.0, device)
    }

    /// As [`Self::new`], where frequencies may differ between tokens: `frequencies(token)` gives those of the
    /// token with this number in `positions`. Every token has the same number of them. Cosines and sines are
    /// multiplied by `scale`.
    pub fn of<'a>(positions: &[usize], frequencies: impl Fn(usize) -> &'a [f32], scale: f32, device: &Device) -> Self {
        let width = if positions.is_empty() { 0 } else { frequencies(0).len() };
        let table = |of: fn(f32) -> f32| {
            let angles = positions.iter().enumerate().flat_map(|(token, &position)| {
                frequencies(token).iter().map(move |frequency| of(position as f32 * frequency) * scale)
            });
            let angles: Vec<f32> = angles.collect();
            Tensor::from_data(TensorData::new(angles, [positions.len(), width]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// The angles of the tokens whose numbers are in `rows`, `[count]`.
    #[must_use]
    pub fn select(&self, rows: &Tensor<1, burn::tensor::Int>) -> Self {
        Self { cos: self.cos.clone().select(0, rows.clone()), sin: self.sin.clone().select(0, rows.clone()) }
    }
}

/// Rotates the first `turned` coordinates of each head of `x`, `[tokens, heads * head_dim]`; the others stay.
/// Coordinate `i` is paired with coordinate `i + turned / 2`, as in transformers. The result has the shape of
/// `x`.
pub fn rotate(x: Tensor<2>, turns: &Turns, heads: usize) -> Tensor<2> {
    traffic::rows("rotation", x.dims(), 1, 1);
    let Turns { cos, sin } = turns.clone();
    let (x, cos, sin) = (x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Operations>::rotate(x, cos, sin, heads))
}

/// The same as [`rotate`] in burn's own operations.
#[cfg(test)]
pub(crate) fn plain_rotation(x: Tensor<2>, turns: &Turns, heads: usize) -> Tensor<2> {
    let [tokens, width] = x.dims();
    let half = turns.cos.dims()[1];
    let head_dim = width / heads;
    let x: Tensor<3> = x.reshape([tokens, heads, head_dim]);
    let table = |table: &Tensor<2>| -> Tensor<3> { table.clone().reshape([tokens, 1, half]) };
    let (cos, sin) = (table(&turns.cos), table(&turns.sin));
    let (a, b) = (x.clone().narrow(2, 0, half), x.clone().narrow(2, half, half));
    let mut parts = vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin];
    if 2 * half < head_dim {
        parts.push(x.narrow(2, 2 * half, head_dim - 2 * half));
    }
    Tensor::cat(parts, 2).reshape([tokens, width])
}
