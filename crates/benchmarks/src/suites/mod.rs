//! One file a benchmark, and the table of all.

pub mod judge_bench;
pub mod m_reward_bench;
pub mod ppe;
pub mod preferences;
pub mod reward_bench;
pub mod reward_bench_2;
pub mod rm_bench;
pub mod rmb;

use crate::benchmark::{Benchmark, NameError};

/// Every benchmark by name. A new one is one file, one line here, and one test.
pub const BENCHMARKS: [&Benchmark; 8] = [
    &reward_bench_2::BENCHMARK,
    &reward_bench::BENCHMARK,
    &rm_bench::BENCHMARK,
    &judge_bench::BENCHMARK,
    &rmb::BENCHMARK,
    &ppe::BENCHMARK,
    &m_reward_bench::BENCHMARK,
    &preferences::BENCHMARK,
];

/// The benchmark of a name.
///
/// # Errors
/// When there is none, with the names there are.
pub fn benchmark(name: &str) -> Result<&'static Benchmark, NameError> {
    BENCHMARKS.iter().find(|known| known.name == name).copied().ok_or_else(|| NameError::Benchmark {
        found: name.to_owned(),
        known: BENCHMARKS.map(|known| known.name).join(", "),
    })
}
