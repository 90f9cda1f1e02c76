//! What tells Llama's successors apart: a decoder's sizes and switches, and how they are read from a `config.json` or
//! a GGUF's metadata.

use rewardscope_kernels::Activation;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{ConfigJson, Labels, causal, id};
use crate::head::HeadPlan;
use crate::rope::{Rope, RopeJson, Scaling, default_theta, either};
use crate::{Architecture, Entry, GgufDescription, ModelError, Summary};

/// Parts of transformers' names for tensors and llama.cpp's names for the same, replaced in this order.
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

/// A decoder's configuration.
pub(crate) struct Decoder {
    pub summary: Summary,
    /// transformers' name of its sequence classifier; empty where it has none.
    pub classifier: &'static str,
    /// The `config.json` as transformers reads it.
    pub config: Value,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub activation: Activation,
    /// The kinds of attention among the layers.
    pub kinds: Vec<LayerKind>,
    /// Each layer's kind, as an index into `kinds`.
    pub layer_kinds: Vec<usize>,
    /// Queries times keys are multiplied by this.
    pub query_scale: f64,
    /// Attention scores become `cap tanh(score / cap)`.
    pub attention_softcap: Option<f64>,
    /// A language model's logits become `cap tanh(logit / cap)`.
    pub logit_softcap: Option<f64>,
    /// The projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// The projection of the attention's result has a bias.
    pub output_bias: bool,
    /// The projections of the feed-forward layer have biases.
    pub mlp_bias: bool,
    /// Each head of queries and keys is normed before its rotation.
    pub qk_norm: bool,
    /// A norm's weight is one plus the stored value.
    pub norm_plus_one: bool,
    /// The attention's and the feed-forward layer's results are normed before they are added to the residual stream.
    pub norm_after: bool,
    /// Embeddings are multiplied by this.
    pub embedding_scale: Option<f64>,
    /// Queries, keys and values are one projection: for each head of keys its queries, the keys and the values.
    pub qkv_fused: bool,
    /// A reward model's own head; `None` for one linear layer named `score`.
    pub head: Option<HeadPlan>,
    /// Parts of transformers' names of tensors and the checkpoint's names for the same; `None` where they are the same.
    pub names: Option<&'static [(&'static str, &'static str)]>,
    /// The rows of rotary projections are stored in llama.cpp's order, by pairs.
    pub rotary_pairs: bool,
}

/// How a layer attends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerKind {
    /// How many of the last tokens a token sees, itself included; `None` for all.
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
    pub original_max_position_embeddings: Option<usize>,
    pub hidden_act: Option<String>,
    pub hidden_activation: Option<String>,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    pub tie_word_embeddings: bool,
    pub pad_token_id: Option<i64>,
    #[serde(default = "default_theta")]
    pub rope_theta: Option<f64>,
    #[serde(default = "default_theta")]
    pub rope_local_base_freq: Option<f64>,
    pub rope_scaling: Option<Value>,
    pub rope_parameters: Option<Value>,
    pub sliding_window: Option<usize>,
    pub sliding_window_pattern: Option<usize>,
    #[serde(default)]
    pub use_sliding_window: bool,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub query_pre_attn_scalar: Option<f64>,
    pub attn_logit_softcapping: Option<f64>,
    pub final_logit_softcapping: Option<f64>,
    pub use_bidirectional_attention: Option<bool>,
    /// Null means false, as in transformers.
    #[serde(default = "causal")]
    pub is_causal: Option<bool>,
    #[serde(flatten)]
    pub labels: Labels,
}

/// transformers' name of a layer with a window.
const SLIDING: &str = "sliding_attention";

/// transformers' name of a layer without a window.
const FULL: &str = "full_attention";

impl DecoderJson {
    /// The width of a head: by default the hidden size divided by the number of heads.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Which layers have a window: as `layer_types` says, or where it is absent as `sliding` says for each layer.
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

    /// The rotary embedding of all layers.
    pub fn rope(&self, file: &str) -> Result<Rope, ModelError> {
        self.rope_of(file, either(self.rope_scaling.as_ref(), self.rope_parameters.as_ref()), self.rope_theta)
    }

    /// The rotary embedding of layers without a window, where layers with a window have their own. Its parameters are
    /// those under [`FULL`]; keys in `rope_scaling` override them.
    pub fn global_rope(&self, file: &str) -> Result<Rope, ModelError> {
        let named = self.rope_parameters.as_ref().and_then(|all| all.get(FULL)).cloned();
        let merged = match (named, &self.rope_scaling) {
            (Some(Value::Object(mut named)), Some(Value::Object(scaling))) => {
                named.extend(scaling.clone());
                Some(Value::Object(named))
            }
            (None | Some(Value::Null), scaling) => scaling.clone(),
            (named, _) => named,
        };
        self.rope_of(file, merged.as_ref(), self.rope_theta)
    }

