//! DistilBERT (Sanh et al., 2019, arXiv:1910.01108): BERT's layers under other names, without token types.
//!
//! Matches `transformers/models/distilbert/modeling_distilbert.py`.

use burn::tensor::activation::relu;
use serde::Deserialize;
use serde_json::Value;

use crate::architectures::bert::{EncoderJson, Pooled};
use crate::config::{ConfigJson, Labels};
use crate::{Architecture, Description, Entry, ModelError, json_only};

/// What absent keys mean: `configuration_distilbert.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 30522, "max_position_embeddings": 512, "n_layers": 6, "n_heads": 12, "dim": 768,
    "hidden_dim": 3072, "activation": "gelu", "pad_token_id": 0
}"#;

/// Its norms have this epsilon, whatever the configuration says.
const EPSILON: f64 = 1e-12;

/// Parts of BERT's names for tensors and DistilBERT's names for the same, replaced in this order.
const NAMES: [(&str, &str); 9] = [
    (".encoder.layer.", ".transformer.layer."),
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
];

#[derive(Deserialize)]
struct Own {
    vocab_size: usize,
    max_position_embeddings: usize,
    n_layers: usize,
    n_heads: usize,
    dim: usize,
    hidden_dim: usize,
    activation: String,
    pad_token_id: Option<i64>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: Value,
    #[serde(flatten)]
    labels: Labels,
}

/// The checkpoint's name of the tensor that BERT calls so.
fn stored(name: &str) -> Option<String> {
    Some(NAMES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to)))
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let own: Own = ConfigJson::read(file, json, DEFAULTS)?.keys()?;
    let config = EncoderJson {
        vocab_size: own.vocab_size,
        hidden_size: own.dim,
        intermediate_size: own.hidden_dim,
        num_hidden_layers: own.n_layers,
        num_attention_heads: own.n_heads,
        max_position_embeddings: own.max_position_embeddings,
        type_vocab_size: 0,
        layer_norm_eps: EPSILON,
        hidden_act: own.activation,
        position_embedding_type: own.position_embedding_type,
        pad_token_id: own.pad_token_id,
        is_decoder: own.is_decoder == Value::Bool(true),
        labels: own.labels,
    };
    let mut encoder = config.checked(entry, file, 0)?;
    encoder.summary.token_types = None;
    Ok(Box::new(Pooled {
        encoder,
        prefix: "distilbert",
        layers: ["pre_classifier", "classifier"],
        between: relu,
        counts_after_pad: false,
        stored,
    }))
}
