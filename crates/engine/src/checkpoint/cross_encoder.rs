//! sentence-transformers' cross-encoders: what their `predict` makes of a logit.

use rewardscope_store::Folder;
use serde_json::{Map, Value};

/// The file with the settings that sentence-transformers keeps beside a model.
pub(crate) const SETTINGS: &str = "config_sentence_transformers.json";

/// The file that lists a sentence-transformers model's modules.
const MODULES: &str = "modules.json";

/// Whether `predict` gives the sigmoid of the logit (`CrossEncoder.get_default_activation_fn`): the activation that is
/// named in the settings or in the configuration, or a sigmoid where a cross-encoder with one label names none. False
/// for any other folder, and for other activations.
pub(crate) fn predicts_sigmoid(
    folder: &Folder,
    settings: Option<&Map<String, Value>>,
    config: &Value,
    labels: usize,
) -> bool {
    let own = settings.and_then(|settings| settings.get("activation_fn"));
    let newer = config.get("sentence_transformers").and_then(|own| own.get("activation_fn"));
    let older = config.get("sbert_ce_default_activation_function");
    match own.or(newer).or(older).and_then(Value::as_str) {
        Some(name) => name.starts_with("torch.") && name.rsplit('.').next() == Some("Sigmoid"),
        None => {
            let kind = settings.and_then(|settings| settings.get("model_type")).and_then(Value::as_str);
            let is_one = kind == Some("CrossEncoder") || config.get("sentence_transformers").is_some();
            labels == 1 && (is_one || folder.find(MODULES).is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_activation_is_found_where_versions_put_it() {
        let folder = Folder::new("model", Vec::new());
        let of = |settings: Value, config: Value, labels: usize| {
            predicts_sigmoid(&folder, settings.as_object(), &config, labels)
        };
        let [sigmoid, identity] = ["torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"];
        assert!(of(json!({ "activation_fn": sigmoid }), json!({}), 1));
        assert!(!of(json!({ "activation_fn": identity }), json!({}), 1));
        assert!(of(Value::Null, json!({ "sentence_transformers": { "activation_fn": sigmoid } }), 1));
        assert!(!of(Value::Null, json!({ "sbert_ce_default_activation_function": identity }), 1));
        assert!(of(json!({ "model_type": "CrossEncoder" }), json!({}), 1));
        assert!(!of(json!({ "model_type": "CrossEncoder" }), json!({}), 3));
        assert!(!of(Value::Null, json!({}), 1), "another folder");
        assert!(!of(json!({ "activation_fn": "mine.Sigmoid" }), json!({}), 1), "code that is not torch's");
    }
}
