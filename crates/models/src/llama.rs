//! Llama (Touvron et al., 2023, arXiv:2302.13971; grouped-query attention arXiv:2305.13245; Llama
//! 3's rope scaling arXiv:2407.21783) with a one-logit head or a language-model head.
//!
//! Matches `transformers/models/llama/modeling_llama.py` in float32 with eager attention.

use burn::module::{Module, Param};
use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rewardscope_weights::{Checkpoint, gguf};
use serde::Deserialize;

use crate::{
    Architecture, Description, Entry, Head, Hidden, ModelError, Network, RowOrder, Summary, TensorSpec, Tensors,
    from_json,
};

/// Added to the attention scores of tokens that lie ahead: large enough that the softmax gives
/// exactly 0 in f32, small enough that no sum overflows.
const MASKED: f32 = -1e30;

/// Attention scores held at once, over batch and heads: 32 MiB. Longer sequences go through in
/// tiles of queries, so that memory grows with the length and not with its square.
const SCORES: usize = 8 << 20;

/// Rows of logits held at once: 64 rows over a vocabulary of 128,256 are 33 MB.
const LOGIT_ROWS: usize = 64;

struct LlamaConfig {
    summary: Summary,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    rms_norm_eps: f64,
    rope: Rope,
    tie_word_embeddings: bool,
    /// Tensors carry llama.cpp's names and order of rows.
    gguf: bool,
}

/// The frequencies of the rotary embedding.
#[derive(Debug, Clone, PartialEq)]
struct Rope {
    theta: f64,
    scaling: Option<Llama3Scaling>,
}

/// Llama 3's stretch of the low frequencies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Llama3Scaling {
    factor: f64,
    low_freq_factor: f64,
    high_freq_factor: f64,
    original_max_position_embeddings: usize,
}

/// `config.json`, as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`)
/// write it.
#[derive(Deserialize)]
struct ConfigJson {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    max_position_embeddings: usize,
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    pad_token_id: Option<u32>,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<serde_json::Value>,
    id2label: Option<serde_json::Map<String, serde_json::Value>>,
    num_labels: Option<usize>,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let config = match description {
        Description::ConfigJson { file, json } => LlamaConfig::from_json(entry.name, file, json)?,
        Description::Gguf(checkpoint, metadata) => LlamaConfig::from_gguf(entry.name, checkpoint, metadata)?,
    };
    Ok(Box::new(config))
}

impl LlamaConfig {
    fn from_json(architecture: &'static str, file: &str, json: &str) -> Result<Self, ModelError> {
        let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
        let config: ConfigJson = from_json(file, json)?;
        if config.hidden_act != "silu" {
            return Err(unsupported(format!("a Llama with hidden_act {:?}", config.hidden_act)));
        }
        if config.attention_bias || config.mlp_bias {
            return Err(unsupported("a Llama with biases".to_owned()));
        }
        let head = if architecture == "LlamaForCausalLM" { Head::LanguageModel } else { Head::Score };
        // transformers' own default is two labels.
        let labels = config.num_labels.or(config.id2label.map(|labels| labels.len())).unwrap_or(2);
        if head == Head::Score && labels != 1 {
            return Err(unsupported(format!("a classifier with {labels} labels instead of one logit")));
        }
        let rope =
            Rope::from_json(file, config.rope_parameters.as_ref().or(config.rope_scaling.as_ref()), config.rope_theta)?;
        Self {
            summary: Summary {
                architecture,
                head,
                context_tokens: config.max_position_embeddings,
                vocab_size: config.vocab_size,
                hidden_size: config.hidden_size,
                intermediate_size: config.intermediate_size,
                layers: config.num_hidden_layers,
                pad_token_id: config.pad_token_id,
            },
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
            head_dim: config.head_dim.unwrap_or(config.hidden_size / config.num_attention_heads.max(1)),
            rms_norm_eps: config.rms_norm_eps,
            rope,
            tie_word_embeddings: config.tie_word_embeddings,
            gguf: false,
        }
        .checked(file)
    }

