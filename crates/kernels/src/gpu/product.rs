//! Matrix products on the GPU, in tiles.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{Four, alloc_on_device_of, dims, width};

/// Side of a workgroup's tile of results. Its 8 x 8 invocations compute 64 x 64 results. Each invocation
/// computes four blocks of 4 x 4, which are 32 rows and 32 outputs apart, so that neighbours read and write
/// neighbouring values.
const TILE: usize = 64;
/// Invocations along a side of the workgroup.
const SIDE: usize = 8;
/// Side of an invocation's blocks; also the values of a [`Four`].
const EACH: usize = 4;

/// The sizes of a product's tiles: the side of a square of results, and the columns that are taken at once.
pub(crate) struct ProductTiles {
    pub side: usize,
    pub depth: usize,
}

impl ProductTiles {
    /// The sizes of all products.
    pub(crate) const ALL: Self = Self { side: TILE, depth: DEPTH };
}

/// Columns of both matrices in workgroup memory at once.
pub(super) const DEPTH: usize = 16;
/// Vectors of four lines from one column to the next in workgroup memory: one more than the tile has, against
/// bank conflicts.
const STRIDE: usize = TILE / EACH + 1;

/// The tiles of both matrices in workgroup memory, and the place of an invocation in them.
#[derive(CubeType)]
pub(super) struct Tile {
    /// `[DEPTH, STRIDE]` vectors; each holds one column's values of four lines.
    left: Shared<[Four]>,
    right: Shared<[Four]>,
    /// Sums of eight rows, with two vectors of four outputs each.
    sums: Array<Four>,
    /// Four lines of four columns of both matrices on their way to workgroup memory. They are read while the
    /// step before is computed, which hides the time of reading: a quarter less time on an H100.
    pub next_left: Array<Four>,
    pub next_right: Array<Four>,
    /// The first line of the block of 4 x 4 that an invocation brings, and its first column.
    pub line: usize,
    pub column: usize,
    across: usize,
    down: usize,
    pub first_row: usize,
    pub first_output: usize,
}

#[cube]
impl Tile {
    pub fn new() -> Self {
        let mut sums = Array::<Four>::new(comptime![4 * EACH]);
        #[unroll]
        for i in 0..comptime![4 * EACH] {
            sums[i] = Four::new(0.0f32);
        }
        let unit = UNIT_POS as usize;
        Tile {
            left: Shared::new_slice(comptime![DEPTH * STRIDE]),
            right: Shared::new_slice(comptime![DEPTH * STRIDE]),
            sums,
            next_left: Array::new(EACH),
            next_right: Array::new(EACH),
            // Neighbouring invocations read neighbouring values of a line.
            line: (unit / comptime![DEPTH / EACH]) * EACH,
            column: (unit % comptime![DEPTH / EACH]) * EACH,
            across: unit % SIDE,
            down: unit / SIDE,
            first_row: CUBE_POS_Y as usize * TILE,
            first_output: CUBE_POS_X as usize * TILE,
        }
    }

    /// Writes an invocation's blocks to workgroup memory, where all invocations read them.
    pub fn bring(&mut self) {
        #[unroll]
        for i in 0..EACH {
            let mut left = Four::new(0.0f32);
            let mut right = Four::new(0.0f32);
            #[unroll]
            for line in 0..EACH {
                left.insert(line, self.next_left[line].extract(i));
                right.insert(line, self.next_right[line].extract(i));
            }
            let place = (self.column + i) * STRIDE + self.line / EACH;
            self.left[place] = left;
            self.right[place] = right;
        }
    }

    /// Adds the products of the columns in workgroup memory to the sums.
    pub fn multiply(&mut self) {
        for column in 0..DEPTH {
            let first = column * STRIDE;
            let low = self.right[first + self.across];
            let high = self.right[first + SIDE + self.across];
            #[unroll]
            for half in 0..2usize {
                let left = self.left[first + half * SIDE + self.down];
                #[unroll]
                for i in 0..EACH {
                    let factor = Four::new(left.extract(i));
                    let sum = comptime![(half * EACH + i) * 2];
                    // An explicit `fma`: not every driver makes one of a product and a sum.
                    self.sums[sum] = fma(factor, low, self.sums[sum]);
                    self.sums[sum + 1] = fma(factor, high, self.sums[sum + 1]);
                }
            }
        }
    }

