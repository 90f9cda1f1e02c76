//! What the server counts, in Prometheus' form.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The labels of a count of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The route, as it is declared.
    pub route: String,
    /// The status.
    pub status: u16,
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests, by route and status.
    pub requests: Family<Answered, Counter>,
    /// Texts that were scored.
    pub texts: Counter,
    /// Tokens of those texts, and of them those that were computed.
    pub tokens: Counter,
    pub computed: Counter,
    /// Texts that wait or are being scored.
    pub waiting: Gauge,
    /// Tokens and bytes of beginnings that are kept.
    pub kept_tokens: Gauge,
    pub kept_bytes: Gauge,
    /// Seconds from a request's beginning to its answer.
    pub seconds: Histogram,
    /// Texts of a batch.
    pub batch: Histogram,
    /// Work that was dropped because its client went away.
    pub dropped: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rewardscope");
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            texts: Counter::default(),
            tokens: Counter::default(),
            computed: Counter::default(),
            waiting: Gauge::default(),
            kept_tokens: Gauge::default(),
            kept_bytes: Gauge::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            dropped: Counter::default(),
        };
        registry.register("requests", "Requests that were answered", metrics.requests.clone());
        registry.register("texts", "Texts that were scored", metrics.texts.clone());
        registry.register("tokens", "Tokens of the texts that were scored", metrics.tokens.clone());
        registry.register("computed_tokens", "Tokens that were computed", metrics.computed.clone());
        registry.register("waiting_texts", "Texts that wait or are being scored", metrics.waiting.clone());
        registry.register("kept_tokens", "Tokens of beginnings that are kept", metrics.kept_tokens.clone());
        registry.register_with_unit("kept", "Beginnings that are kept", Unit::Bytes, metrics.kept_bytes.clone());
        registry.register_with_unit("request", "From request to answer", Unit::Seconds, metrics.seconds.clone());
        registry.register("batch_texts", "Texts of a batch", metrics.batch.clone());
        registry.register("dropped_texts", "Texts whose client went away", metrics.dropped.clone());
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// All counts as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
