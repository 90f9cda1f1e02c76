//! Norms on the GPU. A workgroup computes one row.

use burn_cubecl::tensor::CubeTensor;
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{alloc_on_device_of, dims};
use crate::Norm;

/// Invocations that share a row.
const UNITS: usize = 64;

/// The sum of `value` over all invocations; every invocation gets it.
#[cube]
fn total(shared: &mut Shared<[f32]>, value: f32) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime![UNITS.trailing_zeros() as usize] {
        let half = comptime![UNITS >> (step + 1)];
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
    }
    shared[0]
}

/// The mean of a row, and the factor of its values once the mean was subtracted. Without `centred`, the mean
/// counts as 0.
#[cube]
fn moments(
    x: &Tensor<f32>,
    shared: &mut Shared<[f32]>,
    first: usize,
    width: usize,
    epsilon: f32,
    #[comptime] centred: bool,
) -> (f32, f32) {
    let unit = UNIT_POS as usize;
    let mut mean = 0.0f32;
    if comptime![centred] {
        let mut sum = 0.0f32;
        let mut i = unit;
        while i < width {
            sum += x[first + i];
            i += UNITS;
        }
        mean = total(shared, sum) / f32::cast_from(width);
    }
    let mut squares = 0.0f32;
    let mut i = unit;
    while i < width {
        let value = x[first + i] - mean;
        squares += value * value;
        i += UNITS;
    }
    let variance = total(shared, squares) / f32::cast_from(width);
    (mean, 1.0f32 / (variance + epsilon).sqrt())
}

#[cube(launch_unchecked)]
fn norm_kernel(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    width: u32,
    epsilon: f32,
    #[comptime] centred: bool,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let width = width as usize;
    let first = row * width;
    let mut shared = Shared::new_slice(UNITS);
    let (mean, scale) = moments(x, &mut shared, first, width, epsilon, centred);
    let mut i = UNIT_POS as usize;
    while i < width {
        out[first + i] = (x[first + i] - mean) * scale * weight[i] + bias[i];
        i += UNITS;
    }
}

#[cube(launch_unchecked)]
fn add_norm_kernel(
    x: &Tensor<f32>,
    y: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    sum: &mut Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    width: u32,
    epsilon: f32,
    #[comptime] centred: bool,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let width = width as usize;
    let first = row * width;
    let unit = UNIT_POS as usize;
    let mut shared = Shared::new_slice(UNITS);
    let mut mean = 0.0f32;
    let mut total_value = 0.0f32;
    let mut i = unit;
    while i < width {
        let value = x[first + i] + y[first + i];
        sum[first + i] = value;
        total_value += value;
        i += UNITS;
    }
    if comptime![centred] {
        mean = total(&mut shared, total_value) / f32::cast_from(width);
    }
    // Each invocation reads again only what it wrote itself.
    let mut squares = 0.0f32;
    let mut i = unit;
    while i < width {
        let value = sum[first + i] - mean;
        squares += value * value;
        i += UNITS;
    }
    let variance = total(&mut shared, squares) / f32::cast_from(width);
    let scale = 1.0f32 / (variance + epsilon).sqrt();
    let mut i = unit;
    while i < width {
        out[first + i] = (sum[first + i] - mean) * scale * weight[i] + bias[i];
        i += UNITS;
    }
}

/// Whether the mean is subtracted, and epsilon.
fn parts(kind: Norm) -> (bool, f32) {
    match kind {
        Norm::RootMeanSquare(epsilon) => (false, epsilon as f32),
        Norm::Layer(epsilon) => (true, epsilon as f32),
    }
}

pub(super) fn norm(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, kind: Norm) -> CubeTensor {
    let [rows, width] = dims(&x);
    let out = alloc_on_device_of(&x, [rows, width]);
    let (centred, epsilon) = parts(kind);
    let client = x.client.clone();
    let count = calculate_cube_count_elemwise(&client, rows, CubeDim::new_single());
    // SAFETY: workgroups beyond the last row end at once, and columns stay below the width.
    unsafe {
        norm_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_1d(UNITS as u32),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            rows as u32,
            width as u32,
            epsilon,
            centred,
        );
    }
    out
}

pub(super) fn add_norm(
    x: CubeTensor,
    y: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    kind: Norm,
) -> (CubeTensor, CubeTensor) {
    let [rows, width] = dims(&x);
    let (sum, out) = (alloc_on_device_of(&x, [rows, width]), alloc_on_device_of(&x, [rows, width]));
    let (centred, epsilon) = parts(kind);
    let client = x.client.clone();
    let count = calculate_cube_count_elemwise(&client, rows, CubeDim::new_single());
    // SAFETY: as in `norm`.
    unsafe {
        add_norm_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_1d(UNITS as u32),
            x.into_tensor_arg(),
            y.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            sum.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            rows as u32,
            width as u32,
            epsilon,
            centred,
        );
    }
    (sum, out)
}
