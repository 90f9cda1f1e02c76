//! Activations and rotary positions on the GPU.

use burn_cubecl::tensor::CubeTensor;
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{alloc_on_device_of, dims};
use crate::Activation;

/// The number by which kernels know an activation.
fn code(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Tanh => 3,
    }
}

/// Inputs are cut to these bounds. Inside, nothing overflows. Beyond, `tanh` and `erf` do not change in f32 any
/// more, and `silu` is almost 0.
const BOUND: f32 = 20.0;
const LOWER_BOUND: f32 = -20.0;
const LEAST: f32 = -80.0;
const ERF_BOUND: f32 = 4.0;
const ERF_LOWER_BOUND: f32 = -4.0;

/// The hyperbolic tangent. The drivers' own functions overflow for large values.
#[cube]
pub(super) fn tanh(x: f32) -> f32 {
    1.0f32 - 2.0f32 / ((2.0f32 * max(min(x, BOUND), LOWER_BOUND)).exp() + 1.0f32)
}

/// The error function, term by term as on the CPU.
#[cube]
fn erf(x: f32) -> f32 {
    let x = max(min(x, ERF_BOUND), ERF_LOWER_BOUND);
    let square = x * x;
    let above = f32::new(-2.726_142_3e-10);
    let above = above * square + f32::new(2.770_681_4e-8);
    let above = above * square + f32::new(-2.101_024e-6);
    let above = above * square + f32::new(-5.692_506_4e-5);
    let above = above * square + f32::new(-7.349_906_3e-4);
    let above = above * square + f32::new(-2.954_6e-3);
    let above = above * square + f32::new(-1.609_603_3e-2);
    let below = f32::new(-1.456_607_2e-5);
    let below = below * square + f32::new(-2.133_740_6e-4);
    let below = below * square + f32::new(-1.682_827e-3);
    let below = below * square + f32::new(-7.373_329_2e-3);
    let below = below * square + f32::new(-1.426_473_9e-2);
    x * above / below
}

#[cube]
fn activated(x: f32, #[comptime] code: u32) -> f32 {
    let mut value = x;
    if comptime![code == 0] {
        value = x / (1.0f32 + (0.0f32 - max(x, LEAST)).exp());
    }
    if comptime![code == 1] {
        value = 0.5f32 * x * (1.0f32 + erf(x * 0.707_106_77f32));
    }
    if comptime![code == 2] {
        value = 0.5f32 * x * (1.0f32 + tanh(0.797_884_6f32 * (x + 0.044_715f32 * x * x * x)));
    }
    if comptime![code == 3] {
        value = tanh(x);
    }
    value
}

#[cube(launch_unchecked)]
fn activate_kernel(x: &Tensor<f32>, out: &mut Tensor<f32>, count: u32, #[comptime] code: u32) {
    if ABSOLUTE_POS < count as usize {
        out[ABSOLUTE_POS] = activated(x[ABSOLUTE_POS], code);
    }
}

#[cube(launch_unchecked)]
fn gate_kernel(gate: &Tensor<f32>, up: &Tensor<f32>, out: &mut Tensor<f32>, count: u32, #[comptime] code: u32) {
    if ABSOLUTE_POS < count as usize {
        out[ABSOLUTE_POS] = activated(gate[ABSOLUTE_POS], code) * up[ABSOLUTE_POS];
    }
}

#[cube(launch_unchecked)]
fn rotate_kernel(
    x: &Tensor<f32>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    out: &mut Tensor<f32>,
    count: u32,
    width: u32,
    head_dim: u32,
    half: u32,
) {
    let at = ABSOLUTE_POS;
    if at < count as usize {
        let half = half as usize;
        let row = at / width as usize;
        let place = (at % width as usize) % head_dim as usize;
        let mut value = x[at];
        if place < half {
            let angle = row * half + place;
            value = x[at] * cos[angle] - x[at + half] * sin[angle];
        } else if place < 2 * half {
            let angle = row * half + place - half;
            value = x[at] * cos[angle] + x[at - half] * sin[angle];
        }
        out[at] = value;
    }
}

pub(super) fn activate(x: CubeTensor, activation: Activation) -> CubeTensor {
    let [rows, width] = dims(&x);
    let (out, client) = (alloc_on_device_of(&x, [rows, width]), x.client.clone());
    let dim = CubeDim::new_1d(256);
    let count = calculate_cube_count_elemwise(&client, rows * width, dim);
    // SAFETY: invocations beyond the last value do nothing.
    unsafe {
        activate_kernel::launch_unchecked(
            &client,
            count,
            dim,
            x.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            (rows * width) as u32,
            code(activation),
        );
    }
    out
}

pub(super) fn gate(gate: CubeTensor, up: CubeTensor, activation: Activation) -> CubeTensor {
    let [rows, width] = dims(&gate);
    let (out, client) = (alloc_on_device_of(&gate, [rows, width]), gate.client.clone());
    let dim = CubeDim::new_1d(256);
    let count = calculate_cube_count_elemwise(&client, rows * width, dim);
    // SAFETY: as in `activate`.
    unsafe {
        gate_kernel::launch_unchecked(
            &client,
            count,
            dim,
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            (rows * width) as u32,
            code(activation),
        );
    }
    out
}

pub(super) fn rotate(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, heads: usize) -> CubeTensor {
    let [rows, width] = dims(&x);
    let half = dims(&cos)[1];
    let (out, client) = (alloc_on_device_of(&x, [rows, width]), x.client.clone());
    let dim = CubeDim::new_1d(256);
    let count = calculate_cube_count_elemwise(&client, rows * width, dim);
    // SAFETY: as in `activate`; a place's partner lies in the same head, and its angle in the same row.
    unsafe {
        rotate_kernel::launch_unchecked(
            &client,
            count,
            dim,
            x.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            (rows * width) as u32,
            width as u32,
            (width / heads) as u32,
            half as u32,
        );
    }
    out
}