    /// Writes the sums to rows from `above` on. With vectors of four, `outputs` is a multiple of four.
    pub fn put<M: Size>(
        &self,
        bias: &Tensor<Vector<f32, M>>,
        out: &mut Tensor<Vector<f32, M>>,
        above: usize,
        rows: usize,
        outputs: usize,
        #[comptime] has_bias: bool,
    ) {
        let wide = out.vector_size();
        #[unroll]
        for half in 0..2usize {
            #[unroll]
            for i in 0..EACH {
                let row = self.first_row + (half * SIDE + self.down) * EACH + i;
                #[unroll]
                for side in 0..2usize {
                    let output = self.first_output + (side * SIDE + self.across) * EACH;
                    let sum = self.sums[(half * EACH + i) * 2 + side];
                    #[unroll]
                    for part in 0..comptime![EACH / wide] {
                        let place = output + part * wide;
                        if row < rows && place < outputs {
                            let mut value = Vector::<f32, M>::new(0.0f32);
                            #[unroll]
                            for lane in 0..wide {
                                value.insert(lane, sum.extract(comptime![part * wide + lane]));
                            }
                            if comptime![has_bias] {
                                value += bias[place / wide];
                            }
                            out[((above + row) * outputs + place) / wide] = value;
                        }
                    }
                }
            }
        }
    }
}

/// Reads four lines of four columns of a matrix that has `above` lines of others above it; 0 beyond its ends.
/// With vectors of four, `width` is a multiple of four.
#[cube]
pub(super) fn block<N: Size>(
    values: &Tensor<Vector<f32, N>>,
    block: &mut Array<Four>,
    above: usize,
    first: usize,
    lines: usize,
    column: usize,
    width: usize,
) {
    let wide = values.vector_size();
    #[unroll]
    for i in 0..EACH {
        let line = first + i;
        let mut found = Four::new(0.0f32);
        #[unroll]
        for part in 0..comptime![EACH / wide] {
            let place = column + part * wide;
            if line < lines && place < width {
                let value = values[((above + line) * width + place) / wide];
                #[unroll]
                for lane in 0..wide {
                    found.insert(comptime![part * wide + lane], value.extract(lane));
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
    weight: &Tensor<Vector<f32, N>>,
    pair: usize,
    rows: usize,
    outputs: usize,
    inputs: usize,
    step: usize,
) {
    let column = step * DEPTH + tile.column;
    let (row, output) = (tile.first_row + tile.line, tile.first_output + tile.line);
    block::<N>(x, &mut tile.next_left, pair * rows, row, rows, column, inputs);
    block::<N>(weight, &mut tile.next_right, pair * outputs, output, outputs, column, inputs);
}

#[cube(launch_unchecked)]
fn project_kernel<N: Size, M: Size>(
    x: &Tensor<Vector<f32, N>>,
    weight: &Tensor<Vector<f32, N>>,
    bias: &Tensor<Vector<f32, M>>,
    out: &mut Tensor<Vector<f32, M>>,
    rows: u32,
    outputs: u32,
    inputs: u32,
    #[comptime] has_bias: bool,
) {
    let (rows, outputs, inputs) = (rows as usize, outputs as usize, inputs as usize);
    // The number of the product. A workgroup reads only the rows of its own pair.
    let pair = CUBE_POS_Z as usize;
    let mut tile = Tile::new();
    let steps = inputs.div_ceil(DEPTH);
    load::<N>(&mut tile, x, weight, pair, rows, outputs, inputs, 0usize);
    let mut step = 0usize;
    while step < steps {
        tile.bring();
        sync_cube();
        load::<N>(&mut tile, x, weight, pair, rows, outputs, inputs, step + 1);
        tile.multiply();
        sync_cube();
        step += 1;
    }
    tile.put::<M>(bias, out, pair * rows, rows, outputs, has_bias);
}

/// Workgroups and invocations for `many` products of `rows` rows and `outputs` outputs.
pub(super) fn grid(rows: usize, outputs: usize, many: usize) -> (CubeCount, CubeDim) {
    let count = CubeCount::Static(outputs.div_ceil(TILE) as u32, rows.div_ceil(TILE) as u32, many as u32);
    (count, CubeDim::new_1d((SIDE * SIDE) as u32))
}

/// `x weight^T + bias`: `[rows, inputs]` and `[outputs, inputs]` to `[rows, outputs]`.
pub(super) fn project(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, has_bias: bool) -> CubeTensor {
    let ([rows, inputs], [outputs, _]) = (dims(&x), dims(&weight));
    let out = alloc_on_device_of(&x, [rows, outputs]);
    launch([1, rows, outputs, inputs], x, weight, bias, &out, has_bias);
    out
}

/// `x y^T` of each of `many` pairs: `[many, m, k]` and `[many, n, k]` to `[many, m, n]`.
pub(super) fn products(x: CubeTensor, y: CubeTensor) -> CubeTensor {
    let (shape, n) = (x.meta.shape(), y.meta.shape()[1]);
    let [many, m, k] = [shape[0], shape[1], shape[2]];
    let out = alloc_on_device_of(&x, [many, m, n]);
    launch([many, m, n, k], x.clone(), y, x, &out, false);
    out
}

fn launch(
    [many, rows, outputs, inputs]: [usize; 4],
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    out: &CubeTensor,
    has_bias: bool,
) {
    let client = x.client.clone();
    let (count, dim) = grid(rows, outputs, many);
    // SAFETY: every row, output and column is compared with its end before it is read or written.
    unsafe {
        project_kernel::launch_unchecked(
            &client,
            count,
            dim,
            width(inputs),
            width(outputs),
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
}
