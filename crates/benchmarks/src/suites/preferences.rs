//! The user's own preferences: a prompt, chosen and rejected completions, and perhaps a subset. The mark of an item is
//! the share of its pairs of a chosen and a rejected completion that are in the right order. The mark of a subset is
//! the mean of its items. The overall mark is the mean of all items, regardless of subset. Where there are several
//! subsets, the mean of their marks is reported too, as a section.

use crate::benchmark::{Benchmark, Layout, Variant};
use crate::rules::{Figures, Part, Rules, Section, Sums, pooled};
use crate::suites::ppe::Pairs;
use crate::{MarkError, ScoredItem};

/// The name that data and commands use.
pub const NAME: &str = "preferences";

/// The name of the section that holds the mean of the subsets' marks.
pub const MEAN_OF_SUBSETS: &str = "mean of subsets";

/// The entry of the table of benchmarks. Its layout is empty: the rows' own columns show which of them hold an item's
/// fields.
pub const BENCHMARK: Benchmark = Benchmark {
    name: NAME,
    title: "Preferences of your own",
    citation: "none: your own rows",
    definition: "overall: the share of pairs in the right order over all items; beside it the mean of subsets",
    rows_at: "",
    layout: Layout {
        id: &[],
        subset: &[],
        needs_subset: false,
        is_dataset_a_subset: false,
        prompt: &[],
        needs_prompt: false,
        chosen: &[],
        rejected: &[],
        models: &[],
        ..Layout::REWARD_BENCH
    },
    variants: &[
        Variant { name: "pairs", about: "a shared score counts one half", rules: &Preferences { shares_ties: true } },
        Variant {
            name: "ties-wrong",
            about: "a shared score counts as wrong, as in the accuracy of the rewardbench command",
            rules: &Preferences { shares_ties: false },
        },
    ],
};

struct Preferences {
    shares_ties: bool,
}

impl Rules for Preferences {
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError> {
        let part = Pairs { benchmark: NAME }.part(item)?;
        if self.shares_ties {
            return Ok(part);
        }
        let (correct, incorrect) = item.scores.split_at_checked(item.num_correct).unwrap_or_default();
        let shared = correct.iter().flat_map(|a| incorrect.iter().map(move |b| (a, b))).filter(|(a, b)| a == b).count();
        let pairs = (correct.len() * incorrect.len()).max(1);
        let mark = part.mark - shared as f64 / (2 * pairs) as f64;
        Ok(Part { values: vec![mark], mark, ..part })
    }

    fn shares_ties(&self) -> bool {
        self.shares_ties
    }

    fn figures(&self, sums: &[Sums<'_>]) -> Figures {
        let subsets: Vec<f64> = sums.iter().map(|sums| sums.mean(0)).collect();
        let mean = (subsets.len() > 1).then(|| subsets.iter().sum::<f64>() / subsets.len() as f64);
        Figures {
            sections: Section::over(MEAN_OF_SUBSETS, mean, sums, |_| true).into_iter().collect(),
            overall: pooled(sums, |_| true),
            subsets,
        }
    }
}
