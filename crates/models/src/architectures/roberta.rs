//! RoBERTa (Liu et al., 2019, arXiv:1907.11692): BERT's layers with positions that begin after the pad id, and a
//! classifier of two layers over the first token. XLM-RoBERTa (Conneau et al., 2019, arXiv:1911.02116) and
//! CamemBERT (Martin et al., 2019, arXiv:1911.03894) are the same with other defaults.
//!
//! Matches `transformers/models/roberta/modeling_roberta.py` and `xlm_roberta/modeling_xlm_roberta.py`.

use burn::tensor::Tensor;

use crate::architectures::bert::{EncoderJson, Pooled};
use crate::config::{ConfigJson, id};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_roberta.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1, "is_decoder": false
}"#;

/// What absent keys mean: `configuration_xlm_roberta.py`, `configuration_camembert.py`.
pub(crate) const XLM_DEFAULTS: &str = r#"{
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1, "is_decoder": false
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    read(entry, description, DEFAULTS)
}

pub(crate) fn parse_xlm(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    read(entry, description, XLM_DEFAULTS)
}

fn read(entry: &Entry, description: Description<'_>, defaults: &str) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: EncoderJson = ConfigJson::read(file, json, defaults)?.keys()?;
    // Positions begin at the pad id plus one.
    let pad = id(config.pad_token_id).ok_or_else(|| ModelError::Config {
        file: file.to_owned(),
        expected: "a pad_token_id, from which positions are counted".to_owned(),
        found: "none".to_owned(),
    })?;
    Ok(Box::new(Pooled {
        encoder: config.checked(entry, file, pad as usize + 1)?,
        prefix: "roberta",
        layers: ["classifier.dense", "classifier.out_proj"],
        between: Tensor::tanh,
        counts_after_pad: true,
        stored: |_| None,
    }))
}
