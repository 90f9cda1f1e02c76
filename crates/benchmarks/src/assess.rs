//! Marks with what they are worth, in one pass: a [`Marker`] takes scored items one after the other
//! and keeps of a subset only how often each mark came, so that a million items need no more memory
//! than a thousand.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Cluster, Figures, Part, Rules, Section, Sums, Variant};
use crate::by_length::by_length;
use crate::marks::{Marks, SectionMark, SubsetMark};
use crate::statistics::{Interval, RESAMPLES, SplitMix, text_hash, wilson};
use crate::{MarkError, ScoredItem};

/// A mark with what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Figure {
    /// The mark.
    pub score: f64,
    /// Items it is of.
    pub n: usize,
    /// Its 95 % interval; `None` where nothing can be drawn.
    pub ci95: Option<Interval>,
    /// How the interval was made.
    pub method: IntervalMethod,
    /// What scores that say nothing get on average.
    pub chance: Option<f64>,
    /// What always picking the shortest completion gets, where lengths are known.
    pub shortest: Option<f64>,
    /// What always picking the longest gets.
    pub longest: Option<f64>,
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// The percentile bootstrap over items, by subset; items that stand together are drawn together.
    Bootstrap,
    /// Wilson's, where every mark is 0 or 1.
    Wilson,
}

/// What intervals and simulations may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Resamples of an interval.
    resamples: usize,
    /// Scores that a simulation draws.
    draws: usize,
}

impl Effort {
    /// For figures that are kept.
    pub const FULL: Self = Self { resamples: RESAMPLES, draws: 1_000_000 };
    /// For figures that the next item changes: a fraction of the time.
    pub const QUICK: Self = Self { resamples: RESAMPLES / 10, draws: 10_000 };
}

/// A figure by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Named {
    /// The subset or section.
    pub name: String,
    /// Its mark.
    pub figure: Figure,
}

/// The marks of scored items with what they are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Assessment {
    /// [`Benchmark::name`]
    pub benchmark: String,
    /// [`Variant::name`]
    pub variant: String,
    /// Seed of the intervals and of what is simulated.
    pub seed: u64,
    /// The benchmark's one number; `None` unless all of its parts are there.
    pub overall: Option<Figure>,
    /// The mean of the subsets that are there, where `overall` is `None` and they are two or more.
    pub partial: Option<Figure>,
    /// Sections, for benchmarks that have them.
    pub sections: Vec<Named>,
    /// Subsets in the benchmark's order.
    pub subsets: Vec<Named>,
    /// Items marked.
    pub items: usize,
    /// Items with a score that is NaN or infinite; they are marked as the reference marks them.
    pub not_finite: usize,
    /// What the reader should know: a sentence each.
    pub remarks: Vec<String>,
}

/// No sum of marks is by just so much another.
const SHAKEN_BY: f64 = 0.371;

/// A subset as a multiset of units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stratum {
    pub(crate) units: usize,
    items: usize,
    /// In the order of the units.
    pub(crate) sums: Vec<f64>,
    chance: Vec<f64>,
    /// Bits of a unit's values: how many units have them.
    values: BTreeMap<Vec<u64>, u64>,
    /// Where items share their fate: the block, and its units here.
    clusters: Option<(u64, BTreeMap<u64, Summed>)>,
}

/// How many items, and their sums.
pub(crate) type Summed = (usize, Vec<f64>);

impl Stratum {
    pub(crate) fn add(&mut self, values: &[f64]) {
        add(&mut self.sums, values);
        self.units += 1;
        *self.values.entry(values.iter().map(|value| value.to_bits()).collect()).or_default() += 1;
    }

    /// The same of an item that shares its fate with others.
    pub(crate) fn add_to(&mut self, cluster: Option<Cluster<'_>>, values: &[f64]) {
        self.add(values);
        if let Some(Cluster { block, unit }) = cluster {
            let (_, units) = self.clusters.get_or_insert_with(|| (text_hash(block), BTreeMap::new()));
            let (items, sums) = units.entry(text_hash(unit)).or_default();
            *items += 1;
            add(sums, values);
        }
    }

    /// Whether there is nothing to draw but itself.
    pub(crate) fn is_thin(&self) -> bool {
        self.units < 2 || self.clusters.as_ref().is_some_and(|(_, units)| units.len() < 2)
    }