    /// The rotary embedding of layers with a window, where they have their own.
    pub fn local_rope(&self, file: &str) -> Result<Rope, ModelError> {
        let parameters = self.rope_parameters.as_ref().and_then(|all| all.get(SLIDING));
        self.rope_of(file, parameters, self.rope_local_base_freq)
    }

    fn rope_of(&self, file: &str, parameters: Option<&Value>, theta: Option<f64>) -> Result<Rope, ModelError> {
        let (turned, most_tokens) = (self.head_dim(), self.max_position_embeddings);
        let trained_tokens = self.original_max_position_embeddings;
        RopeJson { file, parameters, theta, turned, most_tokens, trained_tokens }.rope()
    }

    /// Llama's decoder in these sizes, with no switch set. `classifier` is transformers' name of its sequence
    /// classifier.
    pub fn plain(
        &self,
        entry: &Entry,
        classifier: &'static str,
        given: &ConfigJson<'_>,
    ) -> Result<Decoder, ModelError> {
        let file = given.file;
        let activation = self.hidden_act.as_deref().unwrap_or("null");
        let activation = Activation::named(activation).ok_or_else(|| ModelError::Unsupported {
            file: file.to_owned(),
            found: format!("the activation {activation:?}"),
        })?;
        Ok(Decoder {
            summary: Summary {
                architecture: entry.name,
                head: entry.head,
                labels: self.labels.of(entry.head),
                label: 0,
                context_tokens: self.max_position_embeddings,
                vocab_size: self.vocab_size,
                hidden_size: self.hidden_size,
                intermediate_size: self.intermediate_size,
                layers: self.num_hidden_layers,
                pad_token_id: id(self.pad_token_id),
                is_causal: self.is_causal.unwrap_or(false),
                long_after: None,
                token_types: None,
            },
            classifier,
            config: given.given.clone(),
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim(),
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            activation,
            kinds: vec![LayerKind { window: None, rope: self.rope(file)? }],
            layer_kinds: vec![0; self.num_hidden_layers.min(1 << 10)],
            query_scale: (self.head_dim() as f64).powf(-0.5),
            attention_softcap: None,
            logit_softcap: None,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            norm_plus_one: false,
            norm_after: false,
            embedding_scale: None,
            qkv_fused: false,
            head: None,
            names: None,
            rotary_pairs: false,
        })
    }

    /// Refuses Gemma's switch `use_bidirectional_attention`, which no known reward model sets.
    pub fn refuse_bidirectional(&self, file: &str) -> Result<(), ModelError> {
        if self.use_bidirectional_attention == Some(true) {
            let found = "a decoder with use_bidirectional_attention".to_owned();
            return Err(ModelError::Unsupported { file: file.to_owned(), found });
        }
        Ok(())
    }
}

impl Decoder {
    /// Llama's decoder in the sizes that a GGUF's metadata gives; their keys begin with the architecture's name. The
    /// caller sets the switches and `config`.
    pub fn from_gguf(entry: &Entry, classifier: &'static str, gguf: GgufDescription<'_>) -> Result<Self, ModelError> {
        let GgufDescription { checkpoint, metadata, rope_factors } = gguf;
        let (file, prefix) = (metadata.file(), entry.name);
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
        let (hidden_size, layers) = (unsigned("embedding_length")?, unsigned("block_count")?);
        let num_attention_heads = unsigned("attention.head_count")?;
        let head_dim = unsigned("attention.key_length").or_else(|_| unsigned("rope.dimension_count"));
        let head_dim = head_dim.unwrap_or(hidden_size / num_attention_heads.max(1));
        let scaling = match (scaling, rope_factors.iter().any(|factor| *factor != 1.0)) {
            (scaling, false) => scaling,
            (Scaling::None, true) if rope_factors.len() == head_dim / 2 => Scaling::Factors(rope_factors.to_vec()),
            (_, true) => {
                let found = format!("a GGUF {prefix} with {} values in rope_freqs.weight", rope_factors.len());
                return Err(unsupported(found));
            }
        };
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
                is_causal: true,
                long_after: None,
                token_types: None,
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
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            norm_plus_one: false,
            norm_after: false,
            embedding_scale: None,
            qkv_fused: false,
            head: None,
            names: Some(GGUF_NAMES),
            rotary_pairs: false,
        })
    }

    /// Refuses sizes that would divide by zero, overflow, or exhaust memory later; else the decoder is complete.
    pub fn checked(mut self, file: &str) -> Result<Box<dyn Architecture>, ModelError> {
        self.summary.long_after = self.kinds.iter().filter_map(|kind| kind.rope.long_after()).min();
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
