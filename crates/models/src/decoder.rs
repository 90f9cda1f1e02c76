//! The decoder that Llama's successors share: pre-norm layers of rotary attention and a gated
//! feed-forward layer. Each of their files says which switches of it are set, and reads them from a
//! configuration; what the switches do is here.

use burn::tensor::{Device, Int, Tensor};
use rewardscope_kernels::{Activation, Heads, Sight, Turns, attention, rotate};
use rewardscope_weights::{Checkpoint, gguf};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::batch::{Keys, Queries};
use crate::layers::{Embedding, Linear, RmsNorm, log_probability};
use crate::rope::{Rope, Scaling};
use crate::{
    Architecture, Batch, Entry, Head, Hidden, ModelError, Network, RowOrder, State, Summary, Tensors, Wanted,
    classifier, from_json,
};

/// A decoder's configuration.
pub(crate) struct Decoder {
    pub summary: Summary,
    /// transformers' name of its sequence classifier.
    pub classifier: &'static str,
    /// As transformers reads it.
    pub config: Value,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub activation: Activation,
    /// The kinds of attention among the layers.
    pub kinds: Vec<LayerKind>,
    /// Each layer's, as an index into them.
    pub layer_kinds: Vec<usize>,
    /// Queries times keys are multiplied by this.
    pub query_scale: f64,
    /// Attention scores become `cap tanh(score / cap)`.
    pub attention_softcap: Option<f64>,
    /// So do a language model's logits.
    pub logit_softcap: Option<f64>,
    /// Projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Queries and keys are normed by head before they turn.
    pub qk_norm: bool,
    /// Norms' weights are stored as what is to be added to one.
    pub norm_plus_one: bool,
    /// The attention's and the feed-forward layer's results are normed before they are added.
    pub norm_after: bool,
    /// Embeddings are multiplied by this.
    pub embedding_scale: Option<f64>,
    /// llama.cpp's names of tensors, where the checkpoint is a GGUF.
    pub gguf: bool,
    /// llama.cpp orders the rows of rotary projections by pairs.
    pub rotary_pairs: bool,
}

/// How a layer attends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerKind {
    /// The last tokens that are seen, the own included; all where there is none.
    pub window: Option<usize>,
    pub rope: Rope,
}

/// A decoder's `config.json`, as transformers 4 (`rope_theta`, `rope_scaling`) and 5
/// (`rope_parameters`, `layer_types`) write it.
#[derive(Deserialize)]
pub(crate) struct DecoderJson {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub rms_norm_eps: f64,
    pub max_position_embeddings: usize,
    pub hidden_act: Option<String>,
    pub hidden_activation: Option<String>,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    pub tie_word_embeddings: Option<bool>,
    pub pad_token_id: Option<u32>,
    pub rope_theta: Option<f64>,
    pub rope_local_base_freq: Option<f64>,
    pub rope_scaling: Option<Value>,
    pub rope_parameters: Option<Value>,
    pub sliding_window: Option<usize>,
    pub sliding_window_pattern: Option<usize>,
    #[serde(rename = "_sliding_window_pattern")]
    pub private_sliding_window_pattern: Option<usize>,
    #[serde(default)]
    pub use_sliding_window: bool,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub query_pre_attn_scalar: Option<f64>,
    pub attn_logit_softcapping: Option<f64>,
    pub final_logit_softcapping: Option<f64>,
    #[serde(default)]
    pub use_bidirectional_attention: Option<bool>,
    pub id2label: Option<Map<String, Value>>,
    pub num_labels: Option<usize>,
}

/// What transformers calls a layer with a window.
const SLIDING: &str = "sliding_attention";

/// What transformers calls a layer without.
const FULL: &str = "full_attention";

impl DecoderJson {
    pub fn read(file: &str, json: &str) -> Result<(Self, Value), ModelError> {
        Ok((from_json(file, json)?, from_json(file, json)?))
    }

    /// The head's width by default.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Which layers have a window: as `layer_types` says, or as `sliding` does where it is not
    /// there.
    pub fn sliding(&self, file: &str, sliding: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
        let Some(types) = &self.layer_types else {
            return Ok((0..self.num_hidden_layers.min(1 << 10)).map(sliding).collect());
        };
        if types.len() != self.num_hidden_layers {
            return Err(ModelError::Config {
                file: file.to_owned(),
                expected: format!("layer_types for {} layers", self.num_hidden_layers),
                found: types.len().to_string(),
            });
        }
        let of = |kind: &String| match kind.as_str() {
            SLIDING => Ok(true),
            FULL => Ok(false),
            other => {
                Err(ModelError::Unsupported { file: file.to_owned(), found: format!("a layer of type {other:?}") })
            }
        };
        types.iter().map(of).collect()
    }

