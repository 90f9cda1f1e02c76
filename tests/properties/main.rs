//! Properties that hold for any input, tried on generated ones.
//!
//! A failing input is shrunk and printed. The cases are the same in every run: proptest's generator has a fixed seed
//! here, so that a run of the tests can be repeated; fuzz targets look for new inputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packing;
mod pooling;
mod rows;
mod statistics;
mod weights;

use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

/// So many cases from a fixed seed.
fn cases(cases: u32) -> Config {
    let rng_algorithm = RngAlgorithm::ChaCha;
    Config {
        cases,
        rng_algorithm,
        rng_seed: RngSeed::Fixed(20_261_129),
        failure_persistence: None,
        ..Config::default()
    }
}
