//! Writes a backbone with its head as a checkpoint folder in float32, which transformers opens as a sequence
//! classifier.

use std::collections::BTreeMap;

use rewardscope_models::{RowOrder, TensorSpec};
use rewardscope_text::Clock;
use rewardscope_weights::{StoredType, safetensors};

use crate::checkpoint::stored_rows::{piece_rows, read_rows};
use crate::checkpoint::writer::{TOKENIZER_FILES, WriteFile};
use crate::error::EngineError;
use crate::{Cancel, ModelFiles, Pooling, RewardHead};

impl ModelFiles {
    /// Writes the backbone with a head on it, one piece after the other, as a sequence classifier of
    /// transformers, such as `LlamaForSequenceClassification`.
    ///
    /// # Errors
    /// When a file cannot be read or written, the head is another backbone's, or transformers' classifiers do
    /// not pool as the head does.
    pub async fn write_checkpoint(
        &self,
        head: &RewardHead,
        cancel: &Cancel,
        write: &mut WriteFile<'_>,
    ) -> Result<(), EngineError> {
        let refuse = |reason: String| EngineError::NoCheckpoint { model: self.name().to_owned(), reason };
        if head.config.pooling != Pooling::LastToken {
            return Err(refuse(
                "transformers' sequence classifiers read the last token, this head reads a mean; fit one with --pooling last"
                    .to_owned(),
            ));
        }
        let mut write = |file: &str, bytes: &[u8]| write(file, bytes).map_err(|e| refuse(format!("{file}: {e}")));
        // No text is rendered, so the time does not matter.
        let mut opened = self.open(Clock::from_local_seconds(0)).await?;
        head.attach(&mut opened, &self.fingerprint(cancel).await?).await?;
        let json = |value: &serde_json::Value| format!("{value:#}\n");
        let config = opened.architecture.classifier_config();
        if config.is_null() {
            let class = opened.architecture.summary().architecture;
            return Err(refuse(format!("transformers has no class for {class}; leave it out (--no-checkpoint)")));
        }
        write("config.json", json(&config).as_bytes())?;
        match self {
            Self::Folder { folder, .. } | Self::Cached { folder, .. } | Self::Adapted { adapter: folder, .. } => {
                let base = if let Self::Adapted { base: Some(base), .. } = self { base } else { folder };
                for file in TOKENIZER_FILES {
                    if let Some(source) = folder.find(file).or_else(|| base.find(file)) {
                        write(file, &source.read_all().await?)?;
                    }
                }
            }
            Self::Gguf(_) => {
                write("tokenizer.json", opened.text.tokenizer.to_json()?.as_bytes())?;
                let mut config = serde_json::json!({
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "clean_up_tokenization_spaces": false,
                    "model_max_length": opened.architecture.summary().context_tokens,
                });
                if let Some(template) = &opened.text.template {
                    for (name, token) in template.special_tokens() {
                        config[name] = token.as_str().into();
                    }
                    write("chat_template.jinja", template.source().as_bytes())?;
                }
                write("tokenizer_config.json", json(&config).as_bytes())?;
            }
        }
        let specs = opened.architecture.tensors()?;
        let entry = |spec: &TensorSpec| safetensors::Entry {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            dtype: StoredType::F32,
        };
        let entries: Vec<_> = specs.iter().map(entry).collect();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write(safetensors::SINGLE, &safetensors::header(&entries, &metadata))?;
        for spec in &specs {
            let info = opened.checkpoint.expect(&spec.stored, &spec.shape)?;
            let rows = piece_rows(info, spec.rows);
            let added = if spec.rows == RowOrder::PlusOne { 1.0 } else { 0.0 };
            for first in (0..info.rows()).step_by(rows) {
                cancel.check()?;
                let stored =
                    read_rows(&opened.checkpoint, info, spec.rows, first, rows.min(info.rows() - first)).await?;
                let values: Vec<u8> =
                    info.dtype.to_f32(&stored).iter().flat_map(|value| (value - added).to_le_bytes()).collect();
                write(safetensors::SINGLE, &values)?;
            }
        }
        Ok(())
    }
}
