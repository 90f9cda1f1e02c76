//! MPNet (Song et al., 2020, arXiv:2004.09297): BERT's layers without token types, positions that begin after the pad id,
//! and a learned bias for each distance, which all layers share.
//!
//! Matches `transformers/models/mpnet/modeling_mpnet.py`.

use burn::tensor::Tensor;
use serde::Deserialize;

use crate::architectures::bert::{EncoderJson, Pooled};
use crate::config::ConfigJson;
use crate::relative_bias::BUCKETS;
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_mpnet.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 30527, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12, "relative_attention_num_buckets": 32, "pad_token_id": 1
}"#;

/// The pad id that transformers' embeddings assume, whatever the configuration says.
const PAD: i64 = 1;

/// Parts of BERT's names of tensors, and MPNet's for the same.
const NAMES: [(&str, &str); 5] = [
    ("attention.self.query", "attention.attn.q"),
    ("attention.self.key", "attention.attn.k"),
    ("attention.self.value", "attention.attn.v"),
    ("attention.output.dense", "attention.attn.o"),
    ("attention.output.LayerNorm", "attention.LayerNorm"),
];

#[derive(Deserialize)]
struct Own {
    relative_attention_num_buckets: usize,
}

/// The checkpoint's name of the tensor that BERT calls so.
fn stored(name: &str) -> Option<String> {
    Some(NAMES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to)))
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let (config, own): (EncoderJson, Own) = (given.keys()?, given.keys()?);
    let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
    if own.relative_attention_num_buckets != BUCKETS {
        return Err(unsupported(format!("an MPNet with {} buckets of distances", own.relative_attention_num_buckets)));
    }
    if config.pad_token_id != Some(PAD) {
        return Err(unsupported(format!("an MPNet with the pad_token_id {:?}", config.pad_token_id)));
    }
    // Keys of BERT that MPNet does not read.
    let config = EncoderJson { type_vocab_size: 0, position_embedding_type: None, is_decoder: false, ..config };
    let mut encoder = config.checked(entry, file, PAD as usize + 1)?;
    encoder.summary.token_types = None;
    encoder.has_relative_bias = true;
    Ok(Box::new(Pooled {
        encoder,
        prefix: "mpnet",
        layers: ["classifier.dense", "classifier.out_proj"],
        between: Tensor::tanh,
        counts_after_pad: true,
        stored,
    }))
}