    /// Whether resamples of it are all alike, which says nothing of how sure its mark is.
    fn is_alike(&self) -> bool {
        self.values.len() < 2
    }

    /// How many units have a mark of 1; `None` unless all marks are 0 or 1 and each unit stands for itself.
    fn right(&self) -> Option<usize> {
        let one = 1f64.to_bits();
        let is_binary = self.values.keys().all(|bits| matches!(bits.as_slice(), [only] if *only == one || *only == 0));
        let is_single = self.clusters.as_ref().is_none_or(|(_, units)| units.values().all(|(items, _)| *items == 1));
        (is_binary && is_single).then(|| self.values.get([one].as_slice()).copied().unwrap_or_default() as usize)
    }
}

pub(crate) fn add(sums: &mut Vec<f64>, values: &[f64]) {
    sums.resize(values.len(), 0.0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// What resamples of strata are drawn from. Of `n` units `n - 1` are drawn with replacement: so the
/// variance of a resample's mean is that of the mean, however few they are (McCarthy and Snowden,
/// 1985); with `n` it would be less by a share of `1 / n`.
pub(crate) struct Sampler {
    strata: usize,
    blocks: Vec<Block>,
}

enum Block {
    /// A stratum of units that stand for themselves.
    Classes { stratum: usize, drawer: Drawer },
    /// Strata whose units are drawn together: of each unit its items and sums in each of them.
    Clusters { strata: Vec<usize>, units: Vec<Vec<Option<Summed>>> },
}

/// What a resample has, by stratum.
pub(crate) type Drawn = Vec<Summed>;

impl Sampler {
    pub(crate) fn new(strata: &[&Stratum]) -> Self {
        let mut blocks = Vec::new();
        let mut together: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, stratum) in strata.iter().enumerate() {
            match &stratum.clusters {
                None => blocks.push(Block::Classes { stratum: at, drawer: Drawer::new(stratum) }),
                Some((block, _)) => together.entry(*block).or_default().push(at),
            }
        }
        for members in together.into_values() {
            let of = |at: usize| strata[at].clusters.as_ref().map(|(_, units)| units);
            let names: BTreeSet<u64> =
                members.iter().filter_map(|&at| of(at)).flat_map(BTreeMap::keys).copied().collect();
            let unit =
                |name: &u64| members.iter().map(|&at| of(at).and_then(|units| units.get(name)).cloned()).collect();
            blocks.push(Block::Clusters { units: names.iter().map(unit).collect(), strata: members });
        }
        Self { strata: strata.len(), blocks }
    }

    pub(crate) fn draw(&self, random: &mut SplitMix) -> Drawn {
        let mut drawn: Drawn = vec![(0, Vec::new()); self.strata];
        for block in &self.blocks {
            match block {
                Block::Classes { stratum, drawer } => drawn[*stratum] = drawer.draw(random),
                Block::Clusters { strata, units } => {
                    for _ in 0..units.len().saturating_sub(1).max(1) {
                        let unit = &units[random.below(units.len())];
                        for (at, part) in strata.iter().zip(unit) {
                            if let Some((items, sums)) = part {
                                drawn[*at].0 += items;
                                add(&mut drawn[*at].1, sums);
                            }
                        }
                    }
                }
            }
        }
        drawn
    }
}

/// What resamples of a stratum are drawn from.
struct Drawer {
    values: Vec<Vec<f64>>,
    counts: Vec<u64>,
    /// The class of each unit, where units are drawn one by one.
    by_unit: Vec<u32>,
    units: u64,
}

impl Drawer {
    fn new(stratum: &Stratum) -> Self {
        let values: Vec<Vec<f64>> =
            stratum.values.keys().map(|bits| bits.iter().map(|&bits| f64::from_bits(bits)).collect()).collect();
        let counts: Vec<u64> = stratum.values.values().copied().collect();
        // A multinomial draw costs its classes, one by one the units: the same distribution.
        let mut by_unit = Vec::new();
        if counts.len() * 4 > stratum.units {
            for (class, &count) in counts.iter().enumerate() {
                by_unit.extend(std::iter::repeat_n(class as u32, count as usize));
            }
        }
        Self { values, counts, by_unit, units: stratum.units as u64 }
    }

    /// Draws one unit less than there are, with replacement; gives their number and sums.
    fn draw(&self, random: &mut SplitMix) -> (usize, Vec<f64>) {
        let mut sums = vec![0.0; self.values.first().map_or(0, Vec::len)];
        let many = self.units.saturating_sub(1).max(self.units.min(1));
        if !self.by_unit.is_empty() {
            for _ in 0..many {
                let class = self.by_unit[random.below(self.by_unit.len())];
                for (sum, value) in sums.iter_mut().zip(&self.values[class as usize]) {
                    *sum += value;
                }
            }
            return (many as usize, sums);
        }
        let (mut to_draw, mut left) = (many, self.units);
        for (values, &count) in self.values.iter().zip(&self.counts) {
            let times = random.binomial(to_draw, count as f64 / left as f64);
            to_draw -= times;
            left -= count;
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += times as f64 * value;
            }
        }
        (many as usize, sums)
    }
}

