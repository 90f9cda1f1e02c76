//! Opens a model's files: configuration, tensors, tokenizer and template, each as transformers reads them.
//! Anything that would change a score is read or refused, never ignored.

use std::collections::BTreeSet;

use rewardscope_models::{Architecture, Description, GgufDescription, HEADS, Head, describe};
use rewardscope_store::{Folder, Source};
use rewardscope_text::{ChatTemplate, Clock, TextError, TextPipeline, Tokenizer, TokenizerSettings, Vocabulary};
use rewardscope_weights::adapter::{Adapter, Merged};
use rewardscope_weights::{Checkpoint, gguf};
use serde_json::{Map, Value};

use crate::checkpoint::cross_encoder::{SETTINGS, predicts_sigmoid};
use crate::checkpoint::names::{VALUE_HEAD, refuse_old_forms};
use crate::checkpoint::own_head::{self, unread_error};
use crate::error::EngineError;
use crate::scoring::reading::Reading;

/// A model's files, opened: everything but the values of the weights.
pub(crate) struct Opened {
    pub checkpoint: Checkpoint,
    pub architecture: Box<dyn Architecture>,
    pub text: TextPipeline,
    /// The name of its class in `config.json`, where it names one.
    pub class: Option<String>,
    /// How a score is made of the model's outputs.
    pub reading: Reading,
    /// Whether an adapter made a classifier of a language model.
    pub is_made_classifier: bool,
    /// What people who compare its scores should know: sentences.
    pub notes: Vec<String>,
}

fn text_format(file: &str, expected: &str, found: impl ToString) -> TextError {
    TextError::Format { file: file.to_owned(), expected: expected.to_owned(), found: found.to_string() }
}

/// Opens a GGUF.
pub(crate) async fn gguf(source: &Source, clock: Clock) -> Result<Opened, EngineError> {
    let checkpoint = Checkpoint::from_gguf(source).await?;
    let metadata = checkpoint.metadata().cloned().unwrap_or_default();
    let file = source.name();
    if let Ok(parts) = metadata.unsigned("split.count")
        && parts > 1
    {
        let part = metadata.unsigned("split.no").unwrap_or_default() + 1;
        let found =
            format!("part {part} of {parts} of a split file; join them with llama.cpp's llama-gguf-split --merge");
        return Err(EngineError::NotWhole { model: file.to_owned(), found });
    }
    let rope_factors = match checkpoint.find(ROPE_FACTORS) {
        Some(info) => info.dtype.to_f32(&checkpoint.rows(info, 0, info.rows()).await?),
        None => Vec::new(),
    };
    let description = GgufDescription { checkpoint: &checkpoint, metadata: &metadata, rope_factors: &rope_factors };
    let architecture = describe(Description::Gguf(description))?;
    // Tensors that change the result must not be ignored.
    let read: BTreeSet<String> = architecture.tensors()?.into_iter().map(|spec| spec.stored).collect();
    let unread = |name: &&str| !read.contains(*name) && *name != ROPE_FACTORS;
    let unread: Vec<&str> = checkpoint.tensors().map(|info| info.name.as_str()).filter(unread).collect();
    if !unread.is_empty() {
        return Err(unread_error(file, architecture.summary().architecture, &unread));
    }
    let tokenizer = Tokenizer::from_gguf(&metadata)?;
    let template = gguf_template(&metadata, &tokenizer, clock)?;
    let text = TextPipeline { tokenizer, template };
    let (reading, notes) = (Reading::default(), Vec::new());
    Ok(Opened { checkpoint, architecture, text, class: None, reading, is_made_classifier: false, notes })
}

/// The tensor whose values divide a GGUF's rotary frequencies.
const ROPE_FACTORS: &str = "rope_freqs.weight";

