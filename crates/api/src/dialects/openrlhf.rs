//! OpenRLHF's remote reward model (`--reward.remote_url`, `openrlhf/cli/serve_rm.py`): whole texts with their special
//! tokens, as the policy saw them. Nothing is added to them.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rewardscope_engine::Detail;
use serde::{Deserialize, Serialize};

use super::{Body, OneOrMany};
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

#[derive(Deserialize)]
struct Asked {
    /// Prompts with their completions, rendered.
    query: OneOrMany<String>,
}

#[derive(Serialize)]
struct Answer {
    /// The reward of each text.
    rewards: Vec<f64>,
    /// The same: OpenRLHF filters prompts by these.
    scores: Vec<f64>,
    extra_logs: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/get_reward", post(reward))
}

async fn reward(State(api): State<Api>, Body(asked): Body<Asked>) -> Result<Json<Answer>, Refusal> {
    let texts = asked.query.into_list().into_iter();
    let work = texts.map(|text| Work::Text { text, adds_special: false }).collect();
    let scores = api.score(work, Detail::Score).await?;
    let rewards: Vec<f64> = scores.iter().flatten().map(|score| score.score).collect();
    Ok(Json(Answer { scores: rewards.clone(), rewards, extra_logs: serde_json::Map::new() }))
}
