//! Comparison of two runs over the same items: how much their marks differ, and how sure the difference is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Variant};
use crate::marker::{figures, in_order, partial};
use crate::resampling::{Drawn, Sampler, Stratum};
use crate::rules::{Figures, Rules};
use crate::statistics::{Interval, RESAMPLES, SplitMix, holm, mcnemar};
use crate::{MarkError, ScoredItem};

/// The comparison of two runs, over the items that both have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Comparison {
    /// The benchmark's name: [`Benchmark::name`].
    pub benchmark: String,
    /// The variant's name: [`Variant::name`].
    pub variant: String,
    /// Seed of the intervals.
    pub seed: u64,
    /// Number of items that both runs have.
    pub items: usize,
    /// Number of items that only the first run has.
    pub only_first: usize,
    /// Number of items that only the second run has.
    pub only_second: usize,
    /// The difference of the overall marks; `None` unless all parts of the benchmark are present.
    pub overall: Option<Difference>,
    /// The difference of the means of the subsets, where there is no overall mark.
    pub partial: Option<Difference>,
    /// The differences by subset.
    pub subsets: Vec<SubsetDifference>,
    /// Items that the two mark differently, in the first run's order.
    pub disagreements: Vec<Disagreement>,
}

/// Two marks and their difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Difference {
    /// The first run's mark.
    pub first: f64,
    /// The second run's mark.
    pub second: f64,
    /// First minus second.
    pub difference: f64,
    /// The difference's 95 % interval, by a bootstrap over items that draws both runs' marks of an item together.
    pub ci95: Option<Interval>,
}

/// The difference in one subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetDifference {
    /// The subset.
    pub subset: String,
    /// Number of items that both runs have.
    pub items: usize,
    /// The marks and their difference.
    pub difference: Difference,
    /// Number of items that only the first run has right, where both marks are 0 or 1. Items that belong together, such
    /// as a Ties pair, count as one item that is right if all of them are.
    pub only_first_right: usize,
    /// Number of items that only the second run has right, counted in the same way.
    pub only_second_right: usize,
    /// Number of items with another mark than 0 or 1, such as a shared maximum; the test leaves them out.
    pub left_out: usize,
    /// McNemar's exact two-sided probability; `None` where no item has marks of 0 or 1 in both runs.
    pub p: Option<f64>,
    /// The same after Holm's correction for the number of subsets that have a probability.
    pub p_holm: Option<f64>,
}

/// An item that two runs mark differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Disagreement {
    /// Its subset, as the rows name it.
    pub subset: String,
    /// Its id.
    pub id: String,
    /// The first run's mark, 0 to 1.
    pub first: f64,
    /// The second run's mark, 0 to 1.
    pub second: f64,
}

/// Why two runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// One of the runs cannot be marked.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The runs share no item.
    #[error(
        "comparing two runs: none of the {first} items of the first is among the {second} of the second, by subset and id; are they of one benchmark?"
    )]
    NothingShared {
        /// Number of items of the first run.
        first: usize,
        /// Number of items of the second run.
        second: usize,
    },
    /// An item has different forms in the two runs.
    #[error(
        "comparing two runs: item {id} of subset {subset} has {first} completions in one and {second} in another; are they of one version of the data?"
    )]
    OtherForm {
        /// The item's id.
        id: String,
        /// Its subset.
        subset: String,
        /// How many scores, and how many of them correct, in the first run.
        first: String,
        /// The same in the second run.
        second: String,
    },
}

/// Items with the same key: their parts and their lowest mark, each for both runs.
type Together = ([Vec<Vec<f64>>; 2], [f64; 2]);

/// The counts of a subset for McNemar's test.
#[derive(Default)]
struct Tests {
    items: usize,
    /// Right in the first run only.
    only_first: usize,
    /// Right in the second run only.
    only_second: usize,
    /// With marks of 0 or 1 in both runs.
    tested: usize,
    left_out: usize,
}