/// Parts that wait for the others of their key.
type Keyed = BTreeMap<u64, Vec<Vec<f64>>>;

/// Takes scored items one after the other and marks them.
pub struct Marker {
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    strict: bool,
    /// In the order in which they came.
    names: Vec<String>,
    strata: Vec<Stratum>,
    keyed: BTreeMap<usize, Keyed>,
    items: usize,
    not_finite: usize,
}

impl Marker {
    /// One that has seen nothing. With `strict`, NaN, infinity and items without their counterpart
    /// are refused instead of counted.
    pub fn new(benchmark: &'static Benchmark, variant: &'static Variant, strict: bool) -> Self {
        let (names, strata, keyed) = Default::default();
        Self { benchmark, variant, strict, names, strata, keyed, items: 0, not_finite: 0 }
    }

    /// Takes an item and gives its own mark.
    ///
    /// # Errors
    /// When the item cannot be marked.
    pub fn push(&mut self, item: &ScoredItem<'_>) -> Result<f64, MarkError> {
        let part = self.variant.rules.part(item)?;
        if let Some(at) = item.scores.iter().position(|score| !score.is_finite()) {
            if self.strict {
                return Err(MarkError::NotFinite {
                    id: item.id.to_owned(),
                    subset: item.subset.to_owned(),
                    place: at + 1,
                    found: item.scores[at].to_string(),
                });
            }
            self.not_finite += 1;
        }
        let mark = part.mark;
        self.take_part(item, part);
        Ok(mark)
    }

    /// Takes an item with other values than its scores have, such as those that it is expected to have.
    pub(crate) fn take(&mut self, item: &ScoredItem<'_>, values: Vec<f64>) -> Result<(), MarkError> {
        let part = self.variant.rules.part(item)?;
        self.take_part(item, Part { values, ..part });
        Ok(())
    }

    fn take_part(&mut self, item: &ScoredItem<'_>, part: Part<'_>) {
        self.items += 1;
        let at = self.names.iter().position(|name| *name == part.subset).unwrap_or_else(|| {
            self.names.push(part.subset.clone().into_owned());
            self.strata.push(Stratum::default());
            self.names.len() - 1
        });
        let stratum = &mut self.strata[at];
        stratum.items += 1;
        match part.key {
            Some(key) => self.keyed.entry(at).or_default().entry(key).or_default().push(part.values),
            None => {
                stratum.add_to(self.variant.rules.cluster(item), &part.values);
                add(&mut stratum.chance, &part.chance);
            }
        }
    }

    /// The strata in the benchmark's order, whatever has a key joined.
    fn joined(&self) -> Vec<(&str, Stratum, Option<&Keyed>)> {
        let rules = self.variant.rules;
        let joined = in_order(rules, &self.names).into_iter().map(|at| {
            let mut stratum = self.strata[at].clone();
            let keyed = self.keyed.get(&at);
            for parts in keyed.into_iter().flat_map(BTreeMap::values) {
                stratum.add(&rules.join(parts));
            }
            (self.names[at].as_str(), stratum, keyed)
        });
        joined.collect()
    }

