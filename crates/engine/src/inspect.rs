//! Describes a model before it is loaded.

use std::collections::BTreeMap;

use rewardscope_models::{Architecture, Head};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::reader::attach::attach;
use crate::{LoadOptions, ModelFiles, Need, Reader, RewardHead};

/// What is known of a model before its weights are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The file's or folder's name.
    pub name: String,
    /// The architecture's name.
    pub architecture: String,
    /// What the model gives: `score`, `pooled score`, `comparison`, `log-probabilities`, or a reader's `verdict`.
    pub head: String,
    /// Number of logits, where the model is a classifier.
    pub labels: usize,
    /// What reads the score, where it is no head's own output.
    pub reader: Option<Reader>,
    /// Which tokens the score is read at, in words.
    pub pooling: String,
    /// Most tokens that the model can attend over.
    pub context_tokens: usize,
    /// Number of layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of tokens in the embedding.
    pub vocab_size: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Stored bytes of the weights, by the name of their stored type.
    pub stored_bytes: BTreeMap<String, u64>,
    /// Whether the model has a chat template.
    pub has_chat_template: bool,
    /// Names of stored tensors that are not read.
    pub unread: Vec<String>,
    /// What people who compare its scores should know: sentences.
    pub notes: Vec<String>,
    /// Bytes that the weights need on a device, for each type.
    pub needs: Vec<Need>,
}

impl ModelFiles {
    /// Describes a model from its headers alone, with the reader that the options choose. With `head`, the model is that
    /// reward head's backbone, and its files are hashed to check this.
    ///
    /// # Errors
    /// When a file is damaged or unsupported, a tensor is missing, the head is another backbone's, or the reader does
    /// not fit the model.
    pub async fn inspect(&self, head: Option<&RewardHead>, options: &LoadOptions) -> Result<Inspection, EngineError> {
        let mut opened = self.open(options.clock).await?;
        if let Some(head) = head {
            head.attach(&mut opened, &self.fingerprint(&crate::Cancel::default()).await?).await?;
        }
        let reader = attach(&mut opened, self.name(), head.is_some(), options).await?;
        let architecture: &dyn Architecture = opened.architecture.as_ref();
        let summary = architecture.summary();
        let mut stored_bytes = BTreeMap::new();
        let mut parameters = 0;
        let specs = architecture.tensors()?;
        for spec in &specs {
            let info = opened.checkpoint.expect(&spec.stored, &spec.shape)?;
            parameters += info.rows() as u64 * info.columns() as u64;
            *stored_bytes.entry(info.dtype.to_string()).or_default() += info.bytes();
        }
        let pooling = match (summary.head, head) {
            _ if reader.is_some() => reader.as_ref().map(|own| own.reader.spec.place()).unwrap_or_default(),
            (Head::Pair, _) => "the tokens that begin the prompt and the two completions".to_owned(),
            (Head::Pooled, _) => "the model's own, over the pair".to_owned(),
            (Head::LanguageModel, _) => "none: every token of the completion".to_owned(),
            (Head::Score, Some(head)) => format!("{:?}", head.config.pooling),
            (Head::Score, None) if opened.reading.head.is_some() => {
                let (head, at) = (opened.reading.described(), "the last token");
                format!("{at}; {head}")
            }
            (Head::Score, None) => match summary.pad_token_id {
                Some(pad) => format!("the rightmost token that is not {pad}"),
                None => "the last token".to_owned(),
            },
        };
        Ok(Inspection {
            name: self.name().to_owned(),
            architecture: summary.architecture.to_owned(),
            head: match summary.head {
                Head::Score if reader.is_some() => "verdict",
                Head::Score => "score",
                Head::Pooled => "pooled score",
                Head::Pair => "comparison",
                Head::LanguageModel => "log-probabilities",
            }
            .to_owned(),
            labels: if opened.reading.gates.is_some() || reader.is_some() { 1 } else { summary.labels },
            pooling,
            reader: reader.as_ref().map(|own| own.reader.clone()),
            context_tokens: summary.context_tokens,
            layers: summary.layers,
            hidden_size: summary.hidden_size,
            vocab_size: summary.vocab_size,
            parameters,
            stored_bytes,
            has_chat_template: opened.text.template.is_some(),
            unread: crate::checkpoint::open::unread(&opened)?,
            needs: crate::checkpoint::dtype::needs(&specs, &opened.checkpoint)?,
            notes: opened.notes,
        })
    }
}