    /// The rotary embedding of all layers, of those without a window where they differ.
    pub fn rope(&self, file: &str) -> Result<Rope, ModelError> {
        let parameters = self.rope_parameters.as_ref().map(|p| p.get(FULL).unwrap_or(p));
        Rope::from_json(file, parameters.or(self.rope_scaling.as_ref()), self.rope_theta, self.head_dim())
    }

    /// The rotary embedding of layers with a window, where they have their own.
    pub fn local_rope(&self, file: &str) -> Result<Rope, ModelError> {
        let parameters = self.rope_parameters.as_ref().and_then(|p| p.get(SLIDING));
        Rope::from_json(file, parameters, self.rope_local_base_freq, self.head_dim())
    }

    /// Llama's decoder in these sizes, for an architecture with those names.
    pub fn plain(
        &self,
        entry: &Entry,
        classifier: &'static str,
        file: &str,
        config: Value,
    ) -> Result<Decoder, ModelError> {
        let activation = self.hidden_activation.as_ref().or(self.hidden_act.as_ref());
        let activation = activation.map_or("", String::as_str);
        let activation = Activation::named(activation).ok_or_else(|| ModelError::Unsupported {
            file: file.to_owned(),
            found: format!("the activation {activation:?}"),
        })?;
        Ok(Decoder {
            summary: Summary {
                architecture: entry.name,
                head: entry.head,
                labels: crate::labels(entry.head, self.num_labels, self.id2label.as_ref()),
                label: 0,
                context_tokens: self.max_position_embeddings,
                vocab_size: self.vocab_size,
                hidden_size: self.hidden_size,
                intermediate_size: self.intermediate_size,
                layers: self.num_hidden_layers,
                pad_token_id: self.pad_token_id,
            },
            classifier,
            config,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim(),
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or_default(),
            activation,
            kinds: vec![LayerKind { window: None, rope: self.rope(file)? }],
            layer_kinds: vec![0; self.num_hidden_layers.min(1 << 10)],
            query_scale: (self.head_dim() as f64).powf(-0.5),
            attention_softcap: None,
            logit_softcap: None,
            qkv_bias: false,
            qk_norm: false,
            norm_plus_one: false,
            norm_after: false,
            embedding_scale: None,
            gguf: false,
            rotary_pairs: false,
        })
    }

    /// Refuses switches that Llama's implementation has, but no reward model is known to set.
    pub fn refuse_biases(&self, file: &str) -> Result<(), ModelError> {
        if self.attention_bias || self.mlp_bias {
            let found = "a decoder with attention_bias or mlp_bias".to_owned();
            return Err(ModelError::Unsupported { file: file.to_owned(), found });
        }
        Ok(())
    }

    /// Refuses Gemma's switch that no reward model is known to set.
    pub fn refuse_bidirectional(&self, file: &str) -> Result<(), ModelError> {
        if self.use_bidirectional_attention == Some(true) {
            let found = "a decoder with use_bidirectional_attention".to_owned();
            return Err(ModelError::Unsupported { file: file.to_owned(), found });
        }
        Ok(())
    }
}

