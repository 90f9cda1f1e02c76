//! Queries and documents: vLLM's `/score` and `/rerank` (Jina's and Cohere's shapes), and Text Embeddings Inference's
//! `/rerank`, which has `texts`. The query is the prompt, a document its completion.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rewardscope_engine::{Detail, Message, Score};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, OneOrMany, Usage, id};
use crate::queue::Work;
use crate::refusal::Refusal;
use crate::state::Api;

/// A document: a text, or an object with one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Rerank {
    query: String,
    /// vLLM's, Jina's and Cohere's documents.
    #[serde(default)]
    documents: Option<OneOrMany<Document>>,
    /// Text Embeddings Inference's.
    #[serde(default)]
    texts: Option<Vec<String>>,
    /// How many of the best are given; 0 for all.
    #[serde(default)]
    top_n: Option<usize>,
    #[serde(default)]
    return_documents: Option<bool>,
    #[serde(default)]
    use_activation: Option<bool>,
    #[serde(default)]
    raw_scores: Option<bool>,
    #[serde(default)]
    return_text: Option<bool>,
}

#[derive(Deserialize)]
struct Scored {
    #[serde(alias = "text_1", alias = "data_1")]
    queries: OneOrMany<String>,
    #[serde(alias = "text_2", alias = "data_2", alias = "items")]
    documents: OneOrMany<Document>,
    #[serde(default)]
    use_activation: Option<bool>,
    #[serde(default)]
    activation: Option<bool>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/rerank", post(rerank))
        .route("/v1/rerank", post(rerank))
        .route("/v2/rerank", post(rerank))
        .route("/score", post(score))
        .route("/v1/score", post(score))
}

fn asked(query: String, documents: Vec<String>) -> Work {
    Work::Conversation { prompt: vec![Message::new("user", query)], completions: documents }
}

pub(super) async fn rerank(State(api): State<Api>, Body(body): Body<Rerank>) -> Result<Json<Value>, Refusal> {
    match (body.documents, body.texts) {
        (Some(documents), None) => {
            let documents: Vec<String> = documents.into_list().into_iter().map(Document::into_text).collect();
            let is_raw = !body.use_activation.unwrap_or(true);
            let (order, scores) = ranked(&api, body.query, documents.clone(), is_raw).await?;
            let most = body.top_n.filter(|&top| top > 0).unwrap_or(order.len());
            let shows = body.return_documents.unwrap_or(true);
            let of = |&(index, score): &(usize, f64)| match shows {
                true => json!({"index": index, "document": {"text": documents[index]}, "relevance_score": score}),
                false => json!({"index": index, "relevance_score": score}),
            };
            let results: Vec<Value> = order.iter().take(most).map(of).collect();
            Ok(Json(json!({
                "id": id("rerank"),
                "model": api.model.name,
                "usage": Usage::of(&scores),
                "results": results,
                "meta": {"api_version": {"version": "2"}},
            })))
        }
        (None, Some(texts)) => {
            let (order, _) = ranked(&api, body.query, texts.clone(), body.raw_scores == Some(true)).await?;
            let of = |&(index, score): &(usize, f64)| match body.return_text == Some(true) {
                true => json!({"index": index, "score": score, "text": texts[index]}),
                false => json!({"index": index, "score": score}),
            };
            Ok(Json(order.iter().map(of).collect()))
        }
        _ => Err(Refusal::body(
            "reading the body of /rerank: either documents (vLLM, Cohere, Jina) or texts (Text Embeddings Inference) was expected, both or none was found",
        )),
    }
}

/// The places of documents with their scores, best first, and all that is known of the scores. Equal ones keep their
/// order.
async fn ranked(
    api: &Api,
    query: String,
    documents: Vec<String>,
    is_raw: bool,
) -> Result<(Vec<(usize, f64)>, Vec<Score>), Refusal> {
    let scores = api.scores(vec![asked(query, documents)], Detail::Score).await?;
    // Before the activation: large scores have one sigmoid.
    let mut order: Vec<(usize, f64)> = scores.iter().map(|score| score.score).enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    order.iter_mut().for_each(|(_, score)| *score = api.activated(*score, is_raw));
    Ok((order, scores))
}

/// One query with each document, or each query with its own.
async fn score(State(api): State<Api>, Body(body): Body<Scored>) -> Result<Json<Value>, Refusal> {
    let is_raw = !body.use_activation.or(body.activation).unwrap_or(true);
    let queries = body.queries.into_list();
    let documents: Vec<String> = body.documents.into_list().into_iter().map(Document::into_text).collect();
    let work = match queries.as_slice() {
        [query] => vec![asked(query.clone(), documents)],
        all if all.len() == documents.len() => {
            all.iter().zip(documents).map(|(query, document)| asked(query.clone(), vec![document])).collect()
        }
        all => {
            return Err(Refusal::body(format!(
                "reading the body of /score: one query, or one for each document was expected, {} queries and {} documents were found",
                all.len(),
                documents.len()
            )));
        }
    };
    let scores = api.scores(work, Detail::Score).await?;
    let of = |(index, score): (usize, &Score)| json!({"index": index, "object": "score", "score": api.activated(score.score, is_raw)});
    let data: Vec<Value> = scores.iter().enumerate().map(of).collect();
    Ok(api.listed("score", data, &scores))
}