impl Tests {
    fn count(&mut self, first: f64, second: f64) {
        match (first, second) {
            (0.0 | 1.0, 0.0 | 1.0) => self.tested += 1,
            _ => self.left_out += 1,
        }
        match (first, second) {
            (1.0, 0.0) => self.only_first += 1,
            (0.0, 1.0) => self.only_second += 1,
            _ => {}
        }
    }
}

/// Checks that an item has as many completions, and as many correct ones, in one run as in the other.
///
/// # Errors
/// [`CompareError::OtherForm`] when it has not.
pub fn same_form(one: &ScoredItem<'_>, other: &ScoredItem<'_>) -> Result<(), CompareError> {
    if (one.scores.len(), one.num_correct) == (other.scores.len(), other.num_correct) {
        return Ok(());
    }
    let form = |item: &ScoredItem<'_>| format!("{} of which {} correct", item.scores.len(), item.num_correct);
    Err(CompareError::OtherForm {
        id: one.id.to_owned(),
        subset: one.subset.to_owned(),
        first: form(one),
        second: form(other),
    })
}

/// The items that two runs share, by subset.
#[derive(Default)]
struct Shared {
    names: Vec<String>,
    /// The units of each subset, joined by key. The values of a unit are the first run's, then the second's.
    strata: Vec<Stratum>,
    tests: Vec<Tests>,
    keyed: BTreeMap<(usize, u64), Together>,
    disagreements: Vec<Disagreement>,
    items: usize,
}

impl Shared {
    /// Adds an item that both runs have.
    fn push(&mut self, rules: &dyn Rules, one: &ScoredItem<'_>, other: &ScoredItem<'_>) -> Result<(), CompareError> {
        same_form(one, other)?;
        let (a, b) = (rules.part(one)?, rules.part(other)?);
        self.items += 1;
        let at = self.names.iter().position(|name| *name == a.subset).unwrap_or_else(|| {
            self.names.push(a.subset.clone().into_owned());
            self.strata.push(Stratum::default());
            self.tests.push(Tests::default());
            self.names.len() - 1
        });
        self.tests[at].items += 1;
        if a.mark != b.mark {
            self.disagreements.push(Disagreement {
                subset: one.subset.to_owned(),
                id: one.id.to_owned(),
                first: a.mark,
                second: b.mark,
            });
        }
        match a.key {
            None => {
                self.tests[at].count(a.mark, b.mark);
                self.strata[at].add_to(rules.cluster(one), &[a.values, b.values].concat());
            }
            Some(key) => {
                let (halves, marks) = self.keyed.entry((at, key)).or_insert_with(|| (Default::default(), [1.0; 2]));
                halves[0].push(a.values);
                halves[1].push(b.values);
                *marks = [marks[0].min(a.mark), marks[1].min(b.mark)];
            }
        }
        Ok(())
    }

    /// Joins the items of each key into one unit.
    fn join(&mut self, rules: &dyn Rules) {
        for ((at, _), (halves, [first, second])) in std::mem::take(&mut self.keyed) {
            self.tests[at].count(first, second);
            self.strata[at].add(&halves.map(|parts| rules.join(&parts)).concat());
        }
    }

    /// The figures of both runs from the sums of a resample, which come in the order of `places`.
    fn figures(&self, rules: &dyn Rules, places: &[usize], drawn: &Drawn) -> [Figures; 2] {
        [false, true].map(|is_second| {
            figures(
                rules,
                places.iter().zip(drawn).map(|(&at, (units, sums))| {
                    let (a, b) = sums.split_at(sums.len() / 2);
                    (self.names[at].as_str(), *units, if is_second { b } else { a })
                }),
            )
        })
    }

