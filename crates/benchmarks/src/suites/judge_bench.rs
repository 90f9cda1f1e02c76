//! JudgeBench (Tan et al., 2024, arXiv:2410.12784), marked as its reference evaluator does:
//! `ScalerLab/JudgeBench` at `e2c52c2`, `utils/metrics.py`.
//!
//! A reward model scores each answer once. A pair is right where the better answer scores higher; equal scores are
//! wrong. (The reference takes the second answer then, whether it is the better one or not.) A judge plays two games
//! per pair, one for each order of the answers: [`two_games`].

use crate::benchmark::{Benchmark, Layout, Variant};
use crate::rules::{Figures, Part, Rules, Section, Sums, pair, pooled};
use crate::{MarkError, ScoredItem};

/// The name that data and commands use.
pub const NAME: &str = "judge-bench";

/// The entry of the table of benchmarks.
pub const BENCHMARK: Benchmark = Benchmark {
    name: NAME,
    title: "JudgeBench",
    citation: "Tan et al., JudgeBench: A Benchmark for Evaluating LLM-based Judges, 2024, arXiv:2410.12784",
    definition: "its reference evaluator, ScalerLab/JudgeBench at e2c52c2, with one game a pair; a shared score is wrong",
    rows_at: "ScalerLab/JudgeBench",
    layout: Layout {
        id: &["pair_id"],
        subset: &["source"],
        needs_subset: true,
        is_dataset_a_subset: false,
        prompt: &["question"],
        needs_prompt: true,
        chosen: &["response_A"],
        rejected: &["response_B"],
        models: &["response_model"],
        chosen_if: Some(["label", "A>B", "B>A"]),
        ..Layout::REWARD_BENCH
    },
    variants: &[Variant { name: "single-game", about: "one comparison of scores a pair", rules: &JudgeBench }],
};

/// The categories, each with the text that the names of its sources begin with.
pub const CATEGORIES: [(&str, &str); 4] = [
    ("Knowledge", "mmlu-pro"),
    ("Reasoning", "livebench-reasoning"),
    ("Math", "livebench-math"),
    ("Coding", "livecodebench"),
];

/// A judge's verdict on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The first answer shown is better.
    First,
    /// The second answer shown is better.
    Second,
    /// Neither is better.
    Tie,
}

/// Whether a judge is right over two games, the second with the answers exchanged. It is right if more of its verdicts
/// agree with the label than say the opposite. `first_is_better` is the label, in the order of the first game. `None`
/// is a game without a verdict.
pub fn two_games(first_is_better: bool, games: [Option<Decision>; 2]) -> bool {
    let for_label = |decision: Option<Decision>, exchanged: bool| match decision {
        Some(Decision::First) => Some(first_is_better != exchanged),
        Some(Decision::Second) => Some(first_is_better == exchanged),
        Some(Decision::Tie) | None => None,
    };
    let counts = [for_label(games[0], false), for_label(games[1], true)];
    counts.iter().flatten().map(|&is| if is { 1 } else { -1 }).sum::<i32>() > 0
}

struct JudgeBench;

impl Rules for JudgeBench {
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError> {
        if !CATEGORIES.iter().any(|(_, source)| item.subset.starts_with(source)) {
            return Err(MarkError::Subset {
                id: item.id.to_owned(),
                subset: item.subset.to_owned(),
                benchmark: NAME,
                known: "mmlu-pro-…, livebench-reasoning, livebench-math, livecodebench".to_owned(),
            });
        }
        pair(item, NAME)
    }

    fn figures(&self, sums: &[Sums<'_>]) -> Figures {
        let share = |of: &dyn Fn(&str) -> bool| pooled(sums, of);
        let sections: Vec<Section> = CATEGORIES
            .iter()
            .filter_map(|(name, source)| {
                let is_of = |subset: &str| subset.starts_with(source);
                Section::over(name, share(&is_of), sums, is_of)
            })
            .collect();
        Figures {
            subsets: sums.iter().map(|sums| sums.mean(0)).collect(),
            overall: share(&|_| true).filter(|_| sections.len() == CATEGORIES.len()),
            sections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{First, Second, Tie};
    use super::*;

    #[test]
    fn a_judge_must_be_for_the_label_more_often_than_against_it() {
        for (games, right) in [
            ([Some(First), Some(Second)], true),
            ([Some(First), Some(Tie)], true),
            ([Some(First), None], true),
            ([Some(First), Some(First)], false),
            ([Some(Tie), Some(Tie)], false),
            ([None, None], false),
            ([Some(Second), Some(First)], false),
        ] {
            assert_eq!(two_games(true, games), right, "{games:?}");
        }
        assert!(two_games(false, [Some(Second), Some(First)]));
    }
}