    fn from_gguf(
        architecture: &'static str,
        checkpoint: &Checkpoint,
        metadata: &gguf::Metadata,
    ) -> Result<Self, ModelError> {
        let file = metadata.file();
        let damaged = |e: rewardscope_weights::WeightsError| ModelError::Config {
            file: file.to_owned(),
            expected: "the metadata of a llama".to_owned(),
            found: e.to_string(),
        };
        let unsigned = |key: &str| metadata.unsigned(&format!("llama.{key}")).map_err(damaged);
        let float = |key: &str| metadata.float(&format!("llama.{key}")).map_err(damaged);
        let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
        if let Ok(scaling) = metadata.text("llama.rope.scaling.type")
            && scaling != "none"
        {
            return Err(unsupported(format!("a GGUF llama with rope scaling of type {scaling:?}")));
        }
        if metadata.has("llama.expert_count") && unsigned("expert_count")? > 0 {
            return Err(unsupported("a GGUF llama with experts".to_owned()));
        }
        // Tensors that change the result must not be passed over.
        let passed_over = |name: &str| name == "rope_freqs.weight" || name.ends_with(".bias");
        if let Some(tensor) = checkpoint.tensors().find(|tensor| passed_over(&tensor.name)) {
            return Err(unsupported(format!("a GGUF llama with the tensor {}", tensor.name)));
        }
        let theta = if metadata.has("llama.rope.freq_base") { float("rope.freq_base")? } else { 10000.0 };
        let hidden_size = unsigned("embedding_length")?;
        let num_attention_heads = unsigned("attention.head_count")?;
        Self {
            summary: Summary {
                architecture,
                head: Head::LanguageModel,
                context_tokens: unsigned("context_length")?,
                vocab_size: match unsigned("vocab_size") {
                    Ok(size) => size,
                    Err(_) => metadata.texts("tokenizer.ggml.tokens").map_err(damaged)?.len(),
                },
                hidden_size,
                intermediate_size: unsigned("feed_forward_length")?,
                layers: unsigned("block_count")?,
                pad_token_id: metadata
                    .unsigned("tokenizer.ggml.padding_token_id")
                    .ok()
                    .and_then(|id| u32::try_from(id).ok()),
            },
            num_attention_heads,
            num_key_value_heads: unsigned("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim: unsigned("rope.dimension_count").unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: float("attention.layer_norm_rms_epsilon")?,
            rope: Rope { theta, scaling: None },
            tie_word_embeddings: checkpoint.find("output.weight").is_none(),
            gguf: true,
        }
        .checked(file)
    }

    /// Refuses sizes that would divide by zero, overflow, or exhaust memory later.
    fn checked(self, file: &str) -> Result<Self, ModelError> {
        let refuse = |expected: &str, found: String| {
            Err(ModelError::Config { file: file.to_owned(), expected: expected.to_owned(), found })
        };
        let s = &self.summary;
        let sizes = [
            s.vocab_size,
            s.hidden_size,
            s.intermediate_size,
            s.layers,
            s.context_tokens,
            self.num_attention_heads,
            self.num_key_value_heads,
            self.head_dim,
        ];
        if sizes.iter().any(|&n| n == 0 || n > 1 << 24) || s.layers > 1 << 10 {
            return refuse("sizes from 1 to 16777216 and at most 1024 layers", format!("{sizes:?}"));
        }
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
        Ok(self)
    }

    /// Stored name, in the checkpoint's own convention, of a tensor named as transformers names it.
    fn stored(&self, name: &str) -> String {
        if !self.gguf {
            return name.to_owned();
        }
        let renamed = [
            ("model.embed_tokens", "token_embd"),
            ("model.layers.", "blk."),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
        ];
        renamed.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
    }
}

impl Architecture for LlamaConfig {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn classify(&mut self, layers: usize) {
        self.summary.head = Head::Score;
        self.summary.layers = layers.min(self.summary.layers);
    }

