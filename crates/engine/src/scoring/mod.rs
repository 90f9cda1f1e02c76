//! Computes scores from texts.

pub(crate) mod batching;
pub(crate) mod forward;
pub(crate) mod implicit;
pub(crate) mod kept;
pub(crate) mod pairs;
pub(crate) mod policy;
pub(crate) mod prefix_tree;
pub(crate) mod protocol;
pub(crate) mod reading;
pub(crate) mod report;
pub(crate) mod round_robin;
pub(crate) mod score;
pub(crate) mod scorer;
pub(crate) mod selftest;
pub(crate) mod sequence;
pub(crate) mod shared;
pub(crate) mod tokenize;
