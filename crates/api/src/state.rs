//! What the answers need of the server.

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::model::Model;
use crate::queue::Queue;

/// What the answers need.
#[derive(Debug, Clone)]
pub struct Api {
    /// The model.
    pub model: Arc<Model>,
    /// Where work is left.
    pub queue: Queue,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}
