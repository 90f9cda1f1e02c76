//! The arithmetic of a benchmark: items add values to sums, and figures are computed from the sums.

use std::borrow::Cow;

use crate::marks::Ties;
use crate::{Item, MarkError, ScoredItem};

/// Where an item belongs that is not independent of other items. Items of one cluster are resampled together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster<'a> {
    /// The block: a name that the subsets which are drawn together have in common.
    pub block: &'a str,
    /// The item's unit in the block, such as a question that several models answer.
    pub unit: &'a str,
}

/// What an item adds to its subset.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    /// The subset that it is counted in.
    pub subset: Cow<'a, str>,
    /// Items of one subset with the same key are joined into one unit: [`Rules::join`]. `None`: the item is a unit.
    pub key: Option<u64>,
    /// The numbers it adds, in the order that the benchmark's [`Rules::figures`] expects. All parts of a subset have
    /// the same number of values.
    pub values: Vec<f64>,
    /// The average of `values` if scores carried no information; empty where [`Rules::chance`] computes it.
    pub chance: Vec<f64>,
    /// The item's own mark, 0 to 1.
    pub mark: f64,
}

/// The sums of a subset's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums<'a> {
    /// The subset.
    pub subset: &'a str,
    /// Number of units added up: single items, or groups of joined items.
    pub units: usize,
    /// The sums of [`Part::values`], or of the values that [`Rules::join`] made of them.
    pub values: &'a [f64],
}

impl Sums<'_> {
    /// The mean over units of the value at position `value`; 0 where there is no such value.
    pub fn mean(&self, value: usize) -> f64 {
        self.values.get(value).copied().unwrap_or_default() / self.units.max(1) as f64
    }
}

/// The mean of the first value over the units of all subsets that `has` accepts; `None` without units.
pub(crate) fn pooled(sums: &[Sums<'_>], has: impl Fn(&str) -> bool) -> Option<f64> {
    let of = sums.iter().filter(|sums| has(sums.subset));
    let (sum, units) = of.fold((0.0, 0), |(sum, units), of| (sum + of.mean(0) * of.units as f64, units + of.units));
    (units > 0).then(|| sum / units as f64)
}

/// The figures that a benchmark computes from its subsets' sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// One mark per subset, in the order of the sums.
    pub subsets: Vec<f64>,
    /// Sections in the benchmark's order; only those that have items.
    pub sections: Vec<Section>,
    /// The overall mark; `None` unless all parts of the benchmark are present.
    pub overall: Option<f64>,
}

/// A section's mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its mark.
    pub score: f64,
    /// Number of units that it is computed from.
    pub units: usize,
}

impl Section {
    /// A section over the subsets that `has` accepts; `None` where `score` is `None`.
    pub(crate) fn over(name: &str, score: Option<f64>, sums: &[Sums<'_>], has: impl Fn(&str) -> bool) -> Option<Self> {
        let units = sums.iter().filter(|sums| has(sums.subset)).map(|sums| sums.units).sum();
        Some(Self { name: name.to_owned(), score: score?, units })
    }
}

/// The arithmetic of a benchmark: items add values to sums, and figures are computed from the sums. Every figure is a
/// function of sums alone, so that resampling items resamples every figure.
pub trait Rules {
    /// What an item adds to its subset.
    ///
    /// # Errors
    /// When the item has a form or subset that the benchmark cannot mark; the values of its scores do not matter.
    fn part<'a>(&self, item: &ScoredItem<'a>) -> Result<Part<'a>, MarkError>;

    /// The name of the unit that an item is sampled in, where it can only be marked together with other items of its
    /// subset. `None` where the item is a unit by itself.
    fn unit(&self, _item: &Item) -> Option<String> {
        None
    }

    /// Joins the parts of one key into the values of one unit. `parts` holds each item's [`Part::values`], in the
    /// order in which the items came.
    fn join(&self, parts: &[Vec<f64>]) -> Vec<f64> {
        parts.concat()
    }

