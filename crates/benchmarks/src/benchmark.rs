//! The table of benchmarks, and what each entry has to say of an item.

use crate::rules::Rules;
use crate::{Item, MarkError, ScoredItem};

/// A benchmark: what its rows are and how they are marked.
pub struct Benchmark {
    /// The name that data and commands use.
    pub name: &'static str,
    /// Its name in print.
    pub title: &'static str,
    /// Where it was published.
    pub citation: &'static str,
    /// Whose arithmetic the marks follow, and how that is known.
    pub definition: &'static str,
    /// Where its rows are: datasets of the Hub, or an address; empty for rows of one's own.
    pub rows_at: &'static str,
    /// Where its rows have what.
    pub layout: Layout,
    /// Its ways of marking, the default first.
    pub variants: &'static [Variant],
}

impl std::fmt::Debug for Benchmark {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name)
    }
}

/// Where a benchmark's rows have what an item needs: of each the names to try, in the words of the
/// crate that reads them (`data`'s `Columns`).
pub struct Layout {
    /// What tells an item from others of its subset.
    pub id: &'static [&'static str],
    /// The part of the benchmark.
    pub subset: &'static [&'static str],
    /// Whether rows without it are another benchmark's.
    pub needs_subset: bool,
    /// Whether rows without it are of the subset that their dataset is called.
    pub is_dataset_a_subset: bool,
    /// The conversation up to the completion.
    pub prompt: &'static [&'static str],
    /// Whether rows without it are another benchmark's; otherwise completions may be whole conversations.
    pub needs_prompt: bool,
    /// Correct completions.
    pub chosen: &'static [&'static str],
    /// Incorrect ones.
    pub rejected: &'static [&'static str],
    /// Who wrote the correct ones, then the others.
    pub models: &'static [&'static str],
    /// A column, its value where `chosen` is the better one, and where it is not.
    pub chosen_if: Option<[&'static str; 3]>,
    /// A column that says of each of `chosen` whether it is correct.
    pub correct: Option<&'static str>,
    /// Whether rows say how many completions they have.
    pub has_counts: bool,
}

impl Layout {
    /// `id`, `prompt`, `chosen`, `rejected`, `subset` and the models' columns as RewardBench has them.
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
    };
}

/// One of a benchmark's ways of marking.
pub struct Variant {
    /// Its name, as commands take it.
    pub name: &'static str,
    /// What is different about it.
    pub about: &'static str,
    /// The arithmetic.
    pub rules: &'static (dyn Rules + Sync),
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name)
    }
}

/// Where a benchmark's official rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfficialRows {
    /// The Hub dataset.
    pub repository: &'static str,
    /// Its commit.
    pub revision: &'static str,
    /// The file in it.
    pub file: &'static str,
    /// The file's size.
    pub bytes: u64,
    /// The file's sha256, in hexadecimal digits.
    pub sha256: &'static str,
}

impl OfficialRows {
    /// As a Hub id with revision and file.
    pub fn id(&self) -> String {
        format!("{}@{}:{}", self.repository, self.revision, self.file)
    }
}

/// No benchmark or variant goes by a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No such benchmark.
    #[error("looking for the benchmark {found:?}: there is none of that name; there are {known}")]
    Benchmark {
        /// The name asked for.
        found: String,
        /// The names there are.
        known: String,
    },
    /// No such way of marking.
    #[error("marking {benchmark}: it has no variant {found:?}; it has {known}")]
    Variant {
        /// The benchmark.
        benchmark: &'static str,
        /// The name asked for.
        found: String,
        /// The names there are.
        known: String,
    },
}

impl Benchmark {
    /// The variant of a name; the first where none is named.
    ///
    /// # Errors
    /// When it has no such variant, with those that it has.
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

    /// What an item is drawn with: [`Rules::unit`].
    pub(crate) fn unit(&self, item: &Item) -> Option<String> {
        self.variants.first().and_then(|variant| variant.rules.unit(item))
    }

    /// Whether items can be marked whatever their scores come to: asked before anything is scored.
    ///
    /// # Errors
    /// [`MarkError`] names the first item that cannot.
    pub fn check<'a>(&'static self, items: impl IntoIterator<Item = &'a Item>) -> Result<(), MarkError> {
        for item in items {
            // Marking looks at the form before it looks at the scores.
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
