//! Activations and rotary positions on the CPU.

use super::exponential::{erf, exp, tanh};
use super::{Matrix, each_rows};
use crate::Activation;

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // sqrt(2 / pi)
    const ROOT: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(ROOT * (x + 0.044_715 * x * x * x)))
}

pub(super) fn activate(values: &mut [f32], activation: Activation) {
    fn each(values: &mut [f32], of: impl Fn(f32) -> f32 + Sync) {
        each_rows(values, 1, |_, values| values.iter_mut().for_each(|value| *value = of(*value)));
    }
    match activation {
        Activation::Silu => each(values, silu),
        Activation::Gelu => each(values, gelu),
        Activation::GeluTanh => each(values, gelu_tanh),
        Activation::Tanh => each(values, tanh),
    }
}

pub(super) fn gate(gate: Matrix<'_>, up: Matrix<'_>, activation: Activation, out: &mut [f32]) {
    fn each(gate: Matrix<'_>, up: Matrix<'_>, out: &mut [f32], of: impl Fn(f32) -> f32 + Sync) {
        each_rows(out, gate.width, |first, rows| {
            for (at, out) in rows.chunks_exact_mut(gate.width).enumerate() {
                let (gate, up) = (gate.row(first + at), up.row(first + at));
                out.iter_mut().zip(gate).zip(up).for_each(|((out, &gate), &up)| *out = of(gate) * up);
            }
        });
    }
    match activation {
        Activation::Silu => each(gate, up, out, silu),
        Activation::Gelu => each(gate, up, out, gelu),
        Activation::GeluTanh => each(gate, up, out, gelu_tanh),
        Activation::Tanh => each(gate, up, out, tanh),
    }
}

pub(super) fn rotate(x: Matrix<'_>, cos: Matrix<'_>, sin: Matrix<'_>, heads: usize, out: &mut [f32]) {
    let (head_dim, half) = (x.width / heads, cos.width);
    each_rows(out, x.width, |first, rows| {
        for (at, out) in rows.chunks_exact_mut(x.width).enumerate() {
            let (x, cos, sin) = (x.row(first + at), cos.row(first + at), sin.row(first + at));
            for (out, x) in out.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
                let (turned, still) = out.split_at_mut(2 * half);
                still.copy_from_slice(&x[2 * half..]);
                let (low, high) = turned.split_at_mut(half);
                let (a, b) = (&x[..half], &x[half..2 * half]);
                for i in 0..half {
                    low[i] = a[i] * cos[i] - b[i] * sin[i];
                    high[i] = b[i] * cos[i] + a[i] * sin[i];
                }
            }
        }
    });
}
