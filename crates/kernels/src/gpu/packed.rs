//! Products with packed matrices on the GPU: values are unpacked on their way to workgroup memory.

use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use crate::Packing;
use crate::gpu::product::{DEPTH, Tile, block, grid};
use crate::gpu::{Four, alloc_on_device_of, dims, width};
use crate::packing::GROUP;

/// The number by which kernels know a packing.
fn code(packing: Packing) -> u32 {
    match packing {
        Packing::F16 => 0,
        Packing::Bf16 => 1,
        Packing::Q8 => 2,
        Packing::Q4 => 3,
    }
}

/// The value of the IEEE half in the lower 16 bits. It is decoded with integers, because GPUs may flush
/// subnormal floats to 0.
#[cube]
fn half(bits: u32) -> f32 {
    let exponent = (bits >> 10u32) & 31u32;
    let fraction = bits & 1023u32;
    let whole = select(exponent > 0u32, fraction + 1024u32, fraction);
    let power = f32::reinterpret((max(exponent, 1u32) + 102u32) << 23u32);
    let magnitude = f32::cast_from(whole) * power;
    select((bits & 32768u32) != 0u32, 0.0f32 - magnitude, magnitude)
}

/// The value at a place in a word.
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
        // Flipping the sign bit maps -128 to 127 onto 0 to 255.
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

/// As [`block`], for packed values. Words and scale are read once for each line.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's part")]
fn packed_block(
    words: &Tensor<u32>,
    pairs: &Tensor<u32>,
    block: &mut Array<Four>,
    first: usize,
    lines: usize,
    column: usize,
    width: usize,
    #[comptime] code: u32,
    #[comptime] per_word: usize,
    #[comptime] has_groups: bool,
) {
    #[unroll]
    for i in 0..4usize {
        let line = first + i;
        let mut found = Four::new(0.0f32);
        // Rows with groups hold whole groups, so a block that begins inside a row ends inside it. Rows of
        // halves hold a multiple of two values.
        if line < lines && column < width {
            let place = line * width + column;
            let mut scale = 0.0f32;
            let mut minimum = 0.0f32;
            if comptime![has_groups] {
                let pair = pairs[place / GROUP];
                scale = half(pair);
                minimum = half(pair >> 16u32);
            }
            let word = words[place / per_word];
            if comptime![per_word == 2] {
                found.insert(0usize, value(word, 0u32, scale, minimum, code));
                found.insert(1usize, value(word, 1u32, scale, minimum, code));
                if column + 2 < width {
                    let word = words[place / per_word + 1];
                    found.insert(2usize, value(word, 0u32, scale, minimum, code));
                    found.insert(3usize, value(word, 1u32, scale, minimum, code));
                }
            } else {
                let from = (place % per_word) as u32;
                #[unroll]
                for at in 0..4usize {
                    found.insert(at, value(word, from + comptime![at as u32], scale, minimum, code));
                }
            }
        }
        block[i] = found;
    }
}

/// Reads an invocation's blocks of the columns of one step; zeros beyond the last column.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's part")]
fn load<N: Size>(
    tile: &mut Tile,
    x: &Tensor<Vector<f32, N>>,
    words: &Tensor<u32>,
    pairs: &Tensor<u32>,
    rows: usize,
    outputs: usize,
    inputs: usize,
    step: usize,
    #[comptime] code: u32,
    #[comptime] per_word: usize,
    #[comptime] has_groups: bool,
) {
    let column = step * DEPTH + tile.column;
    let (row, output) = (tile.first_row + tile.line, tile.first_output + tile.line);
    block::<N>(x, &mut tile.next_left, 0usize, row, rows, column, inputs);
    packed_block(words, pairs, &mut tile.next_right, output, outputs, column, inputs, code, per_word, has_groups);
}

#[cube(launch_unchecked)]
fn project_packed_kernel<N: Size, M: Size>(
    x: &Tensor<Vector<f32, N>>,
    words: &Tensor<u32>,
    pairs: &Tensor<u32>,
    bias: &Tensor<Vector<f32, M>>,
    out: &mut Tensor<Vector<f32, M>>,
    rows: u32,
    outputs: u32,
    inputs: u32,
    #[comptime] has_bias: bool,
    #[comptime] code: u32,
    #[comptime] per_word: usize,
    #[comptime] has_groups: bool,
) {
    let (rows, outputs, inputs) = (rows as usize, outputs as usize, inputs as usize);
    let mut tile = Tile::new();
    let steps = inputs.div_ceil(DEPTH);
    load::<N>(&mut tile, x, words, pairs, rows, outputs, inputs, 0usize, code, per_word, has_groups);
    let mut step = 0usize;
    while step < steps {
        tile.bring();
        sync_cube();
        load::<N>(&mut tile, x, words, pairs, rows, outputs, inputs, step + 1, code, per_word, has_groups);
        tile.multiply();
        sync_cube();
        step += 1;
    }
    tile.put::<M>(bias, out, 0usize, rows, outputs, has_bias);
}

/// All values in f32: `[rows, columns]`.
pub(super) fn unpack(words: CubeTensor, pairs: CubeTensor, packing: Packing) -> CubeTensor {
    let [rows, width] = dims(&words);
    let columns = width * packing.per_word();
    let mut out = alloc_on_device_of(&words, [rows, columns]);
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

/// `x matrix^T + bias`: `[rows, inputs]` to `[rows, outputs]`.
pub(super) fn project(
    x: CubeTensor,
    words: CubeTensor,
    pairs: CubeTensor,
    bias: CubeTensor,
    has_bias: bool,
    packing: Packing,
) -> CubeTensor {
    let ([rows, inputs], [outputs, _]) = (dims(&x), dims(&words));
    let (out, client) = (alloc_on_device_of(&x, [rows, outputs]), x.client.clone());
    let (count, dim) = grid(rows, outputs, 1);
    // SAFETY: as for the product with an f32 matrix; each value has its word and its pair.
    unsafe {
        project_packed_kernel::launch_unchecked(
            &client,
            count,
            dim,
            width(inputs),
            width(outputs),
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
