//! GPT-NeoX (Black et al., 2022, arXiv:2204.06745; Pythia, arXiv:2304.01373): layer norms, one projection to queries,
//! keys and values, a rotary embedding over a part of each head, and attention and feed-forward layer in parallel.
//!
//! Matches `transformers/models/gpt_neox/modeling_gpt_neox.py`.

use burn::tensor::{Device, Int, Tensor};
use rewardscope_kernels::{Activation, Heads, Sight, Turns, attention, rotate};
use serde::Deserialize;
use serde_json::Value;

use crate::batch::{Keys as LayerKeys, Queries};
use crate::config::{ConfigJson, Labels, causal, id};
use crate::head::{HeadPlan, OutputHead};
use crate::layers::{Embedding, LayerNorm, Linear, log_probability};
use crate::rope::{Rope, RopeJson, either};
use crate::{
    Architecture, Batch, Description, Entry, Head, Hidden, ModelError, Network, State, Summary, Tensors, Wanted,
    classifier, json_only,
};

/// transformers' name of its sequence classifier.
const CLASSIFIER: &str = "GPTNeoXForSequenceClassification";

/// What absent keys mean: `configuration_gpt_neox.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
    "intermediate_size": 24576, "hidden_act": "gelu", "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-5, "pad_token_id": null, "tie_word_embeddings": false,
    "use_parallel_residual": true, "attention_bias": true, "rotary_pct": 0.25,
    "rotary_emb_base": 10000.0
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
    layer_norm_eps: f64,
    hidden_act: String,
    rotary_pct: Option<f64>,
    rotary_emb_base: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    use_parallel_residual: bool,
    attention_bias: bool,
    tie_word_embeddings: bool,
    pad_token_id: Option<i64>,
    /// Null means false, as in transformers.
    #[serde(default = "causal")]
    is_causal: Option<bool>,
    #[serde(flatten)]
    labels: Labels,
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
    /// A reward model's own head; `None` for one linear layer named `score`.
    head: Option<HeadPlan>,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let config: Keys = given.keys()?;
    let refuse = |expected: &str, found: String| {
        Err(ModelError::Config { file: file.to_owned(), expected: expected.to_owned(), found })
    };
    let activation = Activation::named(&config.hidden_act).ok_or_else(|| ModelError::Unsupported {
        file: file.to_owned(),
        found: format!("the activation {:?}", config.hidden_act),
    })?;
    let mut summary = Summary {
        architecture: entry.name,
        head: entry.head,
        labels: config.labels.of(entry.head),
        label: 0,
        context_tokens: config.max_position_embeddings,
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.num_hidden_layers,
        pad_token_id: id(config.pad_token_id),
        is_causal: config.is_causal.unwrap_or(false),
        long_after: None,
        token_types: None,
    };
    summary.check(file, &[config.num_attention_heads])?;
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        return refuse(
            "a hidden size of equal heads",
            format!("{} over {}", config.hidden_size, config.num_attention_heads),
        );
    }
    let head_dim = config.hidden_size / config.num_attention_heads;
    let parameters = either(config.rope_scaling.as_ref(), config.rope_parameters.as_ref());
    let part = parameters.and_then(|p| p.get("partial_rotary_factor")?.as_f64()).or(config.rotary_pct).unwrap_or(0.25);
    let turned = (head_dim as f64 * part) as usize;
    if turned == 0 || turned > head_dim || !turned.is_multiple_of(2) {
        return refuse("a rotary_pct that turns an even part of each head", format!("{part} of {head_dim}"));
    }
    // The rotated part was read above. RopeJson would refuse the key beside some types of rope.
    let parameters = parameters.cloned().map(|mut parameters| {
        parameters.as_object_mut().map(|all| all.shift_remove("partial_rotary_factor"));
        parameters
    });
    let rope = RopeJson {
        file,
        parameters: parameters.as_ref(),
        theta: config.rotary_emb_base,
        turned,
        most_tokens: config.max_position_embeddings,
        trained_tokens: config.original_max_position_embeddings,
    };
    let rope = rope.rope()?;
    summary.long_after = rope.long_after();
    Ok(Box::new(GptNeoX {
        rope,
        summary,
        config: given.given,
        heads: config.num_attention_heads,
        layer_norm_eps: config.layer_norm_eps,
        activation,
        use_parallel_residual: config.use_parallel_residual,
        attention_bias: config.attention_bias,
        tie_word_embeddings: config.tie_word_embeddings,
        head: None,
    }))
}

