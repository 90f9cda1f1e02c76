//! One file for each subcommand.

pub mod compare;
pub mod eval;
pub mod filter;
pub mod fit;
pub mod inspect;
pub mod items;
pub mod metrics;
pub mod pack;
pub mod score;
pub mod score_input;
pub mod serve;
