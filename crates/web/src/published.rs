//! Published figures: leaderboards, and how marks correlate with downstream results.

use rewardscope_benchmarks::published::{
    Downstream, DownstreamCorrelation, PublishedRow, downstream, downstream_correlation,
    downstream_correlations_by_subset, published,
};
use rewardscope_benchmarks::{reward_bench, reward_bench_2};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::to_js;
use crate::session::Session;

/// Published figures, each with its source.
#[derive(Serialize, tsify::Tsify)]
pub struct PublishedFigures {
    /// RewardBench 2's published rows, best first.
    pub reward_bench_2: &'static [PublishedRow],
    /// RewardBench's published rows, best first.
    pub reward_bench: &'static [PublishedRow],
    /// The 17 reward models of RewardBench 2's paper that were also used downstream (table 8).
    pub downstream: &'static [Downstream],
    /// Correlation of these models' overall marks with their downstream results.
    pub correlation: Option<DownstreamCorrelation>,
    /// The same correlation within each group of these models, by the group's name.
    pub correlation_by_group: Vec<(String, DownstreamCorrelation)>,
    /// The same correlation for the mark of each subset, over the models whose leaderboard row is known. The last
    /// entry, `overall`, is that of the overall mark over the same models.
    pub correlation_by_subset: Vec<(String, DownstreamCorrelation)>,
}

#[wasm_bindgen]
impl Session {
    /// The published figures.
    #[wasm_bindgen(unchecked_return_type = "PublishedFigures")]
    pub fn published(&self) -> Result<JsValue, JsError> {
        let mut groups: Vec<&str> = downstream().iter().map(|row| row.group.as_str()).collect();
        groups.dedup();
        let of = |group: &&str| Some(((*group).to_owned(), downstream_correlation(Some(group))?));
        to_js(&PublishedFigures {
            reward_bench_2: published(reward_bench_2::NAME),
            reward_bench: published(reward_bench::NAME),
            downstream: downstream(),
            correlation: downstream_correlation(None),
            correlation_by_group: groups.iter().filter_map(of).collect(),
            correlation_by_subset: downstream_correlations_by_subset(),
        })
    }
}