    /// The sums over joined units if scores carried no information, for subsets whose [`Part::chance`] is empty.
    /// `units` holds the parts of each unit; `draws` is about how many random scores a simulation may draw.
    fn chance(&self, _units: &[Vec<Vec<f64>>], _seed: u64, _draws: usize) -> Vec<f64> {
        Vec::new()
    }

    /// The order of subsets in tables. Subsets that it does not name follow in the order in which they come.
    fn order(&self) -> &'static [&'static str] {
        &[]
    }

    /// Computes the figures from the sums of the subsets, which come in [`Self::order`].
    fn figures(&self, sums: &[Sums<'_>]) -> Figures;

    /// The parts that the mark of a subset of joined items is made of. `units` holds each key with the parts of its
    /// items, `sums` the sums over units. `None` where the mark has no such parts.
    fn explain(&self, _units: &[(u64, Vec<Vec<f64>>)], _sums: &[f64]) -> Option<Ties> {
        None
    }

    /// The cluster of an item, where items are not independent of one another. Resampling draws the subsets of one
    /// block together, and in them the items of one unit. `None` where every item is independent.
    fn cluster<'a>(&self, _item: &ScoredItem<'a>) -> Option<Cluster<'a>> {
        None
    }

    /// Whether an item is a solution in steps, with one score for each step.
    fn reads_steps(&self) -> bool {
        false
    }

    /// Whether completions with equal scores share the mark; otherwise equal scores count as wrong.
    fn shares_ties(&self) -> bool {
        false
    }

    /// Whether the parts of one key lack their counterpart, such as the other half of a pair.
    fn unpaired(&self, _parts: &[Vec<f64>]) -> bool {
        false
    }

    /// Describes the units of a subset that lack items. Returns the error of strict marking, and the remark of marking
    /// that is not strict.
    fn without_counterpart(&self, subset: &str, Unpaired { id, alone, all, .. }: Unpaired<'_>) -> (MarkError, String) {
        let error = MarkError::Form {
            id: id.to_owned(),
            subset: subset.to_owned(),
            benchmark: "the benchmark",
            expected: "all items of its unit".to_owned(),
            found: "some of them".to_owned(),
        };
        (error, format!("{subset}: {alone} of {all} units lack items (the first has item {id})"))
    }
}

/// The units of a subset that lack items, such as halves of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Unpaired<'a> {
    /// The key of the first such unit: [`Part::key`].
    pub key: u64,
    /// The id of the first item of that unit. A key may be a hash, so messages name the unit by this.
    pub id: &'a str,
    /// How many units lack items.
    pub alone: usize,
    /// How many units the subset has.
    pub all: usize,
}

/// The scores of an item that must have exactly one correct completion.
pub(crate) fn one_correct<'a>(item: &ScoredItem<'a>, benchmark: &'static str) -> Result<&'a [f64], MarkError> {
    if item.scores.is_empty() {
        return Err(MarkError::NoScores { id: item.id.to_owned(), subset: item.subset.to_owned() });
    }
    if item.num_correct != 1 {
        return Err(MarkError::Form {
            id: item.id.to_owned(),
            subset: item.subset.to_owned(),
            benchmark,
            expected: "exactly 1 correct completion".to_owned(),
            found: item.num_correct.to_string(),
        });
    }
    Ok(item.scores)
}

/// The part of a pair: mark 1 where the chosen completion scores higher, otherwise 0.
pub(crate) fn pair<'a>(item: &ScoredItem<'a>, benchmark: &'static str) -> Result<Part<'a>, MarkError> {
    if item.scores.len() != 2 || item.num_correct != 1 {
        return Err(MarkError::Form {
            id: item.id.to_owned(),
            subset: item.subset.to_owned(),
            benchmark,
            expected: "one chosen and one rejected completion".to_owned(),
            found: format!("{} of which {} correct", item.scores.len(), item.num_correct),
        });
    }
    let mark = f64::from(u8::from(item.scores[0] > item.scores[1]));
    Ok(Part { subset: item.subset.into(), key: None, values: vec![mark], chance: vec![0.5], mark })
}
