//! A checkpoint with its large matrices packed, as one safetensors file. `rewardscope pack` writes it for
//! others; the page keeps one for a model that it packed while loading.

use std::collections::BTreeMap;

use rewardscope_store::{FetchProgress, Folder, Repository, Source, Store};
use rewardscope_text::Clock;
use rewardscope_weights::{TensorInfo, safetensors};

use crate::checkpoint::dtype::{pack, stored_bytes};
use crate::checkpoint::names::{CHECKPOINT_FILES, OLDER_FILES, VALUE_HEAD};
use crate::checkpoint::packed_cache::{CacheEntry, FINGERPRINT};
use crate::checkpoint::stored_rows::{pieces, read_rows};
use crate::checkpoint::writer::{TOKENIZER_FILES, WriteFile, header};
use crate::error::EngineError;
use crate::{Cancel, Dtype, ModelFiles};

impl ModelFiles {
    /// Fetches the files of a model in a repository, whose weights are to be loaded as `dtype`. Where an
    /// earlier load kept the weights packed as this type, these are used; otherwise as [`Self::fetch`].
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_as(
        store: &Store,
        repository: &Repository,
        file: Option<&str>,
        dtype: Dtype,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Self, EngineError> {
        let form = CacheEntry::of(store, repository, dtype).filter(|_| file.is_none());
        if let Some(form) = &form
            && let Some(weights) = store.derived(&form.recipe, cancel, progress).await
            && let Some(fingerprint) = safetensors::metadata(&weights, FINGERPRINT).await?
        {
            let has = |name: &&str| *name != VALUE_HEAD && repository.get(name).is_ok();
            let own = CHECKPOINT_FILES.into_iter().chain(OLDER_FILES);
            let names: Vec<String> = own.filter(has).map(str::to_owned).collect();
            let mut sources = store.fetch(repository, &names, cancel, progress).await?;
            sources.push(weights.named(&format!("{}/{}", repository.name, safetensors::SINGLE)));
            return Ok(Self::Cached { folder: Folder::new(&repository.name, sources), fingerprint });
        }
        Ok(match Self::fetch(store, repository, file, cancel, progress).await? {
            Self::Folder { folder, .. } => Self::Folder { folder, form: form.map(Box::new) },
            other => other,
        })
    }

    /// Writes a checkpoint folder with its large matrices packed as `dtype`, one piece after the other: the
    /// configuration and the tokenizer's files as they are, and `model.safetensors`. An adapter is merged into
    /// its base. `progress` gets stored bytes, done and total.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the model is a GGUF file, which is packed already.
    pub async fn write_packed(
        &self,
        dtype: Dtype,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, u64),
        write: &mut WriteFile<'_>,
    ) -> Result<(), EngineError> {
        let refuse = |reason: String| EngineError::NoCheckpoint { model: self.name().to_owned(), reason };
        let mut write = |file: &str, bytes: &[u8]| write(file, bytes).map_err(|e| refuse(format!("{file}: {e}")));
        let (base, text) = match self {
            Self::Gguf(_) => {
                let reason = "a GGUF file holds its weights packed already; leave --dtype out to have it in parts as it \
                              is, or give the checkpoint that it was made of";
                return Err(refuse(reason.to_owned()));
            }
            Self::Folder { folder, .. } | Self::Cached { folder, .. } => (folder, folder),
            Self::Adapted { adapter, base } => (base.as_ref().unwrap_or(adapter), adapter),
        };
        // No text is rendered, so the time does not matter.
        let opened = self.open(Clock::from_local_seconds(0)).await?;
        let config: &Source = base.get("config.json")?;
        match opened.is_made_classifier {
            true => write("config.json", format!("{:#}\n", opened.architecture.classifier_config()).as_bytes())?,
            false => write("config.json", &config.read_all().await?)?,
        }
        for file in TOKENIZER_FILES {
            if let Some(source) = text.find(file).or_else(|| base.find(file)) {
                write(file, &source.read_all().await?)?;
            }
        }
        let checkpoint = &opened.checkpoint;
        let mut specs = opened.architecture.tensors()?;
        specs.sort_by_key(|spec| checkpoint.find(&spec.stored).map(TensorInfo::position));
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write(safetensors::SINGLE, &header(&specs, checkpoint, dtype, metadata)?.0)?;
        let (mut done, mut total) = (0, 0);
        for spec in &specs {
            total += checkpoint.expect(&spec.stored, &spec.shape)?.bytes();
        }
        for spec in &specs {
            let info = checkpoint.expect(&spec.stored, &spec.shape)?;
            let packing = dtype.packing(info.dtype, info.columns(), spec.packs);
            for piece in pieces(info, spec.rows, 0..info.rows()) {
                cancel.check()?;
                let bytes = read_rows(checkpoint, info, spec.rows, piece.start, piece.len()).await?;
                let stored = packing.map(|packing| stored_bytes(packing, &pack(info.dtype, &bytes, packing)));
                write(safetensors::SINGLE, stored.as_ref().unwrap_or(&bytes))?;
                done += bytes.len() as u64;
                progress(done, total);
            }
        }
        Ok(())
    }
}
