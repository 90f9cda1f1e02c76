//! Matrix products over parts of buffers, by the crate `gemm`. It takes pointers: what it may touch
//! is checked here first, which is why `unsafe` is here.
#![allow(unsafe_code, reason = "gemm's interface; the bounds are checked before")]

use gemm::{Parallelism, gemm};

/// A matrix in a buffer: from one row to the next, and from one column to the next.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub row: usize,
    pub column: usize,
}

/// `out = [out +] scale * lhs rhs`: `[m, k]` and `[k, n]` to `[m, n]`, rows of `out` in one piece
/// each.
///
/// # Panics
/// When a matrix leaves its buffer.
pub(super) fn product(
    [m, n, k]: [usize; 3],
    out: (&mut [f32], usize),
    adds: bool,
    scale: f32,
    lhs: (&[f32], Strides),
    rhs: (&[f32], Strides),
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last =
        |rows: usize, columns: usize, strides: Strides| (rows - 1) * strides.row + (columns - 1) * strides.column;
    assert!(last(m, n, Strides { row: out.1, column: 1 }) < out.0.len(), "the product leaves its buffer");
    assert!(last(m, k, lhs.1) < lhs.0.len(), "the left matrix leaves its buffer");
    assert!(last(k, n, rhs.1) < rhs.0.len(), "the right matrix leaves its buffer");
    // SAFETY: every element of the three matrices lies inside its slice, as was just checked, and
    // `out` is borrowed exclusively.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.0.as_mut_ptr(),
            1,
            out.1 as isize,
            adds,
            lhs.0.as_ptr(),
            lhs.1.column as isize,
            lhs.1.row as isize,
            rhs.0.as_ptr(),
            rhs.1.column as isize,
            rhs.1.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
