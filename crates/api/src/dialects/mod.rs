//! The shapes of others' requests, one file each. Each turns a body into work, and scores into its own answer.

mod chat;
mod classify;
mod openrlhf;
mod plain;
mod rerank;
pub(crate) mod rewards;
mod tei;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::{Json, Router};
use rewardscope_engine::{Detail, Message, Score};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::now;
use crate::queue::{Scores, Work};
use crate::refusal::Refusal;
use crate::state::Api;

/// All routes that score, and what others ask of a server beside.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .merge(rewards::routes())
        .merge(openrlhf::routes())
        .merge(classify::routes())
        .merge(rerank::routes())
        .merge(tei::routes())
        .merge(chat::routes())
        .merge(plain::routes())
}

/// A JSON body; what is wrong with it is said in a sentence.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let path = request.uri().path().to_owned();
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => {
                let (found, given) = (said(&rejection), rejection.status());
                let status = match given {
                    StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => given,
                    _ => StatusCode::UNPROCESSABLE_ENTITY,
                };
                Err(Refusal { status, message: format!("reading the body of {path}: {found}") })
            }
        }
    }
}

/// What is wrong with a body, the innermost reason alone.
fn said(rejection: &JsonRejection) -> String {
    let mut innermost: &dyn std::error::Error = rejection;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// One value, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub fn into_list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A text, or the ids of its tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum TextOrIds {
    Text(String),
    Ids(Vec<u32>),
}

/// The tokens of a request, as OpenAI's answers have them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
}

impl Usage {
    pub fn of<'a>(scores: impl IntoIterator<Item = &'a Score>) -> Self {
        let tokens = scores.into_iter().map(|score| score.tokens).sum();
        Self { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0 }
    }
}

/// Most completions that are compared with each other: the work grows with the square of their number.
const MOST_COMPARED: usize = 128;

impl Api {
    /// Scores work when its turn comes.
    ///
    /// # Errors
    /// As [`Queue::score`](crate::queue::Queue::score), and for too many completions to be compared.
    async fn score(&self, work: Vec<Work>, detail: Detail) -> Result<Scores, Refusal> {
        match work.iter().map(Work::count).find(|&count| self.model.compares && count > MOST_COMPARED) {
            Some(count) => Err(Refusal::too_large(format!(
                "comparing completions: at most {MOST_COMPARED} of a prompt were expected, {count} were found"
            ))),
            None => self.queue.score(work, detail).await,
        }
    }

    /// As [`Self::score`], the scores of all work one after the other.
    async fn scores(&self, work: Vec<Work>, detail: Detail) -> Result<Vec<Score>, Refusal> {
        Ok(self.score(work, detail).await?.into_iter().flatten().collect())
    }

    /// An answer of vLLM's: a list of what was made of scores.
    fn listed(&self, kind: &str, data: Vec<Value>, scores: &[Score]) -> Json<Value> {
        Json(json!({
            "id": id(kind),
            "object": "list",
            "created": now(),
            "model": self.model.name,
            "data": data,
            "usage": Usage::of(scores),
        }))
    }

    /// A score as a dialect gives it: after its activation, the sigmoid of a logit, or raw.
    fn activated(&self, score: f64, is_raw: bool) -> f64 {
        if is_raw || !self.model.is_logit { score } else { 1.0 / (1.0 + (-score).exp()) }
    }
}

/// A turn of a conversation, as OpenAI's clients send it: its content is a text, or parts of which texts are taken.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Turn {
    role: String,
    content: Content,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<TextPart>),
}

#[derive(Debug, Clone, Deserialize)]
struct TextPart {
    text: String,
}

impl From<Turn> for Message {
    fn from(turn: Turn) -> Self {
        let content = match turn.content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n"),
        };
        Self::new(turn.role, content)
    }
}

/// Splits a conversation into the prompt and the completion that ends it.
pub(crate) fn ended(turns: Vec<Turn>) -> Result<(Vec<Message>, String), Refusal> {
    let mut messages: Vec<Message> = turns.into_iter().map(Message::from).collect();
    match messages.pop() {
        Some(last) if last.role == "assistant" => Ok((messages, last.content)),
        Some(last) => {
            let found = format!("the last message is of {}", last.role);
            Err(Refusal::body(format!(
                "reading messages: a conversation that ends with the assistant was expected, {found}"
            )))
        }
        None => Err(Refusal::body("reading messages: a conversation was expected, none was found")),
    }
}

/// Numbers requests: an id for an answer.
pub(crate) fn id(kind: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    format!("{kind}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
