//! The files of a model: which there are, where they come from, and a hash over them.

use rewardscope_store::{
    Cancel, FetchProgress, Folder, Hasher, Repository, RepositoryId, RepositoryKind, Source, Store,
};
use rewardscope_text::Clock;
use rewardscope_weights::{adapter, safetensors};

use crate::checkpoint::names::{
    ADAPTER_FILES, CHECKPOINT_FILES, OLDER_FILES, REQUIRED_FILES, of_model, refuse_old_forms,
};
use crate::checkpoint::open;
use crate::checkpoint::open::Opened;
use crate::error::EngineError;
use crate::{CacheEntry, Dtype};

/// The files of a model, before any of them is read.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// One GGUF file with everything in it.
    Gguf(Source),
    /// A checkpoint folder as transformers writes it.
    Folder {
        /// Its files.
        folder: Folder,
        /// Cache entry to fill while loading.
        form: Option<Box<CacheEntry>>,
    },
    /// A checkpoint folder with the packed weights that an earlier load kept in the cache.
    Cached {
        /// Its files.
        folder: Folder,
        /// Fingerprint of the files that it was made of.
        fingerprint: String,
    },
    /// An adapter's folder as peft writes it, over the checkpoint folder of its base.
    Adapted {
        /// The adapter's folder.
        adapter: Folder,
        /// The base's folder, where it was found.
        base: Option<Folder>,
    },
}

/// The name of a repository's only GGUF file.
fn only_gguf(repository: &Repository) -> Result<String, EngineError> {
    let names = || repository.files.iter().map(|file| file.name.as_str());
    let ggufs: Vec<&str> = names().filter(|name| name.ends_with(".gguf")).collect();
    match ggufs.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            let found = names().take(5).collect::<Vec<_>>().join(", ");
            Err(EngineError::NoModel { found: format!("{} with {found}", repository.name) })
        }
        [example, ..] => Err(EngineError::SeveralModels {
            repository: repository.name.clone(),
            found: ggufs.iter().take(20).copied().collect::<Vec<_>>().join(", "),
            example: (*example).to_owned(),
        }),
    }
}

impl ModelFiles {
    /// The model in a set of chosen files: a single GGUF, an adapter's folder, or a folder with a
    /// `config.json`. `name` is for messages and reports.
    ///
    /// # Errors
    /// [`EngineError::NoModel`] says what was found instead.
    ///
    /// ```
    /// use rewardscope_engine::{EngineError, ModelFiles};
    /// use rewardscope_store::Source;
    ///
    /// let file = |name: &str| Source::memory(name, b"...".as_slice());
    /// let model = ModelFiles::from_sources("chosen", vec![file("tiny.gguf")]).unwrap();
    /// assert!(matches!(model, ModelFiles::Gguf(_)));
    /// let refused = ModelFiles::from_sources("chosen", vec![file("notes.txt")]);
    /// assert!(matches!(refused, Err(EngineError::NoModel { found }) if found == "notes.txt"));
    /// ```
    pub fn from_sources(name: &str, sources: Vec<Source>) -> Result<Self, EngineError> {
        if let [source] = sources.as_slice()
            && source.name().ends_with(".gguf")
        {
            return Ok(Self::Gguf(source.clone()));
        }
        let folder = Folder::new(name, sources);
        let has = |file: &str| folder.find(file).is_some();
        // An adapter may have its base's configuration beside it, but not its weights.
        if has(adapter::CONFIG) && !has(safetensors::SINGLE) && !has(safetensors::INDEX) {
            return Ok(Self::Adapted { adapter: folder, base: None });
        }
        if has("config.json") {
            return Ok(Self::Folder { folder, form: None });
        }
        let mut found: Vec<&str> = folder.sources().map(Source::name).take(5).collect();
        if folder.sources().len() > found.len() {
            found.push("and others");
        }
        Err(EngineError::NoModel { found: if found.is_empty() { "nothing".to_owned() } else { found.join(", ") } })
    }

    /// The name of the base that an adapter still needs: a path or a Hub id; `None` where nothing is missing.
    ///
    /// # Errors
    /// When the adapter's configuration is damaged or names none.
    pub async fn missing_base(&self) -> Result<Option<String>, EngineError> {
        match self {
            Self::Adapted { adapter, base: None } => Ok(Some(adapter::base(adapter).await?)),
            _ => Ok(None),
        }
    }

    /// Puts an adapter over its base.
    ///
    /// # Errors
    /// [`EngineError::NoModel`] where either is something else.
    pub fn over(self, base: Self) -> Result<Self, EngineError> {
        match (self, base) {
            (Self::Adapted { adapter, base: None }, Self::Folder { folder: base, .. }) => {
                Ok(Self::Adapted { adapter, base: Some(base) })
            }
            (Self::Adapted { .. }, other) => Err(EngineError::NoModel {
                found: format!("an adapter over {}, which is no checkpoint folder", other.name()),
            }),
            (other, _) => {
                Err(EngineError::NoModel { found: format!("a base for {}, which is no adapter", other.name()) })
            }
        }
    }

