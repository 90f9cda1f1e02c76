//! Matrix products over parts of buffers: by the crate `gemm` natively, by [`tiles`](super::tiles) in
//! WebAssembly. Both take pointers, so this file needs `unsafe`; it checks all bounds first.
#![allow(unsafe_code, reason = "the interface of both; the bounds are checked before")]

use rayon::prelude::*;

use super::threads;

/// How the right matrix, `[k, n]`, lies in its buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Row by row.
    Rows,
    /// Column by column: as PyTorch stores a projection, and as keys lie.
    Columns,
}

/// A matrix in a buffer. `stride` is the number of values from one row, or column, to the next.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// `out = scale * lhs rhs`, or `out += scale * lhs rhs` with `adds`: `[m, k]` and `[k, n]` to `[m, n]`. Rows of
/// `out` and of `lhs` are contiguous; the numbers beside `out` and in `lhs` are their strides.
///
/// # Panics
/// When a matrix reaches beyond its buffer.
pub(super) fn product(
    dims @ [m, n, k]: [usize; 3],
    out: (&mut [f32], usize),
    adds: bool,
    scale: f32,
    lhs: Lines<'_>,
    (rhs, order): (Lines<'_>, Order),
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |lines: usize, width: usize, stride: usize| (lines - 1) * stride + width - 1;
    assert!(last(m, n, out.1) < out.0.len(), "the product leaves its buffer");
    assert!(last(m, k, lhs.stride) < lhs.data.len(), "the left matrix leaves its buffer");
    let [lines, width] = if order == Order::Rows { [k, n] } else { [n, k] };
    assert!(last(lines, width, rhs.stride) < rhs.data.len(), "the right matrix leaves its buffer");
    // SAFETY: every element of the three matrices lies inside its slice, as was just checked, and
    // `out` is borrowed exclusively.
    unsafe { unchecked(dims, out, adds, scale, lhs, (rhs, order)) };
}

/// `x y^T` of each of `many` pairs: `[many, m, k]` and `[many, n, k]` to `[many, m, n]`.
pub(super) fn products([many, m, n, k]: [usize; 4], x: &[f32], y: &[f32], out: &mut [f32]) {
    let one = |(at, out): (usize, &mut [f32])| {
        let (x, y) = (&x[at * m * k..], &y[at * n * k..]);
        let [x, y] = [x, y].map(|data| Lines { data, stride: k });
        product([m, n, k], (out, n), false, 1.0, x, (y, Order::Columns));
    };
    if threads() == 1 || many == 1 {
        out.chunks_exact_mut(m * n).enumerate().for_each(one);
    } else {
        out.par_chunks_exact_mut(m * n).enumerate().for_each(one);
    }
}

#[cfg(not(target_feature = "simd128"))]
unsafe fn unchecked(
    [m, n, k]: [usize; 3],
    out: (&mut [f32], usize),
    adds: bool,
    scale: f32,
    lhs: Lines<'_>,
    (rhs, order): (Lines<'_>, Order),
) {
    let stride = rhs.stride as isize;
    let [row, column] = if order == Order::Rows { [stride, 1] } else { [1, stride] };
    // SAFETY: the caller promises it.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.0.as_mut_ptr(),
            1,
            out.1 as isize,
            adds,
            lhs.data.as_ptr(),
            1,
            lhs.stride as isize,
            rhs.data.as_ptr(),
            column,
            row,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(target_feature = "simd128")]
use self::tiled as unchecked;

#[cfg(any(test, target_feature = "simd128"))]
unsafe fn tiled(
    dims: [usize; 3],
    out: (&mut [f32], usize),
    adds: bool,
    scale: f32,
    lhs: Lines<'_>,
    (rhs, order): (Lines<'_>, Order),
) {
    use super::tiles::{Left, Out, rows_by_columns, rows_by_rows};

    let out = Out { data: out.0.as_mut_ptr(), stride: out.1, adds, scale };
    let [lhs, rhs] = [lhs, rhs].map(|lines| Left { data: lines.data.as_ptr(), stride: lines.stride });
    // SAFETY: the caller promises it.
    unsafe {
        match order {
            Order::Rows => rows_by_columns(dims, out, lhs, rhs),
            Order::Columns => rows_by_rows(dims, out, lhs, rhs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_products() {
        let value = |i: usize| ((i * 2_654_435_761) % 2_000) as f32 / 1_000.0 - 1.0;
        for [m, n, k] in [[1, 1, 1], [2, 4, 4], [3, 5, 7], [7, 29, 33], [4, 8, 3], [9, 12, 1030], [5, 64, 576]] {
            for order in [Order::Rows, Order::Columns] {
                for (adds, scale) in [(false, 1.0), (true, 0.5)] {
                    let [lines, width] = if order == Order::Rows { [k, n] } else { [n, k] };
                    let lhs: Vec<f32> = (0..m * (k + 3)).map(value).collect();
                    let rhs: Vec<f32> = (0..lines * (width + 2)).map(|i| value(i + 77)).collect();
                    let before: Vec<f32> = (0..m * (n + 1)).map(|i| value(i + 5)).collect();
                    let mut found = before.clone();
                    let (left, right) = (Lines { data: &lhs, stride: k + 3 }, Lines { data: &rhs, stride: width + 2 });
                    // SAFETY: the buffers are as long as said.
                    unsafe { tiled([m, n, k], (&mut found, n + 1), adds, scale, left, (right, order)) };
                    let mut other = before.clone();
                    product([m, n, k], (&mut other, n + 1), adds, scale, left, (right, order));
                    for row in 0..m {
                        for column in 0..=n {
                            let at = row * (n + 1) + column;
                            let of = |at: usize| {
                                let [line, place] = if order == Order::Rows { [at, column] } else { [column, at] };
                                f64::from(lhs[row * (k + 3) + at]) * f64::from(rhs[line * (width + 2) + place])
                            };
                            let sum = if column < n { (0..k).map(of).sum() } else { 0.0 };
                            let kept = adds || column == n;
                            let want = f64::from(scale) * sum + if kept { f64::from(before[at]) } else { 0.0 };
                            for found in [found[at], other[at]] {
                                let off = (f64::from(found) - want).abs();
                                assert!(off < 1e-5 * k as f64, "{m} x {n} x {k}: {found} is not {want}");
                            }
                        }
                    }
                }
            }
        }
    }
}