    fn classifier_config(&self) -> serde_json::Value {
        let s = &self.summary;
        let mut rope = serde_json::json!({ "rope_type": "default", "rope_theta": self.rope.theta });
        if let Some(scaling) = &self.rope.scaling {
            rope["rope_type"] = "llama3".into();
            rope["factor"] = scaling.factor.into();
            rope["low_freq_factor"] = scaling.low_freq_factor.into();
            rope["high_freq_factor"] = scaling.high_freq_factor.into();
            rope["original_max_position_embeddings"] = scaling.original_max_position_embeddings.into();
        }
        serde_json::json!({
            "architectures": ["LlamaForSequenceClassification"],
            "model_type": "llama",
            "vocab_size": s.vocab_size,
            "hidden_size": s.hidden_size,
            "intermediate_size": s.intermediate_size,
            "num_hidden_layers": s.layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "rms_norm_eps": self.rms_norm_eps,
            "max_position_embeddings": s.context_tokens,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": false,
            "pad_token_id": s.pad_token_id,
            // Version 4 reads the last two where version 5 reads the first.
            "rope_parameters": rope,
            "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.scaling.is_some().then_some(&rope),
            "id2label": { "0": "LABEL_0" },
            "label2id": { "LABEL_0": 0 },
            "dtype": "float32",
        })
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let Summary { vocab_size, hidden_size, intermediate_size, layers, head, .. } = self.summary;
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize], rows: RowOrder| {
            let rows = if self.gguf { rows } else { RowOrder::AsStored };
            specs.push(TensorSpec { stored: self.stored(&name), name, shape: shape.to_vec(), rows });
        };
        let plain = RowOrder::AsStored;
        add("model.embed_tokens.weight".to_owned(), &[vocab_size, hidden_size], plain);
        for layer in 0..layers {
            let at = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let rotary = |heads| RowOrder::RotaryPairs { heads };
            add(at("input_layernorm"), &[hidden_size], plain);
            add(at("self_attn.q_proj"), &[queries, hidden_size], rotary(self.num_attention_heads));
            add(at("self_attn.k_proj"), &[keys, hidden_size], rotary(self.num_key_value_heads));
            add(at("self_attn.v_proj"), &[keys, hidden_size], plain);
            add(at("self_attn.o_proj"), &[hidden_size, queries], plain);
            add(at("post_attention_layernorm"), &[hidden_size], plain);
            add(at("mlp.gate_proj"), &[intermediate_size, hidden_size], plain);
            add(at("mlp.up_proj"), &[intermediate_size, hidden_size], plain);
            add(at("mlp.down_proj"), &[hidden_size, intermediate_size], plain);
        }
        add("model.norm.weight".to_owned(), &[hidden_size], plain);
        match head {
            Head::Score => add("score.weight".to_owned(), &[1, hidden_size], plain),
            Head::LanguageModel if self.tie_word_embeddings => {}
            Head::LanguageModel => add("lm_head.weight".to_owned(), &[vocab_size, hidden_size], plain),
        }
        specs
    }

    fn build(&self, tensors: Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        Ok(Box::new(Llama::new(self, tensors, device)?))
    }
}

impl Rope {
    fn from_json(file: &str, parameters: Option<&serde_json::Value>, theta: Option<f64>) -> Result<Self, ModelError> {
        const DEFAULT_THETA: f64 = 10000.0;
        let Some(parameters) = parameters else {
            return Ok(Self { theta: theta.unwrap_or(DEFAULT_THETA), scaling: None });
        };
        let theta = parameters.get("rope_theta").and_then(serde_json::Value::as_f64).or(theta).unwrap_or(DEFAULT_THETA);
        let kind = parameters.get("rope_type").or_else(|| parameters.get("type")).and_then(|kind| kind.as_str());
        let scaling = match kind {
            None | Some("default") => None,
            Some("llama3") => Some(serde_json::from_value(parameters.clone()).map_err(|e| ModelError::Config {
                file: file.to_owned(),
                expected: "llama3 rope parameters".to_owned(),
                found: e.to_string(),
            })?),
            Some(other) => {
                return Err(ModelError::Unsupported {
                    file: file.to_owned(),
                    found: format!("rope scaling of type {other:?}"),
                });
            }
        };
        Ok(Self { theta, scaling })
    }