fn gguf_template(
    metadata: &gguf::Metadata,
    tokenizer: &Tokenizer,
    clock: Clock,
) -> Result<Option<ChatTemplate>, EngineError> {
    let special = |name: &str, key: &str| {
        let id = metadata.unsigned(&format!("tokenizer.ggml.{key}_token_id")).ok()?;
        Some((name.to_owned(), tokenizer.token(u32::try_from(id).ok()?)?))
    };
    let special_tokens = [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding")]
        .into_iter()
        .filter_map(|(n, k)| special(n, k));
    let special_tokens = special_tokens.collect();
    let template = metadata.text("tokenizer.chat_template").ok();
    let of = |source: &str| ChatTemplate::new(metadata.file(), source.to_owned(), special_tokens, clock);
    Ok(template.map(of).transpose()?)
}

/// Opens a checkpoint folder. Where an adapter's folder is given, it is merged in, and tokenizer and template
/// are the adapter's if it has its own.
pub(crate) async fn folder(folder: &Folder, adapter: Option<&Folder>, clock: Clock) -> Result<Opened, EngineError> {
    let text_folder = adapter.filter(|adapter| adapter.find("tokenizer.json").is_some()).unwrap_or(folder);
    // An adapter's tokenizer may lie in either folder.
    refuse_old_forms(folder.name(), |file| folder.find(file).or_else(|| text_folder.find(file)).is_some())?;
    let config_source = folder.get("config.json")?;
    let config = text_of(config_source).await?;
    let mut base = Checkpoint::from_folder(folder).await?;
    if let Some(head) = folder.find(VALUE_HEAD) {
        base = base.with(Checkpoint::from_safetensors(head).await?);
    }
    let adapter = match adapter {
        Some(adapter) => Some(Adapter::open(adapter).await?),
        None => None,
    };
    let tensors = known_names(&base, adapter.as_ref());
    let file = config_source.name();
    let mut architecture = describe(Description::ConfigJson { file, json: &config, tensors: &tensors })?;
    let mut is_made_classifier = false;
    let is_language_model = architecture.summary().head == Head::LanguageModel;
    let classifies = adapter.as_ref().is_some_and(Adapter::classifies) || tensors.contains(HEADS[0]);
    if is_language_model && classifies {
        let layers = architecture.summary().layers;
        architecture.classify(layers)?;
        is_made_classifier = adapter.is_some();
    }
    let mut checkpoint = canonical(base, architecture.as_ref())?;
    let mut changed = BTreeSet::new();
    if let Some(adapter) = &adapter {
        (checkpoint, changed) = merged(adapter, checkpoint)?;
    }
    settle_sizes(&checkpoint, architecture.as_mut(), &changed)?;
    let mut notes = Vec::new();
    untie(&mut checkpoint, architecture.as_mut(), &mut notes).await?;
    let named = serde_json::from_str::<Value>(&config).unwrap_or_default();
    let own = match adapter {
        Some(_) => None,
        None => own_head::find(folder.name(), &checkpoint, architecture.as_mut(), &named)?,
    };
    check_unread(folder, &checkpoint, architecture.as_ref(), &changed)?;
    if !architecture.summary().is_causal && !architecture.summary().head.is_an_encoders() {
        notes.push("is_causal is false: tokens see each other, as in transformers 5; version 4 ignores it".to_owned());
    }
    let text = open_text(text_folder, folder, Some(&named), architecture.as_ref(), clock).await?;
    let mut reading = match own {
        Some(head) => own_head::reading(folder.name(), &head, &named, &text.tokenizer)?,
        None => Reading::default(),
    };
    if architecture.summary().head == Head::Pooled {
        let settings = object_of(folder, SETTINGS).await?;
        reading.is_sigmoid = predicts_sigmoid(folder, settings.as_ref(), &named, architecture.summary().labels);
    }
    let class = named.get("architectures").and_then(|names| names.get(0)?.as_str()).map(str::to_owned);
    Ok(Opened { checkpoint, architecture, text, class, reading, is_made_classifier, notes })
}

fn merged(adapter: &Adapter, base: Checkpoint) -> Result<(Checkpoint, BTreeSet<String>), EngineError> {
    let Merged { checkpoint, changed } = adapter.merge(base)?;
    Ok((checkpoint, changed))
}

/// The names of all tensors without the prefixes of an adapter. Each is also listed without its first part,
/// which a model with a head puts before the names of its backbone.
fn known_names(base: &Checkpoint, adapter: Option<&Adapter>) -> BTreeSet<String> {
    let adapters = adapter.into_iter().flat_map(|adapter| adapter.checkpoint().tensors());
    let names = base.tensors().chain(adapters).map(|info| info.name.as_str());
    names
        .flat_map(|name| {
            let bare = name.strip_prefix("base_model.model.").unwrap_or(name).replace(".modules_to_save.", ".");
            let inner = bare.split_once('.').map(|(_, rest)| rest.to_owned());
            [Some(bare), inner].into_iter().flatten()
        })
        .collect()
}

/// Renames tensors to the names that the architecture reads, as transformers does: older names of LayerNorm
/// weights are replaced, and the backbone's prefix is removed or added.
fn canonical(checkpoint: Checkpoint, architecture: &dyn Architecture) -> Result<Checkpoint, EngineError> {
    let specs = architecture.tensors()?;
    let mut wanted: BTreeSet<String> = specs.iter().map(|spec| spec.stored.clone()).collect();
    wanted.extend(architecture.tied_head().map(str::to_owned));
    let prefix = specs.first().and_then(|spec| spec.stored.split_once('.')).map(|(prefix, _)| format!("{prefix}."));
    let prefix = prefix.unwrap_or_default();
    let of = |name: &str| {
        let newer =
            name.replacen("LayerNorm.gamma", "LayerNorm.weight", 1).replacen("LayerNorm.beta", "LayerNorm.bias", 1);
        let without = newer.strip_prefix(&prefix).filter(|rest| wanted.contains(*rest)).map(str::to_owned);
        let with = Some(format!("{prefix}{newer}")).filter(|whole| wanted.contains(whole));
        Some(without.or(with).unwrap_or(newer))
    };
    Ok(checkpoint.renamed(of)?)
}

/// Takes sizes from the tensors: the number of labels from the head, and the size of the vocabulary from an
/// embedding that an adapter brought.
fn settle_sizes(
    checkpoint: &Checkpoint,
    architecture: &mut dyn Architecture,
    changed: &BTreeSet<String>,
) -> Result<(), EngineError> {
    let specs = architecture.tensors()?;
    let head = specs.iter().find(|spec| HEADS.contains(&spec.name.as_str()));
    let rows = |name: &str| checkpoint.find(name).filter(|info| info.shape.len() == 2).map(|info| info.rows());
    if let Some(labels) = head.and_then(|spec| rows(&spec.stored)) {
        architecture.summary_mut().labels = labels;
    }
    if let Some(embedding) = specs.first().filter(|spec| changed.contains(&spec.stored))
        && let Some(tokens) = rows(&embedding.stored)
    {
        architecture.summary_mut().vocab_size = tokens;
    }
    Ok(())
}

/// For a language model whose head is tied to its embedding: where another head is stored, it is used, as in
/// transformers 5. Where only the head is stored, it is the embedding too.
async fn untie(
    checkpoint: &mut Checkpoint,
    architecture: &mut dyn Architecture,
    notes: &mut Vec<String>,
) -> Result<(), EngineError> {
    let Some(own) = architecture.tied_head() else {
        return Ok(());
    };
    let Some(embedding) = architecture.tensors()?.into_iter().next().map(|spec| spec.stored) else {
        return Ok(());
    };
    match (checkpoint.find(&embedding).cloned(), checkpoint.find(own).cloned()) {
        (Some(embedding), Some(head)) if !checkpoint.are_equal(&embedding, &head).await? => {
            architecture.untie();
            notes.push(format!(
                "{own} is not the embedding, though tie_word_embeddings is true: {own} is used, as in transformers 5"
            ));
        }
        (None, Some(_)) => {
            *checkpoint = checkpoint.clone().renamed(|name| (name == own).then(|| embedding.clone()))?;
        }
        _ => {}
    }
    Ok(())
}

/// Refuses tensors of an adapter that are not read, and a language model with a head of another kind.
fn check_unread(
    folder: &Folder,
    checkpoint: &Checkpoint,
    architecture: &dyn Architecture,
    changed: &BTreeSet<String>,
) -> Result<(), EngineError> {
    let summary = architecture.summary();
    let specs = architecture.tensors()?;
    if !changed.is_empty() {
        // A missing tensor says more than the tensors that are not read, so it is reported first.
        specs.iter().try_for_each(|spec| checkpoint.expect(&spec.stored, &spec.shape).map(|_| ()))?;
    }
    let read: BTreeSet<String> = specs.into_iter().map(|spec| spec.stored).collect();
    let unread: Vec<&str> = changed.iter().map(String::as_str).filter(|name| !read.contains(*name)).collect();
    if !unread.is_empty() {
        return Err(unread_error(folder.name(), summary.architecture, &unread));
    }
    if summary.head != Head::LanguageModel {
        return Ok(());
    }
    let is_head = |name: &&str| !read.contains(*name) && own_head::is_head(name);
    let heads: Vec<&str> = checkpoint.tensors().map(|info| info.name.as_str()).filter(is_head).collect();
    match heads.is_empty() {
        true => Ok(()),
        false => Err(unread_error(folder.name(), summary.architecture, &heads)),
    }
}

/// The names of a checkpoint's tensors that an architecture does not read.
pub(crate) fn unread(opened: &Opened) -> Result<Vec<String>, EngineError> {
    let read: BTreeSet<String> = opened.architecture.tensors()?.into_iter().map(|spec| spec.stored).collect();
    let names = opened.checkpoint.tensors().map(|info| info.name.clone());
    Ok(names.filter(|name| !read.contains(name) && name != ROPE_FACTORS).collect())
}

/// The text of a file.
async fn text_of(source: &Source) -> Result<String, EngineError> {
    let bytes = source.read_all().await?;
    Ok(String::from_utf8(bytes).map_err(|_| text_format(source.name(), "UTF-8 text", "other bytes"))?)
}

/// The JSON object in a folder's file; `None` where there is no such file.
async fn object_of(folder: &Folder, name: &str) -> Result<Option<Map<String, Value>>, EngineError> {
    let Some(source) = folder.find(name) else {
        return Ok(None);
    };
    let text = text_of(source).await?;
    let damaged = |found: String| text_format(source.name(), "a JSON object as transformers writes it", found);
    match serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(damaged("another value".to_owned()).into()),
    }
}

