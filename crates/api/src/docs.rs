//! The description of our own routes, and a page that shows it.

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;

use crate::dialects::rewards;
use crate::state::Api;

#[derive(OpenApi)]
#[openapi(
    info(title = "Rewardscope", description = "Rewards of one model."),
    paths(rewards::rewards),
    components(schemas(rewards::RewardsRequest, rewards::RewardsAnswer))
)]
struct Described;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/openapi.json", get(async || Json(Described::openapi()))).route("/docs", get(page))
}

/// The page: what is asked and answered, and the routes of others. It loads nothing.
async fn page() -> Html<String> {
    let described = Described::openapi().to_pretty_json().unwrap_or_default();
    let escaped = described.replace('&', "&amp;").replace('<', "&lt;");
    Html(include_str!("docs.html").replace("{openapi}", &escaped))
}
