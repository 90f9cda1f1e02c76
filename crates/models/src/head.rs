//! What a model's last step returns, and a decoder's head: linear layers that make outputs of a hidden state. Which one a
//! checkpoint has is known by the names of its tensors, because the names of its class are not a sure sign.

use std::collections::BTreeSet;

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softmax};
use rewardscope_kernels::project;

use crate::layers::{Embedding, Linear};
use crate::{ModelError, Packs, RowOrder, Summary, Tensors};

/// What the model's last step returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Outputs for every token, of which a decoder's score is made where it is read.
    Score,
    /// Outputs for a whole sequence, one of which is an encoder's score, pooled by the model itself. A sequence is a
    /// pair of a prompt and a completion.
    Pooled,
    /// Two outputs for a sequence of a prompt and two completions, one for each completion: the greater one is the
    /// better completion's. They are made of the states of three tokens, which begin these three parts.
    Pair,
    /// A distribution over the vocabulary for every token: log-probabilities in nats.
    LanguageModel,
}

impl Head {
    /// Whether it is an encoder's, which reads plain texts and has outputs for a whole sequence only.
    pub fn is_an_encoders(self) -> bool {
        matches!(self, Self::Pooled | Self::Pair)
    }
}

/// One linear layer of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadLayer {
    /// The name of its tensors, without `.weight` and `.bias`.
    pub name: String,
    /// Number of its outputs.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

/// What a head computes of a hidden state: chains of linear layers with ReLU between the layers of a chain. The outputs
/// of one chain follow those of the chain before.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadPlan {
    /// The chains; each has at least one layer.
    pub chains: Vec<Vec<HeadLayer>>,
    /// ArmoRM's gates (Wang et al., 2024, arXiv:2406.12845), where the head has them. Then the first chain gives the
    /// rewards of objectives, and the second the gates' logits. The outputs are the rewards, then their weights: with
    /// the gates `g = softmax(logits / temperature)` times `gating.logit_scale`, and the matrix `T` that is
    /// `reward_transform_matrix`, the score `sum(g * (rewards T))` is the sum of the rewards times `g T^T`.
    pub gates: Option<GatePlan>,
    /// Whether the layer's rows are of the vocabulary's matrix: then its outputs are logits of tokens, which some
    /// models bound.
    pub is_vocabulary: bool,
}

/// What the gates of a head need besides tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatePlan {
    /// The gates' logits are divided by it.
    pub temperature: f64,
}

impl HeadPlan {
    /// One linear layer without a bias.
    pub fn linear(name: &str, outputs: usize) -> Self {
        Self {
            chains: vec![vec![HeadLayer { name: name.to_owned(), outputs, bias: false }]],
            gates: None,
            is_vocabulary: false,
        }
    }

    /// Number of outputs of all chains.
    pub fn outputs(&self) -> usize {
        self.chains.iter().filter_map(|chain| chain.last()).map(|layer| layer.outputs).sum()
    }
}

/// A head that was found in a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownHead {
    /// Its name, such as `v_head.summary`: what its tensors' names begin with.
    pub name: String,
    /// Its layers.
    pub plan: HeadPlan,
    /// Whether it is gated: then [`HeadPlan::gates`] is still to be set.
    pub is_gated: bool,
}

/// Names under which trainers store a head of one linear layer.
const LINEAR: [&str; 8] =
    ["score", "v_head", "v_head.summary", "value_head", "regression_head", "score_head", "reward_head", "rm_head"];

/// Names under which they store one of two layers: `NAME.0` and `NAME.2`, with ReLU as `NAME.1` between them.
const TWO_LAYERS: [&str; 2] = ["score", "v_head.summary"];

/// The name of a gated head, with its parts.
const GATED: &str = "gating";
const OBJECTIVES: &str = "regression_layer";
/// The matrix that a gated head's rewards are multiplied by, and the factor of its gates.
const TRANSFORM: &str = "reward_transform_matrix";
const SCALE: &str = "gating.logit_scale";

