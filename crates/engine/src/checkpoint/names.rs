//! The names of files that a model is made of.

use rewardscope_store::{Folder, Source};
use rewardscope_weights::{adapter, safetensors};

use crate::checkpoint::cross_encoder::SETTINGS;
use crate::error::EngineError;

/// Files of a checkpoint beside its weights.
pub(crate) const CHECKPOINT_FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// Further files of older checkpoints, and of sentence-transformers. A head in a file of its own is among them, so that it is never ignored.
pub(crate) const OLDER_FILES: [&str; 6] =
    ["special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", VALUE_HEAD, SETTINGS];

/// The file of a value head, as some trainers write it.
pub(crate) const VALUE_HEAD: &str = "value_head.safetensors";

/// Files of an adapter. Those of the tokenizer replace its base's.
pub(crate) const ADAPTER_FILES: [&str; 5] =
    [adapter::CONFIG, adapter::WEIGHTS, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// Files without which a checkpoint cannot be opened.
pub(crate) const REQUIRED_FILES: [&str; 1] = ["config.json"];

/// Whether a file is part of the model. Other files do not make it another model.
pub(crate) fn is_of_model(name: &str) -> bool {
    let file = file_name(name);
    CHECKPOINT_FILES.contains(&file)
        || ADAPTER_FILES.contains(&file)
        || file.ends_with(".safetensors")
        || file == safetensors::INDEX
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The files of a folder that its model is made of. Older files of a tokenizer count only where no newer file
/// says the same, so that the fingerprints of models that never read them stay the same.
pub(crate) async fn of_model(folder: &Folder) -> Result<Vec<&Source>, EngineError> {
    let config = match folder.find("tokenizer_config.json") {
        Some(source) => String::from_utf8(source.read_all().await?).unwrap_or_default(),
        None => String::new(),
    };
    let lists_tokens = config.contains("\"added_tokens_decoder\"");
    let has_tokenizer = folder.find("tokenizer.json").is_some();
    let is_read = |name: &str| match file_name(name) {
        "special_tokens_map.json" | "added_tokens.json" => !lists_tokens,
        "vocab.json" | "merges.txt" => !has_tokenizer,
        _ => is_of_model(name),
    };
    Ok(folder.sources().filter(|source| is_read(source.name())).collect())
}

/// Refuses formats of a checkpoint that are not read, and says how to convert them.
pub(crate) fn refuse_old_forms(model: &str, has: impl Fn(&str) -> bool) -> Result<(), EngineError> {
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
    let has_merges = has("vocab.json") && has("merges.txt");
    if !has("tokenizer.json")
        && !has_merges
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
