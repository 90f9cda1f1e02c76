//! `adapter_config.json`. A switch that is not at its default is either read here or refused by name.
//!
//! Matches `tuners/lora/config.py` of peft 0.21.2.

use std::collections::BTreeMap;

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::{WeightsError, format_error};

/// Keys that are read here, or that change no score.
const READ: [&str; 29] = [
    "peft_type",
    "base_model_name_or_path",
    "task_type",
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "bias",
    "lora_bias",
    "trainable_token_indices",
    "init_lora_weights",
    "modules_to_save",
    // These concern training, or where the tensors came from.
    "auto_mapping",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "ensure_weight_tying",
    "runtime_config",
    "loftq_config",
    "eva_config",
    "lora_ga_config",
    // peft turns it off for linear modules, and all modules here are linear.
    "fan_in_fan_out",
    "corda_config",
];

/// Keys that do nothing by themselves, with their defaults as JSON.
const DEFAULTS: [(&str, &str); 2] = [("megatron_core", "\"megatron.core\""), ("qalora_group_size", "16")];

/// Values of `init_lora_weights` that leave the base's weights unchanged.
const PLAIN_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Most backtracking steps of a pattern.
const MOST_STEPS: usize = 100_000;

/// The parts of an adapter's configuration that merging needs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The file's name, for messages.
    pub file: String,
    pub task_type: Option<String>,
    pub use_rslora: bool,
    rank: usize,
    alpha: f64,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    /// The trained rows of embeddings, by the embedding's name; a list without a name is for every embedding.
    pub token_rows: Vec<(Option<String>, Vec<usize>)>,
    modules_to_save: Vec<String>,
}

impl Config {
    fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>, WeightsError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| format_error(file, "the configuration of an adapter as peft writes it", e.to_string()))?;
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(format_error(file, "the configuration of an adapter as peft writes it", "no JSON object")),
        }
    }

    /// The name of the base model.
    pub fn base(file: &str, bytes: &[u8]) -> Result<String, WeightsError> {
        let object = Self::object(file, bytes)?;
        let base = object.get("base_model_name_or_path").and_then(Value::as_str);
        base.map(str::to_owned).ok_or_else(|| format_error(file, "a base_model_name_or_path", "none"))
    }

    /// Reads a configuration; refuses an adapter that is not merged here.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, WeightsError> {
        let object = Self::object(file, bytes)?;
        let refuse = |found: String| WeightsError::UnsupportedAdapter { file: file.to_owned(), found };
        let kind = object.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            return Err(refuse(format!("an adapter of the type {}", kind.unwrap_or("none"))));
        }
        supported(&object).map_err(refuse)?;
        let wrong = |key: &str| {
            let found = object.get(key).map_or_else(|| "none".to_owned(), short);
            format_error(file, format!("{key} as peft writes it"), found)
        };
        let flag = |key: &str| match object.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong(key)),
        };
        let rank = |value: &Value| value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0);
        let own = |key: &str, default: f64| object.get(key).map_or(Some(default), Value::as_f64);
        let names = |key: &str| -> Result<Vec<String>, WeightsError> {
            match object.get(key) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(value) => serde_json::from_value(value.clone()).map_err(|_| wrong(key)),
            }
        };
        Ok(Self {
            file: file.to_owned(),
            task_type: object.get("task_type").and_then(Value::as_str).map(str::to_owned),
            use_rslora: flag("use_rslora")?,
            rank: object.get("r").map_or(Some(8), rank).ok_or_else(|| wrong("r"))?,
            alpha: own("lora_alpha", 8.0).ok_or_else(|| wrong("lora_alpha"))?,
            ranks: patterns(&object, "rank_pattern", rank).ok_or_else(|| wrong("rank_pattern"))?,
            alphas: patterns(&object, "alpha_pattern", Value::as_f64).ok_or_else(|| wrong("alpha_pattern"))?,
            token_rows: token_rows(object.get("trainable_token_indices"))
                .ok_or_else(|| wrong("trainable_token_indices"))?,
            modules_to_save: names("modules_to_save")?,
        })
    }

    /// A module's rank.
    pub fn rank(&self, module: &str) -> usize {
        matching(&self.ranks, module).unwrap_or(self.rank)
    }

    /// The factor of a module's product `b a`: `alpha / r`, or `alpha / sqrt(r)` with `use_rslora` (rank-stabilised,
    /// Kalajdzievski, 2023, arXiv:2312.03732).
    pub fn scale(&self, module: &str) -> f32 {
        let (rank, alpha) = (self.rank(module) as f64, matching(&self.alphas, module).unwrap_or(self.alpha));
        (if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }) as f32
    }

    /// Whether a whole copy of the module was trained (`modules_to_save`).
    pub fn saves(&self, module: &str) -> bool {
        self.modules_to_save.iter().any(|name| module == name || module.ends_with(&format!(".{name}")))
    }

    /// The trained rows of an embedding; `None` where it has none.
    pub fn rows_of(&self, module: &str) -> Option<&[usize]> {
        let is = |name: &Option<String>| match name {
            None => true,
            Some(name) => module == name || module.ends_with(&format!(".{name}")),
        };
        self.token_rows.iter().find(|(name, _)| is(name)).map(|(_, rows)| rows.as_slice())
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Number(_) | Value::String(_) | Value::Bool(true) => false,
    }
}

