//! Products with stored matrices.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::{Operations, traffic};

/// `x weight^T + bias`. `x` is `[tokens, inputs]`, `weight` is `[outputs, inputs]` as PyTorch stores it, and
/// `bias` is `[outputs]`; the result is `[tokens, outputs]`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rewardscope_kernels::project;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 2.0]], &device);
/// let weight = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device);
/// let bias = Tensor::<1>::from_data([0.5, 0.5, 0.5], &device);
/// let y: Vec<f32> = project(x, weight, Some(bias)).into_data().try_to_vec().unwrap();
/// assert_eq!(y, [1.5, 2.5, 3.5]);
/// ```
pub fn project(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
    traffic::product([1, rows, outputs, inputs], None);
    let has_bias = bias.is_some();
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    let bias = bias.map_or_else(|| weight.clone(), Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Operations>::project(x, weight, bias, has_bias))
}

/// `x y^T` of each pair of matrices: `[pairs, m, k]` and `[pairs, n, k]` to `[pairs, m, n]`.
pub fn products(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    let ([pairs, m, k], [_, n, _]) = (x.dims(), y.dims());
    traffic::product([pairs, m, n, k], None);
    let [x, y] = [x, y].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Operations>::products(x, y))
}

/// The same as [`project`] in burn's own operations.
#[cfg(test)]
pub(crate) fn plain(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let product = x.matmul(weight.transpose());
    match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    }
}
