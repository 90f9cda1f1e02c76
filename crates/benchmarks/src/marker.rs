//! Marks in one pass: a [`Marker`] takes scored items one after the other and keeps of a subset only how often each
//! mark came, so that a million items need no more memory than a thousand.

use std::collections::BTreeMap;

use crate::assessment::{Assessment, Effort, Figure, IntervalMethod, Named};
use crate::benchmark::{Benchmark, Variant};
use crate::marks::{Marks, SectionMark, SubsetMark};
use crate::resampling::{Drawn, Sampler, Stratum, add};
use crate::rules::{Figures, Part, Rules, Section, Sums};
use crate::statistics::{Interval, SplitMix, wilson};
use crate::{MarkError, ScoredItem};

/// No sum of marks is by just so much another.
const SHAKEN_BY: f64 = 0.371;

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

    /// The marks alone; those of the items, as [`Self::push`] gave them, are passed through.
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

    /// The marks with their intervals and chance levels.
    ///
    /// # Errors
    /// Strict: when an item lacks its counterpart.
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

    /// Adds what joined items come to by chance, and says which of them lack others.
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
            if let Some(&first) = alone.first() {
                let (error, remark) = rules.without_counterpart(name, first, alone.len(), keyed.len());
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

/// A subset with whatever has a key joined.
struct Joined<'a> {
    name: &'a str,
    stratum: Stratum,
    keyed: Option<&'a Keyed>,
}

/// What there is to say of subsets that resamples say little of.
fn remark_on(strata: &[Joined<'_>]) -> Vec<String> {
    let named = |is: &dyn Fn(&Stratum) -> bool| -> Vec<&str> {
        strata.iter().filter(|of| is(&of.stratum)).map(|of| of.name).collect()
    };
    let mut remarks = Vec::new();
    let thin = named(&Stratum::is_thin);
    if let Some(first) = thin.first() {
        remarks.push(format!(
            "{} of {} subsets have a single item or pair to draw from (the first is {first}): what they are part of gets no interval by the bootstrap",
            thin.len(),
            strata.len()
        ));
    }
    let alike = named(&|stratum| stratum.is_alike() && !stratum.is_thin());
    if let Some(first) = alike.first() {
        remarks.push(format!(
            "In {} of {} subsets all marks are alike (the first is {first}): resamples do not show how sure they are, so that intervals of what they are part of are too narrow, or not given",
            alike.len(),
            strata.len()
        ));
    }
    remarks
}

/// Figures of all items, by chance, and of resamples.
struct Assessed {
    marks: Figures,
    chance: Figures,
    /// With thin strata changed: a figure that changes with them is made of them.
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
                // Each by another, so that no share stays what it was.
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
