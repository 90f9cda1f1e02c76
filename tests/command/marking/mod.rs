//! Marks, comparisons and the rows of every benchmark, tested on the command line with real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asked;
mod benchmarks;
mod filter;
mod runs;
mod score_files;
