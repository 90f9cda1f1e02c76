//! Figures that were published elsewhere.

use rewardscope_benchmarks::published::{
    Downstream, DownstreamCorrelation, PublishedRow, downstream, downstream_correlation,
    downstream_correlations_by_subset, published,
};
use rewardscope_benchmarks::{reward_bench, reward_bench_2};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::to_js;
use crate::session::Session;

/// What was published elsewhere, with where.
#[derive(Serialize, tsify::Tsify)]
pub struct PublishedFigures {
    /// RewardBench 2's rows, best first.
    pub reward_bench_2: &'static [PublishedRow],
    /// RewardBench's.
    pub reward_bench: &'static [PublishedRow],
    /// The 17 reward models of RewardBench 2's paper that were also used downstream.
    pub downstream: &'static [Downstream],
    /// How their marks go with what came of using them.
    pub correlation: Option<DownstreamCorrelation>,
    /// The same within each group of them.
    pub correlation_by_group: Vec<(String, DownstreamCorrelation)>,
    /// How each subset's mark goes with it, over those of them whose board row is known.
    pub correlation_by_subset: Vec<(String, DownstreamCorrelation)>,
}

#[wasm_bindgen]
impl Session {
    /// What was published elsewhere.
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
