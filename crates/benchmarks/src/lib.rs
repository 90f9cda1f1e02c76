//! What each benchmark asks and how its answers are marked. No I/O, no tokens, no GPU.
//!
//! Items come in as [`Item`]s (or [`ScoredItem`]s once a model has scored them) and go out as
//! marks. Marks depend on scores alone. Sums run in item order and transcendental functions come
//! from `libm`, so that wasm and native agree to the last digit.

pub mod analysis;
pub mod assess;
pub mod benchmark;
mod by_length;
pub mod compare;
mod item;
pub mod judge_bench;
pub mod m_reward_bench;
mod marks;
pub mod ppe;
pub mod preferences;
pub mod published;
pub mod reward_bench;
pub mod reward_bench_2;
pub mod rm_bench;
pub mod rmb;
pub mod statistics;
mod stratified;

pub use assess::{Assessment, Effort, Figure, IntervalMethod, Marker, Named, assess, marks};
pub use benchmark::{BENCHMARKS, Benchmark, NameError, OfficialRows, Variant, benchmark};
pub use compare::{CompareError, Comparison, compare};
pub use item::{Item, ScoredItem, Turn};
pub use marks::{MarkError, Marks, SectionMark, SubsetMark};
pub use statistics::Interval;
pub use stratified::{Selection, stratified};