/// The names of the tensors that tell the known heads.
fn told_by(named: Option<&str>) -> impl Iterator<Item = String> {
    let linear = LINEAR.into_iter().chain(named).map(|name| format!("{name}.weight"));
    let two = TWO_LAYERS.into_iter().map(|name| format!("{name}.0.weight"));
    linear.chain(two).chain([format!("{OBJECTIVES}.weight")])
}

/// Whether tensors of these names have a known head. `named` is the name that a configuration gives it.
pub(crate) fn has_known_head(tensors: &BTreeSet<String>, named: Option<&str>) -> bool {
    told_by(named).any(|name| tensors.contains(&name))
}

/// The known heads among a checkpoint's tensors: all of them, for a checkpoint with two can be read in two ways.
/// `shape_of` gives a tensor's shape by its name, and `named` is the name that a configuration gives the head.
pub fn known_heads(shape_of: &dyn Fn(&str) -> Option<Vec<usize>>, named: Option<&str>) -> Vec<KnownHead> {
    let layer = |name: &str| {
        let &[outputs, _] = shape_of(&format!("{name}.weight"))?.as_slice() else {
            return None;
        };
        let bias = shape_of(&format!("{name}.bias")).is_some();
        Some(HeadLayer { name: name.to_owned(), outputs, bias })
    };
    let one = |name: &str, chains| {
        let plan = HeadPlan { chains, gates: None, is_vocabulary: false };
        KnownHead { name: name.to_owned(), plan, is_gated: false }
    };
    let extra = named.filter(|name| !LINEAR.contains(name));
    let linear = LINEAR.into_iter().chain(extra).filter_map(|name| Some(one(name, vec![vec![layer(name)?]])));
    let two = TWO_LAYERS.into_iter().filter_map(|name| {
        let layers = [layer(&format!("{name}.0"))?, layer(&format!("{name}.2"))?];
        Some(one(name, vec![layers.to_vec()]))
    });
    let gated = || {
        let objectives = layer(OBJECTIVES)?;
        let gates: Vec<HeadLayer> = (0..).map_while(|at| layer(&format!("{GATED}.layers.{at}"))).collect();
        if gates.is_empty() {
            return None;
        }
        Some(KnownHead { is_gated: true, ..one(GATED, vec![vec![objectives], gates]) })
    };
    linear.chain(two).chain(gated()).collect()
}

/// What comes after a decoder's last norm.
#[derive(Debug)]
pub(crate) enum OutputHead {
    /// A reward model's own head.
    Own(Box<OwnHead>),
    /// A language model's head, `[vocab, hidden]`.
    Vocabulary(Box<Linear>),
    /// The head of a language model is its embedding.
    Tied,
}

impl OutputHead {
    /// Takes the tensors of a decoder's head: for a language model `vocabulary`, unless its head is `tied`; else those
    /// of `plan`, or `score` where there is no plan.
    pub fn take(
        tensors: &mut Tensors,
        summary: &Summary,
        plan: Option<&HeadPlan>,
        vocabulary: &str,
        tied: bool,
    ) -> Result<Self, ModelError> {
        let Summary { vocab_size, hidden_size, labels, .. } = *summary;
        Ok(match summary.head {
            Head::LanguageModel if tied => Self::Tied,
            Head::LanguageModel => {
                Self::Vocabulary(Box::new(Linear::take(tensors, vocabulary, [vocab_size, hidden_size], false)?))
            }
            Head::Score | Head::Pooled | Head::Pair => {
                let plan = plan.cloned().unwrap_or_else(|| HeadPlan::linear("score", labels));
                Self::Own(Box::new(OwnHead::take(tensors, &plan, hidden_size)?))
            }
        })
    }

    /// `[tokens, hidden]` to `[tokens, outputs]` or `[tokens, vocab]`.
    pub fn forward(&self, hidden: Tensor<2>, embedding: &Embedding) -> Tensor<2> {
        match self {
            Self::Own(head) => head.forward(hidden),
            Self::Vocabulary(head) => head.forward(hidden),
            Self::Tied => embedding.products(hidden),
        }
    }
}

/// A reward model's head on a device.
#[derive(Debug)]
pub(crate) struct OwnHead {
    chains: Vec<Vec<Linear>>,
    gates: Option<Gates>,
}

