//! Gemma (Gemma Team, 2024, arXiv:2403.08295): Llama's decoder with embeddings multiplied by the root of the hidden
//! size, norms whose weight is one plus the stored value, and a feed-forward layer gated by tanh-approximated GELU.
//!
//! Matches `transformers/models/gemma/modeling_gemma.py`.

use crate::config::ConfigJson;
use crate::decoder_config::{Decoder, DecoderJson};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_gemma.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "pad_token_id": 0, "tie_word_embeddings": true, "attention_bias": false,
    "use_bidirectional_attention": null
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let mut config: DecoderJson = given.keys()?;
    // "gelu" in the first configurations was a mistake: they were trained with the approximation.
    if config.hidden_act.as_deref() == Some("gelu") {
        config.hidden_act = Some("gelu_pytorch_tanh".to_owned());
    }
    let mut decoder = common(&config, entry, "GemmaForSequenceClassification", &given)?;
    decoder.query_scale = (decoder.head_dim as f64).powf(-0.5);
    decoder.checked(file)
}

/// The decoder with the switches that all Gemma models set.
pub(crate) fn common(
    config: &DecoderJson,
    entry: &Entry,
    classifier: &'static str,
    given: &ConfigJson<'_>,
) -> Result<Decoder, ModelError> {
    config.refuse_bidirectional(given.file)?;
    let mut decoder = config.plain(entry, classifier, given)?;
    (decoder.qkv_bias, decoder.output_bias) = (config.attention_bias, config.attention_bias);
    decoder.norm_plus_one = true;
    decoder.embedding_scale = Some((config.hidden_size as f64).sqrt());
    Ok(decoder)
}

/// The factor of queries times keys in Gemma 2 and 3: `query_pre_attn_scalar^-0.5`.
pub(crate) fn query_scale(config: &DecoderJson, file: &str) -> Result<f64, ModelError> {
    let scalar = config.query_pre_attn_scalar.ok_or_else(|| ModelError::Config {
        file: file.to_owned(),
        expected: "a query_pre_attn_scalar".to_owned(),
        found: "null".to_owned(),
    })?;
    Ok(scalar.powf(-0.5))
}

/// The error for layers with a window whose width is null.
pub(crate) fn no_window(file: &str) -> ModelError {
    ModelError::Config {
        file: file.to_owned(),
        expected: "a sliding_window for layers with sliding_attention".to_owned(),
        found: "null".to_owned(),
    }
}
