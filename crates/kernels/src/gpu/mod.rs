//! The GPU's implementation, in CubeCL. Kernels use only what WebGPU guarantees: 256 invocations and 16 KiB of
//! memory in a workgroup, no subgroups, no f16. All invocations of a workgroup reach each barrier the same
//! number of times, as WGSL demands.
#![allow(
    unsafe_code,
    reason = "kernels are launched without checks of each access: every kernel keeps to its buffers' bounds itself"
)]

mod attention;
mod elementwise;
mod norm;
mod packed;
mod product;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;

use crate::{Activation, Heads, Norm, Operations, Packing, Plan};

pub(crate) use attention::{KeyTiles, can_attend, table};
pub(crate) use product::ProductTiles;

impl Operations for CubeBackend {
    fn attention(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        table: IntTensor<Self>,
        plan: Plan,
        heads: Heads,
    ) -> CubeTensor {
        attention::attention(rows(q), rows(k), rows(v), rows(table), &plan, heads)
    }

    fn norm(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, kind: Norm) -> CubeTensor {
        norm::norm(rows(x), rows(weight), rows(bias), kind)
    }

    fn add_norm(
        x: CubeTensor,
        y: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        kind: Norm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        norm::add_norm(rows(x), rows(y), rows(weight), rows(bias), kind)
    }

    fn activate(x: CubeTensor, activation: Activation) -> CubeTensor {
        elementwise::activate(rows(x), activation)
    }

    fn gate(gate: CubeTensor, up: CubeTensor, activation: Activation) -> CubeTensor {
        elementwise::gate(rows(gate), rows(up), activation)
    }

    fn rotate(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, heads: usize) -> CubeTensor {
        elementwise::rotate(rows(x), rows(cos), rows(sin), heads)
    }

    fn project(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, has_bias: bool) -> CubeTensor {
        product::project(rows(x), rows(weight), rows(bias), has_bias)
    }

    fn products(x: CubeTensor, y: CubeTensor) -> CubeTensor {
        product::products(rows(x), rows(y))
    }

    fn project_packed(
        x: CubeTensor,
        words: IntTensor<Self>,
        pairs: IntTensor<Self>,
        bias: CubeTensor,
        has_bias: bool,
        packing: Packing,
    ) -> CubeTensor {
        packed::project(rows(x), rows(words), rows(pairs), rows(bias), has_bias, packing)
    }

    fn unpack(words: IntTensor<Self>, pairs: IntTensor<Self>, packing: Packing) -> CubeTensor {
        packed::unpack(rows(words), rows(pairs), packing)
    }
}

/// The tensor made contiguous. Most are so already, and are not copied.
fn rows(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// Four values that are read, written and computed together.
type Four = cubecl::prelude::Vector<f32, cubecl::prelude::Const<4>>;

/// How many values are read or written at once, in rows of `row` values.
fn width(row: usize) -> usize {
    if row.is_multiple_of(4) { 4 } else { 1 }
}

/// A new buffer of this shape, with the device and the type of another tensor. Its values are not set.
fn alloc_on_device_of<const D: usize>(of: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    empty_device_dtype(of.client.clone(), of.device.clone(), shape.into(), of.dtype)
}

/// Number of rows, and their width.
fn dims(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}
