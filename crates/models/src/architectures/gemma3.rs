//! Gemma 3, the text model (Gemma Team, 2025, arXiv:2503.19786): Gemma 2 without caps, with each head of queries and
//! keys normed, and with a rotary embedding of their own for layers with a window.
//!
//! Matches `transformers/models/gemma3/modeling_gemma3.py`.

use rewardscope_kernels::Activation;

use crate::architectures::gemma;
use crate::config::ConfigJson;
use crate::decoder_config::{Decoder, DecoderJson, LayerKind};
use crate::rope::{Rope, Scaling};
use crate::{Architecture, Description, Entry, GgufDescription, ModelError};

/// transformers' name of its sequence classifier.
const CLASSIFIER: &str = "Gemma3TextForSequenceClassification";

/// What absent keys mean: `configuration_gemma3.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6, "pad_token_id": 0, "tie_word_embeddings": true, "attention_bias": false,
    "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
    "final_logit_softcapping": null, "attn_logit_softcapping": null, "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0, "use_bidirectional_attention": false
}"#;

/// Every `PATTERN`-th layer has no window, in a GGUF and where a `config.json` does not say.
const PATTERN: usize = 6;

/// The rotary embedding's base in layers with a window, in a GGUF.
const LOCAL_THETA: f64 = 10000.0;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    match description {
        Description::ConfigJson { file, json, .. } => from_json(entry, file, json),
        Description::Gguf(gguf) => from_gguf(entry, gguf),
    }
}

fn from_json(entry: &Entry, file: &str, json: &str) -> Result<Box<dyn Architecture>, ModelError> {
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let mut config: DecoderJson = given.keys()?;
    // Gemma 3 reads the activation from hidden_activation; hidden_act is not read.
    config.hidden_act = config.hidden_activation.take();
    let mut decoder = gemma::common(&config, entry, CLASSIFIER, &given)?;
    let pattern = config.sliding_window_pattern.unwrap_or(PATTERN).max(1);
    let sliding = config.sliding(file, |layer| (layer + 1) % pattern != 0)?;
    if config.sliding_window.is_none() && sliding.contains(&true) {
        return Err(gemma::no_window(file));
    }
    decoder.kinds = vec![
        LayerKind { window: None, rope: config.global_rope(file)? },
        LayerKind { window: config.sliding_window, rope: config.local_rope(file)? },
    ];
    decoder.layer_kinds = sliding.into_iter().map(usize::from).collect();
    decoder.query_scale = gemma::query_scale(&config, file)?;
    // transformers' eager attention of Gemma 3 does not read attn_logit_softcapping.
    decoder.logit_softcap = config.final_logit_softcapping;
    switches(&mut decoder);
    decoder.checked(file)
}

fn from_gguf(entry: &Entry, gguf: GgufDescription<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let mut decoder = Decoder::from_gguf(entry, CLASSIFIER, gguf)?;
    let metadata = gguf.metadata;
    let file = metadata.file();
    let damaged = |e: rewardscope_weights::WeightsError| ModelError::Config {
        file: file.to_owned(),
        expected: "the metadata of a gemma3".to_owned(),
        found: e.to_string(),
    };
    let window = metadata.unsigned("gemma3.attention.sliding_window").map_err(damaged)?;
    // The 27B model alone scales queries otherwise. It is known by its number of layers, as in llama.cpp.
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
        // transformers 5 reads the first of these keys, transformers 4 the other two.
        "rope_parameters": {
            "full_attention": decoder.kinds[0].rope.to_json(),
            "sliding_attention": decoder.kinds[1].rope.to_json(),
        },
        "rope_theta": decoder.kinds[0].rope.theta,
        "rope_local_base_freq": LOCAL_THETA,
    });
    decoder.checked(file)
}

/// Sets the switches that Gemma 3 has whatever its file.
fn switches(decoder: &mut Decoder) {
    decoder.norm_after = true;
    decoder.qk_norm = true;
}
