//! Our own shape, `/v1/rewards`: all that is known of scores. It is described by `/openapi.json`.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rewardscope_engine::{Detail, Message, Score};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Body;
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

/// A turn of a conversation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct RewardTurn {
    /// `system`, `user` or `assistant`.
    #[schema(example = "user")]
    role: String,
    /// What was said.
    #[schema(example = "Name a colour of the rainbow.")]
    content: String,
}

/// A prompt with completions to score, or with a solution in steps.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewardItem {
    /// The conversation before the completion.
    messages: Vec<RewardTurn>,
    /// Completions, each scored on its own.
    #[serde(default)]
    completions: Vec<String>,
    /// The steps of one solution, for a model that reads steps.
    #[serde(default)]
    steps: Vec<String>,
}

/// What is scored.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewardsRequest {
    /// The model's name; it need not be given.
    #[serde(default)]
    model: Option<String>,
    /// Prompts with their completions.
    items: Vec<RewardItem>,
    /// Whether the tokens' ids and scores are given.
    #[serde(default)]
    per_token: Option<bool>,
}

/// An objective that a score is made of.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RewardObjective {
    /// What the head gives for it.
    reward: f64,
    /// Its weight in the score.
    weight: f64,
}

/// The score of a completion.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Reward {
    /// The score, without any activation.
    #[schema(example = 1.25)]
    reward: f64,
    /// Tokens of the prompt and the completion.
    tokens: usize,
    /// Tokens of the completion.
    completion_tokens: usize,
    /// Tokens that were computed for it; the others were known.
    computed_tokens: usize,
    /// Whether the text was cut at the context's end.
    truncated: bool,
    /// The sigmoid of a score that is a difference of logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// The shares of a reader's tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probabilities: Vec<f64>,
    /// The objectives whose weighted sum is the score.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objectives: Vec<RewardObjective>,
    /// The value of each step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    step_rewards: Vec<f64>,
    /// The tokens' ids, with `per_token`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_ids: Vec<u32>,
    /// The score that the text would have if it ended at each token, with `per_token`; for log-probabilities, those of
    /// the completion's tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    token_rewards: Vec<f32>,
}

impl Reward {
    fn of(score: &Score, per_token: bool) -> Self {
        Self {
            reward: score.score,
            tokens: score.tokens,
            completion_tokens: score.completion_tokens,
            computed_tokens: score.computed_tokens,
            truncated: score.truncated(),
            probability: score.probability,
            probabilities: score.probabilities.clone(),
            objectives: score
                .objectives
                .iter()
                .map(|of| RewardObjective { reward: of.reward, weight: of.weight })
                .collect(),
            step_rewards: score.steps.as_ref().map(|steps| steps.scores.clone()).unwrap_or_default(),
            input_ids: if per_token { score.input_ids.clone() } else { Vec::new() },
            token_rewards: if per_token { score.token_scores.clone() } else { Vec::new() },
        }
    }
}

/// The scores of a prompt's completions.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RewardItemAnswer {
    /// One for each completion, in their order; of a solution in steps, one.
    rewards: Vec<Reward>,
}

/// The scores of all that was asked.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RewardsAnswer {
    /// The model's name.
    model: String,
    /// What the scores are, in words.
    #[schema(example = "rewards")]
    scores: String,
    /// One for each item, in their order.
    items: Vec<RewardItemAnswer>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/rewards", post(rewards))
}

/// Scores the completions of prompts.
#[utoipa::path(
    post,
    path = "/v1/rewards",
    request_body = RewardsRequest,
    responses(
        (status = 200, description = "The scores.", body = RewardsAnswer),
        (status = 413, description = "The body, or the number of texts, is larger than the server takes."),
        (status = 422, description = "The body is not of this form, or a text cannot be scored; the sentence says why."),
        (status = 429, description = "As many texts wait as may; `Retry-After` says when to ask again."),
    )
)]
pub(crate) async fn rewards(
    State(api): State<Api>,
    Body(asked): Body<RewardsRequest>,
) -> Result<Json<RewardsAnswer>, Refusal> {
    if let Some(other) = asked.model.filter(|name| *name != api.model.name) {
        return Err(Refusal::body(format!(
            "asking the model {other}: {} was expected, the model of this server",
            api.model.name
        )));
    }
    let work: Vec<Work> = asked.items.into_iter().map(work).collect::<Result<_, _>>()?;
    let per_token = asked.per_token == Some(true);
    let detail = if per_token { Detail::EveryToken } else { Detail::Score };
    let scores = api.score(work, detail).await?;
    let item = |scores: &Vec<Score>| RewardItemAnswer {
        rewards: scores.iter().map(|score| Reward::of(score, per_token)).collect(),
    };
    let items = scores.iter().map(item).collect();
    Ok(Json(RewardsAnswer { model: api.model.name.clone(), scores: api.model.scores.clone(), items }))
}

fn work(item: RewardItem) -> Result<Work, Refusal> {
    let RewardItem { messages, completions, steps } = item;
    let prompt = messages.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect();
    match (completions.is_empty(), steps.is_empty()) {
        (false, true) => Ok(Work::Conversation { prompt, completions }),
        (true, false) => Ok(Work::Steps { prompt, steps }),
        _ => Err(Refusal::body(
            "reading the body of /v1/rewards: an item with either completions or steps was expected, both or none was found",
        )),
    }
}
