//! A model that was packed while it was loaded, kept on the visitor's device.

use std::collections::BTreeMap;

use rewardscope_models::{Packed, Packing, TensorSpec};
use rewardscope_store::{Derived, Recipe, Repository, Store};
use rewardscope_weights::{Checkpoint, WeightsError, safetensors};

use crate::Dtype;
use crate::checkpoint::dtype::stored_bytes;
use crate::checkpoint::names::is_of_model;
use crate::checkpoint::upload::Watcher;
use crate::checkpoint::writer::header;

/// The metadata's name for the fingerprint of the model that a kept file was made of.
pub(crate) const FINGERPRINT: &str = "rewardscope.fingerprint";

/// Another way of packing is another file.
const VERSION: &str = "packed 1";

/// Where a repository's checkpoint is kept packed.
#[derive(Debug, Clone)]
pub struct KeptForm {
    store: Store,
    pub(crate) recipe: Recipe,
}

impl KeptForm {
    /// Where there is anything to pack: in a checkpoint folder, as a type that is not the stored one.
    pub(crate) fn of(store: &Store, repository: &Repository, dtype: Dtype) -> Option<Self> {
        let has = |name: &str| repository.get(name).is_ok();
        let is_checkpoint = has("config.json") && (has(safetensors::SINGLE) || has(safetensors::INDEX));
        let name = dtype.approximation().filter(|_| is_checkpoint)?;
        let file = format!("{} {}", safetensors::SINGLE, dtype.phrase());
        let recipe = repository.recipe(is_of_model, &format!("{VERSION} {name}"), file);
        Some(Self { store: store.clone(), recipe })
    }

    /// Begins to keep a model's tensors, which come in this order.
    pub(crate) async fn begin(
        &self,
        specs: &[TensorSpec],
        checkpoint: &Checkpoint,
        dtype: Dtype,
        fingerprint: &str,
    ) -> Result<Option<Keeping>, WeightsError> {
        let metadata = BTreeMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())]);
        let (header, bytes) = header(specs, checkpoint, dtype, metadata)?;
        let mut keeping =
            self.store.keep_derived(&self.recipe, bytes).await.map(|file| Keeping { file, failed: false });
        if let Some(keeping) = &mut keeping {
            keeping.stored(&header);
        }
        Ok(keeping)
    }
}

/// A packed file that is being kept. A model is loaded whether it can be kept or not.
pub(crate) struct Keeping {
    file: Derived,
    failed: bool,
}

impl Watcher for Keeping {
    fn stored(&mut self, bytes: &[u8]) {
        self.failed = self.failed || self.file.write(bytes).is_err();
    }

    fn packed(&mut self, packing: Packing, packed: &Packed) {
        self.stored(&stored_bytes(packing, packed));
    }
}

impl Keeping {
    pub async fn finish(self) {
        if self.failed {
            self.file.discard().await;
        } else {
            // Not found next time, it is packed again.
            let _ = self.file.finish().await;
        }
    }
}
