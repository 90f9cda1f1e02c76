//! InternLM2 (Cai et al., 2024, arXiv:2403.17297): Llama's decoder under other names, with queries, keys and values in
//! one projection.
//!
//! It is no model of transformers; it matches `modeling_internlm2.py`, which its checkpoints bring.

use serde::Deserialize;

use crate::config::ConfigJson;
use crate::decoder_config::DecoderJson;
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_internlm2.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 103168, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "pad_token_id": 0,
    "tie_word_embeddings": false, "bias": true
}"#;

/// Parts of transformers' names for a Llama's tensors and InternLM2's names for the same.
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "model.tok_embeddings"),
    ("input_layernorm", "attention_norm"),
    ("self_attn.qkv_proj", "attention.wqkv"),
    ("self_attn.o_proj", "attention.wo"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("mlp.down_proj", "feed_forward.w2"),
    ("lm_head", "output"),
];

#[derive(Deserialize)]
struct Own {
    /// Whether the attention's projections have biases.
    bias: bool,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let config: DecoderJson = given.keys()?;
    let own: Own = given.keys()?;
    // transformers has no class for it.
    let mut decoder = config.plain(entry, "", &given)?;
    (decoder.qkv_bias, decoder.output_bias) = (own.bias, own.bias);
    decoder.qkv_fused = true;
    decoder.names = Some(NAMES);
    decoder.checked(file)
}