impl Decoder {
    /// Llama's decoder in the sizes that a GGUF's metadata gives under its architecture's name.
    /// The caller sets the switches and `config`.
    pub fn from_gguf(
        entry: &Entry,
        classifier: &'static str,
        checkpoint: &Checkpoint,
        metadata: &gguf::Metadata,
    ) -> Result<Self, ModelError> {
        let file = metadata.file();
        let prefix = entry.name;
        let damaged = |e: rewardscope_weights::WeightsError| ModelError::Config {
            file: file.to_owned(),
            expected: format!("the metadata of a {prefix}"),
            found: e.to_string(),
        };
        let unsigned = |key: &str| metadata.unsigned(&format!("{prefix}.{key}")).map_err(damaged);
        let float = |key: &str| metadata.float(&format!("{prefix}.{key}")).map_err(damaged);
        let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
        let theta = if metadata.has(&format!("{prefix}.rope.freq_base")) { float("rope.freq_base")? } else { 10000.0 };
        let scaling = match metadata.text(&format!("{prefix}.rope.scaling.type")) {
            Ok("none") | Err(_) => Scaling::None,
            Ok("linear") => Scaling::Linear(float("rope.scaling.factor")?),
            Ok(other) => return Err(unsupported(format!("a GGUF {prefix} with rope scaling of type {other:?}"))),
        };
        if metadata.has(&format!("{prefix}.expert_count")) && unsigned("expert_count")? > 0 {
            return Err(unsupported(format!("a GGUF {prefix} with experts")));
        }
        // Tensors that change the result must not be passed over.
        let passed_over = |name: &str| name == "rope_freqs.weight" || name.ends_with(".bias");
        if let Some(tensor) = checkpoint.tensors().find(|tensor| passed_over(&tensor.name)) {
            return Err(unsupported(format!("a GGUF {prefix} with the tensor {}", tensor.name)));
        }
        let hidden_size = unsigned("embedding_length")?;
        let num_attention_heads = unsigned("attention.head_count")?;
        let layers = unsigned("block_count")?;
        let head_dim = unsigned("attention.key_length").or_else(|_| unsigned("rope.dimension_count"));
        let head_dim = head_dim.unwrap_or(hidden_size / num_attention_heads.max(1));
        Ok(Self {
            summary: Summary {
                architecture: entry.name,
                head: entry.head,
                labels: 1,
                label: 0,
                context_tokens: unsigned("context_length")?,
                vocab_size: match unsigned("vocab_size") {
                    Ok(size) => size,
                    Err(_) => metadata.texts("tokenizer.ggml.tokens").map_err(damaged)?.len(),
                },
                hidden_size,
                intermediate_size: unsigned("feed_forward_length")?,
                layers,
                pad_token_id: metadata
                    .unsigned("tokenizer.ggml.padding_token_id")
                    .ok()
                    .and_then(|id| u32::try_from(id).ok()),
            },
            classifier,
            config: Value::Null,
            num_attention_heads,
            num_key_value_heads: unsigned("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: float("attention.layer_norm_rms_epsilon")?,
            tie_word_embeddings: checkpoint.find("output.weight").is_none(),
            activation: Activation::Silu,
            kinds: vec![LayerKind { window: None, rope: Rope { theta, scaling, turned: head_dim } }],
            layer_kinds: vec![0; layers.min(1 << 10)],
            query_scale: (head_dim as f64).powf(-0.5),
            attention_softcap: None,
            logit_softcap: None,
            qkv_bias: false,
            qk_norm: false,
            norm_plus_one: false,
            norm_after: false,
            embedding_scale: None,
            gguf: true,
            rotary_pairs: false,
        })
    }

    /// Refuses sizes that would divide by zero, overflow, or exhaust memory later.
    pub fn checked(self, file: &str) -> Result<Box<dyn Architecture>, ModelError> {
        let refuse = |expected: &str, found: String| {
            Err(ModelError::Config { file: file.to_owned(), expected: expected.to_owned(), found })
        };
        self.summary.check(file, &[self.num_attention_heads, self.num_key_value_heads, self.head_dim])?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return refuse(
                "attention heads in equal groups over the key-value heads",
                format!("{} heads over {}", self.num_attention_heads, self.num_key_value_heads),
            );
        }
        let widest = self.num_attention_heads.checked_mul(self.head_dim);
        if widest.is_none_or(|width| width > 1 << 24) {
            return refuse(
                "attention heads that are at most 16777216 wide together",
                format!("{} of {}", self.num_attention_heads, self.head_dim),
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse("an even head dimension", self.head_dim.to_string());
        }
        if self.kinds.iter().any(|kind| kind.window == Some(0)) {
            return refuse("a sliding window of at least one token", "0".to_owned());
        }
        if !(self.query_scale.is_finite() && self.query_scale > 0.0) {
            return refuse("a positive query_pre_attn_scalar", self.query_scale.to_string());
        }
        Ok(Box::new(self))
    }
}

/// llama.cpp's names of what transformers calls otherwise, from the longest on.
const GGUF_NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.layers.", "blk."),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

impl Architecture for Decoder {
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
        classifier(&self.config, self.classifier, &self.summary)
    }

    fn stored_name(&self, name: &str) -> Option<String> {
        // The norm before the feed-forward layer has one name there, two here.
        let after = if self.norm_after { "post_attention_norm" } else { "ffn_norm" };
        let name = name.replace("post_attention_layernorm", after);
        self.gguf.then(|| GGUF_NAMES.iter().fold(name, |name, (from, to)| name.replace(from, to)))
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        Ok(Box::new(DecoderNetwork::new(self, tensors, device)?))
    }
}

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    activation: Activation,
}

impl Mlp {
    /// `down(act(gate(x)) * up(x))`: `[tokens, hidden]` to the same.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = self.gate_proj.forward(x.clone());
        self.down_proj.forward(self.activation.gate(gate, self.up_proj.forward(x)))
    }
}

