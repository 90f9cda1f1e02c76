//! Models onto devices, conversations into scores.
//!
//! [`device::open`] finds a device, [`Scorer::load`] streams a checkpoint onto it and tests the
//! kernels there against a known answer, [`Scorer::score`] scores completions in batches with one
//! readback each. Everything long reports progress and can be cancelled.

mod catalog;
mod checkpoint;
pub mod device;
mod error;
mod inspect;
mod loading;
mod scoring;

pub use catalog::{CATALOG, Listed, PUBLISHED_MARKS};
pub use checkpoint::dtype::{Dtype, Need};
pub use checkpoint::files::ModelFiles;
pub use checkpoint::head::{Backbone, HeadConfig, Pooling, RewardHead};
pub use checkpoint::packed_cache::KeptForm;
pub use checkpoint::writer::WriteFile;
pub use device::{DeviceCalibration, DeviceChoice, DeviceKind, DeviceReport, OpenDevice};
pub use error::EngineError;
pub use inspect::Inspection;
pub use loading::{LoadOptions, LoadProgress, LoadStage};
pub use rewardscope_models::{ARCHITECTURES, Head, supported_table};
pub use rewardscope_store::Cancel;
pub use rewardscope_text::{Bos, Clock, FORMATS, Format, Message, TruncationSide};
pub use scoring::protocol::{PooledToken, Protocol};
pub use scoring::report::ModelReport;
pub use scoring::score::{Aggregate, Detail, LogProbabilities, Score};
pub use scoring::scorer::Scorer;
pub use scoring::selftest::SelfTest;
pub use scoring::sequence::{Features, TokenSequence, Trace, TracedToken};
