//! GPU and CPU kernels of transformer layers, in f32.
//!
//! Each operation is a function of burn tensors. The CPU and the GPU each have their own implementation; the
//! device of the tensors chooses. A `plain` function beside each operation computes the same with burn's own
//! operations: it defines the result, and tests compare with it.
//!
//! Tokens are packed: a `[tokens, width]` tensor holds sequences one after the other, without padding. A
//! [`Plan`] says which keys each query sees.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use rewardscope_kernels::{Group, Heads, Plan, Sight, attention};
//!
//! let device = Device::flex(); // the CPU
//! // Two sequences of two tokens each, packed into four rows; one head of width 2.
//! let group = |first| Group { queries: first..first + 2, positions: vec![0, 1], keys: vec![first..first + 2] };
//! let plan = Plan::new([group(0), group(2)]);
//! let heads = Heads { queries: 1, keys: 1, scale: 0.5, softcap: None, sight: Sight::Back(None) };
//! let q = Tensor::<2>::ones([4, 2], &device);
//! let v = Tensor::<2>::from_data([[1.0, 0.0], [3.0, 0.0], [5.0, 0.0], [7.0, 0.0]], &device);
//! // All scores are equal, so each token averages the values that it sees: its own and the earlier ones.
//! let mixed: Vec<f32> = attention(q.clone(), q, v, &plan, heads).into_data().try_to_vec().unwrap();
//! assert_eq!(mixed, [1.0, 0.0, 2.0, 0.0, 5.0, 0.0, 6.0, 0.0]);
//! ```

mod attention;
mod cpu;
mod elementwise;
mod gpu;
mod kinds;
mod norm;
mod packing;
mod plan;
mod product;
mod stored;
mod traffic;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, DispatchDevice, backend_extension};
use burn::tensor::Device;

pub use attention::attention;
pub use elementwise::{Turns, rotate};
pub use kinds::{Activation, Norm};
pub use norm::{add_norm, norm};
pub use packing::{GROUP, Packed, Packing};
pub use plan::{Group, Heads, Plan, Sight};
pub use product::{products, project};
pub use stored::Stored;
pub use traffic::{Count, Traffic, counted};