    /// One frequency for each pair of coordinates, in radians a position, computed in f32 as
    /// transformers does (`modeling_rope_utils.py`, `_compute_llama3_parameters`).
    fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = (0..head_dim / 2).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / head_dim as f32));
        let Some(scaling) = &self.scaling else {
            return plain.collect();
        };
        let context = scaling.original_max_position_embeddings as f32;
        let (factor, low, high) =
            (scaling.factor as f32, scaling.low_freq_factor as f32, scaling.high_freq_factor as f32);
        plain
            .map(|frequency| {
                let wavelength = 2.0 * std::f32::consts::PI / frequency;
                if wavelength > context / low {
                    frequency / factor
                } else if wavelength < context / high {
                    frequency
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            })
            .collect()
    }

    /// Cosines and sines of every position's angles, each `[1, 1, seq, head_dim]`, the two halves
    /// of a head alike.
    fn tables(&self, seq: usize, head_dim: usize, device: &Device) -> (Tensor<4>, Tensor<4>) {
        let frequencies = self.frequencies(head_dim);
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = (0..seq)
                .flat_map(|position| {
                    let half = frequencies.iter().map(move |&frequency| of(position as f32 * frequency));
                    half.clone().chain(half)
                })
                .collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, head_dim]), device)
        };
        (table(f32::cos), table(f32::sin))
    }
}

#[derive(Module, Debug)]
struct RmsNorm {
    /// `[hidden]`
    weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// `x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension of `[tokens, hidden]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let scale = x.clone().square().mean_dim(1).add_scalar(self.epsilon).sqrt().recip();
        x * scale * self.weight.val().unsqueeze()
    }
}

/// A matrix product without bias.
#[derive(Module, Debug)]
struct Projection {
    /// `[out, in]`, as PyTorch stores it.
    weight: Param<Tensor<2>>,
}

impl Projection {
    /// `[tokens, in]` to `[tokens, out]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose())
    }
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

/// What all layers share of one batch.
struct Positions {
    batch: usize,
    seq: usize,
    /// `[1, 1, seq, head_dim]`
    cos: Tensor<4>,
    /// `[1, 1, seq, head_dim]`
    sin: Tensor<4>,
    /// Most queries in a tile.
    tile: usize,
    /// `[1, 1, tile, tile]`: 0 where a token may look, [`MASKED`] where not.
    diagonal: Tensor<4>,
}

impl Positions {
    fn new(batch: usize, seq: usize, heads: usize, rope: (Tensor<4>, Tensor<4>), device: &Device) -> Self {
        let tile = (SCORES / (batch * heads * seq)).clamp(1, seq);
        let visible = |query: usize, key: usize| if key <= query { 0.0 } else { MASKED };
        let diagonal: Vec<f32> = (0..tile).flat_map(|query| (0..tile).map(move |key| visible(query, key))).collect();
        let diagonal = Tensor::from_data(TensorData::new(diagonal, [1, 1, tile, tile]), device);
        Self { batch, seq, cos: rope.0, sin: rope.1, tile, diagonal }
    }

    /// The first query of each tile, and how many there are.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> {
        let (seq, tile) = (self.seq, self.tile);
        (0..seq).step_by(tile).map(move |first| (first, tile.min(seq - first)))
    }

    /// What to add to the scores of these queries over all keys up to the last of them:
    /// `[1, 1, rows, first + rows]`.
    fn mask(&self, first: usize, rows: usize) -> Tensor<4> {
        let diagonal = self.diagonal.clone().narrow(2, 0, rows).narrow(3, 0, rows);
        if first == 0 {
            return diagonal;
        }
        Tensor::cat(vec![Tensor::zeros([1, 1, rows, first], &diagonal.device()), diagonal], 3)
    }

    fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let turned = Tensor::cat(vec![x.clone().narrow(3, half, half).neg(), x.clone().narrow(3, 0, half)], 3);
        x * self.cos.clone() + turned * self.sin.clone()
    }
}

