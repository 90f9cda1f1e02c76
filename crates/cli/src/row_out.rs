//! What `rewardscope score` says of a row.

use rewardscope_data::{Rewarded, Shard};
use rewardscope_engine::{
    Cancel, Detail, Duel, EngineError, Objective, PositionBias, Score, Scorer, StepScores, TokenSequence,
};
use serde::Serialize;
use serde_json::Value;

use crate::commands::score_input::{RowIn, Work};

/// One number for one completion, a list for several.
#[derive(Serialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A row of the output.
#[derive(Default, Serialize)]
pub struct RowOut {
    /// The row's number in the whole input, and the part of it that was scored, where that is a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    id: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    subset: String,
    /// For preferences: how many of the scores, counted from the first, belong to chosen completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    num_correct: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<OneOrMany<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<OneOrMany<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ids: Option<OneOrMany<Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_scores: Option<OneOrMany<Vec<f32>>>,
    /// The objectives whose weighted sum is the score, where the model's head has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    objectives: Option<OneOrMany<Vec<Objective>>>,
    /// The sums of log-probabilities by a policy and by its reference, where rewards are implicit.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_log_probability: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_log_probability: Option<OneOrMany<f64>>,
    /// The sigmoid of a score that is a difference of logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<OneOrMany<f64>>,
    /// The shares of a reader's tokens, where it takes a softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<OneOrMany<Vec<f64>>>,
    /// The value of each step, where a reader reads steps, and what becomes of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_scores: Option<OneOrMany<Vec<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<OneOrMany<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<OneOrMany<f64>>,
    /// Each completion against each other, where the model compares them, and how much their order decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    duels: Option<OneOrMany<Vec<Duel>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_bias: Option<PositionBias>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<T> OneOrMany<T> {
    fn into_list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl RowOut {
    /// A row that cannot be scored.
    pub fn failed(row: &RowIn, error: &str) -> Self {
        Self { id: row.id.clone(), error: Some(format!("{}: {error}", row.named())), ..Self::default() }
    }

    /// Whether a text was cut.
    pub fn is_cut(&self) -> bool {
        match &self.truncated {
            Some(OneOrMany::One(cut)) => *cut,
            Some(OneOrMany::Many(cut)) => cut.contains(&true),
            None => false,
        }
    }

    /// What is written beside the row's own columns; with `has_details` all of it. A reward that is no number is none.
    ///
    /// # Errors
    /// Never in practice: all of it is JSON.
    pub fn rewarded(mut self, has_details: bool) -> serde_json::Result<Rewarded> {
        let rewards = self.scores.take().or(self.score.take().map(|score| vec![score])).unwrap_or_default();
        let not_finite = rewards.iter().copied().find(|reward| !reward.is_finite());
        let error = self.error.take().or(not_finite.map(|reward| format!("expected a finite score, found {reward}")));
        let rewards = if not_finite.is_some() { Vec::new() } else { rewards };
        let tokens = self.tokens.take().filter(|_| error.is_none()).map(OneOrMany::into_list).unwrap_or_default();
        let truncated = self.truncated.take().filter(|_| error.is_none()).map(OneOrMany::into_list).unwrap_or_default();
        // Its id and subset are among its own columns.
        let rest = Self { id: Value::Null, subset: String::new(), row: None, shard: None, ..self };
        let mut details = serde_json::to_value(rest)?;
        let details = details.as_object_mut().map(|details| {
            details.shift_remove("id");
            serde_json::to_string(details)
        });
        let details = details.filter(|_| has_details && error.is_none()).transpose()?;
        Ok(Rewarded { rewards, tokens, truncated, error, details })
    }

    /// A row with the scores of its completions.
    pub fn of(row: &RowIn, scores: &[Score], per_token: bool) -> Self {
        let many = row.work.is_many();
        let (num_correct, subset) = match &row.work {
            Work::Texts(row) if !row.rejected.is_empty() => (Some(row.chosen.len()), row.subset.clone()),
            _ => (None, String::new()),
        };
        let values: Vec<f64> = scores.iter().map(|s| s.score).collect();
        let steps = |of: fn(&StepScores) -> f64| each_known(scores, many, |s| s.steps.as_ref().map(of));
        let has_objectives = scores.iter().any(|s| !s.objectives.is_empty());
        Self {
            row: None,
            shard: None,
            id: row.id.clone(),
            subset,
            num_correct,
            score: if many { None } else { values.first().copied() },
            tokens: each_of(scores, many, |s| s.tokens),
            truncated: each_of(scores, many, Score::truncated),
            input_ids: if per_token { each_of(scores, many, |s| s.input_ids.clone()) } else { None },
            token_scores: if per_token { each_of(scores, many, |s| s.token_scores.clone()) } else { None },
            objectives: each_of(scores, many, |s| s.objectives.clone()).filter(|_| has_objectives),
            policy_log_probability: each_known(scores, many, |s| {
                s.log_probabilities.filter(|_| s.reference_log_probabilities.is_some()).map(|all| all.sum)
            }),
            reference_log_probability: each_known(scores, many, |s| s.reference_log_probabilities.map(|all| all.sum)),
            probability: each_known(scores, many, |s| s.probability),
            probabilities: each_known(scores, many, |s| Some(s.probabilities.clone()).filter(|all| !all.is_empty())),
            step_scores: each_known(scores, many, |s| s.steps.as_ref().map(|steps| steps.scores.clone())),
            min: steps(|steps| steps.min),
            product: steps(|steps| steps.product),
            last: steps(|steps| steps.last),
            duels: each_known(scores, many, |s| Some(s.duels.clone()).filter(|duels| !duels.is_empty())),
            position_bias: PositionBias::of(scores.iter().map(|s| s.duels.as_slice())),
            scores: many.then_some(values),
            error: None,
        }
    }
}

/// Scores a row. A row that cannot be scored gives an output row with its error.
///
/// # Errors
/// When the device failed or the user interrupted: both end the run.
pub async fn scored(scorer: &Scorer, row: &RowIn, per_token: bool, cancel: &Cancel) -> Result<RowOut, EngineError> {
    if let Work::None(error) = &row.work {
        return Ok(RowOut::failed(row, error));
    }
    let detail = if per_token { Detail::EveryToken } else { Detail::Score };
    let scores = match sequences(scorer, &row.work) {
        Ok(sequences) => scorer.score_tokens(&sequences, detail, cancel).await,
        Err(error) => Err(error),
    };
    match scores {
        Ok(scores) => Ok(RowOut::of(row, &scores, per_token)),
        Err(error @ (EngineError::DeviceFailed { .. } | EngineError::Cancelled)) => Err(error),
        Err(error) => Ok(RowOut::failed(row, &error.to_string())),
    }
}

/// The token sequences of a row; none where it has nothing to score.
pub fn sequences(scorer: &Scorer, work: &Work) -> Result<Vec<TokenSequence>, EngineError> {
    match work {
        Work::None(_) => Ok(Vec::new()),
        Work::Tokens(sequence) => Ok(vec![sequence.clone()]),
        Work::Rendered(text) => Ok(vec![scorer.tokenize_text(text, false)?]),
        Work::Steps(row) => scorer.tokenize_steps(&row.prompt(), std::slice::from_ref(&row.steps)),
        Work::Texts(row) => scorer.tokenize(&row.prompt, row.chosen.iter().chain(&row.rejected).map(String::as_str)),
    }
}

/// As [`each_of`]; nothing where a score lacks it.
fn each_known<T>(scores: &[Score], many: bool, of: impl Fn(&Score) -> Option<T>) -> Option<OneOrMany<T>> {
    let values: Vec<T> = scores.iter().map(of).collect::<Option<_>>()?;
    if many { Some(OneOrMany::Many(values)) } else { values.into_iter().map(OneOrMany::One).next() }
}

fn each_of<T>(scores: &[Score], many: bool, of: impl Fn(&Score) -> T) -> Option<OneOrMany<T>> {
    let values = scores.iter().map(of);
    if many { Some(OneOrMany::Many(values.collect())) } else { values.map(OneOrMany::One).next() }
}
