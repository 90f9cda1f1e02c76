//! Gemma 2 (Gemma Team, 2024, arXiv:2408.00118): Gemma with a window in every other layer, softly
//! capped scores and logits, norms after the attention and the feed-forward layer, and its own
//! scale of queries.
//!
//! Matches `transformers/models/gemma2/modeling_gemma2.py` with eager attention: other kernels
//! leave the cap of the scores out.

use crate::decoder::{DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, gemma, json_only};

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (mut config, value) = DecoderJson::read(file, json)?;
    let mut decoder = gemma::defaults(&mut config, entry, "Gemma2ForSequenceClassification", file, value)?;
    let rope = config.rope(file)?;
    let window = config.sliding_window.or(Some(4096));
    decoder.kinds = vec![LayerKind { window: None, rope: rope.clone() }, LayerKind { window, rope }];
    let sliding = config.sliding(file, |layer| layer % 2 == 0)?;
    decoder.layer_kinds = sliding.into_iter().map(usize::from).collect();
    decoder.query_scale = config.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5);
    decoder.attention_softcap = config.attn_logit_softcapping;
    decoder.logit_softcap = config.final_logit_softcapping;
    decoder.norm_after = true;
    decoder.checked(file)
}
