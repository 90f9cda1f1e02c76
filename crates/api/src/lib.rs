//! A server of one model's rewards, in the shapes that others' clients ask in.
//!
//! - [`serve`] opens the port and answers; the calling thread computes.
//! - Requests of all clients go through the model in common batches (`queue.rs`); a prompt that came before
//!   is not computed again.
//! - Each file of `dialects` speaks one program's shapes: OpenRLHF, vLLM, Text Embeddings Inference,
//!   SGLang, NeMo Curator, and our own `/v1/rewards`, which `/openapi.json` describes.
//!
//! Scores are those of `rewardscope score`; where a dialect applies an activation by default, it is applied to them.

mod dialects;
mod docs;
mod guard;
mod metrics;
mod model;
mod queue;
mod refusal;
mod serving;
mod state;

pub use guard::{Token, TokenError};
pub use serving::{ApiError, Limits, Settings, serve, status_of_body};
