//! Mistral (Jiang et al., 2023, arXiv:2310.06825): Llama's decoder with a sliding window in every
//! layer, or in none.
//!
//! Matches `transformers/models/mistral/modeling_mistral.py`.

use crate::config::ConfigJson;
use crate::decoder_config::{DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_mistral.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "pad_token_id": null,
    "tie_word_embeddings": false, "sliding_window": 4096
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let config: DecoderJson = given.keys()?;
    let mut decoder = config.plain(entry, "MistralForSequenceClassification", &given)?;
    decoder.kinds = vec![LayerKind { window: config.sliding_window, rope: config.rope(file)? }];
    decoder.checked(file)
}
