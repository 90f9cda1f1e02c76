//! Gemma (Gemma Team, 2024, arXiv:2403.08295): Llama's decoder with embeddings multiplied by
//! the root of the hidden size, norms stored as what is to be added to one, and a feed-forward
//! layer gated by tanh-approximated GELU.
//!
//! Matches `transformers/models/gemma/modeling_gemma.py`.

use crate::decoder::{Decoder, DecoderJson};
use crate::{Architecture, Description, Entry, ModelError, json_only};

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (mut config, value) = DecoderJson::read(file, json)?;
    // "gelu" in the first configurations was a mistake: they were trained with the approximation,
    // and transformers takes it unless `hidden_activation` says otherwise.
    if config.hidden_activation.is_none() {
        config.hidden_act = Some("gelu_pytorch_tanh".to_owned());
    }
    let mut decoder = defaults(&mut config, entry, "GemmaForSequenceClassification", file, value)?;
    decoder.query_scale = (decoder.head_dim as f64).powf(-0.5);
    decoder.checked(file)
}

/// What all Gemmas share.
pub(crate) fn defaults(
    config: &mut DecoderJson,
    entry: &Entry,
    classifier: &'static str,
    file: &str,
    value: serde_json::Value,
) -> Result<Decoder, ModelError> {
    config.refuse_biases(file)?;
    config.refuse_bidirectional(file)?;
    // transformers' own defaults.
    config.head_dim = config.head_dim.or(Some(256));
    config.tie_word_embeddings = config.tie_word_embeddings.or(Some(true));
    if config.hidden_activation.is_none() && config.hidden_act.is_none() {
        config.hidden_activation = Some("gelu_pytorch_tanh".to_owned());
    }
    let mut decoder = config.plain(entry, classifier, file, value)?;
    decoder.norm_plus_one = true;
    decoder.embedding_scale = Some((config.hidden_size as f64).sqrt());
    Ok(decoder)
}
