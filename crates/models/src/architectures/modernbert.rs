//! ModernBERT (Warner et al., 2024, arXiv:2412.13663): pre-norm layers without biases, rotary
//! positions, a gated feed-forward layer, and local attention in all layers but every n-th.
//!
//! Matches `transformers/models/modernbert/modeling_modernbert.py`.

use burn::tensor::{Device, Tensor, TensorData};
use rewardscope_kernels::{Activation, Heads, Sight, Turns, attention, project, rotate};
use serde::Deserialize;
use serde_json::Value;

use crate::batch::Queries;
use crate::config::{ConfigJson, Labels, id};
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::rope::{Rope, RopeJson};
use crate::{
    Architecture, Batch, Description, Entry, Head, Hidden, ModelError, Network, State, Summary, Tensors, Wanted,
    json_only,
};

/// What absent keys mean: `configuration_modernbert.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 50368, "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22,
    "num_attention_heads": 12, "hidden_activation": "gelu", "max_position_embeddings": 8192,
    "norm_eps": 1e-5, "norm_bias": false, "pad_token_id": 50283, "attention_bias": false,
    "local_attention": 128, "mlp_bias": false, "classifier_pooling": "cls",
    "classifier_bias": false, "classifier_activation": "gelu", "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0, "local_rope_theta": 10000.0
}"#;

#[derive(Deserialize)]
struct Keys {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    original_max_position_embeddings: Option<usize>,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    classifier_bias: bool,
    hidden_activation: String,
    classifier_activation: String,
    classifier_pooling: String,
    global_attn_every_n_layers: usize,
    layer_types: Option<Vec<String>>,
    local_attention: usize,
    /// Half of `local_attention`; transformers 5 reads this key in its place.
    sliding_window: Option<usize>,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    pad_token_id: Option<i64>,
    #[serde(flatten)]
    labels: Labels,
}

/// Which hidden states the classifier reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    /// The first token's.
    First,
    /// The mean over all tokens.
    Mean,
}

struct ModernBert {
    summary: Summary,
    heads: usize,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    classifier_bias: bool,
    activation: Activation,
    classifier_activation: Activation,
    pooling: Pooling,
    /// Whether each layer has a window.
    local: Vec<bool>,
    /// How many tokens to either side a token sees in a layer with a window.
    reach: usize,
    global_rope: Rope,
    local_rope: Rope,
}

impl Keys {
    /// Which layers have a window.
    fn local_layers(&self, file: &str) -> Result<Vec<bool>, ModelError> {
        let layers = self.num_hidden_layers;
        let Some(types) = &self.layer_types else {
            let every = self.global_attn_every_n_layers.max(1);
            return Ok((0..layers).map(|layer| layer % every != 0).collect());
        };
        if let Some(other) = types.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            let found = format!("a layer of type {other:?}");
            return Err(ModelError::Unsupported { file: file.to_owned(), found });
        }
        if types.len() != layers {
            return Err(ModelError::Config {
                file: file.to_owned(),
                expected: "layer_types for every layer".to_owned(),
                found: format!("{} for {layers}", types.len()),
            });
        }
        Ok(types.iter().map(|kind| kind == KINDS[0]).collect())
    }
}

