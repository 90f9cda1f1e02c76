//! One file for each subcommand.

pub mod api;
pub mod compare;
pub mod eval;
pub mod filter;
pub mod fit;
pub mod inspect;
pub mod items;
pub mod merge;
pub mod metrics;
pub mod pack;
pub mod score;
pub mod score_arguments;
pub mod score_input;
pub mod score_table;
pub mod serve;