    /// Fetches the files of a model of the Hub, whose weights are to be loaded as `dtype`. For an adapter, the
    /// files of the base that it names on the Hub are fetched too.
    ///
    /// # Errors
    /// As [`Self::fetch`], and when there is no such repository or no access to it.
    pub async fn from_hub(
        store: &Store,
        id: &RepositoryId,
        dtype: Dtype,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Self, EngineError> {
        let repository = store.repository(RepositoryKind::Model, id, cancel, progress).await?;
        let files = Self::fetch_as(store, &repository, id.file.as_deref(), dtype, cancel, progress).await?;
        let Some(base) = files.missing_base().await? else {
            return Ok(files);
        };
        let base: RepositoryId = base.parse()?;
        let repository = store.repository(RepositoryKind::Model, &base, cancel, progress).await?;
        files.over(Self::fetch(store, &repository, base.file.as_deref(), cancel, progress).await?)
    }

    /// Fetches the files of a model in a repository: `file` where one is named, otherwise an adapter, a
    /// checkpoint, or the only GGUF.
    ///
    /// # Errors
    /// When there is no model or several, or a file cannot be fetched.
    pub async fn fetch(
        store: &Store,
        repository: &Repository,
        file: Option<&str>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Self, EngineError> {
        let has = |name: &str| repository.files.iter().any(|file| file.name == name);
        let mut names: Vec<String> = match file {
            Some(file) => vec![file.to_owned()],
            None if has(adapter::WEIGHTS) && !has(safetensors::SINGLE) && !has(safetensors::INDEX) => {
                let own = ADAPTER_FILES.into_iter().chain(OLDER_FILES);
                let names: Vec<String> = own.filter(|name| has(name)).map(str::to_owned).collect();
                let sources = store.fetch(repository, &names, cancel, progress).await?;
                return Self::from_sources(&repository.name, sources);
            }
            None if has("config.json") => {
                refuse_old_forms(&repository.name, has)?;
                let wanted = |name: &&str| has(name) || REQUIRED_FILES.contains(name);
                CHECKPOINT_FILES.into_iter().chain(OLDER_FILES).filter(wanted).map(str::to_owned).collect()
            }
            None => vec![only_gguf(repository)?],
        };
        if names.len() > 1 {
            // A single file is taken rather than an index, which may be left from another form of the model.
            if has(safetensors::INDEX) && !has(safetensors::SINGLE) {
                let index = store.fetch(repository, &[safetensors::INDEX.to_owned()], cancel, progress).await?;
                names.push(safetensors::INDEX.to_owned());
                for index in &index {
                    names.extend(safetensors::shards(index).await?);
                }
            } else {
                names.push(safetensors::SINGLE.to_owned());
            }
        }
        let sources = store.fetch(repository, &names, cancel, progress).await?;
        Self::from_sources(&repository.name, sources)
    }

    /// A hash over every byte of every file of the model. It tells models apart, whatever their names are and
    /// wherever they lie.
    ///
    /// # Errors
    /// When a file cannot be read, or the work is cancelled.
    pub async fn fingerprint(&self, cancel: &Cancel) -> Result<String, EngineError> {
        let sources: Vec<&Source> = match self {
            Self::Cached { fingerprint, .. } => return Ok(fingerprint.clone()),
            Self::Gguf(source) => vec![source],
            Self::Folder { folder, .. } => of_model(folder).await?,
            Self::Adapted { adapter, base } => {
                let mut all = of_model(adapter).await?;
                if let Some(base) = base {
                    all.extend(of_model(base).await?);
                }
                all
            }
        };
        let mut hash = Hasher::sha256();
        for source in sources {
            cancel.check()?;
            hash.update(&source.bytes().to_le_bytes());
            hash.update(&source.content_hash().await?);
        }
        Ok(hash.finish().hex())
    }

    /// Where the model came from, if from the Hub: `owner/name@commit`, with `:file` where it is one of several
    /// files there. This name holds on every machine.
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::Gguf(source) => source.origin(),
            Self::Folder { folder, .. } | Self::Cached { folder, .. } | Self::Adapted { adapter: folder, .. } => {
                let origin = folder.sources().find_map(Source::origin)?;
                Some(origin.split_once(':').map_or(origin, |(repository, _)| repository))
            }
        }
    }

    /// The name for messages and reports: the last part of a path.
    pub fn name(&self) -> &str {
        let path = match self {
            Self::Gguf(source) => source.name(),
            Self::Folder { folder, .. } | Self::Cached { folder, .. } | Self::Adapted { adapter: folder, .. } => {
                folder.name()
            }
        };
        path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
    }

    /// Opens the model. `clock` is the time that its chat template sees.
    pub(crate) async fn open(&self, clock: Clock) -> Result<Opened, EngineError> {
        match self {
            Self::Gguf(source) => open::gguf(source, clock).await,
            Self::Folder { folder, .. } | Self::Cached { folder, .. } => open::folder(folder, None, clock).await,
            Self::Adapted { adapter, base: Some(base) } => open::folder(base, Some(adapter), clock).await,
            Self::Adapted { adapter: folder, base: None } => {
                let base = adapter::base(folder).await?;
                Err(EngineError::NoBase { adapter: folder.name().to_owned(), base })
            }
        }
    }
}
