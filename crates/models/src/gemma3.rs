//! Gemma 3, the text model (Gemma Team, 2025, arXiv:2503.19786): Gemma 2 without caps, with queries
//! and keys normed by head, and layers with a window that have a rotary embedding of their own.
//!
//! Matches `transformers/models/gemma3/modeling_gemma3.py`.

use crate::decoder::{DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, gemma, json_only};

const CLASSIFIER: &str = "Gemma3TextForSequenceClassification";

/// One layer in so many sees everything, where the configuration does not say.
const PATTERN: usize = 6;

/// The rotary embedding's base in layers with a window, where the configuration does not say.
const LOCAL_THETA: f64 = 10000.0;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let (mut config, value) = DecoderJson::read(file, json)?;
    config.rope_theta = config.rope_theta.or(Some(1_000_000.0));
    config.rope_local_base_freq = config.rope_local_base_freq.or(Some(LOCAL_THETA));
    let mut decoder = gemma::defaults(&mut config, entry, CLASSIFIER, file, value)?;
    let pattern = config.sliding_window_pattern.or(config.private_sliding_window_pattern).unwrap_or(PATTERN).max(1);
    let sliding = config.sliding(file, |layer| (layer + 1) % pattern != 0)?;
    let window = config.sliding_window.or(Some(4096));
    decoder.kinds = vec![
        LayerKind { window: None, rope: config.rope(file)? },
        LayerKind { window, rope: config.local_rope(file)? },
    ];
    decoder.layer_kinds = sliding.into_iter().map(usize::from).collect();
    decoder.query_scale = config.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5);
    decoder.attention_softcap = config.attn_logit_softcapping;
    decoder.logit_softcap = config.final_logit_softcapping;
    decoder.norm_after = true;
    decoder.qk_norm = true;
    decoder.checked(file)
}
