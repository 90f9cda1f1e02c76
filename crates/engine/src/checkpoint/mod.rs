//! A model's files: found, opened, packed, written, and brought onto a device.

pub(crate) mod cross_encoder;
pub(crate) mod dtype;
pub(crate) mod export;
pub(crate) mod files;
pub(crate) mod head;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod own_head;
pub(crate) mod packed;
pub(crate) mod packed_cache;
pub(crate) mod stored_rows;
pub(crate) mod upload;
pub(crate) mod writer;
