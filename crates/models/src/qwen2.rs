//! Qwen2 (Yang et al., 2024, arXiv:2407.10671): Llama's decoder with biases on queries, keys and
//! values, and a window in the upper layers where `use_sliding_window` says so.
//!
//! Matches `transformers/models/qwen2/modeling_qwen2.py`.

use crate::decoder::{Decoder, DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, json_only};

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (config, value) = DecoderJson::read(file, json)?;
    let mut decoder = config.plain(entry, "Qwen2ForSequenceClassification", file, value)?;
    decoder.qkv_bias = true;
    upper_windows(&config, &mut decoder, file)?;
    decoder.checked(file)
}

/// Gives the layers their windows, as Qwen's configurations have them.
pub(crate) fn upper_windows(config: &DecoderJson, decoder: &mut Decoder, file: &str) -> Result<(), ModelError> {
    let window = config.sliding_window.filter(|_| config.use_sliding_window);
    let first = config.max_window_layers.unwrap_or(config.num_hidden_layers);
    let sliding = config.sliding(file, |layer| layer >= first)?;
    let rope = config.rope(file)?;
    decoder.kinds = vec![LayerKind { window: None, rope: rope.clone() }, LayerKind { window, rope }];
    decoder.layer_kinds = sliding.into_iter().map(|sliding| usize::from(sliding && window.is_some())).collect();
    Ok(())
}
