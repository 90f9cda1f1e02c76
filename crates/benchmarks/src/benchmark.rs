//! The table of benchmarks, and what each entry has to say of an item.

use std::borrow::Cow;

use crate::reward_bench_2::Ties;
use crate::{MarkError, ScoredItem};
use crate::{judge_bench, m_reward_bench, ppe, preferences, reward_bench, reward_bench_2, rm_bench, rmb};

/// Every benchmark by name. A new one is one file, one line here, and one test.
pub const BENCHMARKS: [&Benchmark; 8] = [
    &reward_bench_2::BENCHMARK,
    &reward_bench::BENCHMARK,
    &rm_bench::BENCHMARK,
    &judge_bench::BENCHMARK,
    &rmb::BENCHMARK,
    &ppe::BENCHMARK,
    &m_reward_bench::BENCHMARK,
    &preferences::BENCHMARK,
];

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

/// The benchmark of a name.
///
/// # Errors
/// When there is none, with the names there are.
pub fn benchmark(name: &str) -> Result<&'static Benchmark, NameError> {
    BENCHMARKS.iter().find(|known| known.name == name).copied().ok_or_else(|| NameError::Benchmark {
        found: name.to_owned(),
        known: BENCHMARKS.map(|known| known.name).join(", "),
    })
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

    /// Whether items can be marked whatever their scores come to: asked before anything is scored.
    ///
    /// # Errors
    /// [`MarkError`] names the first item that cannot.
    pub fn check<'a>(&'static self, items: impl IntoIterator<Item = &'a crate::Item>) -> Result<(), MarkError> {
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

/// What an item shares its fate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster<'a> {
    /// What subsets that are drawn together have in common.
    pub block: &'a str,
    /// The item's unit in it, such as a question that several answer.
    pub unit: &'a str,
}

/// What an item adds to its subset.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    /// The subset that it is counted in.
    pub subset: Cow<'a, str>,
    /// Items of one subset that have a key stand and fall together: [`Rules::join`].
    pub key: Option<u64>,
    /// What it adds, in the order that the benchmark's [`Rules::figures`] knows. All parts of a
    /// subset have as many values.
    pub values: Vec<f64>,
    /// What `values` would be on average if scores said nothing; empty where [`Rules::chance`] says.
    pub chance: Vec<f64>,
    /// The item's own mark, 0 to 1.
    pub mark: f64,
}

/// The sums of a subset's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums<'a> {
    /// The subset.
    pub subset: &'a str,
    /// Units added up: items, or items joined.
    pub units: usize,
    /// The sums of [`Part::values`], or of what [`Rules::join`] made of them.
    pub values: &'a [f64],
}

impl Sums<'_> {
    /// The mean of one value.
    pub fn mean(&self, value: usize) -> f64 {
        self.values.get(value).copied().unwrap_or_default() / self.units.max(1) as f64
    }
}

/// The mean of the first value over the units of some subsets; `None` without any.
pub(crate) fn pooled(sums: &[Sums<'_>], has: impl Fn(&str) -> bool) -> Option<f64> {
    let of = sums.iter().filter(|sums| has(sums.subset));
    let (sum, units) = of.fold((0.0, 0), |(sum, units), of| (sum + of.mean(0) * of.units as f64, units + of.units));
    (units > 0).then(|| sum / units as f64)
}

/// What a benchmark makes of its subsets' sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// One a subset, in the order of the sums.
    pub subsets: Vec<f64>,
    /// Sections by name, in the benchmark's order; only those that have items.
    pub sections: Vec<Section>,
    /// The benchmark's one number; `None` unless all of its parts are there.
    pub overall: Option<f64>,
}

/// A section's mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its mark.
    pub score: f64,
    /// Units it is of.
    pub units: usize,
}

impl Section {
    /// A section over some of the subsets; `None` without a mark.
    pub(crate) fn over(name: &str, score: Option<f64>, sums: &[Sums<'_>], has: impl Fn(&str) -> bool) -> Option<Self> {
        let units = sums.iter().filter(|sums| has(sums.subset)).map(|sums| sums.units).sum();
        Some(Self { name: name.to_owned(), score: score?, units })
    }
}

/// A benchmark's arithmetic: sums over items, then figures of the sums. Every figure is a function
/// of sums, so that resampling items resamples every figure.
pub trait Rules {
    /// What an item adds.
    ///
    /// # Errors
    /// When it cannot be marked, whatever its scores.
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError>;

    /// The unit that parts of one key make, in the order in which they came.
    fn join(&self, parts: &[Vec<f64>]) -> Vec<f64> {
        parts.concat()
    }

    /// The sums over units by chance, for subsets whose parts do not say: `units` are the parts of
    /// each unit, `draws` the scores that a simulation may draw.
    fn chance(&self, _units: &[Vec<Vec<f64>>], _seed: u64, _draws: usize) -> Vec<f64> {
        Vec::new()
    }

    /// The order of subsets in tables; others follow in the order in which they come.
    fn order(&self) -> &'static [&'static str] {
        &[]
    }

    /// The figures of sums, which are in that order.
    fn figures(&self, sums: &[Sums<'_>]) -> Figures;

    /// The parts of a figure that is made of joined items: `units` by key, and their sums.
    fn explain(&self, _units: &[(u64, Vec<Vec<f64>>)], _sums: &[f64]) -> Option<Ties> {
        None
    }

    /// What an item shares its fate with, where items are not independent of one another: subsets of
    /// one block are drawn together, and in them the items of one unit. `None` where every item stands
    /// for itself.
    fn cluster<'a>(&self, _item: &ScoredItem<'a>) -> Option<Cluster<'a>> {
        None
    }

    /// Whether a shared score is given its share of the mark; otherwise it counts as wrong.
    fn shares_ties(&self) -> bool {
        false
    }

    /// Whether parts of one key lack their counterpart.
    fn unpaired(&self, _parts: &[Vec<f64>]) -> bool {
        false
    }
}
