//! The shape of the project.

mod edges;
mod house;
