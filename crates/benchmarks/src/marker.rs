//! Marking in one pass. A [`Marker`] takes scored items one by one. For each subset it keeps only how often each mark
//! occurred, so that a million items need no more memory than a thousand.

use std::collections::BTreeMap;

use crate::assessment::{Assessment, Effort, Figure, IntervalMethod, Named};
use crate::benchmark::{Benchmark, Variant};
use crate::marks::{Marks, SectionMark, SubsetMark};
use crate::resampling::{Drawn, Sampler, Stratum, add};
use crate::rules::{Figures, Part, Rules, Section, Sums, Unpaired};
use crate::statistics::{Interval, SplitMix, wilson};
use crate::{MarkError, ScoredItem};

/// Added to thin strata to find figures that depend on them; arbitrary, so that sums never coincide.
const SHAKEN_BY: f64 = 0.371;

/// Parts by key, kept until all parts of a key have come.
type Keyed = BTreeMap<u64, Vec<Vec<f64>>>;

/// Takes scored items one by one and marks them.
pub struct Marker {
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    strict: bool,
    /// Subsets in the order in which they came.
    names: Vec<String>,
    /// In the order of `names`.
    strata: Vec<Stratum>,
    /// Parts with a key, by their subset's position in `names`.
    keyed: BTreeMap<usize, Keyed>,
    /// The id of the first item of each key, by its subset's position in `names` and the key.
    first_ids: BTreeMap<(usize, u64), String>,
    items: usize,
    not_finite: usize,
}

impl Marker {
    /// A marker that has seen no item. With `strict` it refuses NaN, infinity and items without their counterpart
    /// instead of counting them.
    pub fn new(benchmark: &'static Benchmark, variant: &'static Variant, strict: bool) -> Self {
        let (names, strata, keyed, first_ids) = Default::default();
        Self { benchmark, variant, strict, names, strata, keyed, first_ids, items: 0, not_finite: 0 }
    }

    /// Takes an item and returns the item's own mark, 0 to 1.
    ///
    /// # Errors
    /// When the item cannot be marked; with `strict` also when a score is NaN or infinite.
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