/// Opens the tokenizer and the template of `folder`. `base` is the model's folder, and `config` is the
/// configuration in it.
async fn open_text(
    folder: &Folder,
    base: &Folder,
    config: Option<&Value>,
    architecture: &dyn Architecture,
    clock: Clock,
) -> Result<TextPipeline, EngineError> {
    let settings = TokenizerSettings {
        config: object_of(folder, "tokenizer_config.json").await?.unwrap_or_default(),
        special_tokens_map: object_of(folder, "special_tokens_map.json").await?,
        added_tokens: object_of(folder, "added_tokens.json").await?,
    };
    // An adapter's folder may have no config.json. Then only the tokenizer's files say what it is.
    let own = match std::ptr::eq(folder, base) {
        true => config.cloned(),
        false => object_of(folder, "config.json").await?.map(Value::Object),
    };
    let text = |key: &str| own.as_ref().and_then(|config| config.get(key)).and_then(Value::as_str);
    let model_type = text("model_type").unwrap_or_default();
    let named = text("tokenizer_class");
    let tokenizer = match (folder.find("tokenizer.json"), folder.find("vocab.json"), folder.find("merges.txt")) {
        (None, Some(vocabulary), Some(merges)) => {
            let (ids, lines) = (vocabulary.read_all().await?, merges.read_all().await?);
            Tokenizer::assemble(vocabulary.name(), Vocabulary::Merges(&ids, &lines), model_type, named, &settings)?
        }
        _ => {
            let source = folder.get("tokenizer.json")?;
            let json = source.read_all().await?;
            Tokenizer::assemble(source.name(), Vocabulary::Whole(&json), model_type, named, &settings)?
        }
    };
    // An encoder reads a pair of texts, even if its tokenizer's configuration has a template.
    let template = match architecture.summary().head {
        Head::Pooled | Head::Pair => None,
        Head::Score | Head::LanguageModel => chat_template(folder, &settings.config, &tokenizer, clock).await?,
    };
    Ok(TextPipeline { tokenizer, template })
}

/// The chat template in `chat_template.jinja`, or else in `tokenizer_config.json`: a text, or the `default` of
/// a list of named texts; `None` where there is none.
async fn chat_template(
    folder: &Folder,
    config: &Map<String, Value>,
    tokenizer: &Tokenizer,
    clock: Clock,
) -> Result<Option<ChatTemplate>, EngineError> {
    let special_tokens = tokenizer.special_tokens().to_vec();
    if let Some(jinja) = folder.find("chat_template.jinja") {
        return Ok(Some(ChatTemplate::new(jinja.name(), text_of(jinja).await?, special_tokens, clock)?));
    }
    let named_default = |templates: &Vec<Value>| {
        let default = templates.iter().find(|t| t.get("name").is_some_and(|name| name == "default"))?;
        Some(default.get("template")?.as_str()?.to_owned())
    };
    let template = match config.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(templates)) => named_default(templates),
        _ => None,
    };
    let file = folder.find("tokenizer_config.json").map_or("tokenizer_config.json", Source::name);
    Ok(template.map(|template| ChatTemplate::new(file, template, special_tokens, clock)).transpose()?)
}
