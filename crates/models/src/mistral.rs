//! Mistral (Jiang et al., 2023, arXiv:2310.06825): Llama's decoder with a sliding window in every
//! layer, or in none.
//!
//! Matches `transformers/models/mistral/modeling_mistral.py`.

use crate::decoder::{DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, json_only};

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (config, value) = DecoderJson::read(file, json)?;
    config.refuse_biases(file)?;
    let mut decoder = config.plain(entry, "MistralForSequenceClassification", file, value)?;
    decoder.kinds = vec![LayerKind { window: config.sliding_window, rope: config.rope(file)? }];
    decoder.checked(file)
}
