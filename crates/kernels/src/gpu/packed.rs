use burn_cubecl::tensor::CubeTensor;
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::product::{DEPTH, EACH, SIDE, STRIDE, TILE, multiply, put};
use super::{beside, dims};
use crate::Packing;
use crate::stored::GROUP;

/// Neighbouring columns that an invocation brings into workgroup memory.
const RUN: usize = 4;

/// A packing as kernels are told of it.
fn code(packing: Packing) -> u32 {
    match packing {
        Packing::F16 => 0,
        Packing::Bf16 => 1,
        Packing::Q8 => 2,
        Packing::Q4 => 3,
    }
}

/// An IEEE half, the lower 16 bits, by integers: GPUs may take subnormal floats for nothing.
#[cube]
fn half(bits: u32) -> f32 {
    let exponent = (bits >> 10u32) & 31u32;
    let fraction = bits & 1023u32;
    let whole = select(exponent > 0u32, fraction + 1024u32, fraction);
    let power = f32::reinterpret((max(exponent, 1u32) + 102u32) << 23u32);
    let magnitude = f32::cast_from(whole) * power;
    select((bits & 32768u32) != 0u32, 0.0f32 - magnitude, magnitude)
}

/// The value in a word at a place in it.
#[cube]
fn value(word: u32, place: u32, scale: f32, minimum: f32, #[comptime] code: u32) -> f32 {
    let mut value = scale;
    if comptime![code == 0] {
        value = half(word >> (place * 16u32));
    }
    if comptime![code == 1] {
        value = f32::reinterpret((word >> (place * 16u32)) << 16u32);
    }
    if comptime![code == 2] {
        // Flipped, the sign bit counts upwards: -128 to 127 become 0 to 255.
        let byte = ((word >> (place * 8u32)) & 255u32) ^ 128u32;
        value = (f32::cast_from(byte) - 128.0f32) * scale + minimum;
    }
    if comptime![code == 3] {
        value = f32::cast_from((word >> (place * 4u32)) & 15u32) * scale + minimum;
    }
    value
}

#[cube(launch_unchecked)]
fn unpack_kernel(
    words: &Tensor<u32>,
    pairs: &Tensor<u32>,
    out: &mut Tensor<f32>,
    count: u32,
    #[comptime] code: u32,
    #[comptime] per_word: usize,
    #[comptime] has_groups: bool,
) {
    let at = ABSOLUTE_POS;
    if at < count as usize {
        let mut scale = 0.0f32;
        let mut minimum = 0.0f32;
        if comptime![has_groups] {
            let pair = pairs[at / GROUP];
            scale = half(pair);
            minimum = half(pair >> 16u32);
        }
        out[at] = value(words[at / per_word], (at % per_word) as u32, scale, minimum, code);
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::collapsible_if, reason = "the outer one is settled when the kernel is compiled")]
fn project_packed_kernel(
    x: &Tensor<f32>,
    words: &Tensor<u32>,
    pairs: &Tensor<u32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    outputs: u32,
    inputs: u32,
    #[comptime] has_bias: bool,
    #[comptime] code: u32,
    #[comptime] per_word: usize,
    #[comptime] has_groups: bool,
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
    // Of both tiles an invocation brings a run of columns of one line: of the packed one so that it
    // reads its words and its scale once.
    let (line, run) = (unit / comptime![DEPTH / RUN], (unit % comptime![DEPTH / RUN]) * RUN);
    let (row, output) = (first_row + line, first_output + line);
    let steps = inputs.div_ceil(DEPTH);
    let mut step = 0usize;
    while step < steps {
        let first = step * DEPTH + run;
        let mut scale = 0.0f32;
        let mut minimum = 0.0f32;
        // Packed rows are multiples of a group, so a run that begins inside is inside; halves' rows are
        // multiples of two.
        if comptime![has_groups] {
            if output < outputs && first < inputs {
                let pair = pairs[(output * inputs + first) / GROUP];
                scale = half(pair);
                minimum = half(pair >> 16u32);
            }
        }
        #[unroll]
        for i in 0..RUN {
            let column = first + i;
            let mut from_x = 0.0f32;
            let mut from_words = 0.0f32;
            if column < inputs {
                if row < rows {
                    from_x = x[row * inputs + column];
                }
                if output < outputs {
                    let place = output * inputs + column;
                    from_words = value(words[place / per_word], (place % per_word) as u32, scale, minimum, code);
                }
            }
            left[(run + i) * STRIDE + line] = from_x;
            right[(run + i) * STRIDE + line] = from_words;
        }
        sync_cube();
        multiply(&left, &right, &mut sums, down, across);
        sync_cube();
        step += 1;
    }
    put(&sums, bias, out, first_row + down * EACH, first_output + across, rows, outputs, has_bias);
}

/// All values: `[rows, columns]`.
pub(super) fn unpack(words: CubeTensor, pairs: CubeTensor, packing: Packing) -> CubeTensor {
    let [rows, width] = dims(&words);
    let columns = width * packing.per_word();
    let mut out = beside(&words, rows, columns);
    out.dtype = burn::tensor::DType::F32;
    let client = words.client.clone();
    let dim = CubeDim::new_1d(256);
    let count = calculate_cube_count_elemwise(&client, rows * columns, dim);
    // SAFETY: invocations beyond the last value do nothing, and each value has its word and its pair.
    unsafe {
        unpack_kernel::launch_unchecked(
            &client,
            count,
            dim,
            words.into_tensor_arg(),
            pairs.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            (rows * columns) as u32,
            code(packing),
            packing.per_word(),
            packing.has_groups(),
        );
    }
    out
}

/// `x matrix^T + bias`.
pub(super) fn project(
    x: CubeTensor,
    words: CubeTensor,
    pairs: CubeTensor,
    bias: CubeTensor,
    has_bias: bool,
    packing: Packing,
) -> CubeTensor {
    let ([rows, inputs], [outputs, _]) = (dims(&x), dims(&words));
    let (out, client) = (beside(&x, rows, outputs), x.client.clone());
    let count = CubeCount::Static(outputs.div_ceil(TILE) as u32, rows.div_ceil(TILE) as u32, 1);
    // SAFETY: as for the product with f32; each value has its word and its pair.
    unsafe {
        project_packed_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_1d((SIDE * SIDE) as u32),
            x.into_tensor_arg(),
            words.into_tensor_arg(),
            pairs.into_tensor_arg(),
            bias.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            rows as u32,
            outputs as u32,
            inputs as u32,
            has_bias,
            code(packing),
            packing.per_word(),
            packing.has_groups(),
        );
    }
    out
}
