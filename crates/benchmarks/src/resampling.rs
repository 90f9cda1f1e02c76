//! Bootstrap resamples of a subset's items, drawn from the counts of equal marks.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::Cluster;
use crate::statistics::{SplitMix, text_hash};

/// A subset as a multiset of units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stratum {
    pub(crate) units: usize,
    pub(crate) items: usize,
    /// Sums of the units' values, added in the order in which the units came.
    pub(crate) sums: Vec<f64>,
    /// Sums of the values that are expected by chance.
    pub(crate) chance: Vec<f64>,
    /// How many units have the same values; the key is the bits of the values.
    values: BTreeMap<Vec<u64>, u64>,
    /// Where items are not independent: the hash of their block, and each of its units by the hash of its name.
    clusters: Option<(u64, BTreeMap<u64, Summed>)>,
}

/// The number of items and the sums of their values.
pub(crate) type Summed = (usize, Vec<f64>);

impl Stratum {
    /// Adds a unit that is independent of others.
    pub(crate) fn add(&mut self, values: &[f64]) {
        add(&mut self.sums, values);
        self.units += 1;
        *self.values.entry(values.iter().map(|value| value.to_bits()).collect()).or_default() += 1;
    }

    /// Adds a unit, which belongs to `cluster` if that is given.
    pub(crate) fn add_to(&mut self, cluster: Option<Cluster<'_>>, values: &[f64]) {
        self.add(values);
        if let Some(Cluster { block, unit }) = cluster {
            let (_, units) = self.clusters.get_or_insert_with(|| (text_hash(block), BTreeMap::new()));
            let (items, sums) = units.entry(text_hash(unit)).or_default();
            *items += 1;
            add(sums, values);
        }
    }

    /// Whether there is a single unit to draw from, so that every resample is the stratum itself.
    pub(crate) fn is_thin(&self) -> bool {
        self.units < 2 || self.clusters.as_ref().is_some_and(|(_, units)| units.len() < 2)
    }

    /// Whether all units have the same values. Then all resamples are alike and do not show how sure the mark is.
    pub(crate) fn is_alike(&self) -> bool {
        self.values.len() < 2
    }

    /// How many units have a mark of 1; `None` unless all marks are 0 or 1 and all units are independent.
    pub(crate) fn right(&self) -> Option<usize> {
        let one = 1f64.to_bits();
        let is_binary = self.values.keys().all(|bits| matches!(bits.as_slice(), [only] if *only == one || *only == 0));
        let is_single = self.clusters.as_ref().is_none_or(|(_, units)| units.values().all(|(items, _)| *items == 1));
        (is_binary && is_single).then(|| self.values.get([one].as_slice()).copied().unwrap_or_default() as usize)
    }
}

/// Adds `values` to `sums`, position by position.
pub(crate) fn add(sums: &mut Vec<f64>, values: &[f64]) {
    sums.resize(values.len(), 0.0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Draws resamples of strata. From `n` units it draws `n - 1` with replacement (McCarthy and Snowden, 1985). Then the
/// variance of a resample's mean equals the variance of the mean even for few units; with `n` draws it would be smaller
/// by a share of `1 / n`.
pub(crate) struct Sampler {
    strata: usize,
    blocks: Vec<Block>,
}

/// Strata that are drawn together; `stratum` and `strata` are positions.
enum Block {
    /// One stratum of independent units.
    Classes { stratum: usize, drawer: Drawer },
    /// Strata whose units are drawn together. Each unit has its items and sums in each stratum; `None` where it has
    /// none.
    Clusters { strata: Vec<usize>, units: Vec<Vec<Option<Summed>>> },
}

/// A resample: the items drawn and their sums, by stratum.
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

/// Draws resamples of one stratum of independent units. Units with the same values form a class.
struct Drawer {
    /// The values of each class.
    values: Vec<Vec<f64>>,
    /// The number of units in each class.
    counts: Vec<u64>,
    /// The class of each unit, where units are drawn one by one; otherwise empty.
    by_unit: Vec<u32>,
    units: u64,
}

impl Drawer {
    fn new(stratum: &Stratum) -> Self {
        let values: Vec<Vec<f64>> =
            stratum.values.keys().map(|bits| bits.iter().map(|&bits| f64::from_bits(bits)).collect()).collect();
        let counts: Vec<u64> = stratum.values.values().copied().collect();
        // Both ways have the same distribution. A multinomial draw takes time per class, single draws per unit.
        let mut by_unit = Vec::new();
        if counts.len() * 4 > stratum.units {
            for (class, &count) in counts.iter().enumerate() {
                by_unit.extend(std::iter::repeat_n(class as u32, count as usize));
            }
        }
        Self { values, counts, by_unit, units: stratum.units as u64 }
    }

    /// Draws one unit fewer than there are, with replacement; a single unit is drawn itself. Returns the number of
    /// units drawn and their sums.
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
