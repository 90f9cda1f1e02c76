//! A reward head: one weight for each hidden unit, fitted on a frozen backbone, in a file of a few kilobytes.
//! It names its backbone by a hash over the backbone's files.

use std::collections::BTreeMap;

use rewardscope_store::{Digest, Hasher, Source};
use rewardscope_weights::{Checkpoint, StoredType, safetensors};
use serde::{Deserialize, Serialize};

use crate::checkpoint::open::Opened;
use crate::error::EngineError;
use crate::scoring::reading::Reading;

/// The head's tensor, named as transformers names a sequence classifier's.
const WEIGHT: &str = "score.weight";

/// Metadata key of the head's description.
const CONFIG: &str = "rewardscope_head";
/// Metadata key of the report of its fit.
const REPORT: &str = "rewardscope_report";

/// Most bytes of a head's file. A head has a few kilobytes and its report some more; a larger file is no head.
const MOST_BYTES: u64 = 16 << 20;

/// Which hidden states of a conversation the score is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The hidden state of the last token, as in transformers' sequence classifiers.
    #[default]
    #[cfg_attr(feature = "clap", value(name = "last"))]
    LastToken,
    /// The mean over the completion's tokens, closing tokens included.
    #[cfg_attr(feature = "clap", value(name = "mean"))]
    CompletionMean,
}

/// The model that a head was fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Backbone {
    /// The file's or folder's name.
    pub name: String,
    /// Its Hub id, where that is known.
    pub id: Option<String>,
    /// The hash over every byte of its files.
    pub fingerprint: String,
    /// The architecture's name.
    pub architecture: String,
    /// Width of the hidden states.
    pub hidden_size: usize,
}

/// A head's description: everything but its weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct HeadConfig {
    /// The head's name.
    pub name: String,
    /// The model that it was fitted on.
    pub backbone: Backbone,
    /// How many of the backbone's layers run before the final norm.
    pub layers: usize,
    /// Which hidden states the score is read from.
    pub pooling: Pooling,
}

/// A reward head.
#[derive(Debug, Clone, PartialEq)]
pub struct RewardHead {
    /// Its description.
    pub config: HeadConfig,
    /// `[hidden]`: the score is its product with the pooled hidden state.
    pub weight: Vec<f32>,
    /// How it was fitted and how good it is: JSON, as the crate `fit` writes it.
    pub report: Option<String>,
}

impl RewardHead {
    /// Reads a head's file.
    ///
    /// # Errors
    /// When the file is no head, or is damaged.
    pub async fn read(source: &Source) -> Result<Self, EngineError> {
        let refuse = |found: String| EngineError::NoHead { file: source.name().to_owned(), found };
        if source.bytes() > MOST_BYTES {
            return Err(refuse(format!("a file of {} bytes", source.bytes())));
        }
        let checkpoint = Checkpoint::from_safetensors(source).await.map_err(|e| refuse(e.to_string()))?;
        let config = safetensors::metadata(source, CONFIG).await?;
        let config = config.ok_or_else(|| refuse(format!("a safetensors file without {CONFIG} in its metadata")))?;
        let config: HeadConfig = serde_json::from_str(&config).map_err(|e| refuse(e.to_string()))?;
        let info = checkpoint.expect(WEIGHT, &[1, config.backbone.hidden_size]).map_err(|e| refuse(e.to_string()))?;
        let weight = info.dtype.to_f32(&checkpoint.rows(info, 0, 1).await?);
        if config.layers == 0 || weight.iter().any(|w| !w.is_finite()) {
            return Err(refuse("no layers, or a weight that is no number".to_owned()));
        }
        Ok(Self { config, weight, report: safetensors::metadata(source, REPORT).await? })
    }

    /// The file's bytes; the same head gives the same bytes.
    ///
    /// # Errors
    /// When the configuration cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EngineError> {
        let config = serde_json::to_string(&self.config)
            .map_err(|e| EngineError::NoHead { file: self.config.name.clone(), found: e.to_string() })?;
        let mut metadata = BTreeMap::from([(CONFIG.to_owned(), config), ("format".to_owned(), "pt".to_owned())]);
        metadata.extend(self.report.clone().map(|report| (REPORT.to_owned(), report)));
        let shape = vec![1, self.weight.len()];
        let weight = safetensors::Entry { name: WEIGHT.to_owned(), shape, dtype: StoredType::F32 };
        let mut bytes = safetensors::header(&[weight], &metadata);
        bytes.extend(self.weight.iter().flat_map(|w| w.to_le_bytes()));
        Ok(bytes)
    }

    /// The fingerprint of a backbone with this head on it.
    pub(crate) fn fingerprint(&self, backbone: &str) -> String {
        let mut hash = Hasher::sha256();
        hash.update(backbone.as_bytes());
        hash.update(&(self.config.layers as u64).to_le_bytes());
        hash.update(&[u8::from(self.config.pooling == Pooling::CompletionMean)]);
        self.weight.iter().for_each(|w| hash.update(&w.to_le_bytes()));
        Digest::hex(&hash.finish())
    }

    /// Puts the head onto an opened backbone, in place of the backbone's own head. `fingerprint` is the
    /// backbone's.
    pub(crate) async fn attach(&self, backbone: &mut Opened, fingerprint: &str) -> Result<(), EngineError> {
        let refuse = |found: String| EngineError::OtherBackbone {
            head: self.config.name.clone(),
            expected: self.config.backbone.id.as_ref().unwrap_or(&self.config.backbone.name).clone(),
            found,
        };
        let found = backbone.checkpoint.name().to_owned();
        if fingerprint != self.config.backbone.fingerprint {
            return Err(refuse(format!("{found}, whose files have another hash")));
        }
        let summary = backbone.architecture.summary();
        if summary.hidden_size != self.weight.len() || summary.layers < self.config.layers {
            return Err(refuse(format!("{found} of {} layers, {} wide", summary.layers, summary.hidden_size)));
        }
        backbone.architecture.classify(self.config.layers)?;
        // The backbone's own head is not read.
        backbone.reading = Reading::default();
        let source = Source::memory(self.config.name.as_str(), self.to_bytes()?);
        let own = Checkpoint::from_safetensors(&source).await?;
        backbone.checkpoint = backbone.checkpoint.clone().with(own);
        Ok(())
    }
}