#[derive(Debug)]
struct Gates {
    /// `[objectives, objectives]`
    transform: Tensor<2>,
    /// `[1]`
    scale: Tensor<1>,
    temperature: f64,
}

impl OwnHead {
    /// Takes the tensors of a plan. Hidden states are `hidden` wide.
    fn take(tensors: &mut Tensors, plan: &HeadPlan, hidden: usize) -> Result<Self, ModelError> {
        let mut chains = Vec::with_capacity(plan.chains.len());
        for chain in &plan.chains {
            let mut inputs = hidden;
            let mut layers = Vec::with_capacity(chain.len());
            for layer in chain {
                layers.push(Linear::take_head(tensors, &layer.name, [layer.outputs, inputs], layer.bias)?);
                inputs = layer.outputs;
            }
            chains.push(layers);
        }
        let gates = match plan.gates {
            Some(GatePlan { temperature }) => {
                let objectives = plan.outputs() / 2;
                let shape = [objectives, objectives];
                let transform = tensors.matrix(TRANSFORM, shape, RowOrder::AsStored, Packs::Never)?.all();
                Some(Gates { transform, scale: tensors.vector(SCALE, 1)?, temperature })
            }
            None => None,
        };
        Ok(Self { chains, gates })
    }

    /// `[tokens, hidden]` to `[tokens, outputs]`.
    fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        let chain = |layers: &Vec<Linear>| {
            layers.iter().enumerate().fold(hidden.clone(), |x, (at, layer)| match at {
                0 => layer.forward(x),
                _ => layer.forward(relu(x)),
            })
        };
        let mut all: Vec<Tensor<2>> = self.chains.iter().map(chain).collect();
        if let (Some(gates), [_, logits]) = (&self.gates, all.as_mut_slice()) {
            let shares = softmax(logits.clone().div_scalar(gates.temperature), 1);
            *logits = project(shares * gates.scale.clone().unsqueeze(), gates.transform.clone(), None);
        }
        if all.len() == 1 { all.remove(0) } else { Tensor::cat(all, 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tensors: &[(&str, &[usize])], named: Option<&str>) -> Vec<(String, Vec<usize>, usize)> {
        let shape_of = |name: &str| tensors.iter().find(|(known, _)| *known == name).map(|(_, shape)| shape.to_vec());
        let told =
            |head: KnownHead| (head.name.clone(), head.plan.chains.iter().map(Vec::len).collect(), head.plan.outputs());
        known_heads(&shape_of, named).into_iter().map(told).collect()
    }

    #[test]
    fn heads_are_known_by_their_tensors() {
        let head = |name: &str, layers: &[usize], outputs| vec![(name.to_owned(), layers.to_vec(), outputs)];
        assert_eq!(found(&[("score.weight", &[1, 8])], None), head("score", &[1], 1));
        let biased: [(&str, &[usize]); 2] = [("v_head.summary.weight", &[1, 8]), ("v_head.summary.bias", &[1])];
        assert_eq!(found(&biased, None), head("v_head.summary", &[1], 1));
        let two: [(&str, &[usize]); 2] = [("score.0.weight", &[8, 8]), ("score.2.weight", &[2, 8])];
        assert_eq!(found(&two, None), head("score", &[2], 2));
        assert_eq!(found(&[("my_head.weight", &[1, 8])], None), []);
        assert_eq!(found(&[("my_head.weight", &[1, 8])], Some("my_head")), head("my_head", &[1], 1));
        let gated: [(&str, &[usize]); 3] = [
            ("regression_layer.weight", &[5, 8]),
            ("gating.layers.0.weight", &[4, 8]),
            ("gating.layers.1.weight", &[5, 4]),
        ];
        assert_eq!(found(&gated, None), head("gating", &[1, 2], 10));
        // Half a head is none.
        assert_eq!(found(&two[..1], None), []);
        // A vector is no linear layer.
        assert_eq!(found(&[("score.weight", &[8])], None), []);
        let both: [(&str, &[usize]); 2] = [("score.weight", &[1, 8]), ("v_head.weight", &[1, 8])];
        assert_eq!(found(&both, None).len(), 2);
    }
}
