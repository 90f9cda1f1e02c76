//! Norms on the CPU, row by row.

use super::{Matrix, each_rows};
use crate::Norm;

/// Sums that are formed side by side: no addition waits for the one before, and compilers vectorise the loop.
const LANES: usize = 16;

/// The sum of `of(value)` over all values.
#[inline(always)]
pub(super) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&value| of(value)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += of(value);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The norm of each row of `x` into `out`.
pub(super) fn norm(x: Matrix<'_>, weight: &[f32], bias: &[f32], kind: Norm, out: &mut [f32]) {
    each_rows(out, x.width, |first, rows| {
        for (at, out) in rows.chunks_exact_mut(x.width).enumerate() {
            row(x.row(first + at), weight, bias, kind, out);
        }
    });
}

/// Adds `y` to `total`, and writes the norm of each row of the sum to `out`.
pub(super) fn add_norm(total: &mut [f32], y: Matrix<'_>, weight: &[f32], bias: &[f32], kind: Norm, out: &mut [f32]) {
    each_rows(total, y.width, |first, rows| {
        for (at, total) in rows.chunks_exact_mut(y.width).enumerate() {
            total.iter_mut().zip(y.row(first + at)).for_each(|(total, y)| *total += y);
        }
    });
    let total = Matrix { data: total, rows: y.rows, width: y.width, stride: y.width };
    norm(total, weight, bias, kind, out);
}

/// The norm of one row.
fn row(x: &[f32], weight: &[f32], bias: &[f32], kind: Norm, out: &mut [f32]) {
    let width = x.len() as f32;
    let (mean, epsilon) = match kind {
        Norm::RootMeanSquare(epsilon) => (0.0, epsilon as f32),
        Norm::Layer(epsilon) => (sum(x, |value| value) / width, epsilon as f32),
    };
    let variance = sum(x, |value| (value - mean) * (value - mean)) / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for (((out, &value), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = (value - mean) * scale * weight + bias;
    }
}
