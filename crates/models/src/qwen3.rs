//! Qwen3 (Yang et al., 2025, arXiv:2505.09388): Llama's decoder with queries and keys normed by
//! head, and heads whose width is set apart from the hidden size.
//!
//! Matches `transformers/models/qwen3/modeling_qwen3.py`.

use crate::decoder::DecoderJson;
use crate::qwen2::upper_windows;
use crate::{Architecture, Description, Entry, ModelError, json_only};

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (mut config, value) = DecoderJson::read(file, json)?;
    config.refuse_biases(file)?;
    // transformers' own default.
    config.head_dim = config.head_dim.or(Some(128));
    let mut decoder = config.plain(entry, "Qwen3ForSequenceClassification", file, value)?;
    decoder.qk_norm = true;
    upper_windows(&config, &mut decoder, file)?;
    decoder.checked(file)
}
