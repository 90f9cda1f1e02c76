//! GPT-NeoX (Black et al., 2022, arXiv:2204.06745; Pythia, arXiv:2304.01373): layer norms, one
//! projection to queries, keys and values, a rotary embedding over a part of each head, attention
//! and feed-forward layer side by side.
//!
//! Matches `transformers/models/gpt_neox/modeling_gpt_neox.py`.

use burn::tensor::{Device, Int, Tensor};
use rewardscope_kernels::{Activation, Heads, Sight, Turns, attention, rotate};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::batch::{Keys, Queries};
use crate::layers::{Embedding, LayerNorm, Linear, log_probability};
use crate::rope::Rope;
use crate::{
    Architecture, Batch, Description, Entry, Head, Hidden, ModelError, Network, State, Summary, Tensors, Wanted,
    classifier, from_json, json_only, labels,
};

const CLASSIFIER: &str = "GPTNeoXForSequenceClassification";

#[derive(Deserialize)]
struct ConfigJson {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    rotary_pct: Option<f64>,
    rotary_emb_base: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    use_parallel_residual: Option<bool>,
    attention_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    pad_token_id: Option<u32>,
    id2label: Option<Map<String, Value>>,
    num_labels: Option<usize>,
}

struct GptNeoX {
    summary: Summary,
    config: Value,
    heads: usize,
    layer_norm_eps: f64,
    activation: Activation,
    rope: Rope,
    use_parallel_residual: bool,
    attention_bias: bool,
    tie_word_embeddings: bool,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: ConfigJson = from_json(file, json)?;
    let refuse = |expected: &str, found: String| {
        Err(ModelError::Config { file: file.to_owned(), expected: expected.to_owned(), found })
    };
    let activation = Activation::named(&config.hidden_act).ok_or_else(|| ModelError::Unsupported {
        file: file.to_owned(),
        found: format!("the activation {:?}", config.hidden_act),
    })?;
    let summary = Summary {
        architecture: entry.name,
        head: entry.head,
        labels: labels(entry.head, config.num_labels, config.id2label.as_ref()),
        label: 0,
        context_tokens: config.max_position_embeddings,
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.num_hidden_layers,
        pad_token_id: config.pad_token_id,
    };
    summary.check(file, &[config.num_attention_heads])?;
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        return refuse(
            "a hidden size of equal heads",
            format!("{} over {}", config.hidden_size, config.num_attention_heads),
        );
    }
    let head_dim = config.hidden_size / config.num_attention_heads;
    let parameters = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref());
    let part = parameters.and_then(|p| p.get("partial_rotary_factor")?.as_f64()).or(config.rotary_pct).unwrap_or(0.25);
    let turned = (head_dim as f64 * part) as usize;
    if turned == 0 || turned > head_dim || !turned.is_multiple_of(2) {
        return refuse("a rotary_pct that turns an even part of each head", format!("{part} of {head_dim}"));
    }
    Ok(Box::new(GptNeoX {
        rope: Rope::from_json(file, parameters, config.rotary_emb_base, turned)?,
        summary,
        config: from_json(file, json)?,
        heads: config.num_attention_heads,
        layer_norm_eps: config.layer_norm_eps,
        activation,
        use_parallel_residual: config.use_parallel_residual.unwrap_or(true),
        attention_bias: config.attention_bias.unwrap_or(true),
        tie_word_embeddings: config.tie_word_embeddings.unwrap_or_default(),
    }))
}

impl Architecture for GptNeoX {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn choose_label(&mut self, label: usize) {
        self.summary.label = label;
    }

    fn classify(&mut self, layers: usize) -> Result<(), ModelError> {
        self.summary.head = Head::Score;
        (self.summary.labels, self.summary.label) = (1, 0);
        self.summary.layers = layers.min(self.summary.layers);
        Ok(())
    }

