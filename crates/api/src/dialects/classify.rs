//! vLLM's pooling routes (`vllm/entrypoints/pooling`), as verl's reward loop asks `/classify`, and SGLang's
//! `/v1/embeddings`, as verl reads rewards from it.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rewardscope_engine::Detail;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, OneOrMany, TextOrIds, Turn, Usage, ended};
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

/// What is asked: texts that are rendered already, ids, or a conversation.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    input: Option<OneOrMany<TextOrIds>>,
    #[serde(default)]
    messages: Option<Vec<Turn>>,
    /// Whether the tokenizer's special tokens are put around texts.
    #[serde(default)]
    add_special_tokens: Option<bool>,
    /// Whether scores go through the activation; the second is the earlier name.
    #[serde(default)]
    use_activation: Option<bool>,
    #[serde(default)]
    activation: Option<bool>,
    /// For `/pooling`: `token_classify` asks for the value at each token or step.
    #[serde(default)]
    task: Option<String>,
}

impl Asked {
    fn is_raw(&self) -> bool {
        !self.use_activation.or(self.activation).unwrap_or(true)
    }

    fn work(self) -> Result<Vec<Work>, Refusal> {
        match (self.input, self.messages) {
            (Some(input), None) => {
                let adds_special = self.add_special_tokens.unwrap_or(true);
                let of = |one| match one {
                    TextOrIds::Text(text) => Work::Text { text, adds_special },
                    TextOrIds::Ids(ids) => Work::Tokens(ids),
                };
                Ok(input.into_list().into_iter().map(of).collect())
            }
            (None, Some(messages)) => {
                let (prompt, completion) = ended(messages)?;
                Ok(vec![Work::Conversation { prompt, completions: vec![completion] }])
            }
            _ => Err(Refusal::body("reading the body: either input or messages was expected, both or none was found")),
        }
    }
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/classify", post(classify))
        .route("/pooling", post(pooling))
        .route("/v1/embeddings", post(embeddings))
}

async fn classify(State(api): State<Api>, Body(asked): Body<Asked>) -> Result<Json<Value>, Refusal> {
    let is_raw = asked.is_raw();
    let scores = api.scores(asked.work()?, Detail::Score).await?;
    let data: Vec<Value> = scores
        .iter()
        .enumerate()
        .map(|(index, score)| {
            json!({"index": index, "label": "LABEL_0", "probs": [api.activated(score.score, is_raw)], "num_classes": 1})
        })
        .collect();
    Ok(api.listed("classify", data, &scores))
}

async fn pooling(State(api): State<Api>, Body(asked): Body<Asked>) -> Result<Json<Value>, Refusal> {
    let is_raw = asked.is_raw();
    let each = matches!(asked.task.as_deref(), Some("token_classify" | "encode" | "token_embed"));
    let detail = if each && !api.model.reads_steps { Detail::EveryToken } else { Detail::Score };
    let scores = api.scores(asked.work()?, detail).await?;
    let data: Vec<Value> = scores
        .iter()
        .enumerate()
        .map(|(index, score)| {
            let values: Vec<f64> = match (&score.steps, each) {
                (Some(steps), _) => steps.scores.clone(),
                (None, true) => {
                    score.token_scores.iter().map(|&value| api.activated(f64::from(value), is_raw)).collect()
                }
                (None, false) => vec![api.activated(score.score, is_raw)],
            };
            let is_each = each || score.steps.is_some();
            let data = if is_each { values.iter().map(|value| json!([value])).collect() } else { json!(values) };
            json!({"index": index, "object": "pooling", "data": data})
        })
        .collect();
    Ok(api.listed("pool", data, &scores))
}

/// A reward as an embedding of one number, raw.
async fn embeddings(State(api): State<Api>, Body(asked): Body<Asked>) -> Result<Json<Value>, Refusal> {
    let scores = api.scores(asked.work()?, Detail::Score).await?;
    let data = scores.iter().enumerate();
    let data: Vec<Value> =
        data.map(|(index, score)| json!({"object": "embedding", "index": index, "embedding": [score.score]})).collect();
    Ok(Json(json!({"object": "list", "model": api.model.name, "data": data, "usage": Usage::of(&scores)})))
}