/// Checks that every switch is merged here; the error says which one is not.
fn supported(object: &Map<String, Value>) -> Result<(), String> {
    if object.get("use_dora") == Some(&true.into()) {
        return Err("a DoRA adapter (use_dora)".to_owned());
    }
    for (key, value) in object {
        let is_default = match DEFAULTS.iter().find(|(name, _)| name == key) {
            Some((_, default)) => serde_json::from_str::<Value>(default).is_ok_and(|default| default == *value),
            None => false,
        };
        if !READ.contains(&key.as_str()) && !is_default && !is_off(value) {
            return Err(format!("a LoRA adapter with {key}: {}", short(value)));
        }
    }
    match object.get("init_lora_weights") {
        None | Some(Value::Bool(_)) => {}
        Some(Value::String(way)) if PLAIN_BEGINNINGS.contains(&way.to_lowercase().as_str()) => {}
        Some(other) => {
            return Err(format!(
                "a LoRA adapter with init_lora_weights: {}, which changes its base when it is loaded,",
                short(other)
            ));
        }
    }
    match object.get("bias") {
        None => Ok(()),
        Some(bias) if [Value::from("none"), "all".into(), "lora_only".into()].contains(bias) => Ok(()),
        Some(bias) => Err(format!("a LoRA adapter with bias: {}", short(bias))),
    }
}

/// peft's patterns, in the file's order: regular expressions that match a module's whole name, or its end after a dot.
fn patterns<T>(object: &Map<String, Value>, key: &str, of: impl Fn(&Value) -> Option<T>) -> Option<Vec<(Regex, T)>> {
    let entries = match object.get(key) {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(value) => value.as_object()?,
    };
    let compile = |pattern: &str| {
        let whole = format!(r"^(?:(?:.*\.)?(?:{pattern})$)");
        fancy_regex::RegexBuilder::new(&whole).backtrack_limit(MOST_STEPS).build().ok()
    };
    entries.iter().map(|(pattern, value)| Some((compile(pattern)?, of(value)?))).collect()
}

fn matching<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module).unwrap_or(false)).map(|(_, value)| *value)
}

/// `trainable_token_indices`: one list of rows for every embedding, or a list for each embedding's name.
fn token_rows(value: Option<&Value>) -> Option<Vec<(Option<String>, Vec<usize>)>> {
    let rows = |value: &Value| serde_json::from_value::<Vec<usize>>(value.clone()).ok();
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Object(named)) => {
            let named: BTreeMap<&String, &Value> = named.iter().collect();
            named.into_iter().map(|(name, value)| Some((Some(name.clone()), rows(value)?))).collect()
        }
        Some(list) => Some(vec![(None, rows(list)?)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        Config::read("adapter_config.json", json.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn patterns_are_regular_expressions_for_the_last_parts_of_a_name() {
        let json = r#"{"peft_type":"LORA","r":4,"lora_alpha":8,"rank_pattern":{".*\\.0\\..*q_proj":2,"v_proj":3},
            "alpha_pattern":{"^model\\.layers\\.1\\.mlp":16}}"#;
        let config = read(json).expect("read");
        let of = |module: &str| (config.rank(module), config.scale(module));
        assert_eq!(of("model.layers.0.self_attn.q_proj"), (2, 4.0));
        assert_eq!(of("model.layers.1.self_attn.q_proj"), (4, 2.0));
        assert_eq!(of("model.layers.1.self_attn.v_proj"), (3, 8.0 / 3.0));
        assert_eq!(of("model.layers.1.self_attn.my_v_proj"), (4, 2.0));
    }

    #[test]
    fn switches_that_are_not_merged_are_named() {
        let plain = r#""peft_type":"LORA","r":4,"lora_alpha":8"#;
        for (switch, named) in [
            (r#""use_dora":true"#, "use_dora"),
            (r#""init_lora_weights":"pissa_niter_16""#, "pissa_niter_16"),
            (r#""init_lora_weights":"olora""#, "olora"),
            (r#""init_lora_weights":"loftq""#, "loftq"),
            (r#""layer_replication":[[0,4]]"#, "layer_replication"),
            (r#""target_parameters":["experts"]"#, "target_parameters"),
            (r#""alora_invocation_tokens":[1,2]"#, "alora_invocation_tokens"),
            (r#""bias":"some""#, "bias"),
            (r#""whatever_comes_next":3"#, "whatever_comes_next"),
            (r#""rank_pattern":{"(":2}"#, "rank_pattern"),
            (r#""r":0"#, "r as peft"),
        ] {
            let message = read(&format!("{{{plain},{switch}}}")).expect_err(switch);
            assert!(message.contains(named) && message.contains("adapter_config.json"), "{switch}: {message}");
        }
        for switch in [
            r#""use_dora":false,"whatever":null,"megatron_core":"megatron.core","qalora_group_size":16"#,
            r#""init_lora_weights":"gaussian","bias":"all","fan_in_fan_out":true"#,
        ] {
            assert!(read(&format!("{{{plain},{switch}}}")).is_ok(), "{switch}");
        }
    }
}
