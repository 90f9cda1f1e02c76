//! What gave a run's scores, as a run file says it, and how the files of the first version are read.

use rewardscope_engine::{ModelReport, PairAggregate, Reader, Reference, StepAggregate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::run_identity::RunIdentity;

/// Value of [`RunFile::format`](crate::RunFile::format).
pub(crate) const FORMAT: &str = "rewardscope run 2";
/// The version before, whose files are still read.
const FIRST: &str = "rewardscope run 1";

/// What gave the scores of a run, by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RunScorer {
    /// A reward model's head. Its scores are rewards.
    Classifier {
        /// Name of the fitted reward head on the model, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
        /// How the score is read, where the head is another than a classifier's: [`ModelReport::reading`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reading: String,
        /// Which of the logits is the score, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<usize>,
        /// Whether the sigmoid of a score difference is a Bradley-Terry probability. True only for fitted heads; of
        /// other models it is not known.
        #[serde(default)]
        is_bradley_terry: bool,
    },
    /// A reader, which reads a verdict from a few outputs at one token.
    Reader {
        /// The reader, whole: anybody can read by it.
        reader: Reader,
    },
    /// A reader of steps.
    Steps {
        /// The reader, whole.
        reader: Reader,
        /// How the values of a solution's steps became its score.
        aggregate: StepAggregate,
    },
    /// A policy and its reference. Its scores are implicit rewards.
    Implicit {
        /// The reference, and how log-ratios became a reward.
        reference: Reference,
    },
    /// A model that compares two completions at a time.
    Pair {
        /// How outcomes against the other completions became a score.
        aggregate: PairAggregate,
    },
    /// A language model. Its scores are log-probabilities, not rewards.
    LogProbability {
        /// How the log-probabilities of a completion's tokens became a score: `avg`, `sum` or `norm`.
        aggregate: String,
    },
}

impl RunScorer {
    /// The scorer of a run by this model.
    pub fn of(model: &ModelReport, identity: &RunIdentity) -> Self {
        if let Some(reference) = identity.reference.clone() {
            return Self::Implicit { reference };
        }
        if let Some(aggregate) = identity.pair_aggregate {
            return Self::Pair { aggregate };
        }
        match (identity.reader.clone(), identity.step_aggregate) {
            (Some(reader), Some(aggregate)) => return Self::Steps { reader, aggregate },
            (Some(reader), None) => return Self::Reader { reader },
            (None, _) => {}
        }
        match identity.aggregate {
            Some(aggregate) if !model.is_reward_model => {
                Self::LogProbability { aggregate: format!("{aggregate:?}").to_lowercase() }
            }
            _ => Self::Classifier {
                head: model.head.as_ref().map(|head| head.name.clone()),
                reading: model.reading.clone(),
                label: identity.label,
                is_bradley_terry: model.head.is_some(),
            },
        }
    }

    /// Whether scores are rewards.
    pub fn is_reward_model(&self) -> bool {
        match self {
            Self::Classifier { .. } | Self::Implicit { .. } | Self::Pair { .. } => true,
            Self::Reader { reader } | Self::Steps { reader, .. } => reader.gives_rewards(),
            Self::LogProbability { .. } => false,
        }
    }

    /// What gives the scores, where it is no head: a reader's name, `implicit reward` or `comparison`.
    pub fn reader(&self) -> Option<&str> {
        match self {
            Self::Reader { reader } | Self::Steps { reader, .. } => Some(&reader.name),
            Self::Implicit { .. } => Some("implicit reward"),
            Self::Pair { .. } => Some("comparison"),
            Self::Classifier { .. } | Self::LogProbability { .. } => None,
        }
    }

    /// Name of the fitted reward head, if there is one.
    pub fn head(&self) -> Option<&str> {
        match self {
            Self::Classifier { head, .. } => head.as_deref(),
            _ => None,
        }
    }

    /// Whether the sigmoid of a score difference is known to be a Bradley-Terry probability.
    pub fn is_bradley_terry(&self) -> bool {
        match self {
            Self::Classifier { is_bradley_terry, .. } => *is_bradley_terry,
            Self::Pair { aggregate } => *aggregate == PairAggregate::BradleyTerry,
            _ => false,
        }
    }
}

/// A run file's object in the present form.
///
/// # Errors
/// A sentence where it is of a version that is not known.
pub(crate) fn present(mut object: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let format = object.get("format").and_then(Value::as_str).unwrap_or_default().to_owned();
    if format == FORMAT {
        return Ok(object);
    }
    if format != FIRST {
        return Err(format!("the format {format:?}; {FIRST:?} and {FORMAT:?} are read, update Rewardscope for others"));
    }
    if let Some(Value::Object(protocol)) = object.get_mut("protocol") {
        let mut take = |key: &str| protocol.remove(key).unwrap_or_default();
        let (head, label) = (take("head"), take("label"));
        let (is_reward_model, is_bradley_terry) = (take("is_reward_model"), take("is_bradley_terry"));
        let aggregate = take("aggregate");
        let scorer = match is_reward_model.as_bool() {
            Some(false) => json!({ "kind": "log-probability", "aggregate": aggregate }),
            Some(true) => {
                let is_bradley_terry = is_bradley_terry.as_bool().unwrap_or_default();
                json!({ "kind": "classifier", "head": head, "label": label, "is_bradley_terry": is_bradley_terry })
            }
            None => return Err("a protocol without is_reward_model".to_owned()),
        };
        protocol.insert("scorer".to_owned(), scorer);
    }
    object.insert("format".to_owned(), FORMAT.into());
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scorer(protocol: Value) -> Result<RunScorer, String> {
        let Value::Object(file) = json!({ "format": FIRST, "protocol": protocol }) else {
            return Err("an object".to_owned());
        };
        let found = present(file)?;
        assert_eq!(found["format"], FORMAT);
        let rest = found["protocol"].as_object().map_or(0, Map::len);
        assert_eq!(rest, 1, "what the scorer says is said once");
        serde_json::from_value(found["protocol"]["scorer"].clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_the_first_version_are_read() {
        let head = scorer(json!({
            "head": "a head", "is_reward_model": true, "is_bradley_terry": true, "aggregate": null, "label": null,
        }));
        let classifier = |head: Option<&str>, label, is_bradley_terry| {
            Ok(RunScorer::Classifier { head: head.map(str::to_owned), reading: String::new(), label, is_bradley_terry })
        };
        assert_eq!(head, classifier(Some("a head"), None, true));
        // Files older than two of the fields.
        assert_eq!(scorer(json!({ "is_reward_model": true, "label": 2 })), classifier(None, Some(2), false));
        let likelihood = scorer(json!({ "is_reward_model": false, "aggregate": "norm", "label": null }));
        assert_eq!(likelihood, Ok(RunScorer::LogProbability { aggregate: "norm".to_owned() }));
        assert!(scorer(json!({})).is_err());
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let Value::Object(file) = json!({ "format": "rewardscope run 3" }) else {
            panic!("an object");
        };
        let found = present(file).expect_err("refused");
        assert!(found.contains("run 3") && found.contains("run 2"), "{found}");
    }
}
