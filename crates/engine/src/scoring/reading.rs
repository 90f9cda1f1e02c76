//! How a score is made of a reward model's outputs: which of them, at which tokens, and what becomes of them.

use serde::{Deserialize, Serialize};

/// One of the objectives whose weighted sum is the score of a gated head.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Objective {
    /// What the head gives for it.
    pub reward: f64,
    /// What this text's gate makes of it: the score is the sum of the rewards, each times its weight.
    pub weight: f64,
}

/// How a score is made of the outputs of a decoder's head.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    /// The names of the head's tensors, where it is another than a classifier's.
    pub head: Option<String>,
    /// The token that is put at a text's end, where the score is read; not put where it stands there already.
    pub appended: Option<u32>,
    /// What an output is normalised by.
    pub normal: Option<Normal>,
    /// The gates, where the head has them.
    pub gates: Option<Gates>,
    /// Whether the sigmoid of the score is what sentence-transformers' cross-encoders predict.
    pub is_sigmoid: bool,
}

/// The mean and the standard deviation of a reward model's outputs, as OpenRLHF stores them: the score is
/// `(output - mean) / std` (`openrlhf/models/model.py`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normal {
    pub mean: f64,
    pub std: f64,
}

/// Where the gates of a head are read: at the token where the answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gates {
    /// The token ids whose last occurrence begins at that token.
    pub pattern: Vec<u32>,
}

impl Gates {
    /// The token at which the gates of the first `end` tokens are read.
    pub fn position(&self, ids: &[u32], end: usize) -> Option<usize> {
        let most = end.min(ids.len()).checked_sub(self.pattern.len())?;
        (0..=most).rev().find(|&start| ids[start..].starts_with(&self.pattern))
    }
}

/// What was read of one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outputs<'a> {
    /// The text's token ids.
    pub ids: &'a [u32],
    /// The tokens that were read, in ascending order.
    pub positions: &'a [usize],
    /// `[positions, count]`: the outputs at these tokens.
    pub values: &'a [f32],
    /// The number of outputs.
    pub count: usize,
    /// The output that is the score, where they are not gated.
    pub label: usize,
}

impl<'a> Outputs<'a> {
    /// The outputs at a token; none where it was not read.
    pub fn at(&self, position: usize) -> &'a [f32] {
        let place = self.positions.binary_search(&position).ok();
        place.and_then(|place| self.values.get(place * self.count..(place + 1) * self.count)).unwrap_or_default()
    }
}

impl Reading {
    /// The value at a token: what the score would be if the text ended there. NaN where there is none.
    pub fn value_at(&self, outputs: &Outputs<'_>, position: usize) -> f64 {
        if self.gates.is_some() {
            let objectives = self.objectives_at(outputs, position);
            let sum = objectives.iter().map(|objective| objective.reward * objective.weight).sum();
            return if objectives.is_empty() { f64::NAN } else { sum };
        }
        let output = outputs.at(position).get(outputs.label).map_or(f64::NAN, |&output| f64::from(output));
        match self.normal {
            Some(Normal { mean, std }) => (output - mean) / std,
            None => output,
        }
    }

    /// The objectives of a text that ends at a token; none where the head has none, or where no answer has begun.
    pub fn objectives_at(&self, outputs: &Outputs<'_>, position: usize) -> Vec<Objective> {
        let Some(gates) = &self.gates else {
            return Vec::new();
        };
        let Some(gate) = gates.position(outputs.ids, position + 1) else {
            return Vec::new();
        };
        let (read, gate) = (outputs.at(position), outputs.at(gate));
        let count = outputs.count / 2;
        let objective = |(&reward, &weight): (&f32, &f32)| Objective { reward: reward.into(), weight: weight.into() };
        if gate.len() < count { Vec::new() } else { read.iter().zip(&gate[count..]).map(objective).collect() }
    }

    /// Puts the token at the end of a text that the score is read at, if there is one and it does not stand there.
    /// Returns whether it did.
    pub fn append(&self, ids: &mut Vec<u32>) -> bool {
        match self.appended {
            Some(token) if ids.last() != Some(&token) => {
                ids.push(token);
                true
            }
            _ => false,
        }
    }

    /// How it is read, in words; empty for a classifier.
    pub fn described(&self) -> String {
        let Some(head) = &self.head else {
            return String::new();
        };
        let appended = if self.appended.is_some() { ", read at a token that is appended" } else { "" };
        let normal = match self.normal {
            Some(Normal { mean, std }) => format!(", (output - {mean}) / {std}"),
            None => String::new(),
        };
        let gates = if self.gates.is_some() { ", gated objectives" } else { "" };
        format!("head {head}{gates}{normal}{appended}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_where_the_last_answer_begins() {
        let gates = Gates { pattern: vec![7, 8] };
        let ids = [7, 8, 1, 7, 8, 2];
        assert_eq!(gates.position(&ids, 6), Some(3));
        assert_eq!(gates.position(&ids, 5), Some(3));
        assert_eq!(gates.position(&ids, 4), Some(0), "the pattern is not whole there");
        assert_eq!(gates.position(&ids, 1), None);
        assert_eq!(gates.position(&[1, 2], 2), None);
        // Two objectives, and the token 3 begins the answer.
        let reading = Reading { gates: Some(gates), ..Reading::default() };
        let values = [0.0, 0.0, 0.5, 0.25, 2.0, 4.0, 9.0, 9.0];
        let outputs = Outputs { ids: &ids, positions: &[3, 5], values: &values, count: 4, label: 0 };
        let objectives = [(2.0, 0.5), (4.0, 0.25)].map(|(reward, weight)| Objective { reward, weight });
        assert_eq!(reading.objectives_at(&outputs, 5), objectives);
        assert_eq!(reading.value_at(&outputs, 5), 2.0);
        assert!(reading.value_at(&outputs, 0).is_nan(), "no answer has begun");
    }

    #[test]
    fn a_token_is_appended_once() {
        let reading = Reading { appended: Some(9), ..Reading::default() };
        let mut ids = vec![1, 2];
        assert!(reading.append(&mut ids));
        assert!(!reading.append(&mut ids));
        assert_eq!(ids, [1, 2, 9]);
        assert!(!Reading::default().append(&mut ids));
    }
}
