//! Qwen2 (Yang et al., 2024, arXiv:2407.10671): Llama's decoder with biases on queries, keys and
//! values, and a window in the upper layers where `use_sliding_window` says so.
//!
//! Matches `transformers/models/qwen2/modeling_qwen2.py`.

use crate::config::ConfigJson;
use crate::decoder_config::{Decoder, DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_qwen2.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "pad_token_id": null,
    "tie_word_embeddings": false, "use_sliding_window": false, "sliding_window": 4096,
    "max_window_layers": 28
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let config: DecoderJson = given.keys()?;
    let mut decoder = config.plain(entry, "Qwen2ForSequenceClassification", &given)?;
    decoder.qkv_bias = true;
    upper_windows(&config, &mut decoder, file)?;
    decoder.checked(file)
}

/// Gives the layers their windows as Qwen's configurations say: with `use_sliding_window`, those that `layer_types`
/// names have one, or where it is absent those from `max_window_layers` on.
pub(crate) fn upper_windows(config: &DecoderJson, decoder: &mut Decoder, file: &str) -> Result<(), ModelError> {
    let window = config.sliding_window.filter(|_| config.use_sliding_window);
    let first = config.max_window_layers.unwrap_or(config.num_hidden_layers);
    let sliding = config.sliding(file, |layer| window.is_some() && layer >= first)?;
    if window.is_none() && sliding.contains(&true) {
        return Err(ModelError::Config {
            file: file.to_owned(),
            expected: "use_sliding_window and a sliding_window for layers with sliding_attention".to_owned(),
            found: "none".to_owned(),
        });
    }
    let rope = config.rope(file)?;
    decoder.kinds = vec![LayerKind { window: None, rope: rope.clone() }, LayerKind { window, rope }];
    decoder.layer_kinds = sliding.into_iter().map(usize::from).collect();
    Ok(())
}
