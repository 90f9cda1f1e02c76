//! Loads reward models onto devices, and scores conversations with them.
//!
//! [`device::open`] finds a device. [`Scorer::load`] streams a checkpoint onto it and tests the kernels there
//! against known answers. [`Scorer::score`] scores completions in batches, with one readback for each batch.
//! Long work reports progress and can be cancelled.
//!
//! ```no_run
//! use rewardscope_engine::{Cancel, Clock, Detail, DeviceChoice, LoadOptions, Message, ModelFiles, Scorer, device};
//! use rewardscope_store::Folder;
//!
//! # pollster::block_on(async {
//! let folder = Folder::open("models/Skywork-Reward-V2-Qwen3-0.6B".as_ref())?;
//! let files = ModelFiles::from_sources(folder.name(), folder.sources().cloned().collect())?;
//! let device = device::open(DeviceChoice::Auto).await?;
//! let (options, cancel) = (LoadOptions::new(Clock::from_local_seconds(0)), Cancel::default());
//! let scorer = Scorer::load(&files, None, device, options, &cancel, &mut |_| {}).await?;
//! let prompt = [Message::new("user", "How much is 2 + 2?")];
//! let scores = scorer.score(&prompt, ["4.", "5."], Detail::Score, &cancel).await?;
//! assert!(scores[0].score > scores[1].score);
//! # Ok::<(), rewardscope_engine::EngineError>(())
//! # })
//! # .unwrap();
//! ```

mod catalog;
mod checkpoint;
pub mod device;
mod error;
mod inspect;
mod loading;
mod reader;
mod scoring;

pub use catalog::{CATALOG, Listed, PUBLISHED_MARKS, ScoreKind, kinds_table};
pub use checkpoint::dtype::{Dtype, Need};
pub use checkpoint::files::ModelFiles;
pub use checkpoint::head::{Backbone, HeadConfig, Pooling, RewardHead};
pub use checkpoint::packed_cache::CacheEntry;
pub use checkpoint::writer::WriteFile;
pub use device::{DeviceCalibration, DeviceChoice, DeviceKind, DeviceReport, OpenDevice};
pub use error::EngineError;
pub use inspect::Inspection;
pub use loading::{LoadOptions, LoadProgress, LoadStage};
pub use reader::named::{NamedReader, READERS, readers_table};
pub use reader::spec::{
    At, Combine, Gives, Reader, ReaderChoice, ReaderSpec, StepAnswer, StepPieces, StepTexts, StepTurn, StepTurns,
    Steps, TokenName, Turn,
};
pub use reader::verdict::{StepAggregate, StepScores};
pub use rewardscope_models::{ARCHITECTURES, Head, supported_table};
pub use rewardscope_store::Cancel;
pub use rewardscope_text::{Bos, Clock, FORMATS, Format, Message, TruncationSide};
pub use scoring::implicit::{LogRatios, Reference};
pub use scoring::kept::{KeptReference, KeptText};
pub use scoring::prefix_tree::PrefixTree;
pub use scoring::protocol::{PooledToken, Protocol};
pub use scoring::reading::Objective;
pub use scoring::report::ModelReport;
pub use scoring::round_robin::{Duel, PairAggregate, PositionBias};
pub use scoring::score::{Aggregate, Detail, LogProbabilities, Score, ScoreProgress};
pub use scoring::scorer::Scorer;
pub use scoring::selftest::SelfTest;
pub use scoring::sequence::{Features, TokenSequence, Trace, TracedToken};
