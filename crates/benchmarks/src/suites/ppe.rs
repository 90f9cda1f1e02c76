//! PPE's correctness sets (Frick et al., 2024, arXiv:2410.14872): many completions of a prompt, each judged right or
//! wrong by a program. Marks follow the paper's definitions; its evaluator's values were not available to compare with.
//!
//! The mark of an item is its accuracy: the share of its pairs of a right and a wrong completion in which the right one
//! scores higher; equal scores count one half. The rows also name five pairs of each prompt that were drawn for
//! accuracy (`sampled_conflict_pairs`). All pairs are used here: their accuracy is the average of such draws, and does
//! not depend on the draw. A set's best-of-K curve is the probability that the highest-scoring of K drawn completions
//! is right. Its AUC is that of scores as a predictor of correctness over all completions ([`crate::analysis`]).

use crate::benchmark::{Benchmark, Layout, Variant};
use crate::rules::{Cluster, Figures, Part, Rules, Sums, pooled};
use crate::{MarkError, ScoredItem};

/// The name that data and commands use.
pub const NAME: &str = "ppe";

/// The entry of the table of benchmarks.
pub const BENCHMARK: Benchmark = Benchmark {
    name: NAME,
    title: "PPE, correctness",
    citation: "Frick et al., How to Evaluate Reward Models for RLHF, 2024, arXiv:2410.14872",
    definition: "the paper's: accuracy over all pairs of a right and a wrong completion, the five sets weighing alike",
    rows_at: "lmarena-ai/PPE-MMLU-Pro-Best-of-K, and the same for MATH, GPQA, IFEval and MBPP-Plus",
    layout: Layout {
        id: &["question_id/model_name", "question_id"],
        subset: &["benchmark", "subset"],
        needs_subset: false,
        is_dataset_a_subset: true,
        prompt: &["prompt"],
        needs_prompt: true,
        chosen: &["response_*"],
        rejected: &[],
        models: &["model_name"],
        chosen_if: None,
        correct: Some("scores"),
        ..Layout::REWARD_BENCH
    },
    variants: &[Variant { name: "paper", about: "as the paper, over all pairs", rules: &Ppe }],
};

/// The five sets, each a dataset of its own: its name, and a part that every spelling of its name has in lower case.
pub const SETS: [(&str, &str); 5] =
    [("MMLU Pro", "mmlu"), ("MATH", "math"), ("GPQA", "gpqa"), ("MBPP Plus", "mbpp"), ("IFEval", "ifeval")];

/// The position in [`SETS`] of the set that a subset's name stands for.
fn set(subset: &str) -> Option<usize> {
    let name = subset.to_ascii_lowercase();
    SETS.iter().position(|(_, part)| name.contains(part))
}

/// The share of an item's pairs of a correct and an incorrect completion that are in the right order, 0 to 1. Equal
/// scores count one half, a pair with NaN counts as wrong. `None` without correct or without incorrect completions.
pub fn pair_accuracy(num_correct: usize, scores: &[f64]) -> Option<f64> {
    let (correct, incorrect) = scores.split_at_checked(num_correct)?;
    if correct.is_empty() || incorrect.is_empty() {
        return None;
    }
    let mut halves = 0u64;
    for correct in correct {
        for incorrect in incorrect {
            halves += match correct.partial_cmp(incorrect) {
                Some(std::cmp::Ordering::Greater) => 2,
                Some(std::cmp::Ordering::Equal) => 1,
                _ => 0,
            };
        }
    }
    Some(halves as f64 / (2 * correct.len() * incorrect.len()) as f64)
}

/// Marks of the five sets by pairs, and the mean of the sets where all are present.
struct Ppe;

impl Rules for Ppe {
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError> {
        Pairs { benchmark: NAME }.part(item)
    }

    /// The items of one question, answered by several models, share the question's difficulty.
    fn cluster<'a>(&self, item: &ScoredItem<'a>) -> Option<Cluster<'a>> {
        let (unit, _) = item.id.rsplit_once('/')?;
        Some(Cluster { block: item.subset, unit })
    }

    fn shares_ties(&self) -> bool {
        true
    }

    fn figures(&self, sums: &[Sums<'_>]) -> Figures {
        let share = |at: usize| pooled(sums, |subset| set(subset) == Some(at));
        let sets: Option<Vec<f64>> = (0..SETS.len()).map(share).collect();
        Figures {
            sections: Vec::new(),
            overall: sets.map(|sets| sets.iter().sum::<f64>() / SETS.len() as f64),
            subsets: sums.iter().map(|sums| sums.mean(0)).collect(),
        }
    }
}

/// Marks an item by the share of its pairs in the right order; equal scores count one half.
pub(crate) struct Pairs {
    pub(crate) benchmark: &'static str,
}

impl Pairs {
    pub(crate) fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError> {
        let mark = pair_accuracy(item.num_correct, item.scores).ok_or_else(|| MarkError::Form {
            id: item.id.to_owned(),
            subset: item.subset.to_owned(),
            benchmark: self.benchmark,
            expected: "at least one correct and one incorrect completion".to_owned(),
            found: format!("{} of which {} correct", item.scores.len(), item.num_correct),
        })?;
        Ok(Part { subset: item.subset.into(), key: None, values: vec![mark], chance: vec![0.5], mark })
    }
}
