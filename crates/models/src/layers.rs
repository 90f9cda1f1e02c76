//! The building blocks that several architectures share. Each says what it computes.

use burn::tensor::{Int, Tensor};
use rewardscope_kernels::{Norm, Stored, add_norm, norm};

use crate::{ModelError, Packs, RowOrder, Tensors};

/// `[tokens, heads * head_dim]` to `[heads, tokens, head_dim]`.
pub(crate) fn split_heads(x: Tensor<2>, heads: usize) -> Tensor<3> {
    let [tokens, width] = x.dims();
    x.reshape([tokens, heads, width / heads]).swap_dims(0, 1)
}

/// `x weight^T + bias`, or without the bias.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[out, in]`, as PyTorch stores it.
    weight: Stored,
    /// `[out]`
    bias: Option<Tensor<1>>,
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

    /// The same, where a GGUF may store the weight's rows in another order.
    pub fn take_ordered(
        tensors: &mut Tensors,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        rows: RowOrder,
    ) -> Result<Self, ModelError> {
        Self::of(tensors, name, [outputs, inputs], bias, rows, Packs::Matrix)
    }

    /// The same for a projection to values ([`Packs::Values`]).
    pub fn take_values(tensors: &mut Tensors, name: &str, shape: [usize; 2], bias: bool) -> Result<Self, ModelError> {
        Self::of(tensors, name, shape, bias, RowOrder::AsStored, Packs::Values)
    }

    /// The same for a head, which stays in f32 ([`Packs::Never`]).
    pub fn take_head(tensors: &mut Tensors, name: &str, shape: [usize; 2], bias: bool) -> Result<Self, ModelError> {
        Self::of(tensors, name, shape, bias, RowOrder::AsStored, Packs::Never)
    }

    fn of(
        tensors: &mut Tensors,
        name: &str,
        shape: [usize; 2],
        bias: bool,
        rows: RowOrder,
        packs: Packs,
    ) -> Result<Self, ModelError> {
        let weight = tensors.matrix(&format!("{name}.weight"), shape, rows, packs)?;
        let bias = bias.then(|| tensors.vector(&format!("{name}.bias"), shape[0])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// `[tokens, in]` to `[tokens, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.weight.project(x, self.bias.clone())
    }
}

/// A table with one vector for each id.
#[derive(Debug)]
pub(crate) struct Embedding {
    /// `[entries, hidden]`
    weight: Stored,
}

impl Embedding {
    /// Takes `{name}.weight` of shape `[entries, hidden]`.
    pub fn take(tensors: &mut Tensors, name: &str, [entries, hidden]: [usize; 2]) -> Result<Self, ModelError> {
        let weight = tensors.matrix(&format!("{name}.weight"), [entries, hidden], RowOrder::AsStored, Packs::Matrix)?;
        Ok(Self { weight })
    }

    /// The same for a table of positions, token types or distances, which stays in f32.
    pub fn take_table(tensors: &mut Tensors, name: &str, shape: [usize; 2]) -> Result<Self, ModelError> {
        let weight = tensors.matrix(&format!("{name}.weight"), shape, RowOrder::AsStored, Packs::Never)?;
        Ok(Self { weight })
    }

    /// All vectors: `[entries, hidden]`.
    pub fn all(&self) -> Tensor<2> {
        self.weight.all()
    }

    /// The vectors of ids, one after the other: `[ids, hidden]`.
    pub fn of(&self, ids: &[u32]) -> Tensor<2> {
        self.weight.rows(ids)
    }

    /// The product with every vector: `[tokens, hidden]` to `[tokens, entries]`.
    pub fn products(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.weight.project(hidden, None)
    }
}

/// Root-mean-square norm (Zhang and Sennrich, 2019, arXiv:1910.07467).
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `[width]`
    weight: Tensor<1>,
    /// `[width]`, all 0.
    bias: Tensor<1>,
    epsilon: f64,
}

impl RmsNorm {
    /// Takes `{name}.weight` of shape `[width]`. With `plus_one` the weight is one plus the stored value, as in the
    /// Gemma models.
    pub fn take(
        tensors: &mut Tensors,
        name: &str,
        width: usize,
        epsilon: f64,
        plus_one: bool,
    ) -> Result<Self, ModelError> {
        let name = format!("{name}.weight");
        // llama.cpp adds the one when it converts; PlusOne takes it back.
        let weight = if plus_one {
            tensors.vector_ordered(&name, width, RowOrder::PlusOne)?.add_scalar(1.0)
        } else {
            tensors.vector(&name, width)?
        };
        let bias = Tensor::zeros([width], &weight.device());
        Ok(Self { weight, bias, epsilon })
    }

    /// `[tokens, width]` to the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        norm(x, self.weight.clone(), self.bias.clone(), Norm::RootMeanSquare(self.epsilon))
    }

    /// The norm of each head by itself: `[tokens, heads * width]` to the same.
    pub fn of_heads(&self, x: Tensor<2>, heads: usize) -> Tensor<2> {
        let [tokens, width] = x.dims();
        self.forward(x.reshape([tokens * heads, width / heads])).reshape([tokens, width])
    }

    /// `x + y` and its norm, each `[tokens, width]`.
    pub fn add(&self, x: Tensor<2>, y: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        add_norm(x, y, self.weight.clone(), self.bias.clone(), Norm::RootMeanSquare(self.epsilon))
    }
}

/// Layer norm (Ba et al., 2016, arXiv:1607.06450).
#[derive(Debug)]
pub(crate) struct LayerNorm {
    /// `[width]`
    weight: Tensor<1>,
    /// `[width]`, all 0 where none is stored.
    bias: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    /// Takes `{name}.weight` and, where there is one, `{name}.bias`, each of shape `[width]`.
    pub fn take(tensors: &mut Tensors, name: &str, width: usize, epsilon: f64, bias: bool) -> Result<Self, ModelError> {
        let weight = tensors.vector(&format!("{name}.weight"), width)?;
        let bias = match bias {
            true => tensors.vector(&format!("{name}.bias"), width)?,
            false => Tensor::zeros([width], &weight.device()),
        };
        Ok(Self { weight, bias, epsilon })
    }

    /// `[tokens, width]` to the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        norm(x, self.weight.clone(), self.bias.clone(), Norm::Layer(self.epsilon))
    }

    /// `x + y` and its norm, each `[tokens, width]`.
    pub fn add(&self, x: Tensor<2>, y: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        add_norm(x, y, self.weight.clone(), self.bias.clone(), Norm::Layer(self.epsilon))
    }
}

/// Rows of logits held at once: 64 rows over a vocabulary of 128,256 are 33 MB.
const LOGIT_ROWS: usize = 64;

/// `log p(target | hidden)` of each token in nats: `[tokens, hidden]` and `[tokens]` to `[tokens]`. `logits` computes
/// `[rows, vocab]` from `[rows, hidden]`.
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