/// transformers' names of layers with a window, and without.
const KINDS: [&str; 2] = ["sliding_attention", "full_attention"];

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: Keys = ConfigJson::read(file, json, DEFAULTS)?.keys()?;
    let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
    let refuse = |expected: &str, found: String| {
        Err(ModelError::Config { file: file.to_owned(), expected: expected.to_owned(), found })
    };
    let activation =
        |name: &str| Activation::named(name).ok_or_else(|| unsupported(format!("the activation {name:?}")));
    let pooling = match config.classifier_pooling.as_str() {
        "cls" => Pooling::First,
        "mean" => Pooling::Mean,
        other => return Err(unsupported(format!("classifier_pooling {other:?}"))),
    };
    let summary = Summary {
        architecture: entry.name,
        head: Head::Pooled,
        labels: config.labels.of(Head::Pooled),
        label: 0,
        context_tokens: config.max_position_embeddings,
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.num_hidden_layers,
        pad_token_id: id(config.pad_token_id),
        is_causal: false,
        long_after: None,
        token_types: None,
    };
    summary.check(file, &[config.num_attention_heads])?;
    let head_dim = config.hidden_size / config.num_attention_heads;
    if head_dim * config.num_attention_heads != config.hidden_size || !head_dim.is_multiple_of(2) {
        return refuse(
            "a hidden size of equal, even heads",
            format!("{} over {}", config.hidden_size, config.num_attention_heads),
        );
    }
    let local = config.local_layers(file)?;
    if config.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null()) {
        return Err(unsupported("a ModernBERT with rope_scaling".to_owned()));
    }
    let named = |all: &Value| KINDS.iter().any(|kind| all.get(kind).is_some());
    if let Some(all) = config.rope_parameters.as_ref().filter(|all| !all.is_null() && !named(all)) {
        return refuse("rope_parameters by kind of layer", all.to_string().chars().take(60).collect());
    }
    let rope = |kind: &str, theta: Option<f64>| {
        let parameters = config.rope_parameters.as_ref().and_then(|all| all.get(kind));
        let (most_tokens, trained_tokens) = (config.max_position_embeddings, config.original_max_position_embeddings);
        RopeJson { file, parameters, theta, turned: head_dim, most_tokens, trained_tokens }.rope()
    };
    Ok(Box::new(ModernBert {
        summary,
        heads: config.num_attention_heads,
        norm_eps: config.norm_eps,
        norm_bias: config.norm_bias,
        attention_bias: config.attention_bias,
        mlp_bias: config.mlp_bias,
        classifier_bias: config.classifier_bias,
        activation: activation(&config.hidden_activation)?,
        classifier_activation: activation(&config.classifier_activation)?,
        pooling,
        local,
        reach: config.sliding_window.unwrap_or(config.local_attention / 2),
        global_rope: rope("full_attention", config.global_rope_theta)?,
        local_rope: rope("sliding_attention", config.local_rope_theta)?,
    }))
}

impl Architecture for ModernBert {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { vocab_size, hidden_size: hidden, intermediate_size: inner, layers, labels, .. } = self.summary;
        let norm =
            |tensors: &mut Tensors, name: &str| LayerNorm::take(tensors, name, hidden, self.norm_eps, self.norm_bias);
        let embeddings = Embedding::take(tensors, "model.embeddings.tok_embeddings", [vocab_size, hidden])?;
        let embedding_norm = norm(tensors, "model.embeddings.norm")?;
        let built: Result<Vec<Layer>, ModelError> = (0..layers)
            .map(|layer| {
                let at = |part: &str| format!("model.layers.{layer}.{part}");
                Ok(Layer {
                    // The first layer has none: its input is normed with the embeddings.
                    attn_norm: (layer > 0).then(|| norm(tensors, &at("attn_norm"))).transpose()?,
                    qkv: Linear::take(tensors, &at("attn.Wqkv"), [3 * hidden, hidden], self.attention_bias)?,
                    attended: Linear::take(tensors, &at("attn.Wo"), [hidden, hidden], self.attention_bias)?,
                    mlp_norm: norm(tensors, &at("mlp_norm"))?,
                    mlp_in: Linear::take(tensors, &at("mlp.Wi"), [2 * inner, hidden], self.mlp_bias)?,
                    mlp_out: Linear::take(tensors, &at("mlp.Wo"), [hidden, inner], self.mlp_bias)?,
                    local: self.local[layer],
                })
            })
            .collect();
        Ok(Box::new(ModernBertNetwork {
            embeddings,
            embedding_norm,
            layers: built?,
            final_norm: norm(tensors, "model.final_norm")?,
            head_dense: Linear::take_head(tensors, "head.dense", [hidden, hidden], self.classifier_bias)?,
            head_norm: norm(tensors, "head.norm")?,
            classifier: Linear::take_head(tensors, "classifier", [labels, hidden], true)?,
            heads: self.heads,
            activation: self.activation,
            classifier_activation: self.classifier_activation,
            pooling: self.pooling,
            reach: self.reach,
            global_rope: self.global_rope.clone(),
            local_rope: self.local_rope.clone(),
            device: device.clone(),
        }))
    }
}

#[derive(Debug)]
struct Layer {
    attn_norm: Option<LayerNorm>,
    qkv: Linear,
    attended: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    local: bool,
}

