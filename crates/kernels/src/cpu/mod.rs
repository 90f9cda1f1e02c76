//! The CPU's implementation. Rows are read in place, also from views of a fused projection, and work is divided
//! among the available threads.

mod attention;
mod elementwise;
mod exponential;
mod norm;
mod packed;
mod product;
#[cfg(any(test, target_feature = "simd128"))]
mod tiles;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::TensorData;
use burn_flex::FlexTensor;

use self::packed::PackedMatrix;
use crate::{Activation, Heads, Norm, Operations, Packing, Plan};

impl Operations for Flex {
    fn attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        _table: IntTensor<Self>,
        plan: Plan,
        heads: Heads,
    ) -> FlexTensor {
        let (q, k, v) = (aligned(q), aligned(k), aligned(v));
        let (q, k, v) = (Matrix::of(&q), Matrix::of(&k), Matrix::of(&v));
        let mut out = vec![0.0; q.rows * q.width];
        attention::attention(q, k, v, &plan, heads, &mut out);
        tensor(out, q.width)
    }

    fn norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, kind: Norm) -> FlexTensor {
        let (x, weight, bias) = (aligned(x), weight.to_contiguous(), bias.to_contiguous());
        let x = Matrix::of(&x);
        let mut out = vec![0.0; x.rows * x.width];
        norm::norm(x, values(&weight), values(&bias), kind, &mut out);
        tensor(out, x.width)
    }

    fn add_norm(
        x: FlexTensor,
        y: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        kind: Norm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, y) = (x.to_contiguous(), aligned(y));
        let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
        let width = x.layout().shape()[1];
        let mut sum = owned(x);
        let mut out = vec![0.0; sum.len()];
        norm::add_norm(&mut sum, Matrix::of(&y), values(&weight), values(&bias), kind, &mut out);
        (tensor(sum, width), tensor(out, width))
    }

    fn activate(x: FlexTensor, activation: Activation) -> FlexTensor {
        let x = x.to_contiguous();
        let width = x.layout().shape()[1];
        let mut values = owned(x);
        elementwise::activate(&mut values, activation);
        tensor(values, width)
    }

    fn gate(gate: FlexTensor, up: FlexTensor, activation: Activation) -> FlexTensor {
        let (gate, up) = (aligned(gate), aligned(up));
        let (gate, up) = (Matrix::of(&gate), Matrix::of(&up));
        let mut out = vec![0.0; gate.rows * gate.width];
        elementwise::gate(gate, up, activation, &mut out);
        tensor(out, gate.width)
    }

    fn rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor, heads: usize) -> FlexTensor {
        let (x, cos, sin) = (aligned(x), aligned(cos), aligned(sin));
        let x = Matrix::of(&x);
        let mut out = vec![0.0; x.rows * x.width];
        elementwise::rotate(x, Matrix::of(&cos), Matrix::of(&sin), heads, &mut out);
        tensor(out, x.width)
    }

    fn project(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, has_bias: bool) -> FlexTensor {
        let (x, weight, bias) = (aligned(x), weight.to_contiguous(), bias.to_contiguous());
        let (x, weight) = (Matrix::of(&x), Matrix::of(&weight));
        let mut out = vec![0.0; x.rows * weight.rows];
        packed::project(x, &weight, has_bias.then(|| values(&bias)), &mut out);
        tensor(out, weight.rows)
    }

    fn products(x: FlexTensor, y: FlexTensor) -> FlexTensor {
        let (x, y) = (x.to_contiguous(), y.to_contiguous());
        let (shape, n) = (x.layout().shape(), y.layout().shape()[1]);
        let [many, m, k] = [shape[0], shape[1], shape[2]];
        let mut out = vec![0.0; many * m * n];
        product::products([many, m, n, k], values(&x), values(&y), &mut out);
        FlexTensor::from_data(TensorData::new(out, [many, m, n]))
    }

    fn project_packed(
        x: FlexTensor,
        words: IntTensor<Self>,
        pairs: IntTensor<Self>,
        bias: FlexTensor,
        has_bias: bool,
        packing: Packing,
    ) -> FlexTensor {
        let (x, words, pairs) = (aligned(x), words.to_contiguous(), pairs.to_contiguous());
        let (x, bias) = (Matrix::of(&x), bias.to_contiguous());
        let matrix = PackedMatrix { packing, words: ints(&words), pairs: ints(&pairs), columns: x.width };
        let outputs = words.layout().shape()[0];
        let mut out = vec![0.0; x.rows * outputs];
        packed::project(x, &matrix, has_bias.then(|| values(&bias)), &mut out);
        tensor(out, outputs)
    }

    fn unpack(words: IntTensor<Self>, pairs: IntTensor<Self>, packing: Packing) -> FlexTensor {
        let (words, pairs) = (words.to_contiguous(), pairs.to_contiguous());
        let columns = words.layout().shape()[1] * packing.per_word();
        let mut out = vec![0.0; words.layout().shape()[0] * columns];
        packed::unpack(PackedMatrix { packing, words: ints(&words), pairs: ints(&pairs), columns }, &mut out);
        tensor(out, columns)
    }
}

/// A matrix of f32 in a buffer. Each row is contiguous.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    /// The buffer, from the first value of the first row on.
    data: &'a [f32],
    rows: usize,
    width: usize,
    /// Values from the beginning of one row to the beginning of the next.
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix of a tensor that went through [`aligned`].
    fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let (rows, width) = (layout.shape()[0], layout.shape()[1]);
        let data: &[f32] = tensor.storage();
        let stride = if rows > 1 { layout.strides()[0] as usize } else { width };
        Self { data: &data[layout.start_offset()..], rows, width, stride }
    }

    /// The values of one row.
    fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.width]
    }
}

/// The tensor with contiguous rows. Most are so already, and are not copied.
fn aligned(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let in_pieces = strides[1] == 1 && strides[0] > 0;
    if in_pieces || tensor.layout().shape()[1] == 1 && tensor.layout().is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a contiguous f32 tensor.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_else(|| unreachable!("the tensor was made contiguous, and all are f32"))
}

/// The values of a contiguous tensor of whole numbers.
fn ints(tensor: &FlexTensor) -> &[i32] {
    tensor.as_slice().unwrap_or_else(|| unreachable!("the tensor was made contiguous, and all whole numbers are i32"))
}

/// The values of a contiguous tensor. They are not copied where no other tensor shares the buffer.
fn owned(tensor: FlexTensor) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_else(|e| unreachable!("all tensors are f32: {e}"))
}

/// A `[rows, width]` tensor of these values.
fn tensor(values: Vec<f32>, width: usize) -> FlexTensor {
    let rows = values.len() / width;
    FlexTensor::from_data(TensorData::new(values, [rows, width]))
}

/// Divides rows of `width` values among the threads. `work` gets the number of its first row, and a run of
/// rows.
fn each_rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;

    /// With fewer values in a run, a thread costs more than it saves.
    const LEAST: usize = 1 << 14;
    let rows = out.len() / width.max(1);
    let threads = threads();
    if threads == 1 || out.len() < 2 * LEAST {
        work(0, out);
        return;
    }
    let run = rows.div_ceil(4 * threads).max(LEAST / width.max(1)).max(1);
    out.par_chunks_mut(run * width).enumerate().for_each(|(at, rows)| work(at * run, rows));
}

/// Number of threads; 1 in a browser's worker.
fn threads() -> usize {
    use std::sync::OnceLock;
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
}
