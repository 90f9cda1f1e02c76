//! The reward server, asked over HTTP in the shapes of others' clients: answers are those of `score`, whatever else is
//! asked at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dialects;
mod limits;
mod load;
mod server;
