//! The operations that a network spends its time in. Each is a function of burn tensors whose
//! `plain` form says in burn's own operations what it computes, and runs where nothing better is
//! known; the CPU has its own form of each.
//!
//! Tokens are packed: `[tokens, width]` holds sequences one after the other, without padding, and
//! a [`Plan`] says which keys each query sees.

mod attention;
mod cpu;
mod elementwise;
mod norm;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::{Device, DispatchDevice};

pub use attention::{Group, Heads, Plan, Sight, attention};
pub use elementwise::{Activation, Turns, rotate};
pub use norm::{Norm, add_norm, norm};

/// What has a form of its own on some device.
#[backend_extension(Flex)]
pub(crate) trait Operations: Backend {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: Plan,
        heads: Heads,
    ) -> FloatTensor<Self>;

    fn norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, kind: Norm) -> FloatTensor<Self>;

    fn add_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Norm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    fn gate(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
}

/// Whether a device is the CPU, whose own forms are used.
fn is_cpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}