    /// McNemar's probability of each subset, as it is and after Holm's correction; `None` where nothing was tested.
    fn probabilities(&self, places: &[usize]) -> Vec<(Option<f64>, Option<f64>)> {
        let tests = places.iter().map(|&at| &self.tests[at]);
        let plain: Vec<Option<f64>> =
            tests.map(|test| (test.tested > 0).then(|| mcnemar(test.only_first, test.only_second))).collect();
        let mut corrected = holm(&plain.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
        plain.into_iter().map(|p| (p, p.and_then(|_| corrected.next()))).collect()
    }
}

/// Compares two runs over the items that both have, which are found by subset and id.
///
/// # Errors
/// When the runs share no item, or an item has different forms in them or cannot be marked.
///
/// ```
/// use rewardscope_benchmarks::{ScoredItem, benchmark, compare};
///
/// let benchmark = benchmark("preferences")?;
/// let item = |id, scores| ScoredItem { id, subset: "tone", num_correct: 1, scores };
/// let first = [item("a", &[2.0, 1.0]), item("b", &[0.5, 0.1]), item("c", &[1.0, 3.0])];
/// let second = [item("a", &[0.7, 0.2]), item("b", &[0.1, 0.4])];
/// let found = compare(benchmark, benchmark.variant(None)?, &first, &second, 0)?;
/// assert_eq!((found.items, found.only_first), (2, 1));
/// assert_eq!(found.overall.map(|overall| overall.difference), Some(0.5));
/// assert_eq!(found.disagreements[0].id, "b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    first: &[ScoredItem<'_>],
    second: &[ScoredItem<'_>],
    seed: u64,
) -> Result<Comparison, CompareError> {
    let rules = variant.rules;
    let by_id: BTreeMap<(&str, &str), &ScoredItem<'_>> =
        second.iter().map(|item| ((item.subset, item.id), item)).collect();
    let mut shared = Shared::default();
    for one in first {
        if let Some(other) = by_id.get(&(one.subset, one.id)) {
            shared.push(rules, one, other)?;
        }
    }
    let items = shared.items;
    if items == 0 {
        return Err(CompareError::NothingShared { first: first.len(), second: second.len() });
    }
    shared.join(rules);
    let places = in_order(rules, &shared.names);
    let strata: Vec<&Stratum> = places.iter().map(|&at| &shared.strata[at]).collect();
    let both = |drawn: &Drawn| shared.figures(rules, &places, drawn);
    let own = both(&strata.iter().map(|stratum| (stratum.units, stratum.sums.clone())).collect());
    let sampler = Sampler::new(&strata);
    let mut random = SplitMix(seed);
    let resamples: Vec<_> = (0..RESAMPLES).map(|_| both(&sampler.draw(&mut random))).collect();
    // Resamples of a single unit are all alike and do not show how sure a difference is.
    let any_thin = strata.iter().any(|stratum| stratum.is_thin());
    let difference = |of: &dyn Fn(&Figures) -> Option<f64>, is_thin: bool| {
        let (first, second) = (of(&own[0])?, of(&own[1])?);
        let found: Option<Vec<f64>> = resamples.iter().map(|[a, b]| Some(of(a)? - of(b)?)).collect();
        let found = found.filter(|_| !is_thin);
        Some(Difference { first, second, difference: first - second, ci95: found.and_then(Interval::of_different) })
    };
    let probabilities = shared.probabilities(&places);
    let subsets = places.iter().enumerate().filter_map(|(place, &at)| {
        let (p, p_holm) = probabilities[place];
        Some(SubsetDifference {
            subset: shared.names[at].clone(),
            items: shared.tests[at].items,
            difference: difference(&|figures| figures.subsets.get(place).copied(), strata[place].is_thin())?,
            only_first_right: shared.tests[at].only_first,
            only_second_right: shared.tests[at].only_second,
            left_out: shared.tests[at].left_out,
            p,
            p_holm,
        })
    });
    Ok(Comparison {
        benchmark: benchmark.name.to_owned(),
        variant: variant.name.to_owned(),
        seed,
        items,
        only_first: first.len() - items,
        only_second: second.len().saturating_sub(items),
        overall: difference(&|figures| figures.overall, any_thin),
        partial: difference(&partial, any_thin),
        subsets: subsets.collect(),
        disagreements: shared.disagreements.clone(),
    })
}
