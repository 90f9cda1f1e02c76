//! Why a request got no answer, as a status and a sentence.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rewardscope_engine::EngineError;
use serde_json::json;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The sentence.
    pub message: String,
}

/// Seconds after which a client that was refused for lack of room may ask again.
const RETRY_AFTER: &str = "1";

impl Refusal {
    /// The body is not what it should be.
    pub fn body(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message: message.into() }
    }

    /// Too much was asked for at once.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, message: message.into() }
    }

    /// As much waits as may.
    pub fn full() -> Self {
        let message = "scoring: as many texts wait as may; ask again in a second".to_owned();
        Self { status: StatusCode::TOO_MANY_REQUESTS, message }
    }

    /// The scores did not come in time.
    pub fn late(limit: std::time::Duration) -> Self {
        let message = format!("scoring: it took longer than {} s (--request-timeout); ask for less", limit.as_secs());
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message }
    }

    /// The server ends.
    pub fn ending() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: "scoring: the server is ending".to_owned() }
    }

    /// Why the engine gave no scores.
    pub fn engine(error: &EngineError) -> Self {
        let status = match error {
            EngineError::DeviceFailed { .. } | EngineError::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, message: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    /// The sentence where each program looks for it: `error` of Text Embeddings Inference, `error.message` of OpenAI's
    /// clients and `detail` of FastAPI cannot be one field; `message` is read by Cohere's.
    fn into_response(self) -> Response {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "overloaded",
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => "validation",
            StatusCode::UNAUTHORIZED => "authentication",
            _ => "backend",
        };
        let body = json!({
            "error": {"message": self.message, "type": kind, "code": self.status.as_u16()},
            "error_type": kind,
            "message": self.message,
            "detail": self.message,
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
