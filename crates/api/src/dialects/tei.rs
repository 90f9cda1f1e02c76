//! Text Embeddings Inference's routes (`router/src/http`): `/predict` and `/info`; its `/rerank` is in `rerank.rs`.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use rewardscope_engine::{Detail, Message};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

/// A text, a pair of texts, or a list of lists of one or two.
#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    Text(String),
    Sequence(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Deserialize)]
struct Predict {
    inputs: Inputs,
    #[serde(default)]
    raw_scores: Option<bool>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/predict", post(predict)).route("/", post(root)).route("/info", get(info))
}

/// A text by itself, or a pair of a prompt and a completion.
fn work(mut texts: Vec<String>) -> Result<Work, Refusal> {
    match (texts.pop(), texts.pop(), texts.is_empty()) {
        (Some(completion), Some(prompt), true) => {
            Ok(Work::Conversation { prompt: vec![Message::new("user", prompt)], completions: vec![completion] })
        }
        (Some(text), None, true) => Ok(Work::Text { text, adds_special: true }),
        _ => Err(Refusal::body(
            "reading the body of /predict: a text, a pair of texts, or a list of such lists was expected",
        )),
    }
}

async fn predict(State(api): State<Api>, Body(body): Body<Predict>) -> Result<Json<Value>, Refusal> {
    let (work, is_batch) = match body.inputs {
        Inputs::Text(text) => (vec![work(vec![text])?], false),
        Inputs::Sequence(texts) => (vec![work(texts)?], false),
        Inputs::Batch(all) => (all.into_iter().map(work).collect::<Result<_, _>>()?, true),
    };
    let scores = api.score(work, Detail::Score).await?;
    let one = |score: f64| json!([{"score": api.activated(score, body.raw_scores == Some(true)), "label": "LABEL_0"}]);
    let mut all: Vec<Value> = scores.iter().flatten().map(|score| one(score.score)).collect();
    Ok(Json(if is_batch { Value::Array(all) } else { all.pop().unwrap_or_default() }))
}

/// What Hugging Face's clients ask where they are given no route: a rerank, or a prediction, whose answer is a list of
/// lists there.
async fn root(State(api): State<Api>, Body(body): Body<Value>) -> Result<Json<Value>, Refusal> {
    let refuse = |e: serde_json::Error| Refusal::body(format!("reading the body of /: {e}"));
    if body.get("query").is_some() {
        return super::rerank::rerank(State(api), Body(serde_json::from_value(body).map_err(refuse)?)).await;
    }
    let Json(answer) = predict(State(api), Body(serde_json::from_value(body).map_err(refuse)?)).await?;
    let is_single = answer.get(0).is_some_and(Value::is_object);
    Ok(Json(if is_single { json!([answer]) } else { answer }))
}

async fn info(State(api): State<Api>) -> Json<Value> {
    let model = &api.model;
    Json(json!({
        "model_id": model.name,
        "model_sha": model.fingerprint,
        "model_dtype": model.dtype,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_input_length": model.context_tokens,
        "auto_truncate": true,
        "version": env!("CARGO_PKG_VERSION"),
        "scores": model.scores,
    }))
}
