//! Llama (Touvron et al., 2023, arXiv:2302.13971; grouped-query attention arXiv:2305.13245; Llama
//! 3's rope scaling arXiv:2407.21783): the decoder as it is, with no switch set.
//!
//! Matches `transformers/models/llama/modeling_llama.py`.

use crate::config::ConfigJson;
use crate::decoder_config::{Decoder, DecoderJson};
use crate::rope::Scaling;
use crate::{Architecture, Description, Entry, GgufDescription, ModelError};

/// transformers' name of its sequence classifier.
const CLASSIFIER: &str = "LlamaForSequenceClassification";

/// What absent keys mean: `configuration_llama.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "pad_token_id": null,
    "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false, "head_dim": null
}"#;

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    match description {
        Description::ConfigJson { file, json, .. } => {
            let given = ConfigJson::read(file, json, DEFAULTS)?;
            let config: DecoderJson = given.keys()?;
            let mut decoder = config.plain(entry, CLASSIFIER, &given)?;
            (decoder.qkv_bias, decoder.output_bias) = (config.attention_bias, config.attention_bias);
            decoder.mlp_bias = config.mlp_bias;
            decoder.checked(file)
        }
        Description::Gguf(gguf) => from_gguf(entry, gguf),
    }
}

fn from_gguf(entry: &Entry, gguf: GgufDescription<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let mut decoder = Decoder::from_gguf(entry, CLASSIFIER, gguf)?;
    decoder.rotary_pairs = true;
    let s = &decoder.summary;
    let rope = &decoder.kinds[0].rope;
    decoder.config = serde_json::json!({
        "model_type": "llama",
        "vocab_size": s.vocab_size,
        "hidden_size": s.hidden_size,
        "intermediate_size": s.intermediate_size,
        "num_hidden_layers": s.layers,
        "num_attention_heads": decoder.num_attention_heads,
        "num_key_value_heads": decoder.num_key_value_heads,
        "head_dim": decoder.head_dim,
        "rms_norm_eps": decoder.rms_norm_eps,
        "max_position_embeddings": s.context_tokens,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "pad_token_id": s.pad_token_id,
        // transformers 5 reads the first of these keys, transformers 4 the other two.
        "rope_parameters": rope.to_json(),
        "rope_theta": rope.theta,
        "rope_scaling": (rope.scaling != Scaling::None).then(|| rope.to_json()),
    });
    decoder.checked(gguf.metadata.file())
}

#[cfg(test)]
mod tests {
    use crate::{Architecture, Description, Head, describe};

    const PLAIN: &str = r#"{"architectures":["LlamaForSequenceClassification"],"vocab_size":8,"hidden_size":4,
        "intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"rms_norm_eps":1e-5,
        "max_position_embeddings":16,"hidden_act":"silu","id2label":{"0":"LABEL_0"}}"#;

    fn described(json: &str) -> Result<Box<dyn Architecture>, String> {
        let tensors = &std::collections::BTreeSet::new();
        describe(Description::ConfigJson { file: "config.json", json, tensors }).map_err(|e| e.to_string())
    }

    #[test]
    fn a_plain_configuration_is_read() {
        let architecture = described(PLAIN).expect("plain");
        assert_eq!(architecture.summary().head, Head::Score);
        let tensors = architecture.tensors().expect("a plan");
        assert_eq!(tensors.len(), 1 + 9 + 2);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (from, to, named) in [
            ("\"LlamaForSequenceClassification\"", "\"OPTForSequenceClassification\"", "OPTForSequenceClassification"),
            ("\"silu\"", "\"relu\"", "relu"),
            ("\"rms_norm_eps\"", "\"rope_scaling\":{\"rope_type\":\"wavy\"},\"rms_norm_eps\"", "wavy"),
            ("\"rms_norm_eps\"", "\"attention_bias\":\"yes\",\"rms_norm_eps\"", "attention_bias"),
            ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "sizes"),
        ] {
            let Err(message) = described(&PLAIN.replace(from, to)) else {
                panic!("accepted {to}");
            };
            assert!(message.contains(named) && message.contains("config.json"), "{message}");
        }
    }
}
