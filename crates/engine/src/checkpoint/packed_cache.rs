//! The cache of models that were packed while they were loaded, on the user's machine.

use std::collections::BTreeMap;

use rewardscope_models::{Packed, Packing, TensorSpec};
use rewardscope_store::{Derived, Recipe, Repository, Store};
use rewardscope_weights::{Checkpoint, WeightsError, safetensors};

use crate::Dtype;
use crate::checkpoint::dtype::stored_bytes;
use crate::checkpoint::names::is_of_model;
use crate::checkpoint::upload::Watcher;
use crate::checkpoint::writer::header;

/// Metadata key of the fingerprint of the model that a cache file was made of.
pub(crate) const FINGERPRINT: &str = "rewardscope.fingerprint";

/// Change this with the format, so that old cache files are not reused.
const VERSION: &str = "packed 1";

/// The cache entry for a repository's packed checkpoint.
#[derive(Debug, Clone)]
pub struct CacheEntry {
    store: Store,
    pub(crate) recipe: Recipe,
}

impl CacheEntry {
    /// The entry for a checkpoint folder with weights packed as `dtype`. `None` where there is nothing to keep:
    /// the repository has no checkpoint folder, or the type is `Auto` or `F32`.
    pub(crate) fn of(store: &Store, repository: &Repository, dtype: Dtype) -> Option<Self> {
        let has = |name: &str| repository.get(name).is_ok();
        let is_checkpoint = has("config.json") && (has(safetensors::SINGLE) || has(safetensors::INDEX));
        let name = dtype.approximation().filter(|_| is_checkpoint)?;
        let file = format!("{} {}", safetensors::SINGLE, dtype.phrase());
        let recipe = repository.recipe(is_of_model, &format!("{VERSION} {name}"), file);
        Some(Self { store: store.clone(), recipe })
    }

    /// Begins a cache file for a model's tensors, which must come in this order; `None` where the cache takes
    /// none.
    pub(crate) async fn begin(
        &self,
        specs: &[TensorSpec],
        checkpoint: &Checkpoint,
        dtype: Dtype,
        fingerprint: &str,
    ) -> Result<Option<CacheWriter>, WeightsError> {
        let metadata = BTreeMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())]);
        let (header, bytes) = header(specs, checkpoint, dtype, metadata)?;
        let mut writer =
            self.store.cache_derived(&self.recipe, bytes).await.map(|file| CacheWriter { file, failed: false });
        if let Some(writer) = &mut writer {
            writer.stored(&header);
        }
        Ok(writer)
    }
}

/// A cache file that is being written. Where this fails, the model is loaded all the same.
pub(crate) struct CacheWriter {
    file: Derived,
    failed: bool,
}

impl Watcher for CacheWriter {
    fn stored(&mut self, bytes: &[u8]) {
        self.failed = self.failed || self.file.write(bytes).is_err();
    }

    fn packed(&mut self, packing: Packing, packed: &Packed) {
        self.stored(&stored_bytes(packing, packed));
    }
}

impl CacheWriter {
    /// Ends the file, or discards it where writing failed.
    pub async fn finish(self) {
        if self.failed {
            self.file.discard().await;
        } else {
            // Where this fails, the next load finds no file and packs the model again.
            let _ = self.file.finish().await;
        }
    }
}