/// Operations that each backend implements itself: `Flex` on the CPU, `Cube` on the GPU. The functions of this
/// crate with the same names say what they compute.
#[backend_extension(Cube, Flex)]
pub(crate) trait Operations: Backend {
    /// [`attention()`](crate::attention()). `table` is the plan as the GPU kernel reads it; the CPU ignores it.
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        table: IntTensor<Self>,
        plan: Plan,
        heads: Heads,
    ) -> FloatTensor<Self>;

    /// [`norm()`](crate::norm()): `x` is `[tokens, width]`, `weight` and `bias` are `[width]`.
    fn norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, kind: Norm) -> FloatTensor<Self>;

    /// [`add_norm()`](crate::add_norm()): the sum, then its norm.
    fn add_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Norm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// [`Activation::of`].
    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    /// [`Activation::gate`].
    fn gate(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    /// [`rotate()`](crate::rotate()): `cos` and `sin` are `[tokens, turned / 2]`.
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;

    /// [`project()`](crate::project()). Where `has_bias` is false, `bias` is any tensor and is not read.
    fn project(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        has_bias: bool,
    ) -> FloatTensor<Self>;

    /// [`products()`](crate::products()).
    fn products(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;

    /// [`Stored::project`] for a packed matrix: `words` is `[outputs, inputs / per_word]`, `pairs` is
    /// `[outputs, inputs / GROUP]`. Where there is no bias, or where the packing has no groups, `bias` or
    /// `pairs` is any tensor and is not read.
    fn project_packed(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        pairs: IntTensor<Self>,
        bias: FloatTensor<Self>,
        has_bias: bool,
        packing: Packing,
    ) -> FloatTensor<Self>;

    /// All values of a packed matrix in f32: `[outputs, inputs]`.
    fn unpack(words: IntTensor<Self>, pairs: IntTensor<Self>, packing: Packing) -> FloatTensor<Self>;
}

/// Whether a device is the CPU (burn's Flex backend).
fn is_cpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use burn::tensor::{DeviceKind, Tensor, TensorData};

    use super::*;
    use crate::{attention as attend, elementwise, norm as norms, product};

    /// The CPU and the GPU. It fails on a machine without a GPU adapter.
    fn devices() -> [Device; 2] {
        [Device::flex(), Device::wgpu(DeviceKind::DefaultDevice)]
    }

    /// Pseudo-random values from -2 to 2.
    fn matrix(rows: usize, columns: usize, seed: u32) -> Tensor<2> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f32::from(state as u16) / 16384.0 - 2.0
        };
        let values: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    fn vector(width: usize, seed: u32) -> Tensor<1> {
        matrix(1, width, seed).reshape([width])
    }

    fn on<const D: usize>(x: &Tensor<D>, device: &Device) -> Tensor<D> {
        x.clone().to_device(device)
    }

    fn near(found: Tensor<2>, plain: Tensor<2>, within: f32, what: &str) {
        assert_eq!(found.dims(), plain.dims(), "{what}");
        let device = if is_cpu(&found.device()) { "CPU" } else { "GPU" };
        let values = |x: Tensor<2>| -> Vec<f32> { x.into_data().try_to_vec().expect("f32") };
        let (found, plain) = (values(found), values(plain));
        for (place, (found, plain)) in found.iter().zip(&plain).enumerate() {
            // Not `> within`: NaN must fail too.
            assert!((found - plain).abs() <= within, "{what} on the {device}: {found} at {place} is not {plain}");
        }
    }

    #[test]
    fn attention_is_what_burn_computes() {
        // A prefix of 70 rows before the batch, a shared prompt of 5, and three sequences after it,
        // one of them longer than a tile.
        let suffix = |queries: Range<usize>, own: Range<usize>| Group {
            positions: (75..75 + queries.len()).collect(),
            queries,
            keys: vec![3..73, 80..85, own],
        };
        let prompt = || Group { queries: 0..5, positions: (70..75).collect(), keys: vec![3..73, 80..85] };
        let all = || Plan::new([prompt(), suffix(5..6, 85..86), suffix(6..106, 86..186), suffix(106..109, 186..189)]);
        let read = || Plan::new([Group { queries: 0..2, positions: vec![4, 9], keys: vec![0..6, 30..34] }]);
        for (queries, keys, head_dim) in [(4, 2, 8), (3, 3, 5), (6, 1, 16), (2, 1, 64), (1, 1, 128), (1, 1, 256)] {
            let k = matrix(189, keys * head_dim, 2);
            let v = matrix(189, keys * head_dim, 3);
            for sight in [Sight::Back(None), Sight::Back(Some(7)), Sight::Around(None), Sight::Around(Some(2))] {
                for softcap in [None, Some(3.0)] {
                    let heads = Heads { queries, keys, scale: 1.0 / head_dim as f64, softcap, sight };
                    for (plan, rows) in [(&all as &dyn Fn() -> Plan, 109), (&read, 2)] {
                        let q = matrix(rows, queries * head_dim, 1);
                        let plain = attend::plain(q.clone(), k.clone(), v.clone(), &plan(), heads);
                        for device in devices() {
                            let own = attention(on(&q, &device), on(&k, &device), on(&v, &device), &plan(), heads);
                            near(own, plain.clone(), 1e-5, &format!("{heads:?} of {head_dim}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn views_of_a_fused_projection_are_read_where_they_lie() {
        let fused = matrix(20, 3 * 24, 5);
        let copy = |i: usize| fused.clone().narrow(1, i * 24, 24) + 0.0;
        let plan = || Plan::new([Group { queries: 0..20, positions: (0..20).collect(), keys: vec![0..20] }]);
        let heads = Heads { queries: 3, keys: 3, scale: 0.3, softcap: None, sight: Sight::Back(None) };
        let turns = |device: &Device| Turns::new(&(0..20).collect::<Vec<_>>(), &[1.0, 0.1, 0.01], device);
        let mixed = attend::plain(copy(0), copy(1), copy(2), &plan(), heads);
        let turned = elementwise::plain_rotation(copy(1), &turns(&Device::flex()), 3);
        let gated = elementwise::plain_activation(copy(0), Activation::Silu) * copy(2);
        for device in devices() {
            let fused = on(&fused, &device);
            let part = |i: usize| fused.clone().narrow(1, i * 24, 24);
            near(attention(part(0), part(1), part(2), &plan(), heads), mixed.clone(), 1e-5, "attention");
            near(rotate(part(1), &turns(&device), 3), turned.clone(), 1e-6, "rotation");
            near(Activation::Silu.gate(part(0), part(2)), gated.clone(), 1e-5, "gate");
        }
    }

    #[test]
    fn norms_and_activations_are_what_burn_computes() {
        for (rows, width) in [(1, 1), (3, 5), (7, 64), (300, 77), (2, 1030)] {
            let (x, y) = (matrix(rows, width, 7), matrix(rows, width, 8));
            let (weight, bias) = (vector(width, 9), vector(width, 10));
            let (sum, wide) = (x.clone() + y.clone(), x.clone().mul_scalar(12.0));
            for device in devices() {
                let (own_x, own_y, own_wide) = (on(&x, &device), on(&y, &device), on(&wide, &device));
                let (own_weight, own_bias) = (on(&weight, &device), on(&bias, &device));
                for kind in [Norm::RootMeanSquare(1e-6), Norm::Layer(1e-5)] {
                    let what = format!("{kind:?} of {rows} x {width}");
                    let plain = |x: &Tensor<2>| norms::plain(x.clone(), weight.clone(), bias.clone(), kind);
                    let own = norm(own_x.clone(), own_weight.clone(), own_bias.clone(), kind);
                    near(own, plain(&x), 2e-5, &what);
                    let (own_sum, own) =
                        add_norm(own_x.clone(), own_y.clone(), own_weight.clone(), own_bias.clone(), kind);
                    near(own_sum, sum.clone(), 0.0, "the sum");
                    near(own, plain(&sum), 2e-5, &what);
                }
                for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Tanh] {
                    let plain = elementwise::plain_activation(wide.clone(), activation);
                    near(activation.of(own_wide.clone()), plain.clone(), 1e-5, &format!("{activation:?}"));
                    let gated = activation.gate(own_wide.clone(), own_y.clone());
                    near(gated, plain * y.clone(), 3e-5, &format!("{activation:?}"));
                }
            }
        }
    }

    #[test]
    fn packed_matrices_are_what_they_unpack_to() {
        for (rows, outputs, inputs) in [(1, 1, 32), (3, 5, 64), (65, 130, 96), (70, 64, 576)] {
            let (x, weight, bias) = (matrix(rows, inputs, 1), matrix(outputs, inputs, 2), vector(outputs, 3));
            let values: Vec<f32> = weight.mul_scalar(0.05).into_data().try_to_vec().expect("f32");
            for packing in [Packing::F16, Packing::Bf16, Packing::Q8, Packing::Q4] {
                let packed = Packed::of(packing, &values);
                let mut unpacked = vec![0.0; values.len()];
                Packed::unpack(packing, &packed.words, &packed.pairs, &mut unpacked);
                let unpacked = Tensor::<2>::from_data(TensorData::new(unpacked, [outputs, inputs]), &Device::flex());
                for device in devices() {
                    let ints = |values: &[i32]| {
                        let shape = [outputs, values.len() / outputs];
                        Tensor::<2, burn::tensor::Int>::from_data(TensorData::new(values.to_vec(), shape), &device)
                    };
                    let pairs = packing.has_groups().then(|| ints(&packed.pairs));
                    let stored = Stored::packed(packing, ints(&packed.words), pairs);
                    assert_eq!(stored.dims(), [outputs, inputs]);
                    near(stored.all(), unpacked.clone(), 1e-6, &format!("{packing:?}"));
                    let last = outputs as u32 - 1;
                    let ends = Tensor::cat(
                        vec![unpacked.clone().narrow(0, outputs - 1, 1), unpacked.clone().narrow(0, 0, 1)],
                        0,
                    );
                    near(stored.rows(&[last, 0]), ends, 1e-6, &format!("rows of {packing:?}"));
                    // The same matrix below another one: devices that read little at once store it in parts.
                    let top = Stored::plain(on(&matrix(3, inputs, 9), &device));
                    let parts = Stored::parts(vec![top, stored.clone()]);
                    assert_eq!(parts.dims(), [outputs + 3, inputs]);
                    let mixed = parts.rows(&[last + 3, 1, 3]);
                    near(
                        mixed.clone().narrow(0, 0, 1),
                        unpacked.clone().narrow(0, outputs - 1, 1),
                        1e-6,
                        "a part's row",
                    );
                    near(mixed.narrow(0, 1, 1), matrix(3, inputs, 9).narrow(0, 1, 1), 0.0, "another part's row");
                    for has_bias in [false, true] {
                        let bias_of = |device: &Device| has_bias.then(|| on(&bias, device));
                        let plain = product::plain(x.clone(), unpacked.clone(), bias_of(&Device::flex()));
                        let own = stored.project(on(&x, &device), bias_of(&device));
                        near(own, plain.clone(), 5e-5, &format!("{packing:?}, {rows} x {inputs} x {outputs}"));
                        let padded = bias_of(&device)
                            .map(|bias| Tensor::cat(vec![bias.clone().narrow(0, 0, 1).repeat_dim(0, 3), bias], 0));
                        let own = parts.project(on(&x, &device), padded).narrow(1, 3, outputs);
                        near(own, plain, 5e-5, &format!("parts of {packing:?}"));
                    }
                }
            }
        }
    }

    #[test]
    fn products_of_many_are_what_burn_computes() {
        for (many, m, n, k) in [(1, 1, 1, 1), (3, 5, 9, 7), (12, 65, 70, 32), (2, 130, 3, 64)] {
            let (x, y) = (matrix(many * m, k, 1), matrix(many * n, k, 2));
            let shaped = |x: &Tensor<2>, rows: usize| -> Tensor<3> { x.clone().reshape([many, rows, k]) };
            let plain = shaped(&x, m).matmul(shaped(&y, n).swap_dims(1, 2)).reshape([many * m, n]);
            for device in devices() {
                let own = products(shaped(&on(&x, &device), m), shaped(&on(&y, &device), n));
                assert_eq!(own.dims(), [many, m, n]);
                near(own.reshape([many * m, n]), plain.clone(), 5e-5, &format!("{many} of {m} x {n} x {k}"));
            }
        }
    }

    #[test]
    fn products_are_what_burn_computes() {
        for (rows, outputs, inputs) in [(1, 1, 1), (3, 5, 7), (64, 64, 16), (65, 130, 33), (200, 70, 96), (1, 300, 576)]
        {
            let (x, weight, bias) = (matrix(rows, inputs, 1), matrix(outputs, inputs, 2), vector(outputs, 3));
            for device in devices() {
                for has_bias in [false, true] {
                    let bias_of = |device: &Device| has_bias.then(|| on(&bias, device));
                    let plain = product::plain(x.clone(), weight.clone(), bias_of(&Device::flex()));
                    let own = project(on(&x, &device), on(&weight, &device), bias_of(&device));
                    near(own, plain, 2e-4, &format!("{rows} x {inputs} x {outputs}"));
                }
            }
        }
    }
}
