//! ProcessBench (Zheng et al., 2024, arXiv:2412.06559): where a solution in steps goes wrong, marked as its repository
//! does: `QwenLM/ProcessBench` at `04d347e`, `code/run_eval_prm_trl.py`.
//!
//! An item is a solution, its completions are the steps, and the correct ones are those before the first wrong step. A
//! process reward model scores each step by the probability that it is right. The first step whose probability is not
//! above one half is taken as the first wrong one. A subset's mark is the harmonic mean (F1) of two accuracies: over
//! solutions with a wrong step, and over those without.

use crate::benchmark::{Benchmark, Layout, Variant};
use crate::rules::{Figures, Part, Rules, Section, Sums};
use crate::{MarkError, ScoredItem};

/// The name that data and commands use.
pub const NAME: &str = "process-bench";

/// The subsets. In the rows they stand before the number in an id, such as `gsm8k-12`.
pub const SUBSETS: [&str; 4] = ["gsm8k", "math", "olympiadbench", "omnimath"];

/// The entry of the table of benchmarks.
pub const BENCHMARK: Benchmark = Benchmark {
    name: NAME,
    title: "ProcessBench",
    citation: "Zheng et al., ProcessBench: Identifying Process Errors in Mathematical Reasoning, 2024, arXiv:2412.06559",
    definition: "its repository, QwenLM/ProcessBench at 04d347e, code/run_eval_prm_trl.py",
    rows_at: "Qwen/ProcessBench",
    layout: Layout {
        id: &["id"],
        subset: &["subset"],
        needs_subset: false,
        is_dataset_a_subset: false,
        prompt: &["problem", "prompt"],
        needs_prompt: true,
        chosen: &["steps", "completions"],
        rejected: &[],
        models: &["generator"],
        first_wrong: &["label", "labels"],
        is_subset_in_id: true,
        ..Layout::REWARD_BENCH
    },
    variants: &[Variant {
        name: "first-wrong-step",
        about: "the first step that is not more likely right than wrong must be the first wrong one",
        rules: &ProcessBench,
    }],
};

/// The step that scores call the first wrong one: the first whose score is not above one half; the number of steps where
/// there is none.
pub fn first_wrong(scores: &[f64]) -> usize {
    scores.iter().position(|&score| score.is_nan() || score <= 0.5).unwrap_or(scores.len())
}

struct ProcessBench;

/// The harmonic mean; 0 where both are 0.
fn f1(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 }
}

/// What a subset's sums say: right and all, of solutions with a wrong step, then of those without.
struct Counts([f64; 4]);

impl Counts {
    fn of<'a>(sums: impl Iterator<Item = &'a Sums<'a>>) -> Self {
        let mut all = [0.0; 4];
        for of in sums {
            for (all, value) in all.iter_mut().zip(of.values) {
                *all += value;
            }
        }
        Self(all)
    }

    /// The accuracy over solutions with a wrong step; `None` without any.
    fn wrong(&self) -> Option<f64> {
        (self.0[1] > 0.0).then(|| self.0[0] / self.0[1])
    }

    /// The accuracy over solutions without one.
    fn right(&self) -> Option<f64> {
        (self.0[3] > 0.0).then(|| self.0[2] / self.0[3])
    }

    /// The harmonic mean of both, or the only one that there is.
    fn mark(&self) -> f64 {
        match (self.wrong(), self.right()) {
            (Some(wrong), Some(right)) => f1(wrong, right),
            (one, other) => one.or(other).unwrap_or_default(),
        }
    }
}

impl Rules for ProcessBench {
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError> {
        let steps = item.scores.len();
        if steps == 0 {
            return Err(MarkError::NoScores { id: item.id.to_owned(), subset: item.subset.to_owned() });
        }
        if item.num_correct > steps {
            return Err(MarkError::Form {
                id: item.id.to_owned(),
                subset: item.subset.to_owned(),
                benchmark: NAME,
                expected: format!("at most {steps} steps before the first wrong one"),
                found: item.num_correct.to_string(),
            });
        }
        let mark = f64::from(u8::from(first_wrong(item.scores) == item.num_correct));
        // Each step is called wrong or not by a coin: all before the first wrong one must be called right.
        let calls = item.num_correct + usize::from(item.num_correct < steps);
        let by_chance = 0.5f64.powi(calls.min(1000) as i32);
        let values = |mark: f64| match item.num_correct < steps {
            true => vec![mark, 1.0, 0.0, 0.0],
            false => vec![0.0, 0.0, mark, 1.0],
        };
        Ok(Part { subset: item.subset.into(), key: None, values: values(mark), chance: values(by_chance), mark })
    }

