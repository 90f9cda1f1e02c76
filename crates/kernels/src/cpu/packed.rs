//! Products with stored matrices, in f32 or packed.

use rayon::prelude::*;

use crate::cpu::product::{Lines, Order, product};
use crate::cpu::{Matrix, threads};
use crate::packing::GROUP;
use crate::{Packed, Packing};

/// Rows of the stored matrix that are used at once. Unpacked, they stay in the cache while they are used.
const ROWS: usize = 64;

/// A stored matrix on the host that gives some of its rows in f32.
pub(super) trait Weights: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// `count` rows from `first` on in f32, one after the other. They may be written to `scratch`.
    fn some<'s>(&'s self, first: usize, count: usize, scratch: &'s mut Vec<f32>) -> &'s [f32];
}

impl Weights for Matrix<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn some<'s>(&'s self, first: usize, count: usize, _scratch: &'s mut Vec<f32>) -> &'s [f32] {
        &self.data[first * self.width..][..count * self.width]
    }
}

impl Weights for PackedMatrix<'_> {
    fn rows(&self) -> usize {
        self.words.len() * self.packing.per_word() / self.columns
    }

    fn some<'s>(&'s self, first: usize, count: usize, scratch: &'s mut Vec<f32>) -> &'s [f32] {
        scratch.resize(count * self.columns, 0.0);
        self.unpack(first, scratch);
        scratch
    }
}

/// A packed matrix on the host.
#[derive(Clone, Copy)]
pub(super) struct PackedMatrix<'a> {
    pub packing: Packing,
    pub words: &'a [i32],
    pub pairs: &'a [i32],
    pub columns: usize,
}

impl PackedMatrix<'_> {
    /// Rows from `first` on, as many as `out` holds.
    fn unpack(&self, first: usize, out: &mut [f32]) {
        let from = first * self.columns;
        let words = &self.words[from / self.packing.per_word()..];
        let pairs = if self.packing.has_groups() { &self.pairs[from / GROUP..] } else { &[] };
        Packed::unpack(self.packing, words, pairs, out);
    }
}

/// Unpacks the whole matrix into `out`, `[rows, columns]`.
pub(super) fn unpack(matrix: PackedMatrix<'_>, out: &mut [f32]) {
    let rows = ROWS * matrix.columns;
    out.chunks_mut(rows).enumerate().for_each(|(at, out)| matrix.unpack(at * ROWS, out));
}

/// Writes `x matrix^T + bias` to `out`, `[rows of x, rows of the matrix]`.
pub(super) fn project(x: Matrix<'_>, matrix: &impl Weights, bias: Option<&[f32]>, out: &mut [f32]) {
    let outputs = matrix.rows();
    let tile = |first: usize, scratch: &mut Vec<f32>, out: &mut [f32], stride: usize| {
        let count = ROWS.min(outputs - first);
        product(
            [x.rows, count, x.width],
            (out, stride),
            false,
            1.0,
            Lines { data: x.data, stride: x.stride },
            (Lines { data: matrix.some(first, count, scratch), stride: x.width }, Order::Columns),
        );
    };
    let firsts: Vec<usize> = (0..outputs).step_by(ROWS).collect();
    if threads() == 1 || firsts.len() == 1 {
        let mut scratch = Vec::new();
        firsts.into_iter().for_each(|first| tile(first, &mut scratch, &mut out[first..], outputs));
    } else {
        // A tile is a range of columns, so tiles interleave in `out`: each has its own buffer, then is copied.
        let tiles: Vec<(usize, Vec<f32>)> = firsts
            .into_par_iter()
            .map_init(Vec::new, |scratch, first| {
                let count = ROWS.min(outputs - first);
                let mut own = vec![0.0; x.rows * count];
                tile(first, scratch, &mut own, count);
                (first, own)
            })
            .collect();
        for (first, own) in tiles {
            let count = ROWS.min(outputs - first);
            for (out, own) in out.chunks_exact_mut(outputs).zip(own.chunks_exact(count)) {
                out[first..first + count].copy_from_slice(own);
            }
        }
    }
    if let Some(bias) = bias {
        for out in out.chunks_exact_mut(outputs) {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
    }
}