    /// The marks alone; those of the items, as [`Self::push`] gave them, are passed through.
    pub fn marks(&self, items: Vec<f64>) -> Marks {
        let strata = self.joined();
        let rules = self.variant.rules;
        let figures = figures(rules, strata.iter().map(|(name, stratum, _)| (*name, stratum.units, &*stratum.sums)));
        let subsets = strata.iter().zip(&figures.subsets).map(|((name, stratum, keyed), &score)| SubsetMark {
            subset: (*name).to_owned(),
            score,
            count: stratum.items,
            ties: keyed.and_then(|keyed| {
                let units: Vec<(u64, Vec<Vec<f64>>)> = keyed.iter().map(|(key, parts)| (*key, parts.clone())).collect();
                rules.explain(&units, &stratum.sums)
            }),
        });
        Marks {
            overall: figures.overall,
            partial: partial(&figures),
            subsets: subsets.collect(),
            sections: figures
                .sections
                .into_iter()
                .map(|of| SectionMark { section: of.name, score: of.score })
                .collect(),
            items,
        }
    }

    /// The marks with their intervals and chance levels.
    ///
    /// # Errors
    /// Strict: when an item lacks its counterpart.
    pub fn assess(&self, seed: u64, effort: Effort) -> Result<Assessment, MarkError> {
        let rules = self.variant.rules;
        let mut strata = self.joined();
        let mut remarks = Vec::new();
        if self.not_finite > 0 {
            remarks.push(format!(
                "{} of {} items have a score that is NaN or infinite; they are marked as the reference marks them",
                self.not_finite, self.items
            ));
        }
        for (name, stratum, keyed) in &mut strata {
            let Some(keyed) = keyed else { continue };
            let alone: Vec<u64> =
                keyed.iter().filter(|(_, parts)| rules.unpaired(parts)).map(|(key, _)| *key).collect();
            if let Some(&prompt) = alone.first() {
                if self.strict {
                    return Err(MarkError::TiedWithoutRef { prompt });
                }
                remarks.push(format!(
                    "{name}: {} of {} numbers have only one of tied:N and ref:N (the first is {prompt}); the margin parts leave them out",
                    alone.len(),
                    keyed.len()
                ));
            }
            let units: Vec<Vec<Vec<f64>>> = keyed.values().cloned().collect();
            let chance = rules.chance(&units, seed, effort.draws);
            add(&mut stratum.chance, &chance);
        }
        let of = |sums: &Drawn| {
            let strata = strata.iter().zip(sums);
            figures(rules, strata.map(|((name, ..), (units, sums))| (*name, *units, sums.as_slice())))
        };
        let all = |sums: &dyn Fn(&Stratum) -> Vec<f64>| -> Drawn {
            strata.iter().map(|(_, stratum, _)| (stratum.units, sums(stratum))).collect()
        };
        let marks = of(&all(&|stratum| stratum.sums.clone()));
        let chance = of(&all(&|stratum| stratum.chance.clone()));
        let sampler = Sampler::new(&strata.iter().map(|(_, stratum, _)| stratum).collect::<Vec<_>>());
        let mut random = SplitMix(seed);
        let resamples: Vec<Figures> =
            (0..if self.items == 0 { 0 } else { effort.resamples }).map(|_| of(&sampler.draw(&mut random))).collect();
        let thin: Vec<&str> =
            strata.iter().filter(|(_, stratum, _)| stratum.is_thin()).map(|(name, ..)| *name).collect();
        if let Some(first) = thin.first() {
            remarks.push(format!(
                "{} of {} subsets have a single item or pair to draw from (the first is {first}): what they are part of gets no interval by the bootstrap",
                thin.len(),
                strata.len()
            ));
        }
        let alike: Vec<&str> = strata
            .iter()
            .filter(|(_, stratum, _)| stratum.is_alike() && !stratum.is_thin())
            .map(|(name, ..)| *name)
            .collect();
        if let Some(first) = alike.first() {
            remarks.push(format!(
                "In {} of {} subsets all marks are alike (the first is {first}): resamples do not show how sure they are, so that intervals of what they are part of are too narrow, or not given",
                alike.len(),
                strata.len()
            ));
        }
        // What changes with a thin stratum is made of it.
        let shaken = of(&all(&|stratum| {
            let by = if stratum.is_thin() { SHAKEN_BY } else { 0.0 };
            // Each by another, so that no share stays what it was.
            stratum.sums.iter().enumerate().map(|(at, sum)| sum + by * (at + 1) as f64).collect()
        }));
        let interval = |of: &dyn Fn(&Figures) -> Option<f64>| {
            if of(&shaken) != of(&marks) {
                return None;
            }
            let found: Option<Vec<f64>> = resamples.iter().map(of).collect();
            found.and_then(Interval::of_different)
        };
        let figure = |of: &dyn Fn(&Figures) -> Option<f64>, n: usize| {
            Some(Figure {
                score: of(&marks)?,
                n,
                ci95: interval(of),
                method: IntervalMethod::Bootstrap,
                chance: of(&chance),
                shortest: None,
                longest: None,
            })
        };
        let subset = |at: usize| {
            let (name, stratum, _) = &strata[at];
            let mut figure = figure(&|figures| figures.subsets.get(at).copied(), stratum.items)?;
            if let Some(right) = stratum.right() {
                figure.ci95 = wilson(right, stratum.units);
                figure.method = IntervalMethod::Wilson;
            }
            Some(Named { name: (*name).to_owned(), figure })
        };
        let section = |at: usize| {
            let Section { name, units, .. } = marks.sections.get(at)?.clone();
            let figure = figure(&|figures| figures.sections.get(at).map(|of| of.score), units)?;
            Some(Named { name, figure })
        };
        Ok(Assessment {
            benchmark: self.benchmark.name.to_owned(),
            variant: self.variant.name.to_owned(),
            seed,
            overall: figure(&|figures| figures.overall, self.items),
            partial: figure(&partial, self.items),
            sections: (0..marks.sections.len()).filter_map(section).collect(),
            subsets: (0..strata.len()).filter_map(subset).collect(),
            items: self.items,
            not_finite: self.not_finite,
            remarks,
        })
    }
}

