//! Marks with their intervals, their chance levels, and the marks of picking by length.

use serde::{Deserialize, Serialize};

use crate::statistics::{Interval, RESAMPLES};

/// A mark with its interval, its chance level, and the marks of picking by length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Figure {
    /// The mark.
    pub score: f64,
    /// Number of items it is computed from.
    pub n: usize,
    /// Its 95 % interval; `None` where a subset has a single unit to draw from, or all resamples are alike.
    pub ci95: Option<Interval>,
    /// How the interval was computed.
    pub method: IntervalMethod,
    /// The mark that scores without information get on average.
    pub chance: Option<f64>,
    /// The mark of always picking the shortest completion, where lengths are known.
    pub shortest: Option<f64>,
    /// The mark of always picking the longest completion, where lengths are known.
    pub longest: Option<f64>,
}

/// How an interval was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// The percentile bootstrap over items, within each subset; items that belong together are drawn together.
    Bootstrap,
    /// Wilson's score interval, where every mark is 0 or 1.
    Wilson,
}

/// How much work intervals and simulations may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Resamples per interval.
    pub(crate) resamples: usize,
    /// Random scores per simulation, about.
    pub(crate) draws: usize,
}

impl Effort {
    /// For figures that are kept.
    pub const FULL: Self = Self { resamples: RESAMPLES, draws: 1_000_000 };
    /// For figures that the next item replaces; takes a fraction of the time.
    pub const QUICK: Self = Self { resamples: RESAMPLES / 10, draws: 10_000 };
}

/// The figure of a subset or section, with its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Named {
    /// The subset's or section's name.
    pub name: String,
    /// Its mark.
    pub figure: Figure,
}

/// The marks of scored items, with intervals, chance levels and remarks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Assessment {
    /// The benchmark's name: [`Benchmark::name`](crate::Benchmark::name).
    pub benchmark: String,
    /// The variant's name: [`Variant::name`](crate::Variant::name).
    pub variant: String,
    /// Seed of the resampling and of the simulations.
    pub seed: u64,
    /// The overall mark; `None` unless all parts of the benchmark are present.
    pub overall: Option<Figure>,
    /// The unweighted mean of the subsets that are present, where `overall` is `None` and two or more are present.
    pub partial: Option<Figure>,
    /// Sections, for benchmarks that have them.
    pub sections: Vec<Named>,
    /// Subsets in the benchmark's order.
    pub subsets: Vec<Named>,
    /// Number of items marked.
    pub items: usize,
    /// Number of items with a score that is NaN or infinite; they are marked as the reference marks them.
    pub not_finite: usize,
    /// What a reader of the marks should know, one sentence each.
    pub remarks: Vec<String>,
}
