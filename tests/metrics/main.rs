//! Marks and statistics against those of other programs.

mod benchmarks;
mod reward_bench_2;
mod statistics;