pub(crate) fn figures<'a>(rules: &dyn Rules, strata: impl Iterator<Item = (&'a str, usize, &'a [f64])>) -> Figures {
    let sums: Vec<Sums<'_>> = strata.map(|(subset, units, values)| Sums { subset, units, values }).collect();
    rules.figures(&sums)
}

/// The places of subsets, the benchmark's own in its order, others after them as they came.
pub(crate) fn in_order(rules: &dyn Rules, names: &[String]) -> Vec<usize> {
    let order = rules.order();
    let mut places: Vec<usize> = (0..names.len()).collect();
    places.sort_by_key(|&at| order.iter().position(|name| *name == names[at]).unwrap_or(order.len()));
    places
}

/// The mean of two or more subsets that are not all.
pub(crate) fn partial(figures: &Figures) -> Option<f64> {
    let subsets = &figures.subsets;
    (figures.overall.is_none() && subsets.len() > 1).then(|| subsets.iter().sum::<f64>() / subsets.len() as f64)
}

/// The marks of items that are all at hand.
///
/// # Errors
/// [`MarkError`] names the first item that cannot be marked.
pub fn marks(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    items: &[ScoredItem<'_>],
) -> Result<Marks, MarkError> {
    let mut marker = Marker::new(benchmark, variant, false);
    let marks = items.iter().map(|item| marker.push(item)).collect::<Result<Vec<f64>, _>>()?;
    Ok(marker.marks(marks))
}

/// The marks of items that are all at hand with what they are worth. `lengths`, one a completion,
/// add what picking by length alone gets.
///
/// # Errors
/// [`MarkError`] names the first item that cannot be marked; strict marking refuses more.
pub fn assess(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    items: &[ScoredItem<'_>],
    lengths: Option<&[Vec<f64>]>,
    seed: u64,
    strict: bool,
    effort: Effort,
) -> Result<Assessment, MarkError> {
    let mut marker = Marker::new(benchmark, variant, strict);
    for item in items {
        marker.push(item)?;
    }
    let mut assessment = marker.assess(seed, effort)?;
    let Some(lengths) = lengths else {
        return Ok(assessment);
    };
    for sign in [-1.0, 1.0] {
        let marks = by_length(benchmark, variant, items, lengths, sign, seed)?;
        let put = |figure: &mut Figure, score: Option<f64>| match sign < 0.0 {
            true => figure.shortest = score,
            false => figure.longest = score,
        };
        for (figure, score) in [(&mut assessment.overall, marks.overall), (&mut assessment.partial, marks.partial)] {
            if let Some(figure) = figure {
                put(figure, score);
            }
        }
        for (named, mark) in assessment.sections.iter_mut().zip(&marks.sections) {
            put(&mut named.figure, Some(mark.score));
        }
        for (named, mark) in assessment.subsets.iter_mut().zip(&marks.subsets) {
            put(&mut named.figure, Some(mark.score));
        }
    }
    Ok(assessment)
}