#[derive(Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    attention_after: Option<RmsNorm>,
    feed_forward_before: RmsNorm,
    mlp: Mlp,
    feed_forward_after: Option<RmsNorm>,
    /// An index into the kinds of attention.
    kind: usize,
}

#[derive(Debug)]
struct Weights {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// `[labels, hidden]` for a score, `[vocab, hidden]` for a language model; `None` where the
    /// latter is the embedding.
    head: Option<Linear>,
}

struct DecoderNetwork {
    weights: Weights,
    kinds: Vec<LayerKind>,
    heads: usize,
    key_value_heads: usize,
    query_scale: f64,
    attention_softcap: Option<f64>,
    logit_softcap: Option<f64>,
    embedding_scale: Option<f64>,
    label: usize,
    device: Device,
}

/// What all layers of one kind share of one batch.
struct Shared {
    heads: Heads,
    /// Of every token.
    turns: Turns,
    /// Of those that are read.
    last_turns: Turns,
}

fn normed(norm: &Option<RmsNorm>, x: Tensor<2>, heads: usize) -> Tensor<2> {
    match norm {
        Some(norm) => norm.of_heads(x, heads),
        None => x,
    }
}

impl Layer {
    /// `x` to what is added to it: `[tokens, hidden]` to `[queries, hidden]`.
    fn attend(&self, x: Tensor<2>, layer: usize, shared: &Shared, queries: &Queries, keys: &mut Keys<'_>) -> Tensor<2> {
        let attention_of = &self.self_attn;
        let heads = shared.heads;
        let k = attention_of.k_proj.forward(x.clone());
        let v = attention_of.v_proj.forward(x.clone());
        let q = attention_of.q_proj.forward(queries.select(x));
        let turns = if queries.tokens.is_some() { &shared.last_turns } else { &shared.turns };
        let q = rotate(normed(&attention_of.q_norm, q, heads.queries), turns, heads.queries);
        let k = rotate(normed(&attention_of.k_norm, k, heads.keys), &shared.turns, heads.keys);
        let [k, v] = keys.of(layer, k, v);
        attention_of.o_proj.forward(attention(q, k, v, &queries.plan, heads))
    }

    /// What goes on to the next layer is `x` with what is added to it; both come back apart, for
    /// the next norm adds them.
    fn forward(
        &self,
        (x, added): (Tensor<2>, Option<Tensor<2>>),
        layer: usize,
        shared: &Shared,
        queries: &Queries,
        keys: &mut Keys<'_>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let after = |norm: &Option<RmsNorm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let (x, input) = match added {
            Some(added) => self.input_layernorm.add(x, added),
            None => (x.clone(), self.input_layernorm.forward(x)),
        };
        let attended = after(&self.attention_after, self.attend(input, layer, shared, queries, keys));
        let (x, input) = self.feed_forward_before.add(queries.select(x), attended);
        (x, Some(after(&self.feed_forward_after, self.mlp.forward(input))))
    }
}

