//! What is asked of a server beside scores: whether it is there, its models, its counts, and tokens.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, Turn, ended};
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/health", get(async || ()))
        .route("/ping", get(async || ()))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize))
}

async fn models(State(api): State<Api>) -> Json<Value> {
    let model = &api.model;
    let model = json!({
        "id": model.name,
        "object": "model",
        "created": model.loaded_at,
        "owned_by": "rewardscope",
        "root": model.root,
        "max_model_len": model.context_tokens,
        "scores": model.scores,
    });
    Json(json!({"object": "list", "data": [model]}))
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], api.metrics.text())
}

#[derive(Deserialize)]
struct Tokenize {
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Turn>>,
    #[serde(default)]
    add_special_tokens: Option<bool>,
}

/// The ids that the model would see; vLLM's route.
async fn tokenize(State(api): State<Api>, Body(asked): Body<Tokenize>) -> Result<Json<Value>, Refusal> {
    let work = match (asked.prompt, asked.messages) {
        (Some(text), None) => Work::Text { text, adds_special: asked.add_special_tokens.unwrap_or(true) },
        (None, Some(messages)) => {
            let (prompt, completion) = ended(messages)?;
            Work::Conversation { prompt, completions: vec![completion] }
        }
        _ => return Err(Refusal::body("reading the body of /tokenize: either prompt or messages was expected")),
    };
    let ids = api.queue.tokenize(work).await?;
    let most = api.model.context_tokens;
    Ok(Json(json!({"count": ids.len(), "max_model_len": most, "tokens": ids, "token_strs": null})))
}
