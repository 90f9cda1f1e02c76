//! What each benchmark asks and how its answers are marked. No I/O, no tokens, no GPU.
//!
//! Items come in as [`Item`]s (or [`ScoredItem`]s once a model has scored them) and go out as
//! marks. Marks depend on scores alone. Sums run in item order and transcendental functions come
//! from `libm`, so that wasm and native agree to the last digit.

pub mod analysis;
mod assess;
mod assessment;
pub mod benchmark;
mod by_length;
pub mod compare;
mod item;
mod marker;
mod marks;
pub mod published;
mod resampling;
mod rules;
pub mod statistics;
mod stratified;
mod suites;

pub use assess::{assess, marks};
pub use assessment::{Assessment, Effort, Figure, IntervalMethod, Named};
pub use benchmark::{Benchmark, NameError, OfficialRows, Variant};
pub use compare::{CompareError, Comparison, compare};
pub use item::{Item, ScoredItem, Turn};
pub use marker::Marker;
pub use marks::{MarkError, Marks, SectionMark, SubsetMark, Ties, TiesPair};
pub use statistics::Interval;
pub use stratified::{Selection, stratified};
pub use suites::{BENCHMARKS, benchmark};
pub use suites::{judge_bench, m_reward_bench, ppe, preferences, reward_bench, reward_bench_2, rm_bench, rmb};
