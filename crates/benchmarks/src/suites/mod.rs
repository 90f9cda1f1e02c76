//! One file per benchmark, and the table of all benchmarks.

pub mod judge_bench;
pub mod m_reward_bench;
pub mod ppe;
pub mod preferences;
pub mod process_bench;
pub mod reward_bench;
pub mod reward_bench_2;
pub mod rm_bench;
pub mod rmb;

use crate::benchmark::{Benchmark, NameError};

/// The table of all benchmarks. A new one takes a file, a line here, and a test.
pub const BENCHMARKS: &[&Benchmark] = &[
    &reward_bench_2::BENCHMARK,
    &reward_bench::BENCHMARK,
    &rm_bench::BENCHMARK,
    &judge_bench::BENCHMARK,
    &rmb::BENCHMARK,
    &ppe::BENCHMARK,
    &m_reward_bench::BENCHMARK,
    &process_bench::BENCHMARK,
    &preferences::BENCHMARK,
];

/// The benchmark called `name`.
///
/// # Errors
/// When there is no such benchmark; the error lists the names of all.
pub fn benchmark(name: &str) -> Result<&'static Benchmark, NameError> {
    BENCHMARKS
        .iter()
        .find(|known| known.name == name)
        .copied()
        .ok_or_else(|| NameError::Benchmark { found: name.to_owned(), known: benchmark_names() })
}

/// The names of all benchmarks, for a message.
pub fn benchmark_names() -> String {
    BENCHMARKS.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}
