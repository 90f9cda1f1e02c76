//! What each benchmark asks and how its answers are marked. No I/O, no tokens, no GPU.
//!
//! Items come in as [`Item`]s (or [`ScoredItem`]s once a model has scored them) and go out as
//! marks. Marks depend on scores alone. Sums run in item order and transcendental functions come
//! from `libm`, so that wasm and native agree to the last digit.

mod item;
pub mod reward_bench_2;
pub mod statistics;
mod stratified;

pub use item::{Item, ScoredItem};
pub use stratified::{Selection, stratified};
