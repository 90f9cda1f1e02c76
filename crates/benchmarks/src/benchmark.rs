//! The entries of the table of benchmarks: name, sources, columns of the rows, and ways of marking.

use crate::rules::Rules;
use crate::{Item, MarkError, ScoredItem};

/// A benchmark: what its rows are and how they are marked.
pub struct Benchmark {
    /// The name that data and commands use.
    pub name: &'static str,
    /// The name for readers.
    pub title: &'static str,
    /// Where it was published.
    pub citation: &'static str,
    /// Whose arithmetic the marks follow, and how that is known.
    pub definition: &'static str,
    /// Where its rows are: datasets of the Hub, or an address; empty for the user's own rows.
    pub rows_at: &'static str,
    /// Which columns hold an item's fields.
    pub layout: Layout,
    /// Its ways of marking, the default first.
    pub variants: &'static [Variant],
}

impl std::fmt::Debug for Benchmark {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name)
    }
}

/// Which columns of a benchmark's rows hold an item's fields. Each list gives the column names to try, in the syntax of
/// the crate that reads the rows (`Columns` in `data`).
pub struct Layout {
    /// The id, which tells an item from others of its subset.
    pub id: &'static [&'static str],
    /// The part of the benchmark.
    pub subset: &'static [&'static str],
    /// Whether rows without a subset are refused as another benchmark's.
    pub needs_subset: bool,
    /// Whether rows without a subset get their dataset's name as subset.
    pub is_dataset_a_subset: bool,
    /// The conversation up to the completion.
    pub prompt: &'static [&'static str],
    /// Whether rows without a prompt are refused as another benchmark's; otherwise completions may be whole
    /// conversations.
    pub needs_prompt: bool,
    /// Correct completions.
    pub chosen: &'static [&'static str],
    /// Incorrect completions.
    pub rejected: &'static [&'static str],
    /// The models that wrote the correct completions, then those that wrote the incorrect ones.
    pub models: &'static [&'static str],
    /// A column that says which completion is better: its name, its value for `chosen`, its value for `rejected`.
    pub chosen_if: Option<[&'static str; 3]>,
    /// A column that says for each completion in `chosen` whether it is correct.
    pub correct: Option<&'static str>,
    /// Whether rows say how many completions they have.
    pub has_counts: bool,
    /// For rows whose `chosen` are the steps of one solution: the place of the first wrong step.
    pub first_wrong: &'static [&'static str],
    /// Whether rows that name no subset have it in their id, before the number: `gsm8k-12`.
    pub is_subset_in_id: bool,
}

impl Layout {
    /// RewardBench's columns: `id`, `prompt`, `chosen`, `rejected`, `subset` and one for each side's model.
    pub const REWARD_BENCH: Self = Self {
        id: &["id"],
        subset: &["subset"],
        needs_subset: true,
        is_dataset_a_subset: false,
        prompt: &["prompt"],
        needs_prompt: true,
        chosen: &["chosen"],
        rejected: &["rejected"],
        models: &["chosen_model", "rejected_model"],
        chosen_if: None,
        correct: None,
        has_counts: false,
        first_wrong: &[],
        is_subset_in_id: false,
    };
}

/// One of a benchmark's ways of marking.
pub struct Variant {
    /// The name that commands take.
    pub name: &'static str,
    /// How it differs from the benchmark's other variants.
    pub about: &'static str,
    /// The arithmetic.
    pub rules: &'static (dyn Rules + Sync),
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name)
    }
}

/// Where a benchmark's official rows are: one file of a Hub dataset at a pinned commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfficialRows {
    /// The Hub dataset.
    pub repository: &'static str,
    /// Its commit.
    pub revision: &'static str,
    /// The file's path in the dataset.
    pub file: &'static str,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The file's sha256, in hexadecimal digits.
    pub sha256: &'static str,
}

impl OfficialRows {
    /// The rows as a Hub id: `REPOSITORY@REVISION:FILE`.
    pub fn id(&self) -> String {
        format!("{}@{}:{}", self.repository, self.revision, self.file)
    }
}

/// A name that no benchmark or variant has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No benchmark has this name.
    #[error("looking for the benchmark {found:?}: there is none of that name; there are {known}")]
    Benchmark {
        /// The name asked for.
        found: String,
        /// The names of all benchmarks.
        known: String,
    },
    /// The benchmark has no variant of this name.
    #[error("marking {benchmark}: it has no variant {found:?}; it has {known}")]
    Variant {
        /// The benchmark.
        benchmark: &'static str,
        /// The name asked for.
        found: String,
        /// The names of its variants.
        known: String,
    },
}

impl Benchmark {
    /// The variant called `name`; the first one where `name` is `None`.
    ///
    /// # Errors
    /// When there is no such variant; the error lists those that exist.
    pub fn variant(&'static self, name: Option<&str>) -> Result<&'static Variant, NameError> {
        let found = match name {
            None => self.variants.first(),
            Some(name) => self.variants.iter().find(|variant| variant.name == name),
        };
        found.ok_or_else(|| NameError::Variant {
            benchmark: self.name,
            found: name.unwrap_or_default().to_owned(),
            known: self.variants.iter().map(|variant| variant.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The subset that an id names, where the benchmark's ids do.
    pub fn subset_in_id<'a>(&self, id: &'a str) -> Option<&'a str> {
        let (subset, _) = id.rsplit_once('-').filter(|_| self.layout.is_subset_in_id)?;
        let known = self.variants.first()?.rules.order();
        known.contains(&subset).then_some(subset)
    }

    /// Whether an item is a solution in steps, with a score for each step.
    pub fn reads_steps(&self) -> bool {
        self.variants.first().is_some_and(|variant| variant.rules.reads_steps())
    }

    /// The unit that an item is sampled in: [`Rules::unit`] of the first variant.
    pub(crate) fn unit(&self, item: &Item) -> Option<String> {
        self.variants.first().and_then(|variant| variant.rules.unit(item))
    }

    /// Checks before anything is scored that items can be marked by every variant, whatever their scores will be.
    ///
    /// # Errors
    /// [`MarkError`] names the first item that cannot be marked.
    pub fn check<'a>(&'static self, items: impl IntoIterator<Item = &'a Item>) -> Result<(), MarkError> {
        for item in items {
            // Whether an item can be marked depends on the number of its scores only, so zeros will do.
            let scores = vec![0.0; item.completions.len()];
            let scored =
                ScoredItem { id: &item.id, subset: &item.subset, num_correct: item.num_correct, scores: &scores };
            for variant in self.variants {
                variant.rules.part(&scored)?;
            }
        }
        Ok(())
    }
}