impl Attention {
    /// `[batch * seq, hidden]` to the same.
    fn forward(&self, x: Tensor<2>, positions: &Positions) -> Tensor<2> {
        let (batch, seq) = (positions.batch, positions.seq);
        let group = self.heads / self.key_value_heads;
        let split =
            |x: Tensor<2>, heads: usize| -> Tensor<4> { x.reshape([batch, seq, heads, self.head_dim]).swap_dims(1, 2) };
        let q = positions.rotate(split(self.q_proj.forward(x.clone()), self.heads));
        let k = positions.rotate(split(self.k_proj.forward(x.clone()), self.key_value_heads));
        let v = split(self.v_proj.forward(x), self.key_value_heads);
        let tiles = positions.tiles().map(|(first, rows)| {
            let keys = first + rows;
            // The heads that share keys are stacked along the sequence, so that keys are not repeated.
            let q = q.clone().narrow(2, first, rows);
            let q = q.reshape([batch, self.key_value_heads, group * rows, self.head_dim]);
            let k = k.clone().narrow(2, 0, keys).swap_dims(2, 3);
            let scores = q.matmul(k).mul_scalar((self.head_dim as f64).powf(-0.5));
            let scores = scores.reshape([batch, self.heads, rows, keys]) + positions.mask(first, rows);
            let weights = softmax(scores, 3).reshape([batch, self.key_value_heads, group * rows, keys]);
            let mixed = weights.matmul(v.clone().narrow(2, 0, keys));
            mixed.reshape([batch, self.heads, rows, self.head_dim])
        });
        let mixed = Tensor::cat(tiles.collect(), 2).swap_dims(1, 2);
        self.o_proj.forward(mixed.reshape([batch * seq, self.heads * self.head_dim]))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

impl Mlp {
    /// SwiGLU: `[tokens, hidden]` to the same.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down_proj.forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}

#[derive(Module, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    fn forward(&self, x: Tensor<2>, positions: &Positions) -> Tensor<2> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), positions);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

#[derive(Module, Debug)]
struct Weights {
    /// `[vocab, hidden]`
    embed_tokens: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// `[1, hidden]` for a score, `[vocab, hidden]` for a language model; `None` where the latter
    /// is the embedding.
    head: Option<Projection>,
}

struct Llama {
    weights: Weights,
    rope: Rope,
    heads: usize,
    head_dim: usize,
    device: Device,
}

impl Llama {
    fn new(config: &LlamaConfig, mut tensors: Tensors, device: &Device) -> Result<Self, ModelError> {
        let architecture = config.summary.architecture;
        let projection = |tensors: &mut Tensors, name: String| -> Result<Projection, ModelError> {
            Ok(Projection { weight: Param::from_tensor(tensors.matrix(architecture, &name)?) })
        };
        let norm = |tensors: &mut Tensors, name: String| -> Result<RmsNorm, ModelError> {
            let weight = Param::from_tensor(tensors.vector(architecture, &name)?);
            Ok(RmsNorm { weight, epsilon: config.rms_norm_eps })
        };
        let mut layers = Vec::with_capacity(config.summary.layers);
        for layer in 0..config.summary.layers {
            let at = |part: &str| format!("model.layers.{layer}.{part}.weight");
            layers.push(Layer {
                input_layernorm: norm(&mut tensors, at("input_layernorm"))?,
                self_attn: Attention {
                    q_proj: projection(&mut tensors, at("self_attn.q_proj"))?,
                    k_proj: projection(&mut tensors, at("self_attn.k_proj"))?,
                    v_proj: projection(&mut tensors, at("self_attn.v_proj"))?,
                    o_proj: projection(&mut tensors, at("self_attn.o_proj"))?,
                    heads: config.num_attention_heads,
                    key_value_heads: config.num_key_value_heads,
                    head_dim: config.head_dim,
                },
                post_attention_layernorm: norm(&mut tensors, at("post_attention_layernorm"))?,
                mlp: Mlp {
                    gate_proj: projection(&mut tensors, at("mlp.gate_proj"))?,
                    up_proj: projection(&mut tensors, at("mlp.up_proj"))?,
                    down_proj: projection(&mut tensors, at("mlp.down_proj"))?,
                },
            });
        }
        let head = match config.summary.head {
            Head::Score => Some(projection(&mut tensors, "score.weight".to_owned())?),
            Head::LanguageModel if config.tie_word_embeddings => None,
            Head::LanguageModel => Some(projection(&mut tensors, "lm_head.weight".to_owned())?),
        };
        let weights = Weights {
            embed_tokens: Param::from_tensor(tensors.matrix(architecture, "model.embed_tokens.weight")?),
            layers,
            norm: norm(&mut tensors, "model.norm.weight".to_owned())?,
            head,
        };
        Ok(Self {
            weights,
            rope: config.rope.clone(),
            heads: config.num_attention_heads,
            head_dim: config.head_dim,
            device: device.clone(),
        })
    }

    /// `[tokens, hidden]` to `[tokens, labels]` or `[tokens, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.weights.head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.weights.embed_tokens.val().transpose()),
        }
    }
}

impl Network for Llama {
    fn hidden(&self, ids: Tensor<2, Int>, tap: Option<usize>) -> Hidden {
        let [batch, seq] = ids.dims();
        let rope = self.rope.tables(seq, self.head_dim, &self.device);
        let positions = Positions::new(batch, seq, self.heads, rope, &self.device);
        let mut x = self.weights.embed_tokens.val().select(0, ids.reshape([batch * seq]));
        let normed = |x: Tensor<2>| -> Tensor<3> {
            let hidden = x.dims()[1];
            self.weights.norm.forward(x).reshape([batch, seq, hidden])
        };
        let mut tapped = None;
        for (layer, done) in self.weights.layers.iter().zip(1..) {
            x = layer.forward(x, &positions);
            if tap == Some(done) {
                tapped = Some(normed(x.clone()));
            }
        }
        Hidden { last: normed(x), tapped }
    }

