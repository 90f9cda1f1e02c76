//! BERT (Devlin et al., 2018, arXiv:1810.04805) as a sequence classifier of a pair, and the encoder that its kin share:
//! their files read their configurations and name their tensors.
//!
//! Matches `transformers/models/bert/modeling_bert.py`.

use burn::tensor::{Device, Tensor};
use rewardscope_kernels::{Activation, Heads, Sight, attention};
use serde::Deserialize;

use crate::batch::Queries;
use crate::config::{ConfigJson, Labels, id};
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::relative_bias::RelativeBias;
use crate::{
    Architecture, Batch, Description, Entry, Head, Hidden, ModelError, Network, State, Summary, Tensors, Wanted,
    json_only,
};

/// What absent keys mean: `configuration_bert.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0, "is_decoder": false
}"#;

/// The keys that BERT and most of its kin read.
#[derive(Deserialize)]
pub(crate) struct EncoderJson {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    #[serde(default)]
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub hidden_act: String,
    pub position_embedding_type: Option<String>,
    pub pad_token_id: Option<i64>,
    #[serde(default)]
    pub is_decoder: bool,
    #[serde(flatten)]
    pub labels: Labels,
}

/// A checked configuration of an encoder like BERT.
pub(crate) struct Encoder {
    pub summary: Summary,
    pub heads: usize,
    pub max_position_embeddings: usize,
    /// Number of token types; 0 where it has none.
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub activation: Activation,
    /// Width of the embeddings, and whether a projection takes them to the hidden size.
    pub embedding_size: usize,
    pub has_projection: bool,
    /// For each layer, which of the stored layers it is.
    pub order: Vec<usize>,
    /// Whether attention has a learned bias for each distance.
    pub has_relative_bias: bool,
}

impl EncoderJson {
    /// Checks the keys. `unused_positions` is how many of the position embeddings no token can have.
    pub fn checked(&self, entry: &Entry, file: &str, unused_positions: usize) -> Result<Encoder, ModelError> {
        let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
        if let Some(kind) = self.position_embedding_type.as_ref().filter(|kind| *kind != "absolute") {
            return Err(unsupported(format!("position embeddings of the type {kind:?}")));
        }
        if self.is_decoder {
            return Err(unsupported(
                "an encoder with is_decoder, in which a token sees only those before it,".to_owned(),
            ));
        }
        let activation = Activation::named(&self.hidden_act)
            .ok_or_else(|| unsupported(format!("the activation {:?}", self.hidden_act)))?;
        let summary = Summary {
            architecture: entry.name,
            head: Head::Pooled,
            labels: self.labels.of(Head::Pooled),
            label: 0,
            context_tokens: self.max_position_embeddings.saturating_sub(unused_positions),
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            pad_token_id: id(self.pad_token_id),
            is_causal: false,
            long_after: None,
            token_types: Some(self.type_vocab_size),
        };
        summary.check(file, &[self.num_attention_heads, self.max_position_embeddings])?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(ModelError::Config {
                file: file.to_owned(),
                expected: "a hidden size of equal heads".to_owned(),
                found: format!("{} over {}", self.hidden_size, self.num_attention_heads),
            });
        }
        Ok(Encoder {
            summary,
            heads: self.num_attention_heads,
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            layer_norm_eps: self.layer_norm_eps,
            activation,
            embedding_size: self.hidden_size,
            has_projection: false,
            order: (0..self.num_hidden_layers).collect(),
            has_relative_bias: false,
        })
    }
}

/// An encoder like BERT with a classifier of two layers over the first token.
pub(crate) struct Pooled {
    pub encoder: Encoder,
    /// What the names of the encoder's tensors begin with.
    pub prefix: &'static str,
    /// The names of the classifier's layers.
    pub layers: [&'static str; 2],
    /// What stands between them.
    pub between: fn(Tensor<2>) -> Tensor<2>,
    /// Whether positions begin after the pad id, and pad tokens are not counted.
    pub counts_after_pad: bool,
    /// The checkpoint's name of the tensor that BERT calls so.
    pub stored: fn(&str) -> Option<String>,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: EncoderJson = ConfigJson::read(file, json, DEFAULTS)?.keys()?;
    Ok(Box::new(Pooled {
        encoder: config.checked(entry, file, 0)?,
        prefix: "bert",
        layers: ["bert.pooler.dense", "classifier"],
        between: Tensor::tanh,
        counts_after_pad: false,
        stored: |_| None,
    }))
}

impl Architecture for Pooled {
    fn summary(&self) -> &Summary {
        &self.encoder.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.encoder.summary
    }

