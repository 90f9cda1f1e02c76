use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{beside, dims};

/// A workgroup of 16 x 16 invocations computes a tile of 64 x 64, each invocation 4 x 4 of it.
pub(super) const TILE: usize = 64;
pub(super) const EACH: usize = 4;
pub(super) const SIDE: usize = 16;
/// Columns of both matrices in workgroup memory at once.
pub(super) const DEPTH: usize = 16;
/// From one column to the next there: one more than the tile, so that neighbours lie in different banks.
pub(super) const STRIDE: usize = TILE + 1;

/// Adds the products of the columns in workgroup memory to an invocation's sums.
#[cube]
pub(super) fn multiply(left: &Shared<[f32]>, right: &Shared<[f32]>, sums: &mut Array<f32>, down: usize, across: usize) {
    #[unroll]
    for column in 0..DEPTH {
        let mut a = Array::<f32>::new(EACH);
        let mut b = Array::<f32>::new(EACH);
        #[unroll]
        for i in 0..EACH {
            a[i] = left[column * STRIDE + down * EACH + i];
            b[i] = right[column * STRIDE + across + i * SIDE];
        }
        #[unroll]
        for i in 0..EACH {
            #[unroll]
            for j in 0..EACH {
                sums[i * EACH + j] += a[i] * b[j];
            }
        }
    }
}

/// Writes an invocation's sums: rows from `first_row` on, outputs [`SIDE`] apart.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's part")]
pub(super) fn put(
    sums: &Array<f32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    first_row: usize,
    first_output: usize,
    rows: usize,
    outputs: usize,
    #[comptime] has_bias: bool,
) {
    #[unroll]
    for i in 0..EACH {
        let row = first_row + i;
        #[unroll]
        for j in 0..EACH {
            let output = first_output + j * SIDE;
            if row < rows && output < outputs {
                let mut value = sums[i * EACH + j];
                if comptime![has_bias] {
                    value += bias[output];
                }
                out[row * outputs + output] = value;
            }
        }
    }
}

#[cube(launch_unchecked)]
fn project_kernel(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    outputs: u32,
    inputs: u32,
    #[comptime] has_bias: bool,
) {
    let (rows, outputs, inputs) = (rows as usize, outputs as usize, inputs as usize);
    let unit = UNIT_POS as usize;
    let (across, down) = (unit % SIDE, unit / SIDE);
    let first_row = CUBE_POS_Y as usize * TILE;
    let first_output = CUBE_POS_X as usize * TILE;
    let mut left = Shared::new_slice(comptime![DEPTH * STRIDE]);
    let mut right = Shared::new_slice(comptime![DEPTH * STRIDE]);
    let mut sums = Array::<f32>::new(comptime![EACH * EACH]);
    #[unroll]
    for i in 0..comptime![EACH * EACH] {
        sums[i] = 0.0f32;
    }
    let steps = inputs.div_ceil(DEPTH);
    let mut step = 0usize;
    while step < steps {
        let first = step * DEPTH;
        // Neighbouring invocations read neighbouring columns.
        #[unroll]
        for i in 0..comptime![TILE * DEPTH / (SIDE * SIDE)] {
            let place = unit + i * comptime![SIDE * SIDE];
            let (column, line) = (place % DEPTH, place / DEPTH);
            let inside = first + column < inputs;
            let row = first_row + line;
            let mut value = 0.0f32;
            if inside && row < rows {
                value = x[row * inputs + first + column];
            }
            left[column * STRIDE + line] = value;
            let output = first_output + line;
            let mut value = 0.0f32;
            if inside && output < outputs {
                value = weight[output * inputs + first + column];
            }
            right[column * STRIDE + line] = value;
        }
        sync_cube();
        multiply(&left, &right, &mut sums, down, across);
        sync_cube();
        step += 1;
    }
    put(&sums, bias, out, first_row + down * EACH, first_output + across, rows, outputs, has_bias);
}

/// `x weight^T + bias`: `[rows, inputs]` and `[outputs, inputs]` to `[rows, outputs]`.
pub(super) fn project(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, has_bias: bool) -> CubeTensor {
    let ([rows, inputs], [outputs, _]) = (dims(&x), dims(&weight));
    let (out, client) = (beside(&x, rows, outputs), x.client.clone());
    let count = CubeCount::Static(outputs.div_ceil(TILE) as u32, rows.div_ceil(TILE) as u32, 1);
    // SAFETY: every row, output and column is compared with its end before it is read or written.
    unsafe {
        project_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_1d((SIDE * SIDE) as u32),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            rows as u32,
            outputs as u32,
            inputs as u32,
            has_bias,
        );
    }
    out
}
