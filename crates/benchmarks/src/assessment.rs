//! Marks with what they are worth: intervals, chance levels, what picking by length gets.

use serde::{Deserialize, Serialize};

use crate::statistics::{Interval, RESAMPLES};

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
    pub(crate) resamples: usize,
    /// Scores that a simulation draws.
    pub(crate) draws: usize,
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
