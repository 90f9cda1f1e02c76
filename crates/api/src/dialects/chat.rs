//! A chat completion whose log-probabilities carry the reward, as NVIDIA's reward models answer and NeMo Curator reads
//! it: a token for each attribute, its "log-probability" the attribute's value. Whether a request means this, the model's
//! name says.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rewardscope_engine::{Detail, Objective, Score};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, Turn, Usage, ended, id, now};
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

#[derive(Deserialize)]
struct Asked {
    model: String,
    messages: Vec<Turn>,
    #[serde(default)]
    stream: Option<bool>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/chat/completions", post(reward))
}

async fn reward(State(api): State<Api>, Body(asked): Body<Asked>) -> Result<Json<Value>, Refusal> {
    if asked.model != api.model.name {
        return Err(Refusal::body(format!(
            "asking the model {}: {} was expected, the model of this server; it scores the last message",
            asked.model, api.model.name
        )));
    }
    if asked.stream == Some(true) {
        return Err(Refusal::body("asking for a stream: a reward comes at once; leave out stream"));
    }
    let (prompt, completion) = ended(asked.messages)?;
    let work = vec![Work::Conversation { prompt, completions: vec![completion] }];
    let scores = api.scores(work, Detail::Score).await?;
    let values: Vec<(String, f64)> = scores.iter().flat_map(values).collect();
    let text = values.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",");
    let token = |(name, value): &(String, f64)| json!({"token": name, "logprob": value, "bytes": name.as_bytes(), "top_logprobs": []});
    let tokens: Vec<Value> = values.iter().map(token).collect();
    let choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": tokens, "refusal": null},
        "finish_reason": "stop",
    });
    Ok(Json(json!({
        "id": id("chatcmpl"),
        "object": "chat.completion",
        "created": now(),
        "model": api.model.name,
        "choices": [choice],
        "usage": Usage::of(&scores),
    })))
}

/// The reward, and the objectives that it is made of.
fn values(score: &Score) -> Vec<(String, f64)> {
    let named = |(place, objective): (usize, &Objective)| (format!("objective_{place}"), objective.reward);
    let objectives = score.objectives.iter().enumerate().map(named);
    std::iter::once(("reward".to_owned(), score.score)).chain(objectives).collect()
}
