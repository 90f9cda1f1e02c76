//! Reward-model benchmarks: what each asks, how its answers are marked, and how sure the marks are. No I/O, no tokens,
//! no GPU.
//!
//! [`Item`]s go in, or [`ScoredItem`]s once a model has scored them. [`Marks`] come out, or an [`Assessment`], which
//! adds intervals and chance levels. Marks depend on scores alone. Sums run in item order and transcendental functions
//! come from `libm`, so that wasm and native agree to the last digit.
//!
//! [`benchmark()`] finds a benchmark by its name, [`stratified`] draws a sample of its items, [`assess`] marks scored
//! items, and [`compare()`] compares two runs over the same items.
//!
//! ```
//! use rewardscope_benchmarks::{Effort, ScoredItem, assess, benchmark};
//!
//! let benchmark = benchmark("preferences")?;
//! // The chosen completion's score comes first, then the rejected one's.
//! let scored = |id, scores| ScoredItem { id, subset: "tone", num_correct: 1, scores };
//! let items =
//!     [scored("a", &[2.5, 0.5]), scored("b", &[1.0, -1.0]), scored("c", &[0.2, 0.9]), scored("d", &[3.0, 1.5])];
//! let assessment = assess(benchmark, benchmark.variant(None)?, &items, None, 0, true, Effort::FULL)?;
//! let overall = assessment.overall.expect("all parts of the benchmark are present");
//! assert_eq!((overall.score, overall.n, overall.chance), (0.75, 4, Some(0.5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use item::{Item, ScoredItem};
pub use marker::Marker;
pub use marks::{MarkError, Marks, SectionMark, SubsetMark, Ties, TiesPair};
pub use rewardscope_conversation::Message;
pub use statistics::Interval;
pub use stratified::{Selection, stratified};
pub use suites::{BENCHMARKS, benchmark, benchmark_names};
pub use suites::{judge_bench, m_reward_bench, ppe, preferences, reward_bench, reward_bench_2, rm_bench, rmb};
