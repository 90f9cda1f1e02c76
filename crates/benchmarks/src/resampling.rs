//! Resamples of the items of a subset, drawn from how often each mark came.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::Cluster;
use crate::statistics::{SplitMix, text_hash};

/// A subset as a multiset of units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stratum {
    pub(crate) units: usize,
    pub(crate) items: usize,
    /// In the order of the units.
    pub(crate) sums: Vec<f64>,
    pub(crate) chance: Vec<f64>,
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
    pub(crate) fn is_alike(&self) -> bool {
        self.values.len() < 2
    }

    /// How many units have a mark of 1; `None` unless all marks are 0 or 1 and each unit stands for itself.
    pub(crate) fn right(&self) -> Option<usize> {
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