impl DecoderNetwork {
    fn new(config: &Decoder, tensors: &mut Tensors, device: &Device) -> Result<Self, ModelError> {
        let Summary { vocab_size, hidden_size, intermediate_size, layers, head, labels, label, .. } = config.summary;
        let (heads, key_value_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (queries, keys) = (heads * head_dim, key_value_heads * head_dim);
        let norm = |tensors: &mut Tensors, name: &str, width: usize| {
            RmsNorm::take(tensors, name, width, config.rms_norm_eps, config.norm_plus_one)
        };
        let rotary = |heads| {
            if config.rotary_pairs { RowOrder::RotaryPairs { heads } } else { RowOrder::AsStored }
        };
        let embed_tokens = Embedding::take(tensors, "model.embed_tokens", [vocab_size, hidden_size])?;
        let mut built = Vec::with_capacity(layers);
        for (layer, &kind) in config.layer_kinds.iter().enumerate().take(layers) {
            let at = |part: &str| format!("model.layers.{layer}.{part}");
            let bias = config.qkv_bias;
            let (q, k) = ([queries, hidden_size], [keys, hidden_size]);
            let input_layernorm = norm(tensors, &at("input_layernorm"), hidden_size)?;
            let self_attn = Attention {
                q_proj: Linear::take_ordered(tensors, &at("self_attn.q_proj"), q, bias, rotary(heads))?,
                k_proj: Linear::take_ordered(tensors, &at("self_attn.k_proj"), k, bias, rotary(key_value_heads))?,
                v_proj: Linear::take_values(tensors, &at("self_attn.v_proj"), k, bias)?,
                o_proj: Linear::take(tensors, &at("self_attn.o_proj"), [hidden_size, queries], false)?,
                q_norm: config.qk_norm.then(|| norm(tensors, &at("self_attn.q_norm"), head_dim)).transpose()?,
                k_norm: config.qk_norm.then(|| norm(tensors, &at("self_attn.k_norm"), head_dim)).transpose()?,
            };
            // Where results are normed too, the name that Llama has for the norm before the
            // feed-forward layer is that of the norm after the attention.
            let second = norm(tensors, &at("post_attention_layernorm"), hidden_size)?;
            let (attention_after, feed_forward_before) = if config.norm_after {
                (Some(second), norm(tensors, &at("pre_feedforward_layernorm"), hidden_size)?)
            } else {
                (None, second)
            };
            let mlp = Mlp {
                gate_proj: Linear::take(tensors, &at("mlp.gate_proj"), [intermediate_size, hidden_size], false)?,
                up_proj: Linear::take(tensors, &at("mlp.up_proj"), [intermediate_size, hidden_size], false)?,
                down_proj: Linear::take(tensors, &at("mlp.down_proj"), [hidden_size, intermediate_size], false)?,
                activation: config.activation,
            };
            let feed_forward_after =
                config.norm_after.then(|| norm(tensors, &at("post_feedforward_layernorm"), hidden_size)).transpose()?;
            built.push(Layer {
                input_layernorm,
                self_attn,
                attention_after,
                feed_forward_before,
                mlp,
                feed_forward_after,
                kind,
            });
        }
        let norm = norm(tensors, "model.norm", hidden_size)?;
        let head = match head {
            Head::LanguageModel if config.tie_word_embeddings => None,
            Head::LanguageModel => Some(Linear::take(tensors, "lm_head", [vocab_size, hidden_size], false)?),
            _ => Some(Linear::take_head(tensors, "score", [labels, hidden_size], false)?),
        };
        Ok(Self {
            weights: Weights { embed_tokens, layers: built, norm, head },
            kinds: config.kinds.clone(),
            heads,
            key_value_heads,
            query_scale: config.query_scale,
            attention_softcap: config.attention_softcap,
            logit_softcap: config.logit_softcap,
            embedding_scale: config.embedding_scale,
            label,
            device: device.clone(),
        })
    }

    /// `[tokens, hidden]` to `[tokens, labels]` or `[tokens, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.weights.head {
            Some(head) => head.forward(hidden),
            None => self.weights.embed_tokens.products(hidden),
        }
    }
}

impl Network for DecoderNetwork {
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let positions = batch.positions();
        let read: Vec<usize> = wanted.tokens.iter().map(|&token| positions[token]).collect();
        let shared = |kind: &LayerKind| Shared {
            heads: Heads {
                queries: self.heads,
                keys: self.key_value_heads,
                scale: self.query_scale,
                softcap: self.attention_softcap,
                sight: Sight::Back(kind.window),
            },
            turns: kind.rope.turns(&positions, &self.device),
            last_turns: kind.rope.turns(&read, &self.device),
        };
        let shared: Vec<Shared> = self.kinds.iter().map(shared).collect();
        let mut keys = Keys::new(state, wanted.keep);
        let mut x = self.weights.embed_tokens.of(&batch.ids());
        if let Some(scale) = self.embedding_scale {
            x = x.mul_scalar(scale);
        }
        let normed = |(x, added): (Tensor<2>, Option<Tensor<2>>)| match added {
            Some(added) => self.weights.norm.add(x, added).1,
            None => self.weights.norm.forward(x),
        };
        let mut x = (x, None);
        let mut tapped = None;
        let count = self.weights.layers.len();
        for (at, layer) in self.weights.layers.iter().enumerate() {
            let queries = if at + 1 == count { &last } else { &all };
            x = layer.forward(x, at, &shared[layer.kind], queries, &mut keys);
            if wanted.tap == Some(at + 1) {
                tapped = Some(normed((last.select(x.0.clone()), x.1.clone().map(|added| last.select(added)))));
            }
        }
        let last = normed(x);
        Hidden { last, tapped, state: keys.kept() }
    }

    fn score(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<1> {
        self.logits(hidden).narrow(1, self.label, 1).squeeze_dim(1)
    }

    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        log_probability(hidden, targets, |rows| {
            let logits = self.logits(rows);
            match self.logit_softcap {
                Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
                None => logits,
            }
        })
    }
}
