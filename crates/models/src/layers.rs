//! The blocks that several architectures are built from: each says what it computes.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_kernels::{Norm, add_norm, norm, project};

use crate::{ModelError, RowOrder, Tensors};

/// A matrix product, with a bias or without.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`, as PyTorch stores it.
    weight: Param<Tensor<2>>,
    /// `[out]`
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Takes `{name}.weight` of shape `[out, in]` and, where there is one, `{name}.bias`.
    pub fn take(
        tensors: &mut Tensors,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<Self, ModelError> {
        Self::take_ordered(tensors, name, [outputs, inputs], bias, RowOrder::AsStored)
    }

    /// The same, where a GGUF orders the rows otherwise.
    pub fn take_ordered(
        tensors: &mut Tensors,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        rows: RowOrder,
    ) -> Result<Self, ModelError> {
        let weight = Param::from_tensor(tensors.matrix(&format!("{name}.weight"), [outputs, inputs], rows)?);
        let bias = bias.then(|| tensors.vector(&format!("{name}.bias"), outputs)).transpose()?.map(Param::from_tensor);
        Ok(Self { weight, bias })
    }

    /// `[tokens, in]` to `[tokens, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        project(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// One vector an id.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    /// `[entries, hidden]`
    weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Takes `{name}.weight`.
    pub fn take(tensors: &mut Tensors, name: &str, [entries, hidden]: [usize; 2]) -> Result<Self, ModelError> {
        let weight = tensors.matrix(&format!("{name}.weight"), [entries, hidden], RowOrder::AsStored)?;
        Ok(Self { weight: Param::from_tensor(weight) })
    }

    /// All vectors: `[entries, hidden]`.
    pub fn all(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The vectors of ids, one after the other: `[ids, hidden]`.
    pub fn of(&self, ids: &[u32]) -> Tensor<2> {
        let weight = self.weight.val();
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let count = ids.len();
        let ids = Tensor::from_data(TensorData::new(ids, [count]), &weight.device());
        weight.select(0, ids)
    }

    /// The product with every vector: `[tokens, hidden]` to `[tokens, entries]`.
    pub fn products(&self, hidden: Tensor<2>) -> Tensor<2> {
        project(hidden, self.weight.val(), None)
    }
}

/// Root-mean-square norm.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    /// `[width]`
    weight: Param<Tensor<1>>,
    /// `[width]`, all 0.
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// Takes `{name}.weight`. With `plus_one` the stored weight is what is to be added to one, as
    /// the Gemma models have it.
    pub fn take(
        tensors: &mut Tensors,
        name: &str,
        width: usize,
        epsilon: f64,
        plus_one: bool,
    ) -> Result<Self, ModelError> {
        let name = format!("{name}.weight");
        // llama.cpp adds the one when it converts.
        let weight = if plus_one {
            tensors.vector_ordered(&name, width, RowOrder::PlusOne)?.add_scalar(1.0)
        } else {
            tensors.vector(&name, width)?
        };
        let bias = Tensor::zeros([width], &weight.device());
        Ok(Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias), epsilon })
    }

    /// `[tokens, width]` to the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        norm(x, self.weight.val(), self.bias.val(), Norm::RootMeanSquare(self.epsilon))
    }

    /// The norm of each head of `[tokens, heads * width]`.
    pub fn of_heads(&self, x: Tensor<2>, heads: usize) -> Tensor<2> {
        let [tokens, width] = x.dims();
        self.forward(x.reshape([tokens * heads, width / heads])).reshape([tokens, width])
    }

    /// `x + y` and its norm.
    pub fn add(&self, x: Tensor<2>, y: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        add_norm(x, y, self.weight.val(), self.bias.val(), Norm::RootMeanSquare(self.epsilon))
    }
}

/// Layer norm.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    /// `[width]`
    weight: Param<Tensor<1>>,
    /// `[width]`, all 0 where none is stored.
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Takes `{name}.weight` and, where there is one, `{name}.bias`.
    pub fn take(tensors: &mut Tensors, name: &str, width: usize, epsilon: f64, bias: bool) -> Result<Self, ModelError> {
        let weight = tensors.vector(&format!("{name}.weight"), width)?;
        let bias = match bias {
            true => tensors.vector(&format!("{name}.bias"), width)?,
            false => Tensor::zeros([width], &weight.device()),
        };
        Ok(Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias), epsilon })
    }

    /// `[tokens, width]` to the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        norm(x, self.weight.val(), self.bias.val(), Norm::Layer(self.epsilon))
    }

    /// `x + y` and its norm.
    pub fn add(&self, x: Tensor<2>, y: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        add_norm(x, y, self.weight.val(), self.bias.val(), Norm::Layer(self.epsilon))
    }
}

/// Rows of logits held at once: 64 rows over a vocabulary of 128,256 are 33 MB.
const LOGIT_ROWS: usize = 64;

/// `log p(target | hidden)` in nats of each token, from `[tokens, hidden]` and `[tokens]`. `logits`
/// makes `[rows, hidden]` `[rows, vocab]`.
pub(crate) fn log_probability(
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    logits: impl Fn(Tensor<2>) -> Tensor<2>,
) -> Tensor<1> {
    let tokens = hidden.dims()[0];
    let tiles = (0..tokens).step_by(LOGIT_ROWS).map(|first| {
        let rows = LOGIT_ROWS.min(tokens - first);
        let logits = logits(hidden.clone().narrow(0, first, rows));
        let targets = targets.clone().narrow(0, first, rows).reshape([rows, 1]);
        let largest = logits.clone().max_dim(1);
        let log_sum = (logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest;
        (logits.gather(1, targets) - log_sum).squeeze_dim(1)
    });
    Tensor::cat(tiles.collect(), 0)
}