    /// Takes an item with the given values instead of those that its scores give, such as expected values.
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
            Some(key) => {
                self.keyed.entry(at).or_default().entry(key).or_default().push(part.values);
                self.first_ids.entry((at, key)).or_insert_with(|| item.id.to_owned());
            }
            None => {
                stratum.add_to(self.variant.rules.cluster(item), &part.values);
                add(&mut stratum.chance, &part.chance);
            }
        }
    }

    /// The strata in the benchmark's order, with the parts of each key joined into one unit.
    fn joined(&self) -> Vec<Joined<'_>> {
        let rules = self.variant.rules;
        let joined = in_order(rules, &self.names).into_iter().map(|at| {
            let mut stratum = self.strata[at].clone();
            let keyed = self.keyed.get(&at);
            for parts in keyed.into_iter().flat_map(BTreeMap::values) {
                stratum.add(&rules.join(parts));
            }
            Joined { name: self.names[at].as_str(), stratum, keyed }
        });
        joined.collect()
    }

    /// The marks without intervals. `items` are the marks that [`Self::push`] returned; they are passed through.
    pub fn marks(&self, items: Vec<f64>) -> Marks {
        let strata = self.joined();
        let rules = self.variant.rules;
        let figures = figures(rules, strata.iter().map(|of| (of.name, of.stratum.units, &*of.stratum.sums)));
        let subsets = strata.iter().zip(&figures.subsets).map(|(Joined { name, stratum, keyed }, &score)| SubsetMark {
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

    /// The marks with their intervals and chance levels. `seed` is for resampling and simulations.
    ///
    /// # Errors
    /// With `strict`, when an item lacks its counterpart.
    pub fn assess(&self, seed: u64, effort: Effort) -> Result<Assessment, MarkError> {
        let mut strata = self.joined();
        let mut remarks = Vec::new();
        if self.not_finite > 0 {
            remarks.push(format!(
                "{} of {} items have a score that is NaN or infinite; they are marked as the reference marks them",
                self.not_finite, self.items
            ));
        }
        self.add_chance(&mut strata, (seed, effort), &mut remarks)?;
        remarks.extend(remark_on(&strata));
        let assessed = Assessed::new(self.variant.rules, &strata, (seed, effort), self.items);
        let sections = 0..assessed.marks.sections.len();
        Ok(Assessment {
            benchmark: self.benchmark.name.to_owned(),
            variant: self.variant.name.to_owned(),
            seed,
            overall: assessed.figure(&|figures| figures.overall, self.items),
            partial: assessed.figure(&partial, self.items),
            sections: sections.filter_map(|at| assessed.section(at)).collect(),
            subsets: strata.iter().enumerate().filter_map(|(at, stratum)| assessed.subset(at, stratum)).collect(),
            items: self.items,
            not_finite: self.not_finite,
            remarks,
        })
    }

    /// Adds the chance levels of joined items, and a remark on those that lack their counterpart.
    fn add_chance(
        &self,
        strata: &mut [Joined<'_>],
        (seed, effort): (u64, Effort),
        remarks: &mut Vec<String>,
    ) -> Result<(), MarkError> {
        let rules = self.variant.rules;
        for Joined { name, stratum, keyed } in strata {
            let Some(keyed) = keyed else { continue };
            let alone: Vec<u64> =
                keyed.iter().filter(|(_, parts)| rules.unpaired(parts)).map(|(key, _)| *key).collect();
            if let Some(&key) = alone.first() {
                let at = self.names.iter().position(|known| known == name);
                let id = at.and_then(|at| self.first_ids.get(&(at, key))).map_or("", String::as_str);
                let unpaired = Unpaired { key, id, alone: alone.len(), all: keyed.len() };
                let (error, remark) = rules.without_counterpart(name, unpaired);
                if self.strict {
                    return Err(error);
                }
                remarks.push(remark);
            }
            let units: Vec<Vec<Vec<f64>>> = keyed.values().cloned().collect();
            add(&mut stratum.chance, &rules.chance(&units, seed, effort.draws));
        }
        Ok(())
    }
}

/// A subset with the parts of each key joined into one unit.
struct Joined<'a> {
    name: &'a str,
    stratum: Stratum,
    keyed: Option<&'a Keyed>,
}

/// Remarks on subsets whose resamples say little about how sure their marks are.
fn remark_on(strata: &[Joined<'_>]) -> Vec<String> {
    let named = |is: &dyn Fn(&Stratum) -> bool| -> Vec<&str> {
        strata.iter().filter(|of| is(&of.stratum)).map(|of| of.name).collect()
    };
    let mut remarks = Vec::new();
    let thin = named(&Stratum::is_thin);
    if let Some(first) = thin.first() {
        remarks.push(format!(
            "{} of {} subsets have a single item or pair to draw from (the first is {first}): figures that include them get no bootstrap interval",
            thin.len(),
            strata.len()
        ));
    }
    let alike = named(&|stratum| stratum.is_alike() && !stratum.is_thin());
    if let Some(first) = alike.first() {
        remarks.push(format!(
            "In {} of {} subsets all marks are alike (the first is {first}): resamples cannot show how sure these marks are, and intervals of figures that include them are too narrow or missing",
            alike.len(),
            strata.len()
        ));
    }
    remarks
}

/// The figures of all items, of chance, and of each resample.
struct Assessed {
    marks: Figures,
    chance: Figures,
    /// Figures after [`SHAKEN_BY`] was added to thin strata. A figure that differs from `marks` depends on them.
    shaken: Figures,
    resamples: Vec<Figures>,
}

impl Assessed {
    fn new(rules: &dyn Rules, strata: &[Joined<'_>], (seed, effort): (u64, Effort), items: usize) -> Self {
        let of = |sums: &Drawn| {
            let strata = strata.iter().zip(sums);
            figures(rules, strata.map(|(of, (units, sums))| (of.name, *units, sums.as_slice())))
        };
        let all = |sums: &dyn Fn(&Stratum) -> Vec<f64>| -> Drawn {
            strata.iter().map(|of| (of.stratum.units, sums(&of.stratum))).collect()
        };
        let sampler = Sampler::new(&strata.iter().map(|of| &of.stratum).collect::<Vec<_>>());
        let mut random = SplitMix(seed);
        let many = if items == 0 { 0 } else { effort.resamples };
        Self {
            marks: of(&all(&|stratum| stratum.sums.clone())),
            chance: of(&all(&|stratum| stratum.chance.clone())),
            shaken: of(&all(&|stratum| {
                let by = if stratum.is_thin() { SHAKEN_BY } else { 0.0 };
                // Each value by another amount, so that no ratio of two values stays the same.
                stratum.sums.iter().enumerate().map(|(at, sum)| sum + by * (at + 1) as f64).collect()
            })),
            resamples: (0..many).map(|_| of(&sampler.draw(&mut random))).collect(),
        }
    }

    fn interval(&self, of: &dyn Fn(&Figures) -> Option<f64>) -> Option<Interval> {
        if of(&self.shaken) != of(&self.marks) {
            return None;
        }
        let found: Option<Vec<f64>> = self.resamples.iter().map(of).collect();
        found.and_then(Interval::of_different)
    }

    fn figure(&self, of: &dyn Fn(&Figures) -> Option<f64>, n: usize) -> Option<Figure> {
        Some(Figure {
            score: of(&self.marks)?,
            n,
            ci95: self.interval(of),
            method: IntervalMethod::Bootstrap,
            chance: of(&self.chance),
            shortest: None,
            longest: None,
        })
    }

    fn subset(&self, at: usize, of: &Joined<'_>) -> Option<Named> {
        let mut figure = self.figure(&|figures| figures.subsets.get(at).copied(), of.stratum.items)?;
        if let Some(right) = of.stratum.right() {
            figure.ci95 = wilson(right, of.stratum.units);
            figure.method = IntervalMethod::Wilson;
        }
        Some(Named { name: of.name.to_owned(), figure })
    }

    fn section(&self, at: usize) -> Option<Named> {
        let Section { name, units, .. } = self.marks.sections.get(at)?.clone();
        let figure = self.figure(&|figures| figures.sections.get(at).map(|of| of.score), units)?;
        Some(Named { name, figure })
    }
}

/// The figures of strata, each given as its name, its number of units and its sums.
pub(crate) fn figures<'a>(rules: &dyn Rules, strata: impl Iterator<Item = (&'a str, usize, &'a [f64])>) -> Figures {
    let sums: Vec<Sums<'_>> = strata.map(|(subset, units, values)| Sums { subset, units, values }).collect();
    rules.figures(&sums)
}

/// The positions of subsets in `names`, put in order: first the benchmark's own in its order, then others as they came.
pub(crate) fn in_order(rules: &dyn Rules, names: &[String]) -> Vec<usize> {
    let order = rules.order();
    let mut places: Vec<usize> = (0..names.len()).collect();
    places.sort_by_key(|&at| order.iter().position(|name| *name == names[at]).unwrap_or(order.len()));
    places
}

/// The mean of the subsets, where there are two or more but no overall mark.
pub(crate) fn partial(figures: &Figures) -> Option<f64> {
    let subsets = &figures.subsets;
    (figures.overall.is_none() && subsets.len() > 1).then(|| subsets.iter().sum::<f64>() / subsets.len() as f64)
}