    fn classifier_config(&self) -> Value {
        classifier(&self.config, CLASSIFIER, &self.summary)
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { vocab_size, hidden_size: hidden, intermediate_size: inner, layers, labels, .. } = self.summary;
        let embed_in = Embedding::take(tensors, "gpt_neox.embed_in", [vocab_size, hidden])?;
        let built: Result<Vec<Layer>, ModelError> = (0..layers)
            .map(|layer| {
                let at = |part: &str| format!("gpt_neox.layers.{layer}.{part}");
                let bias = self.attention_bias;
                let eps = self.layer_norm_eps;
                Ok(Layer {
                    input_layernorm: LayerNorm::take(tensors, &at("input_layernorm"), hidden, eps, true)?,
                    post_attention_layernorm: LayerNorm::take(
                        tensors,
                        &at("post_attention_layernorm"),
                        hidden,
                        eps,
                        true,
                    )?,
                    query_key_value: Linear::take(
                        tensors,
                        &at("attention.query_key_value"),
                        [3 * hidden, hidden],
                        bias,
                    )?,
                    dense: Linear::take(tensors, &at("attention.dense"), [hidden, hidden], bias)?,
                    dense_h_to_4h: Linear::take(tensors, &at("mlp.dense_h_to_4h"), [inner, hidden], true)?,
                    dense_4h_to_h: Linear::take(tensors, &at("mlp.dense_4h_to_h"), [hidden, inner], true)?,
                })
            })
            .collect();
        let weights = Weights {
            embed_in,
            layers: built?,
            final_layer_norm: LayerNorm::take(tensors, "gpt_neox.final_layer_norm", hidden, self.layer_norm_eps, true)?,
            head: match self.summary.head {
                Head::LanguageModel if self.tie_word_embeddings => None,
                Head::LanguageModel => Some(Linear::take(tensors, "embed_out", [vocab_size, hidden], false)?),
                Head::Score | Head::Pooled => Some(Linear::take_head(tensors, "score", [labels, hidden], false)?),
            },
        };
        Ok(Box::new(GptNeoXNetwork {
            weights,
            heads: self.heads,
            rope: self.rope.clone(),
            activation: self.activation,
            use_parallel_residual: self.use_parallel_residual,
            label: self.summary.label,
            device: device.clone(),
        }))
    }
}

#[derive(Debug)]
struct Layer {
    input_layernorm: LayerNorm,
    post_attention_layernorm: LayerNorm,
    query_key_value: Linear,
    dense: Linear,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
}

#[derive(Debug)]
struct Weights {
    embed_in: Embedding,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    /// `[labels, hidden]` for a score, `[vocab, hidden]` for a language model; `None` where the latter
    /// is the embedding.
    head: Option<Linear>,
}

struct GptNeoXNetwork {
    weights: Weights,
    heads: usize,
    rope: Rope,
    activation: Activation,
    use_parallel_residual: bool,
    label: usize,
    device: Device,
}

impl GptNeoXNetwork {
    /// `[tokens, hidden]` to `[queries, hidden]`.
    fn attend(&self, at: usize, x: Tensor<2>, turns: [&Turns; 2], queries: &Queries, keys: &mut Keys<'_>) -> Tensor<2> {
        let layer = &self.weights.layers[at];
        let [tokens, hidden] = x.dims();
        let head_dim = hidden / self.heads;
        // Each head's query, key and value stand side by side.
        let fused: Tensor<3> = layer.query_key_value.forward(x).reshape([tokens, self.heads, 3 * head_dim]);
        let part = |i: usize| -> Tensor<2> {
            fused.clone().narrow(2, i * head_dim, head_dim).reshape([tokens, self.heads * head_dim])
        };
        let heads = Heads {
            queries: self.heads,
            keys: self.heads,
            scale: (head_dim as f64).powf(-0.5),
            softcap: None,
            sight: Sight::Back(None),
        };
        let q = rotate(queries.select(part(0)), turns[1], self.heads);
        let [k, v] = keys.of(at, rotate(part(1), turns[0], self.heads), part(2));
        layer.dense.forward(attention(q, k, v, &queries.plan, heads))
    }

    /// `[tokens, hidden]` to `[tokens, labels]` or `[tokens, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.weights.head {
            Some(head) => head.forward(hidden),
            None => self.weights.embed_in.products(hidden),
        }
    }

    fn feed(&self, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        layer.dense_4h_to_h.forward(self.activation.of(layer.dense_h_to_4h.forward(x)))
    }
}

impl Network for GptNeoXNetwork {
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let positions = batch.positions();
        let read: Vec<usize> = wanted.tokens.iter().map(|&token| positions[token]).collect();
        let turns = self.rope.turns(&positions, &self.device);
        let last_turns = self.rope.turns(&read, &self.device);
        let mut keys = Keys::new(state, wanted.keep);
        let mut x = self.weights.embed_in.of(&batch.ids());
        let normed = |x: Tensor<2>| self.weights.final_layer_norm.forward(x);
        let mut tapped = None;
        let count = self.weights.layers.len();
        for (at, layer) in self.weights.layers.iter().enumerate() {
            let (queries, own) = if at + 1 == count { (&last, &last_turns) } else { (&all, &turns) };
            let attended = self.attend(at, layer.input_layernorm.forward(x.clone()), [&turns, own], queries, &mut keys);
            x = queries.select(x);
            x = if self.use_parallel_residual {
                let fed = self.feed(layer, layer.post_attention_layernorm.forward(x.clone()));
                x + attended + fed
            } else {
                let (x, input) = layer.post_attention_layernorm.add(x, attended);
                x + self.feed(layer, input)
            };
            if wanted.tap == Some(at + 1) {
                tapped = Some(normed(last.select(x.clone())));
            }
        }
        let last = normed(x);
        Hidden { last, tapped, state: keys.kept() }
    }

    fn score(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<1> {
        self.logits(hidden).narrow(1, self.label, 1).squeeze_dim(1)
    }

    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        log_probability(hidden, targets, |rows| self.logits(rows))
    }
}
