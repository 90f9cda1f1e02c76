use rewardscope_models::{Architecture, Description, Head, describe};
use rewardscope_store::{
    Cancel, FetchProgress, Folder, Hasher, Repository, RepositoryId, RepositoryKind, Source, Store,
};
use rewardscope_text::{ChatTemplate, Clock, TextError, TextPipeline, Tokenizer};
use rewardscope_weights::{Checkpoint, lora, safetensors};

use crate::{Dtype, EngineError, KeptForm};

/// The files of a model, before anything of them is read.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// One file with everything in it.
    Gguf(Source),
    /// A checkpoint folder as transformers writes it.
    Folder {
        /// Its files.
        folder: Folder,
        /// Where it will be kept packed once it was loaded.
        form: Option<Box<KeptForm>>,
    },
    /// A checkpoint folder that was kept packed when it was loaded before.
    Kept {
        /// Its files.
        folder: Folder,
        /// That of the files that it was made of.
        fingerprint: String,
    },
    /// An adapter's folder as peft writes it, over the checkpoint folder of its base.
    Adapted {
        /// The adapter's.
        adapter: Folder,
        /// The base's, where it was found.
        base: Option<Folder>,
    },
}

/// A model's files, opened: all but the values of the weights.
pub(crate) struct Opened {
    pub checkpoint: Checkpoint,
    pub architecture: Box<dyn Architecture>,
    pub text: TextPipeline,
    /// Whether an adapter made a classifier of a language model.
    pub is_made_classifier: bool,
}

/// What a checkpoint has beside its weights.
pub(crate) const CHECKPOINT_FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// What an adapter has, and what of its base's text it may replace.
const ADAPTER_FILES: [&str; 5] =
    [lora::CONFIG, lora::WEIGHTS, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// Those of them without which it cannot be opened.
const REQUIRED_FILES: [&str; 3] = ["config.json", "tokenizer.json", "tokenizer_config.json"];

/// Whether a file of a folder is read when the model is; the others do not make it another model.
pub(crate) fn is_of_model(name: &str) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    CHECKPOINT_FILES.contains(&file)
        || ADAPTER_FILES.contains(&file)
        || file.ends_with(".safetensors")
        || file == safetensors::INDEX
}