struct ModernBertNetwork {
    embeddings: Embedding,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    head_dense: Linear,
    head_norm: LayerNorm,
    classifier: Linear,
    heads: usize,
    activation: Activation,
    classifier_activation: Activation,
    pooling: Pooling,
    reach: usize,
    global_rope: Rope,
    local_rope: Rope,
    device: Device,
}

impl ModernBertNetwork {
    /// The attention's result: `[tokens, hidden]` to `[queries, hidden]`. `turns` are the rotations of every token, and
    /// of the queries.
    fn attend(&self, layer: &Layer, x: Tensor<2>, turns: [&Turns; 2], queries: &Queries) -> Tensor<2> {
        let [_, hidden] = x.dims();
        let fused = layer.qkv.forward(x);
        let part = |i: usize| fused.clone().narrow(1, i * hidden, hidden);
        let heads = Heads {
            queries: self.heads,
            keys: self.heads,
            scale: ((hidden / self.heads) as f64).powf(-0.5),
            softcap: None,
            sight: Sight::Around(layer.local.then_some(self.reach)),
        };
        let q = rotate(queries.select(part(0)), turns[1], self.heads);
        let k = rotate(part(1), turns[0], self.heads);
        layer.attended.forward(attention(q, k, part(2), &queries.plan, heads))
    }

    /// The gated feed-forward layer: `[tokens, hidden]` to the same.
    fn feed(&self, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        let both = layer.mlp_in.forward(x);
        let inner = both.dims()[1] / 2;
        let gated = self.activation.gate(both.clone().narrow(1, 0, inner), both.narrow(1, inner, inner));
        layer.mlp_out.forward(gated)
    }
}

impl Network for ModernBertNetwork {
    fn hidden(&self, batch: &Batch<'_>, _state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let (positions, lengths) = (batch.positions(), batch.lengths());
        let read = |of: &[usize]| -> Vec<usize> { wanted.tokens.iter().map(|&token| of[token]).collect() };
        let (read_positions, read_lengths) = (read(&positions), read(&lengths));
        let turns = |rope: &Rope| {
            [rope.turns(&positions, &lengths, &self.device), rope.turns(&read_positions, &read_lengths, &self.device)]
        };
        let (global, local) = (turns(&self.global_rope), turns(&self.local_rope));
        let mut x = self.embedding_norm.forward(self.embeddings.of(&batch.ids()));
        let mut tapped = None;
        for (layer, done) in self.layers.iter().zip(1..) {
            let [every, read] = if layer.local { &local } else { &global };
            let (queries, own) = if done == self.layers.len() { (&last, read) } else { (&all, every) };
            let input = match &layer.attn_norm {
                Some(norm) => norm.forward(x.clone()),
                None => x.clone(),
            };
            let attended = self.attend(layer, input, [every, own], queries);
            let (sum, input) = layer.mlp_norm.add(queries.select(x), attended);
            x = sum + self.feed(layer, input);
            if wanted.tap == Some(done) {
                tapped = Some(self.final_norm.forward(last.select(x.clone())));
            }
        }
        let last = self.final_norm.forward(x);
        Hidden { last, tapped, state: None }
    }

    fn pooled_tokens(&self, tokens: usize) -> usize {
        match self.pooling {
            Pooling::First => tokens.min(1),
            Pooling::Mean => tokens,
        }
    }

    fn outputs(&self, hidden: Tensor<2>, counts: &[usize]) -> Tensor<2> {
        let pooled: Tensor<2> = match self.pooling {
            Pooling::First => hidden,
            Pooling::Mean => {
                let tokens: usize = counts.iter().sum();
                let mut shares = vec![0.0f32; counts.len() * tokens];
                let mut first = 0;
                for (row, &count) in counts.iter().enumerate() {
                    shares[row * tokens + first..][..count].fill(1.0 / count as f32);
                    first += count;
                }
                let shares = Tensor::<2>::from_data(TensorData::new(shares, [counts.len(), tokens]), &self.device);
                project(shares, hidden.transpose(), None)
            }
        };
        let read = self.head_norm.forward(self.classifier_activation.of(self.head_dense.forward(pooled)));
        self.classifier.forward(read)
    }
}
