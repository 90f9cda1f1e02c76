//! A benchmark's arithmetic: sums over items, then figures of the sums.

use std::borrow::Cow;

use crate::marks::Ties;
use crate::{Item, MarkError, ScoredItem};

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

    /// The unit that an item is drawn with, where it cannot be marked without others of its subset; `None` where it
    /// stands for itself.
    fn unit(&self, _item: &Item) -> Option<String> {
        None
    }

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

    /// What is said of `alone` of `all` keys of a subset whose parts lack their counterpart, `first` among them: the
    /// error of strict marking, and a remark.
    fn without_counterpart(&self, subset: &str, first: u64, alone: usize, all: usize) -> (MarkError, String) {
        let found = format!("number {first} alone");
        let error = MarkError::Form {
            id: first.to_string(),
            subset: subset.to_owned(),
            benchmark: "the benchmark",
            expected: "all items of a number".to_owned(),
            found,
        };
        (error, format!("{subset}: {alone} of {all} numbers lack items (the first is {first}); they are left out"))
    }
}

/// The scores of an item with one correct completion.
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

/// A pair's part: 1 where the chosen completion scores higher, else 0.
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
