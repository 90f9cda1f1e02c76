//! Matrix products in vectors of four values, for WebAssembly. Tiles of eight sums stay in registers (a
//! processor without AVX-512 has sixteen), and neither matrix is copied. The caller,
//! [`product`](super::product::product), checks the bounds.
//!
//! The two public functions are never inlined, because `xtask/src/wasm.rs` finds them by their names. For
//! browsers that have relaxed multiply-adds, it replaces every product and sum in them by one. rustc could do
//! this itself, but only for a whole program, and burn's SIMD library does not compile with relaxed SIMD.
#![allow(unsafe_code, reason = "pointers without a check at every step; the caller has checked their bounds")]

/// Most values of a row that are taken at once.
const DEPTH: usize = 640;

/// Values in a block of the right matrix. Every row of the left matrix is multiplied with one block before the
/// next, so the block stays in the first-level cache, beside two rows of the left matrix.
const NEAR: usize = 6144;

/// A matrix: a pointer to its first value, and the number of values from one row to the next.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub data: *const f32,
    pub stride: usize,
}

/// The result: as [`Left`], but written to.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub data: *mut f32,
    pub stride: usize,
    /// Whether the product is added to the values that are there.
    pub adds: bool,
    /// Factor of the product.
    pub scale: f32,
}

impl Left {
    /// A pointer to a value.
    ///
    /// # Safety
    /// The value must lie inside the buffer.
    #[inline(always)]
    unsafe fn at(self, row: usize, column: usize) -> *const f32 {
        // SAFETY: the caller promises it.
        unsafe { self.data.add(row * self.stride + column) }
    }
}

impl Out {
    /// Writes four values of a row.
    ///
    /// # Safety
    /// The four values must lie inside the buffer.
    #[inline(always)]
    unsafe fn put(self, row: usize, column: usize, sums: Four) {
        // SAFETY: the caller promises it.
        unsafe {
            let at = self.data.add(row * self.stride + column);
            let scaled = sums.times(Four::splat(self.scale));
            let all = if self.adds { Four::load(at).plus(scaled) } else { scaled };
            all.store(at);
        }
    }

    /// Writes one value.
    ///
    /// # Safety
    /// The value must lie inside the buffer.
    #[inline(always)]
    unsafe fn put_one(self, row: usize, column: usize, sum: f32) {
        // SAFETY: the caller promises it.
        unsafe {
            let at = self.data.add(row * self.stride + column);
            *at = if self.adds { *at + sum * self.scale } else { sum * self.scale };
        }
    }
}

/// `[m, k]` and `[n, k]` to `[m, n]`: each value is the dot product of a left and a right row.
///
/// # Safety
/// The three matrices must be as large as `[m, n, k]` says.
#[inline(never)]
pub(super) unsafe fn rows_by_rows([m, n, k]: [usize; 3], out: Out, lhs: Left, rhs: Left) {
    // Parts of about equal depth: adding up the lanes costs as much for a short rest as for a long one.
    let part = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(4);
    let lines = (NEAR / part / 4 * 4).clamp(4, 32);
    for first in (0..k).step_by(part) {
        let depth = part.min(k - first);
        let out = Out { adds: out.adds || first > 0, ..out };
        for near in (0..n).step_by(lines) {
            let end = n.min(near + lines);
            let mut row = 0;
            // SAFETY: rows, columns and depth stay below m, n and k.
            unsafe {
                let (lhs, rhs) = (Left { data: lhs.at(0, first), ..lhs }, Left { data: rhs.at(0, first), ..rhs });
                while row + 2 <= m {
                    dots::<2>(row, near..end, depth, out, lhs, rhs);
                    row += 2;
                }
                if row < m {
                    dots::<1>(row, near..end, depth, out, lhs, rhs);
                }
            }
        }
    }
}

/// Dot products of `R` left rows with the right rows of `columns`.
///
/// # Safety
/// As [`rows_by_rows`].
#[inline(always)]
unsafe fn dots<const R: usize>(
    row: usize,
    columns: std::ops::Range<usize>,
    depth: usize,
    out: Out,
    lhs: Left,
    rhs: Left,
) {
    let whole = depth / 4 * 4;
    let mut column = columns.start;
    // SAFETY: the caller promises it.
    unsafe {
        let left: [*const f32; R] = std::array::from_fn(|r| lhs.at(row + r, 0));
        while column + 4 <= columns.end {
            let right: [*const f32; 4] = std::array::from_fn(|c| rhs.at(column + c, 0));
            let mut sums = [[Four::splat(0.0); 4]; R];
            let mut at = 0;
            while at < whole {
                let right: [Four; 4] = right.map(|right| Four::load(right.add(at)));
                for r in 0..R {
                    let left = Four::load(left[r].add(at));
                    for c in 0..4 {
                        sums[r][c] = sums[r][c].plus_product(left, right[c]);
                    }
                }
                at += 4;
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let mut sums = Four::sums(sums);
                for at in whole..depth {
                    let rest = Four::of(std::array::from_fn(|c| *right[c].add(at)));
                    sums = sums.plus_product(Four::splat(*left[r].add(at)), rest);
                }
                out.put(row + r, column, sums);
            }
            column += 4;
        }
        for column in column..columns.end {
            let right = rhs.at(column, 0);
            for (r, &left) in left.iter().enumerate() {
                let mut sums = Four::splat(0.0);
                for at in (0..whole).step_by(4) {
                    sums = sums.plus_product(Four::load(left.add(at)), Four::load(right.add(at)));
                }
                let rest: f32 = (whole..depth).map(|at| *left.add(at) * *right.add(at)).sum();
                out.put_one(row + r, column, sums.sum() + rest);
            }
        }
    }
}