    fn stored_name(&self, name: &str) -> Option<String> {
        (self.stored)(name)
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { hidden_size: hidden, labels, pad_token_id, .. } = self.encoder.summary;
        let [dense, out] = self.layers;
        Ok(Box::new(PooledNetwork {
            stack: Stack::take(&self.encoder, self.prefix, tensors, device)?,
            dense: Linear::take_head(tensors, dense, [hidden, hidden], true)?,
            out: Linear::take_head(tensors, out, [labels, hidden], true)?,
            between: self.between,
            pad: pad_token_id.filter(|_| self.counts_after_pad),
        }))
    }
}

struct PooledNetwork {
    stack: Stack,
    dense: Linear,
    out: Linear,
    between: fn(Tensor<2>) -> Tensor<2>,
    /// The pad id, where positions begin after it.
    pad: Option<u32>,
}

impl PooledNetwork {
    /// The rows of the position embedding, one for each token.
    fn positions(&self, batch: &Batch<'_>) -> Vec<u32> {
        let Some(pad) = self.pad else {
            return batch.positions().into_iter().map(|position| position as u32).collect();
        };
        // Positions count only the tokens that are not the pad id. A pad token's position is the pad id itself.
        let (ids, mut positions) = (batch.ids(), Vec::with_capacity(batch.tokens()));
        for span in batch.spans() {
            let mut counted = 0;
            positions.extend(ids[span].iter().map(|&id| {
                if id == pad {
                    return pad;
                }
                counted += 1;
                pad + counted
            }));
        }
        positions
    }
}

impl Network for PooledNetwork {
    fn hidden(&self, batch: &Batch<'_>, _state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        self.stack.forward(batch, &self.positions(batch), wanted)
    }

    /// The classifier on the state of the first token.
    fn outputs(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<2> {
        self.out.forward((self.between)(self.dense.forward(hidden)))
    }
}

/// The embeddings and layers of BERT and its kin.
#[derive(Debug)]
pub(crate) struct Stack {
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: LayerNorm,
    projection: Option<Linear>,
    /// The stored layers, and the order in which they run.
    layers: Vec<Layer>,
    order: Vec<usize>,
    relative: Option<RelativeBias>,
    heads: usize,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    after: AfterAttention,
}

impl Stack {
    /// Takes the tensors whose names begin with `prefix`.
    pub fn take(config: &Encoder, prefix: &str, tensors: &mut Tensors, device: &Device) -> Result<Self, ModelError> {
        let Summary { vocab_size, hidden_size: hidden, .. } = config.summary;
        let width = config.embedding_size;
        let embeddings = |part: &str| format!("{prefix}.embeddings.{part}");
        let words = Embedding::take(tensors, &embeddings("word_embeddings"), [vocab_size, width])?;
        let positions = Embedding::take_table(
            tensors,
            &embeddings("position_embeddings"),
            [config.max_position_embeddings, width],
        )?;
        let types = match config.type_vocab_size {
            0 => None,
            kinds => Some(Embedding::take_table(tensors, &embeddings("token_type_embeddings"), [kinds, width])?),
        };
        let norm = LayerNorm::take(tensors, &embeddings("LayerNorm"), width, config.layer_norm_eps, true)?;
        let projection = match config.has_projection {
            true => Some(Linear::take(tensors, &format!("{prefix}.embeddings_project"), [hidden, width], true)?),
            false => None,
        };
        let relative = match config.has_relative_bias {
            true => {
                let name = format!("{prefix}.encoder.relative_attention_bias");
                Some(RelativeBias::take(tensors, &name, config.heads)?)
            }
            false => None,
        };
        let stored = config.order.iter().max().map_or(0, |last| last + 1);
        let built: Result<Vec<Layer>, ModelError> = (0..stored)
            .map(|layer| {
                let at = format!("{prefix}.encoder.layer.{layer}");
                let square = [hidden, hidden];
                Ok(Layer {
                    query: Linear::take(tensors, &format!("{at}.attention.self.query"), square, true)?,
                    key: Linear::take(tensors, &format!("{at}.attention.self.key"), square, true)?,
                    value: Linear::take_values(tensors, &format!("{at}.attention.self.value"), square, true)?,
                    after: AfterAttention::take(
                        tensors,
                        &at,
                        &config.summary,
                        config.layer_norm_eps,
                        config.activation,
                    )?,
                })
            })
            .collect();
        Ok(Self {
            words,
            positions,
            types,
            norm,
            projection,
            layers: built?,
            order: config.order.clone(),
            relative,
            heads: config.heads,
            device: device.clone(),
        })
    }

