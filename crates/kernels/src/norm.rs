//! Norms over the width of each token, in f32.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::kinds::Norm;
use crate::{Operations, traffic};

/// The norm of each row. `x` is `[tokens, width]`, `weight` and `bias` are `[width]`; the result has the shape
/// of `x`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rewardscope_kernels::{Norm, norm};
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[3.0, -4.0]], &device);
/// let (weight, bias) = (Tensor::<1>::ones([2], &device), Tensor::<1>::zeros([2], &device));
/// let y: Vec<f32> = norm(x, weight, bias, Norm::Layer(1e-5)).into_data().try_to_vec().unwrap();
/// assert!((y[0] - 1.0).abs() < 1e-5 && (y[1] + 1.0).abs() < 1e-5);
/// ```
pub fn norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, kind: Norm) -> Tensor<2> {
    traffic::rows("norm", x.dims(), 1, 1);
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Operations>::norm(x, weight, bias, kind))
}

/// The sum `x + y`, and the norm of the sum. `x`, `y` and both results are `[tokens, width]`, `weight` and
/// `bias` are `[width]`.
pub fn add_norm(x: Tensor<2>, y: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, kind: Norm) -> (Tensor<2>, Tensor<2>) {
    traffic::rows("sum and norm", x.dims(), 2, 2);
    let (x, y) = (x.into_dispatch(), y.into_dispatch());
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let (sum, normed) = <Dispatch as Operations>::add_norm(x, y, weight, bias, kind);
    (Tensor::from_dispatch(sum), Tensor::from_dispatch(normed))
}

/// The same as [`norm`] in burn's own operations.
#[cfg(test)]
pub(crate) fn plain(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, kind: Norm) -> Tensor<2> {
    let (x, epsilon) = match kind {
        Norm::RootMeanSquare(epsilon) => (x, epsilon),
        Norm::Layer(epsilon) => (x.clone() - x.mean_dim(1), epsilon),
    };
    let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
    x * scale * weight.unsqueeze() + bias.unsqueeze()
}