    fn reads_steps(&self) -> bool {
        true
    }

    fn order(&self) -> &'static [&'static str] {
        &SUBSETS
    }

    fn figures(&self, sums: &[Sums<'_>]) -> Figures {
        let subsets: Vec<f64> = sums.iter().map(|of| Counts::of([of].into_iter()).mark()).collect();
        let all = Counts::of(sums.iter());
        let section = |name: &str, score: Option<f64>, units: f64| {
            Some(Section { name: name.to_owned(), score: score?, units: units as usize })
        };
        let sections = [section("With a wrong step", all.wrong(), all.0[1]), section("Without", all.right(), all.0[3])];
        let known = sums.iter().filter(|of| SUBSETS.contains(&of.subset)).count();
        // One's own rows are whole; of ProcessBench's, all four subsets must be there.
        let is_whole = !sums.is_empty() && (known == 0 || known == SUBSETS.len() && sums.len() == known);
        let mean = subsets.iter().sum::<f64>() / subsets.len().max(1) as f64;
        Figures { overall: is_whole.then_some(mean), subsets, sections: sections.into_iter().flatten().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effort, assess};

    #[test]
    fn ids_name_their_subset() {
        assert_eq!(BENCHMARK.subset_in_id("omnimath-7"), Some("omnimath"));
        assert_eq!(BENCHMARK.subset_in_id("mine-7"), None);
        assert_eq!(BENCHMARK.subset_in_id("gsm8k"), None);
        assert_eq!(crate::judge_bench::BENCHMARK.subset_in_id("math-7"), None);
    }

    #[test]
    fn the_first_step_that_is_not_likelier_right_is_wrong() {
        assert_eq!(first_wrong(&[0.9, 0.5, 0.1]), 1);
        assert_eq!(first_wrong(&[0.9, f64::NAN]), 1);
        assert_eq!(first_wrong(&[0.51, 0.9]), 2);
    }

    #[test]
    fn marks_are_harmonic_means_of_two_accuracies() {
        let item = |id: &'static str, num_correct, scores: &'static [f64]| {
            let subset = BENCHMARK.subset_in_id(id).expect("known");
            ScoredItem { id, subset, num_correct, scores }
        };
        let items = [
            item("gsm8k-0", 1, &[0.9, 0.1, 0.9]),
            item("gsm8k-1", 1, &[0.1, 0.1]),
            item("gsm8k-2", 0, &[0.2]),
            item("gsm8k-3", 2, &[0.9, 0.8]),
            item("gsm8k-4", 2, &[0.9, 0.4]),
            item("math-0", 1, &[0.9]),
        ];
        let variant = BENCHMARK.variant(None).expect("one");
        let found = assess(&BENCHMARK, variant, &items, None, 0, false, Effort::QUICK).expect("marked");
        let score = |all: &[crate::Named], at: usize| (all[at].name.clone(), all[at].figure.score);
        // 2 of 3 with a wrong step, 1 of 2 without: 2 * 2/3 * 1/2 / (2/3 + 1/2).
        assert_eq!(score(&found.subsets, 0).0, "gsm8k");
        assert!((score(&found.subsets, 0).1 - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!(score(&found.subsets, 1), ("math".to_owned(), 1.0));
        assert_eq!(found.overall, None, "two of the four subsets are missing");
        assert_eq!(score(&found.sections, 0), ("With a wrong step".to_owned(), 2.0 / 3.0));
        assert_eq!(score(&found.sections, 1), ("Without".to_owned(), 2.0 / 3.0));
        // By a coin: 1/4, 1/4, 1/2 of the first three, 1/4 of the two without.
        let chance = found.subsets[0].figure.chance.expect("known");
        assert!((chance - f1(1.0 / 3.0, 0.25)).abs() < 1e-12, "{chance}");
    }
}
