//! What a reference says of texts, computed before its policy is loaded: for devices that cannot hold both at once.

use std::collections::HashMap;

use rewardscope_store::Hasher;
use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::error::EngineError;
use crate::scoring::forward::{Readings, Row};

/// What is known of a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OfReference {
    /// Its Hub id with the commit, or its name.
    pub model: String,
    pub fingerprint: String,
    pub dtype: Dtype,
    pub context_tokens: usize,
    /// Bytes of its weights on the device, and in its files.
    pub device_bytes: u64,
    pub weight_bytes: u64,
}

/// What a reference says of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptText {
    /// A hash over the ids that it saw, and the place of the completion among them.
    pub text: String,
    /// The log-probability of each token of the completion, in nats.
    pub log_probabilities: Vec<f32>,
    /// Number of tokens that were computed for it.
    pub computed_tokens: usize,
}

impl KeptText {
    pub(super) fn of(row: &Row<'_>, readings: Readings) -> Self {
        Self { text: key_of(row), log_probabilities: readings.values, computed_tokens: readings.computed }
    }
}

/// Names a text by the ids that a model sees of it, and the tokens that are read.
fn key_of(row: &Row<'_>) -> String {
    let mut hash = Hasher::sha256();
    row.ids.iter().for_each(|id| hash.update(&id.to_le_bytes()));
    hash.update(&row.values.first().copied().unwrap_or_default().to_le_bytes());
    hash.finish().hex()[..32].to_owned()
}

/// A reference with what it says of texts, in place of its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptReference {
    /// Which model it is.
    #[serde(flatten)]
    pub(super) of: OfReference,
    #[serde(skip)]
    texts: HashMap<String, KeptText>,
}

impl KeptReference {
    /// A reference of which nothing is kept yet.
    pub(super) fn new(of: OfReference) -> Self {
        Self { of, texts: HashMap::new() }
    }

    /// Adds what it says of a text.
    pub fn push(&mut self, text: KeptText) {
        self.texts.insert(text.text.clone(), text);
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether it has what the reference says of all these rows.
    pub(super) fn has(&self, rows: &[Row<'_>]) -> bool {
        rows.iter().all(|row| self.texts.contains_key(&key_of(row)))
    }

    /// What it says of rows, in their order.
    pub(super) fn read(&self, rows: &[Row<'_>]) -> Result<Vec<Readings>, EngineError> {
        let readings = |row: &Row<'_>| {
            let kept = self.texts.get(&key_of(row)).ok_or_else(|| EngineError::Implicit {
                model: self.of.model.clone(),
                found: format!(
                    "what the reference says of {} texts was computed before; this text of {} tokens is not among them, \
                     because the reference cannot read it or the rows have changed; check it, or start over",
                    self.texts.len(),
                    row.ids.len()
                ),
            })?;
            let (values, computed) = (kept.log_probabilities.clone(), kept.computed_tokens);
            Ok(Readings { values, state: Vec::new(), computed })
        };
        rows.iter().map(readings).collect()
    }
}
