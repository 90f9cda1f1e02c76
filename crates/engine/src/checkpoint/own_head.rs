//! Heads that trainers put on a decoder under names of their own: which one a checkpoint has, and how its outputs are
//! read.

use std::collections::BTreeSet;

use rewardscope_models::{Architecture, GatePlan, Head, KnownHead, known_heads};
use rewardscope_text::Tokenizer;
use rewardscope_weights::Checkpoint;
use serde_json::Value;

use crate::error::EngineError;
use crate::scoring::reading::{Gates, Normal, Reading};

/// The name of a head whose score is read at a token that its publishers put at the end of a text: Athene's, and
/// InternLM2's.
const APPENDING: &str = "v_head";

/// What ArmoRM's gates are read at: where Llama 3's template begins an answer.
const ANSWER_BEGINS: &str = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";

/// Names of the output matrix of a language model, which some checkpoints keep beside a head.
pub(crate) const VOCABULARY: [&str; 3] = ["lm_head.weight", "output.weight", "embed_out.weight"];

/// Finds the head of a checkpoint that is no classifier of transformers, and makes the architecture read it. `None`
/// where the model's own class says what is read.
///
/// # Errors
/// When the checkpoint has two such heads, or a tensor that is not read beside one.
pub(crate) fn find(
    model: &str,
    checkpoint: &Checkpoint,
    architecture: &mut dyn Architecture,
    config: &Value,
) -> Result<Option<KnownHead>, EngineError> {
    let summary = architecture.summary();
    let class = config.get("architectures").and_then(|names| names.get(0)?.as_str());
    let named = config.get("value_head_prefix").and_then(Value::as_str);
    let is_classifier = class.is_none_or(|class| class == summary.architecture)
        && named.is_none()
        && checkpoint.find("score.weight").is_some();
    if summary.head.is_an_encoders() || summary.head == Head::Score && is_classifier {
        return Ok(None);
    }
    let shape_of = |name: &str| checkpoint.find(name).map(|info| info.shape.clone());
    let mut heads = known_heads(&shape_of, named);
    if heads.len() > 1 {
        let names = heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>().join(" and ");
        let found = format!("{names}: two heads, and nothing says which of them gives the score; remove one");
        return Err(EngineError::NotWhole { model: model.to_owned(), found });
    }
    let Some(mut head) = heads.pop() else {
        return Ok(None);
    };
    refuse_other_scores(model, config)?;
    if head.is_gated {
        head.plan.gates = Some(gate_plan(model, config)?);
    }
    let layers = architecture.summary().layers;
    architecture.read_by(layers, head.plan.clone())?;
    let mut read: BTreeSet<String> = architecture.tensors()?.into_iter().map(|spec| spec.stored).collect();
    read.extend(VOCABULARY.map(str::to_owned));
    // What the publisher's own code does with another tensor is not known. Rotary tables are computed.
    let is_unread = |name: &&str| !read.contains(*name) && !name.ends_with("rotary_emb.inv_freq");
    let unread: Vec<&str> = checkpoint.tensors().map(|info| info.name.as_str()).filter(is_unread).collect();
    match unread.is_empty() {
        true => Ok(Some(head)),
        false => Err(unread_error(model, architecture.summary().architecture, &unread)),
    }
}

/// Refuses settings under which the publisher's code changes a score in a way that is not computed here.
fn refuse_other_scores(model: &str, config: &Value) -> Result<(), EngineError> {
    let is_set = |key: &str, value: Value| (config.get(key) == Some(&value)).then(|| format!("{key}: {value}"));
    let set = is_set("do_normalize", true.into()).or_else(|| is_set("score_type", "cost".into()));
    match set {
        Some(setting) => {
            let found = format!("a head with the setting {setting}, which is not supported");
            Err(EngineError::NotWhole { model: model.to_owned(), found })
        }
        None => Ok(()),
    }
}

/// How a head's outputs become a score.
///
/// # Errors
/// When the configuration's numbers cannot be computed with, or the tokenizer lacks what the gates are read at.
pub(crate) fn reading(
    model: &str,
    head: &KnownHead,
    config: &Value,
    tokenizer: &Tokenizer,
) -> Result<Reading, EngineError> {
    let number = |key: &str| config.get(key).and_then(Value::as_f64);
    let normal = match (config.get("normalize_reward").and_then(Value::as_bool), number("mean"), number("std")) {
        (Some(true), Some(mean), Some(std)) if mean.is_finite() && std > 0.0 => Some(Normal { mean, std }),
        (Some(true), mean, std) => {
            let found = format!("normalize_reward with the mean {mean:?} and the std {std:?}; numbers were expected");
            return Err(EngineError::NotWhole { model: model.to_owned(), found });
        }
        _ => None,
    };
    let own = config.get("reward_token_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let special = || {
        let (_, token) = tokenizer.special_tokens().iter().find(|(name, _)| name == "cls_token")?;
        tokenizer.id(token)
    };
    let appended = if head.name == APPENDING { own.or_else(special) } else { None };
    let gates = if head.is_gated { Some(gates(model, tokenizer)?) } else { None };
    Ok(Reading { head: Some(head.name.clone()), appended, normal, gates, is_sigmoid: false })
}

fn gate_plan(model: &str, config: &Value) -> Result<GatePlan, EngineError> {
    let temperature = config.get("gating_temperature").and_then(Value::as_f64).filter(|value| *value > 0.0);
    let temperature = temperature.ok_or_else(|| EngineError::NotWhole {
        model: model.to_owned(),
        found: "gates without a gating_temperature above 0".to_owned(),
    })?;
    Ok(GatePlan { temperature })
}

fn gates(model: &str, tokenizer: &Tokenizer) -> Result<Gates, EngineError> {
    if tokenizer.id("<|eot_id|>").is_none() {
        let found = format!("gates that are read at {ANSWER_BEGINS:?}, and a tokenizer without <|eot_id|>");
        return Err(EngineError::NotWhole { model: model.to_owned(), found });
    }
    Ok(Gates { pattern: tokenizer.encode(ANSWER_BEGINS)? })
}

/// Parts of the names of heads that some trainers put on a language model.
const OTHER_HEADS: [&str; 8] =
    ["v_head", "value_head", "reward_head", "rm_head", "score", "classifier", "summary", "regression"];

/// Whether a tensor's name is that of a head.
pub(crate) fn is_head(name: &str) -> bool {
    OTHER_HEADS.iter().any(|part| name.contains(part))
}

/// The error for tensors that are not read.
pub(crate) fn unread_error(model: &str, architecture: &str, unread: &[&str]) -> EngineError {
    let named = unread.iter().take(4).copied().collect::<Vec<_>>().join(", ");
    let is_of_head = |name: &&str| name.starts_with("cls") || is_head(name);
    let kind = if unread.iter().any(is_of_head) { "a head of another kind" } else { "unknown tensors" };
    let found = format!("{kind} beside a {architecture}: {named}{}", if unread.len() > 4 { " and others" } else { "" });
    EngineError::NotWhole { model: model.to_owned(), found }
}
