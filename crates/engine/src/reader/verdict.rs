//! From the outputs at a token to a verdict, and from the values of steps to a score.

use serde::{Deserialize, Serialize};

use crate::reader::spec::Combine;

/// What was made of the outputs at one token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// The value.
    pub value: f64,
    /// Each output's share of the softmax; empty where none is taken.
    pub shares: Vec<f64>,
    /// The probability that a difference means: its sigmoid.
    pub probability: Option<f64>,
}

/// `1 / (1 + exp(-x))`
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `exp(x) / sum(exp(x))`, without overflow.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|share| share / sum).collect()
}

impl Combine {
    /// Combines the outputs at one token; NaN where there are none.
    pub(crate) fn of(&self, outputs: &[f32]) -> Verdict {
        let logits: Vec<f64> = outputs.iter().map(|&output| f64::from(output)).collect();
        let plain = |value: f64| Verdict { value, shares: Vec::new(), probability: None };
        match (self, logits.as_slice()) {
            (_, []) => plain(f64::NAN),
            (Self::Logit, [logit, ..]) => plain(*logit),
            (Self::Sigmoid, [logit, ..]) => plain(sigmoid(*logit)),
            (Self::Difference, [first, second, ..]) => {
                let value = first - second;
                Verdict { probability: Some(sigmoid(value)), ..plain(value) }
            }
            (Self::Difference, _) => plain(f64::NAN),
            (Self::Softmax(of), all) => {
                let shares = softmax(all);
                Verdict { value: shares.get(*of).copied().unwrap_or(f64::NAN), shares, probability: None }
            }
            (Self::Expected(values), all) => {
                let shares = softmax(all);
                Verdict {
                    value: shares.iter().zip(values).map(|(p, value)| p * value).sum(),
                    shares,
                    probability: None,
                }
            }
        }
    }
}

/// How the values of a solution's steps become its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum StepAggregate {
    /// The smallest.
    #[default]
    Min,
    /// Their product.
    Product,
    /// That of the last step.
    Last,
}

/// The values of a solution's steps, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StepScores {
    /// The value of each step, in their order.
    pub scores: Vec<f64>,
    /// The smallest.
    pub min: f64,
    /// Their product.
    pub product: f64,
    /// The last.
    pub last: f64,
}

impl StepScores {
    /// What becomes of values; NaN of none.
    pub(crate) fn of(scores: Vec<f64>) -> Self {
        let min = scores.iter().copied().reduce(|a, b| if a.is_nan() || a < b { a } else { b }).unwrap_or(f64::NAN);
        let last = scores.last().copied().unwrap_or(f64::NAN);
        let product = if scores.is_empty() { f64::NAN } else { scores.iter().product() };
        Self { scores, min, product, last }
    }

    /// One of the three.
    pub fn get(&self, aggregate: StepAggregate) -> f64 {
        match aggregate {
            StepAggregate::Min => self.min,
            StepAggregate::Product => self.product,
            StepAggregate::Last => self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_combined() {
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
        close(Combine::Logit.of(&[-2.5]).value, -2.5);
        close(Combine::Sigmoid.of(&[0.0]).value, 0.5);
        let difference = Combine::Difference.of(&[3.0, 1.0]);
        close(difference.value, 2.0);
        close(difference.probability.expect("one"), 0.880_797_077_977_882_3);
        // A softmax of logits that exp cannot take.
        let share = Combine::Softmax(1).of(&[1000.0, 1000.0]);
        close(share.value, 0.5);
        let mean = Combine::Expected(vec![0.0, 10.0]).of(&[0.0, 0.0]);
        close(mean.value, 5.0);
        assert_eq!(mean.shares, [0.5, 0.5]);
        assert!(Combine::Difference.of(&[]).value.is_nan());
    }

    #[test]
    fn steps_are_aggregated() {
        let steps = StepScores::of(vec![0.5, 0.25, 0.75]);
        assert_eq!((steps.min, steps.product, steps.last), (0.25, 0.09375, 0.75));
        assert!(StepScores::of(vec![0.5, f64::NAN]).min.is_nan() && StepScores::of(vec![f64::NAN, 0.5]).min.is_nan());
        assert!(StepScores::of(Vec::new()).get(StepAggregate::Last).is_nan());
    }
}
