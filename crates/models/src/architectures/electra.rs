//! ELECTRA (Clark et al., 2020, arXiv:2003.10555): BERT's layers, over embeddings of a width of their own, and a
//! classifier of two layers over the first token.
//!
//! Matches `transformers/models/electra/modeling_electra.py`.

use rewardscope_kernels::Activation;
use serde::Deserialize;

use crate::architectures::bert::{EncoderJson, Pooled};
use crate::config::ConfigJson;
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_electra.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 30522, "embedding_size": 128, "hidden_size": 256, "num_hidden_layers": 12,
    "num_attention_heads": 4, "intermediate_size": 1024, "hidden_act": "gelu",
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    "is_decoder": false
}"#;

#[derive(Deserialize)]
struct Own {
    embedding_size: usize,
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let (config, Own { embedding_size }): (EncoderJson, Own) = (given.keys()?, given.keys()?);
    let mut encoder = config.checked(entry, file, 0)?;
    encoder.summary.check(file, &[embedding_size])?;
    encoder.has_projection = embedding_size != encoder.summary.hidden_size;
    encoder.embedding_size = embedding_size;
    Ok(Box::new(Pooled {
        encoder,
        prefix: "electra",
        layers: ["classifier.dense", "classifier.out_proj"],
        // Whatever the configuration's activation is.
        between: |x| Activation::Gelu.of(x),
        counts_after_pad: false,
        stored: |_| None,
    }))
}