    fn score(&self, hidden: Tensor<2>) -> Tensor<1> {
        self.logits(hidden).squeeze_dim(1)
    }

    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let tokens = hidden.dims()[0];
        let tiles = (0..tokens).step_by(LOGIT_ROWS).map(|first| {
            let rows = LOGIT_ROWS.min(tokens - first);
            let logits = self.logits(hidden.clone().narrow(0, first, rows));
            let targets = targets.clone().narrow(0, first, rows).reshape([rows, 1]);
            let largest = logits.clone().max_dim(1);
            let log_sum = (logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest;
            (logits.gather(1, targets) - log_sum).squeeze_dim(1)
        });
        Tensor::cat(tiles.collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe;

    const PLAIN: &str = r#"{"architectures":["LlamaForSequenceClassification"],"vocab_size":8,"hidden_size":4,
        "intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"rms_norm_eps":1e-5,
        "max_position_embeddings":16,"hidden_act":"silu","id2label":{"0":"LABEL_0"}}"#;

    fn refusal(json: &str) -> String {
        match describe(Description::ConfigJson { file: "config.json", json }) {
            Ok(_) => panic!("accepted {json}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_plain_configuration_is_read() {
        let architecture = describe(Description::ConfigJson { file: "config.json", json: PLAIN }).expect("plain");
        assert_eq!(architecture.summary().head, Head::Score);
        assert_eq!(architecture.tensors().len(), 1 + 9 + 2);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (from, to, named) in [
            ("\"LlamaForSequenceClassification\"", "\"OPTForSequenceClassification\"", "OPTForSequenceClassification"),
            ("\"silu\"", "\"relu\"", "relu"),
            ("{\"0\":\"LABEL_0\"}", "{\"0\":\"A\",\"1\":\"B\"}", "2 labels"),
            ("\"rms_norm_eps\"", "\"rope_scaling\":{\"rope_type\":\"yarn\"},\"rms_norm_eps\"", "yarn"),
            ("\"rms_norm_eps\"", "\"attention_bias\":true,\"rms_norm_eps\"", "biases"),
            ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "sizes"),
        ] {
            let message = refusal(&PLAIN.replace(from, to));
            assert!(message.contains(named) && message.contains("config.json"), "{message}");
        }
    }

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 256,
        };
        let plain = Rope { theta: 500000.0, scaling: None }.frequencies(8);
        let scaled = Rope { theta: 500000.0, scaling: Some(scaling) }.frequencies(8);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[3], plain[3] / 8.0);
        assert!(scaled[1] < plain[1] && scaled[1] > plain[1] / 8.0);
    }
}