    /// The hidden states of the wanted tokens. `positions` are rows of the position embedding, `[tokens]`.
    pub fn forward(&self, batch: &Batch<'_>, positions: &[u32], wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let words = self.words.of(&batch.ids());
        let typed = match &self.types {
            Some(types) => words + types.of(&batch.types()),
            None => words,
        };
        let mut x = self.norm.forward(typed + self.positions.of(positions));
        if let Some(projection) = &self.projection {
            x = projection.forward(x);
        }
        let heads = Heads {
            queries: self.heads,
            keys: self.heads,
            scale: ((x.dims()[1] / self.heads) as f64).powf(-0.5),
            softcap: None,
            sight: Sight::Around(None),
        };
        let spans: Vec<_> = batch.spans().collect();
        let longest = spans.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        let relative = self.relative.as_ref().map(|relative| (relative, relative.of(longest)));
        let mut tapped = None;
        for (&at, done) in self.order.iter().zip(1..) {
            let layer = &self.layers[at];
            let queries = if done == self.order.len() { &last } else { &all };
            let (k, v) = (layer.key.forward(x.clone()), layer.value.forward(x.clone()));
            let whole = x.clone();
            x = queries.select(x);
            let mixed = match &relative {
                None => attention(layer.query.forward(x.clone()), k, v, &queries.plan, heads),
                // Distances are between all tokens of a text.
                Some((relative, bias)) => {
                    queries.select(relative.attend([layer.query.forward(whole), k, v], bias, &spans))
                }
            };
            x = layer.after.forward(x, mixed);
            if wanted.tap == Some(done) {
                tapped = Some(last.select(x.clone()));
            }
        }
        Hidden { last: x, tapped, state: None }
    }
}

/// What follows the attention in a layer of BERT, RoBERTa and DeBERTa: every result is added to the residual stream,
/// then the sum is normed.
#[derive(Debug)]
pub(crate) struct AfterAttention {
    attended: Linear,
    attended_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    activation: Activation,
}

impl AfterAttention {
    /// Takes the tensors of the layer whose names begin with `at`.
    pub fn take(
        tensors: &mut Tensors,
        at: &str,
        summary: &Summary,
        epsilon: f64,
        activation: Activation,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (summary.hidden_size, summary.intermediate_size);
        let norm = |tensors: &mut Tensors, name: &str| {
            LayerNorm::take(tensors, &format!("{at}.{name}.LayerNorm"), hidden, epsilon, true)
        };
        Ok(Self {
            attended: Linear::take(tensors, &format!("{at}.attention.output.dense"), [hidden, hidden], true)?,
            attended_norm: norm(tensors, "attention.output")?,
            intermediate: Linear::take(tensors, &format!("{at}.intermediate.dense"), [inner, hidden], true)?,
            output: Linear::take(tensors, &format!("{at}.output.dense"), [hidden, inner], true)?,
            output_norm: norm(tensors, "output")?,
            activation,
        })
    }

    /// `x` is the layer's input and `mixed` the attention's result, both `[tokens, hidden]`; the output is the same.
    pub fn forward(&self, x: Tensor<2>, mixed: Tensor<2>) -> Tensor<2> {
        let x = self.attended_norm.add(x, self.attended.forward(mixed)).1;
        let fed = self.output.forward(self.activation.of(self.intermediate.forward(x.clone())));
        self.output_norm.add(x, fed).1
    }
}