/// Refuses the forms of a checkpoint that are not read, with the way out of them.
fn refuse_old_forms(model: &str, has: impl Fn(&str) -> bool) -> Result<(), EngineError> {
    let refuse = |expected, found: &str, convert| {
        Err(EngineError::Convert { model: model.to_owned(), expected, found: found.to_owned(), convert })
    };
    const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    if !has(safetensors::SINGLE)
        && !has(safetensors::INDEX)
        && let Some(pickled) = PICKLED.into_iter().find(|file| has(file))
    {
        return refuse(
            safetensors::SINGLE,
            pickled,
            "a pickle can run any program when it is opened, so it is not read; where you trust it, write it anew in Python \
             with model.save_pretrained(folder, safe_serialization=True)",
        );
    }
    const SLOW: [&str; 4] = ["tokenizer.model", "spiece.model", "spm.model", "vocab.txt"];
    if !has("tokenizer.json")
        && let Some(slow) = SLOW.into_iter().find(|file| has(file))
    {
        return refuse(
            "tokenizer.json",
            slow,
            "write it in Python with AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)",
        );
    }
    Ok(())
}

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
    /// What a set of picked files is: a single GGUF, or a folder with a `config.json`.
    ///
    /// # Errors
    /// [`EngineError::NoModel`] says what was found instead.
    pub fn from_sources(name: &str, sources: Vec<Source>) -> Result<Self, EngineError> {
        if let [source] = sources.as_slice()
            && source.name().ends_with(".gguf")
        {
            return Ok(Self::Gguf(source.clone()));
        }
        let folder = Folder::new(name, sources);
        let has = |file: &str| folder.find(file).is_some();
        // An adapter may have its base's configuration beside it, but not its weights.
        if has(lora::CONFIG) && !has(safetensors::SINGLE) && !has(safetensors::INDEX) {
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

    /// The name of the base that an adapter still needs: a path or a Hub id.
    ///
    /// # Errors
    /// When the adapter's configuration is damaged or names none.
    pub async fn missing_base(&self) -> Result<Option<String>, EngineError> {
        match self {
            Self::Adapted { adapter, base: None } => Ok(Some(lora::base(adapter).await?)),
            _ => Ok(None),
        }
    }

    /// An adapter over this base.
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

    /// The files of a model of the Hub, its weights to be such a type; an adapter's with those of the base that it
    /// names there.
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

    /// The files of a model in a repository: `file` where one is named, a checkpoint, or the only
    /// GGUF.
    ///
    /// # Errors
    /// When there is no model or several, or a file cannot be had.
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
            None if has(lora::WEIGHTS) && !has(safetensors::SINGLE) && !has(safetensors::INDEX) => {
                let names: Vec<String> =
                    ADAPTER_FILES.into_iter().filter(|name| has(name)).map(str::to_owned).collect();
                let sources = store.fetch(repository, &names, cancel, progress).await?;
                return Self::from_sources(&repository.name, sources);
            }
            None if has("config.json") => {
                refuse_old_forms(&repository.name, has)?;
                let wanted = |name: &&str| has(name) || REQUIRED_FILES.contains(name);
                CHECKPOINT_FILES.into_iter().filter(wanted).map(str::to_owned).collect()
            }
            None => vec![only_gguf(repository)?],
        };
        if names.len() > 1 {
            if has(safetensors::INDEX) {
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

    /// A hash over every byte of every file, which tells models apart whatever they are called and
    /// wherever they lie.
    ///
    /// # Errors
    /// When a file cannot be read, or the work is cancelled.
    pub async fn fingerprint(&self, cancel: &Cancel) -> Result<String, EngineError> {
        let sources: Vec<&Source> = match self {
            Self::Kept { fingerprint, .. } => return Ok(fingerprint.clone()),
            Self::Gguf(source) => vec![source],
            Self::Folder { folder, .. } => folder.sources().filter(|source| is_of_model(source.name())).collect(),
            Self::Adapted { adapter, base } => {
                let folders = [Some(adapter), base.as_ref()].into_iter().flatten();
                folders.flat_map(Folder::sources).filter(|source| is_of_model(source.name())).collect()
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

    /// What names it anywhere, where it came from the Hub: `owner/name@commit`, with `:file` where
    /// it is one of several files there.
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::Gguf(source) => source.origin(),
            Self::Folder { folder, .. } | Self::Kept { folder, .. } | Self::Adapted { adapter: folder, .. } => {
                let origin = folder.sources().find_map(Source::origin)?;
                Some(origin.split_once(':').map_or(origin, |(repository, _)| repository))
            }
        }
    }

    /// The name for messages and reports.
    pub fn name(&self) -> &str {
        let path = match self {
            Self::Gguf(source) => source.name(),
            Self::Folder { folder, .. } | Self::Kept { folder, .. } | Self::Adapted { adapter: folder, .. } => {
                folder.name()
            }
        };
        path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
    }

    pub(crate) async fn open(&self, clock: Clock) -> Result<Opened, EngineError> {
        match self {
            Self::Gguf(source) => open_gguf(source, clock).await,
            Self::Folder { folder, .. } | Self::Kept { folder, .. } => open_folder(folder, folder, clock).await,
            Self::Adapted { adapter, base } => open_adapted(adapter, base.as_ref(), clock).await,
        }
    }
}

fn text_format(file: &str, expected: &str, found: impl ToString) -> TextError {
    TextError::Format { file: file.to_owned(), expected: expected.to_owned(), found: found.to_string() }
}

async fn open_gguf(source: &Source, clock: Clock) -> Result<Opened, EngineError> {
    let checkpoint = Checkpoint::from_gguf(source).await?;
    let metadata = checkpoint.metadata().cloned().unwrap_or_default();
    let architecture = describe(Description::Gguf(&checkpoint, &metadata))?;
    let tokenizer = Tokenizer::from_gguf(&metadata)?;
    let file = source.name();
    let special = |key: &str| {
        let id = metadata.unsigned(&format!("tokenizer.ggml.{key}_token_id")).ok()?;
        tokenizer.token(u32::try_from(id).ok()?)
    };
    let special_tokens =
        [("bos_token", special("bos")), ("eos_token", special("eos")), ("pad_token", special("padding"))];
    let special_tokens = special_tokens.into_iter().filter_map(|(name, token)| Some((name, token?))).collect();
    let template = metadata.text("tokenizer.chat_template").ok();
    let template =
        template.map(|source| ChatTemplate::new(file, source.to_owned(), special_tokens, clock)).transpose()?;
    let text = TextPipeline { tokenizer, template };
    Ok(Opened { checkpoint, architecture, text, is_made_classifier: false })
}

/// An adapter over its base; the tokenizer and the template are the adapter's where it has its own.
async fn open_adapted(adapter: &Folder, base: Option<&Folder>, clock: Clock) -> Result<Opened, EngineError> {
    let Some(base) = base else {
        let name = lora::base(adapter).await?;
        return Err(EngineError::NoBase { adapter: adapter.name().to_owned(), base: name });
    };
    let opened_adapter = lora::Adapter::open(adapter).await?;
    let has = |file: &str| adapter.find(file).is_some();
    let text = if has("tokenizer.json") && has("tokenizer_config.json") { adapter } else { base };
    let mut opened = open_folder(base, text, clock).await?;
    let summary = opened.architecture.summary();
    if opened_adapter.classifies() && summary.head == Head::LanguageModel {
        let layers = summary.layers;
        opened.architecture.classify(layers)?;
        opened.is_made_classifier = true;
    }
    opened.checkpoint = opened_adapter.merge(opened.checkpoint)?;
    Ok(opened)
}

/// A checkpoint folder, with its tokenizer and template from `text`.
async fn open_folder(folder: &Folder, text: &Folder, clock: Clock) -> Result<Opened, EngineError> {
    // An adapter's text may lie in either folder.
    refuse_old_forms(folder.name(), |file| folder.find(file).or_else(|| text.find(file)).is_some())?;
    let config = text_of(folder.get("config.json")?).await?;
    let config_file = folder.get("config.json")?.name().to_owned();
    let architecture = describe(Description::ConfigJson { file: &config_file, json: &config })?;
    let tokenizer_source = text.get("tokenizer.json")?;
    let tokenizer = Tokenizer::from_json(tokenizer_source.name(), &tokenizer_source.read_all().await?)?;
    // An encoder reads a pair of texts, whatever its tokenizer's configuration has.
    let template = match architecture.summary().head {
        Head::Pooled => None,
        Head::Score | Head::LanguageModel => chat_template(text, clock).await?,
    };
    let checkpoint = Checkpoint::from_folder(folder).await?;
    let text = TextPipeline { tokenizer, template };
    Ok(Opened { checkpoint, architecture, text, is_made_classifier: false })
}

async fn text_of(source: &Source) -> Result<String, EngineError> {
    let bytes = source.read_all().await?;
    Ok(String::from_utf8(bytes).map_err(|_| text_format(source.name(), "UTF-8 text", "other bytes"))?)
}

/// The template of `chat_template.jinja` or of `tokenizer_config.json`, where it is a text or a
/// list of named texts; none where there is none.
async fn chat_template(folder: &Folder, clock: Clock) -> Result<Option<ChatTemplate>, EngineError> {
    let source = folder.get("tokenizer_config.json")?;
    let file = source.name();
    let config: serde_json::Value = serde_json::from_str(&text_of(source).await?)
        .map_err(|e| text_format(file, "a tokenizer configuration as transformers writes it", e))?;
    let special = |name: &'static str| {
        let token = config.get(name)?;
        let token = token.get("content").unwrap_or(token).as_str()?;
        Some((name, token.to_owned()))
    };
    let special_tokens = ["bos_token", "eos_token", "pad_token", "unk_token"].into_iter().filter_map(special).collect();
    if let Some(jinja) = folder.find("chat_template.jinja") {
        return Ok(Some(ChatTemplate::new(jinja.name(), text_of(jinja).await?, special_tokens, clock)?));
    }
    let named_default = |templates: &Vec<serde_json::Value>| {
        let default = templates.iter().find(|t| t.get("name").is_some_and(|name| name == "default"))?;
        Some(default.get("template")?.as_str()?.to_owned())
    };
    let template = match config.get("chat_template") {
        Some(serde_json::Value::String(template)) => Some(template.clone()),
        Some(serde_json::Value::Array(templates)) => named_default(templates),
        _ => None,
    };
    Ok(template.map(|template| ChatTemplate::new(file, template, special_tokens, clock)).transpose()?)
}