/// `[m, k]` and `[k, n]` to `[m, n]`.
///
/// # Safety
/// The three matrices must be as large as `[m, n, k]` says.
#[inline(never)]
pub(super) unsafe fn rows_by_columns([m, n, k]: [usize; 3], out: Out, lhs: Left, rhs: Left) {
    let mut row = 0;
    // SAFETY: rows stay below m.
    unsafe {
        while row + 4 <= m {
            spread::<4>(row, n, k, out, lhs, rhs);
            row += 4;
        }
        while row < m {
            spread::<1>(row, n, k, out, lhs, rhs);
            row += 1;
        }
    }
}

/// `R` left rows times the whole right matrix.
///
/// # Safety
/// As [`rows_by_columns`].
#[inline(always)]
unsafe fn spread<const R: usize>(row: usize, n: usize, k: usize, out: Out, lhs: Left, rhs: Left) {
    let mut column = 0;
    // SAFETY: the caller promises it.
    unsafe {
        let left: [*const f32; R] = std::array::from_fn(|r| lhs.at(row + r, 0));
        while column + 8 <= n {
            let mut sums = [[Four::splat(0.0); 2]; R];
            for at in 0..k {
                let right = rhs.at(at, column);
                let right = [Four::load(right), Four::load(right.add(4))];
                for r in 0..R {
                    let left = Four::splat(*left[r].add(at));
                    sums[r] = [sums[r][0].plus_product(left, right[0]), sums[r][1].plus_product(left, right[1])];
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                out.put(row + r, column, sums[0]);
                out.put(row + r, column + 4, sums[1]);
            }
            column += 8;
        }
        for column in column..n {
            for (r, &left) in left.iter().enumerate() {
                out.put_one(row + r, column, (0..k).map(|at| *left.add(at) * *rhs.at(at, column)).sum());
            }
        }
    }
}

#[cfg(target_feature = "simd128")]
use self::vector::Four;

#[cfg(target_feature = "simd128")]
mod vector {
    use std::arch::wasm32::*;

    /// Four values in a register.
    #[derive(Clone, Copy)]
    pub(super) struct Four(v128);

    impl Four {
        #[inline(always)]
        pub fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }

        #[inline(always)]
        pub fn of([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }

        /// # Safety
        /// There must be four values at `at`.
        #[inline(always)]
        pub unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller promises it; WebAssembly's loads need no alignment.
            Self(unsafe { v128_load(at.cast()) })
        }

        /// # Safety
        /// There must be four values at `at`.
        #[inline(always)]
        pub unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller promises it.
            unsafe { v128_store(at.cast(), self.0) }
        }

        #[inline(always)]
        pub fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        #[inline(always)]
        pub fn times(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }

        /// `self + a b`.
        #[inline(always)]
        pub fn plus_product(self, a: Self, b: Self) -> Self {
            Self(f32x4_add(self.0, f32x4_mul(a.0, b.0)))
        }

        /// The sum of each of four vectors.
        #[inline(always)]
        pub fn sums([a, b, c, d]: [Self; 4]) -> Self {
            let pair =
                |a: v128, b: v128| f32x4_add(i32x4_shuffle::<0, 1, 4, 5>(a, b), i32x4_shuffle::<2, 3, 6, 7>(a, b));
            let (ab, cd) = (pair(a.0, b.0), pair(c.0, d.0));
            Self(f32x4_add(i32x4_shuffle::<0, 2, 4, 6>(ab, cd), i32x4_shuffle::<1, 3, 5, 7>(ab, cd)))
        }

        #[inline(always)]
        pub fn sum(self) -> f32 {
            f32x4_extract_lane::<0>(Self::sums([self; 4]).0)
        }
    }
}

#[cfg(not(target_feature = "simd128"))]
use self::plain::Four;

/// The same in plain Rust, so that the tiles are also tested natively.
#[cfg(not(target_feature = "simd128"))]
mod plain {
    #[derive(Clone, Copy)]
    pub(super) struct Four([f32; 4]);

    impl Four {
        pub fn splat(value: f32) -> Self {
            Self([value; 4])
        }

        pub fn of(values: [f32; 4]) -> Self {
            Self(values)
        }

        /// # Safety
        /// There must be four values at `at`.
        pub unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller promises it.
            Self(unsafe { at.cast::<[f32; 4]>().read_unaligned() })
        }

        /// # Safety
        /// There must be four values at `at`.
        pub unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller promises it.
            unsafe { at.cast::<[f32; 4]>().write_unaligned(self.0) }
        }

        pub fn plus(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
        }

        pub fn times(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
        }

        pub fn plus_product(self, a: Self, b: Self) -> Self {
            self.plus(a.times(b))
        }

        pub fn sums(all: [Self; 4]) -> Self {
            Self(all.map(Self::sum))
        }

        pub fn sum(self) -> f32 {
            (self.0[0] + self.0[2]) + (self.0[1] + self.0[3])
        }
    }
}
