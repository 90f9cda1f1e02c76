//! Gemma 3, the text model (Gemma Team, 2025, arXiv:2503.19786): Gemma 2 without caps, with queries
//! and keys normed by head, and layers with a window that have a rotary embedding of their own.
//!
//! Matches `transformers/models/gemma3/modeling_gemma3.py`.

use rewardscope_kernels::Activation;
use rewardscope_weights::{Checkpoint, gguf};

use crate::decoder::{Decoder, DecoderJson, LayerKind};
use crate::rope::{Rope, Scaling};
use crate::{Architecture, Description, Entry, ModelError, gemma};

const CLASSIFIER: &str = "Gemma3TextForSequenceClassification";

/// One layer in so many sees everything, where the configuration does not say.
const PATTERN: usize = 6;

/// The rotary embedding's base in layers with a window, where the configuration does not say.
const LOCAL_THETA: f64 = 10000.0;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    match description {
        Description::ConfigJson { file, json } => from_json(entry, file, json),
        Description::Gguf(checkpoint, metadata) => from_gguf(entry, checkpoint, metadata),
    }
}

fn from_json(entry: &Entry, file: &str, json: &str) -> Result<Box<dyn Architecture>, ModelError> {
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
    switches(&mut decoder);
    decoder.checked(file)
}

fn from_gguf(
    entry: &Entry,
    checkpoint: &Checkpoint,
    metadata: &gguf::Metadata,
) -> Result<Box<dyn Architecture>, ModelError> {
    let mut decoder = Decoder::from_gguf(entry, CLASSIFIER, checkpoint, metadata)?;
    let file = metadata.file();
    let damaged = |e: rewardscope_weights::WeightsError| ModelError::Config {
        file: file.to_owned(),
        expected: "the metadata of a gemma3".to_owned(),
        found: e.to_string(),
    };
    let window = metadata.unsigned("gemma3.attention.sliding_window").map_err(damaged)?;
    // llama.cpp knows the 27B by its layers; it alone scales queries otherwise.
    if decoder.summary.layers == 62 {
        decoder.query_scale = (decoder.summary.hidden_size as f64 / decoder.num_attention_heads as f64).powf(-0.5);
    }
    decoder.activation = Activation::GeluTanh;
    decoder.embedding_scale = Some((decoder.summary.hidden_size as f64).sqrt());
    decoder.norm_plus_one = true;
    let local = Rope { theta: LOCAL_THETA, scaling: Scaling::None, turned: decoder.head_dim };
    decoder.kinds.push(LayerKind { window: Some(window), rope: local });
    decoder.layer_kinds = (0..decoder.layer_kinds.len()).map(|layer| usize::from((layer + 1) % PATTERN != 0)).collect();
    switches(&mut decoder);
    let types: Vec<&str> = decoder
        .layer_kinds
        .iter()
        .map(|&kind| if kind == 0 { "full_attention" } else { "sliding_attention" })
        .collect();
    let s = &decoder.summary;
    decoder.config = serde_json::json!({
        "model_type": "gemma3_text",
        "vocab_size": s.vocab_size,
        "hidden_size": s.hidden_size,
        "intermediate_size": s.intermediate_size,
        "num_hidden_layers": s.layers,
        "num_attention_heads": decoder.num_attention_heads,
        "num_key_value_heads": decoder.num_key_value_heads,
        "head_dim": decoder.head_dim,
        "rms_norm_eps": decoder.rms_norm_eps,
        "max_position_embeddings": s.context_tokens,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": false,
        "query_pre_attn_scalar": decoder.query_scale.powf(-2.0),
        "sliding_window": window,
        "layer_types": types,
        "pad_token_id": s.pad_token_id,
        // Version 4 reads the other two where version 5 reads the first.
        "rope_parameters": {
            "full_attention": decoder.kinds[0].rope.to_json(),
            "sliding_attention": decoder.kinds[1].rope.to_json(),
        },
        "rope_theta": decoder.kinds[0].rope.theta,
        "rope_local_base_freq": LOCAL_THETA,
    });
    decoder.checked(file)
}

fn switches(decoder: &mut Decoder) {
    decoder.norm_after = true;
    decoder.qk_norm = true;
}