impl Architecture for GptNeoX {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    fn read_by(&mut self, layers: usize, head: HeadPlan) -> Result<(), ModelError> {
        self.summary.head = Head::Score;
        (self.summary.labels, self.summary.label) = (head.outputs(), 0);
        self.summary.layers = layers.min(self.summary.layers);
        self.head = Some(head);
        Ok(())
    }

    fn tied_head(&self) -> Option<&'static str> {
        (self.summary.head == Head::LanguageModel && self.tie_word_embeddings).then_some("embed_out.weight")
    }

    fn untie(&mut self) {
        self.tie_word_embeddings = false;
    }

    fn classifier_config(&self) -> Value {
        classifier(&self.config, CLASSIFIER, &self.summary)
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { vocab_size, hidden_size: hidden, intermediate_size: inner, layers, .. } = self.summary;
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
            head: OutputHead::take(tensors, &self.summary, self.head.as_ref(), "embed_out", self.tie_word_embeddings)?,
        };
        Ok(Box::new(GptNeoXNetwork {
            weights,
            heads: self.heads,
            rope: self.rope.clone(),
            activation: self.activation,
            use_parallel_residual: self.use_parallel_residual,
            is_causal: self.summary.is_causal,
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
    head: OutputHead,
}

struct GptNeoXNetwork {
    weights: Weights,
    heads: usize,
    rope: Rope,
    activation: Activation,
    use_parallel_residual: bool,
    is_causal: bool,
    device: Device,
}

impl GptNeoXNetwork {
    /// The attention's result: `[tokens, hidden]` to `[queries, hidden]`. `turns` are the rotations of every token, and
    /// of the queries.
    fn attend(
        &self,
        at: usize,
        x: Tensor<2>,
        turns: [&Turns; 2],
        queries: &Queries,
        keys: &mut LayerKeys<'_>,
    ) -> Tensor<2> {
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
            sight: if self.is_causal { Sight::Back(None) } else { Sight::Around(None) },
        };
        let q = rotate(queries.select(part(0)), turns[1], self.heads);
        let [k, v] = keys.of(at, rotate(part(1), turns[0], self.heads), part(2));
        layer.dense.forward(attention(q, k, v, &queries.plan, heads))
    }

    /// `[tokens, hidden]` to `[tokens, outputs]` or `[tokens, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.weights.head.forward(hidden, &self.weights.embed_in)
    }

    /// The feed-forward layer: `[tokens, hidden]` to the same.
    fn feed(&self, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        layer.dense_4h_to_h.forward(self.activation.of(layer.dense_h_to_4h.forward(x)))
    }
}

impl Network for GptNeoXNetwork {
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let (positions, lengths) = (batch.positions(), batch.lengths());
        let read = |of: &[usize]| -> Vec<usize> { wanted.tokens.iter().map(|&token| of[token]).collect() };
        let turns = self.rope.turns(&positions, &lengths, &self.device);
        let last_turns = self.rope.turns(&read(&positions), &read(&lengths), &self.device);
        let mut keys = LayerKeys::new(state, wanted.keeps_state);
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
        Hidden { last, tapped, state: keys.into_state() }
    }

    fn outputs(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<2> {
        self.logits(hidden)
    }

    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        log_probability(hidden, targets, |rows| self.logits(rows))
    }
}
