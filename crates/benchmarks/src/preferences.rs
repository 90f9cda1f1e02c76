//! Preferences of one's own: a prompt, chosen and rejected completions, and perhaps a subset. The
//! mark of an item is the share of its pairs of a chosen and a rejected completion that are in the
//! right order, a shared score counting one half; a subset's is the mean of its items, the overall
//! mark that of the subsets.

use crate::benchmark::{Benchmark, Layout, Variant};
use crate::ppe::Pairs;

/// The name that data and commands use.
pub const NAME: &str = "preferences";

/// The entry of the table of benchmarks.
pub const BENCHMARK: Benchmark = Benchmark {
    name: NAME,
    title: "Preferences of your own",
    citation: "none: your own rows",
    definition: "the share of pairs in the right order, a shared score counting one half; subsets weigh alike",
    rows_at: "",
    layout: Layout {
        id: &["id", "prompt_id", "pair_id", "question_id"],
        subset: &["subset", "category", "source", "domain"],
        needs_subset: false,
        is_dataset_a_subset: false,
        prompt: &["prompt", "question", "instruction", "input", "messages"],
        needs_prompt: false,
        chosen: &["chosen", "chosen_response", "preferred"],
        rejected: &["rejected", "reject", "rejected_response", "dispreferred"],
        models: &["chosen_model", "rejected_model"],
        chosen_if: None,
        correct: None,
        has_counts: false,
    },
    variants: &[Variant { name: "pairs", about: "by pairs", rules: &Pairs { benchmark: NAME } }],
};
