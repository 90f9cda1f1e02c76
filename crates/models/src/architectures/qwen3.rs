//! Qwen3 (Yang et al., 2025, arXiv:2505.09388): Llama's decoder with each head of queries and keys normed, and heads
//! whose width does not depend on the hidden size.
//!
//! Matches `transformers/models/qwen3/modeling_qwen3.py`.

use crate::architectures::qwen2::upper_windows;
use crate::config::ConfigJson;
use crate::decoder_config::DecoderJson;
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_qwen3.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "pad_token_id": null,
    "tie_word_embeddings": false, "attention_bias": false, "use_sliding_window": false,
    "sliding_window": 4096, "max_window_layers": 28
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let config: DecoderJson = given.keys()?;
    let mut decoder = config.plain(entry, "Qwen3ForSequenceClassification", &given)?;
    (decoder.qkv_bias, decoder.output_bias) = (config.attention_bias, config.attention_bias);
    decoder.qk_norm = true;
    upper_windows(&config, &mut decoder, file)?;
    decoder.checked(file)
}
