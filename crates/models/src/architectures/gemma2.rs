//! Gemma 2 (Gemma Team, 2024, arXiv:2408.00118): Gemma with a window in every other layer, soft caps on attention
//! scores and logits, norms after the attention and the feed-forward layer, and its own scale of queries.
//!
//! Matches `transformers/models/gemma2/modeling_gemma2.py` with eager attention: other kernels
//! leave the cap of the scores out.

use crate::architectures::gemma;
use crate::config::ConfigJson;
use crate::decoder_config::{DecoderJson, LayerKind};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_gemma2.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "pad_token_id": 0, "tie_word_embeddings": true, "attention_bias": false,
    "query_pre_attn_scalar": 256, "sliding_window": 4096, "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0, "use_bidirectional_attention": null
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let mut config: DecoderJson = given.keys()?;
    // Gemma 2 reads the activation from hidden_activation; hidden_act is not read.
    config.hidden_act = config.hidden_activation.take();
    let mut decoder = gemma::common(&config, entry, "Gemma2ForSequenceClassification", &given)?;
    let rope = config.rope(file)?;
    let sliding = config.sliding(file, |layer| layer % 2 == 0)?;
    if config.sliding_window.is_none() && sliding.contains(&true) {
        return Err(gemma::no_window(file));
    }
    let window = config.sliding_window;
    decoder.kinds = vec![LayerKind { window: None, rope: rope.clone() }, LayerKind { window, rope }];
    decoder.layer_kinds = sliding.into_iter().map(usize::from).collect();
    decoder.query_scale = gemma::query_scale(&config, file)?;
    decoder.attention_softcap = config.attn_logit_softcapping;
    decoder.logit_softcap = config.final_logit_softcapping;
    decoder.norm_after = true;
    decoder.checked(file)
}
