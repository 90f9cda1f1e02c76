//! ALBERT (Lan et al., 2019, arXiv:1909.11942): BERT's layer, whose weights several layers share, over embeddings of a
//! width of their own.
//!
//! Matches `transformers/models/albert/modeling_albert.py`.

use burn::tensor::Tensor;
use serde::Deserialize;

use crate::architectures::bert::{EncoderJson, Pooled};
use crate::config::ConfigJson;
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_albert.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 30000, "embedding_size": 128, "hidden_size": 4096, "num_hidden_layers": 12,
    "num_hidden_groups": 1, "num_attention_heads": 64, "intermediate_size": 16384, "inner_group_num": 1,
    "hidden_act": "gelu_new", "max_position_embeddings": 512, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12, "pad_token_id": 0
}"#;

/// Parts of BERT's names for tensors and ALBERT's names for the same, replaced in this order.
const NAMES: [(&str, &str); 6] = [
    ("albert.embeddings_project", "albert.encoder.embedding_hidden_mapping_in"),
    ("attention.self.", "attention."),
    ("attention.output.", "attention."),
    (".intermediate.dense", ".ffn"),
    (".output.dense", ".ffn_output"),
    (".output.LayerNorm", ".full_layer_layer_norm"),
];

#[derive(Deserialize)]
struct Own {
    embedding_size: usize,
    num_hidden_groups: usize,
    inner_group_num: usize,
}

/// The checkpoint's name of the tensor that BERT calls so.
fn stored(name: &str) -> Option<String> {
    let name = NAMES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let layer = name.strip_prefix("albert.encoder.layer.").and_then(|rest| rest.split_once('.'));
    Some(match layer {
        Some((group, rest)) => format!("albert.encoder.albert_layer_groups.{group}.albert_layers.0.{rest}"),
        None => name,
    })
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    // It has no decoder, so its class does not read the key.
    let given = ConfigJson::read(file, json, DEFAULTS)?;
    let (config, own): (EncoderJson, Own) = (given.keys()?, given.keys()?);
    if own.inner_group_num != 1 {
        let found = format!("layers of {} inner ones (inner_group_num)", own.inner_group_num);
        return Err(ModelError::Unsupported { file: file.to_owned(), found });
    }
    let mut encoder = config.checked(entry, file, 0)?;
    encoder.summary.check(file, &[own.embedding_size, own.num_hidden_groups])?;
    let (layers, groups) = (encoder.summary.layers, own.num_hidden_groups);
    if groups > layers {
        return Err(ModelError::Config {
            file: file.to_owned(),
            expected: "no more num_hidden_groups than num_hidden_layers".to_owned(),
            found: format!("{groups} and {layers}"),
        });
    }
    // `int(layer / (layers / groups))`, in transformers' floating point.
    let of = |layer: usize| (layer as f64 / (layers as f64 / groups as f64)) as usize;
    encoder.order = (0..layers).map(of).collect();
    (encoder.embedding_size, encoder.has_projection) = (own.embedding_size, true);
    Ok(Box::new(Pooled {
        encoder,
        prefix: "albert",
        layers: ["albert.pooler", "classifier"],
        between: Tensor::tanh,
        counts_after_pad: false,
        stored,
    }))
}
