use std::collections::BTreeMap;

use rewardscope_models::{Architecture, Head};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::{Clock, ModelFiles, Need, RewardHead};

/// What there is to say of a model before its weights are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The file's or folder's name.
    pub name: String,
    /// The architecture's name.
    pub architecture: String,
    /// What it gives: `score`, `pooled score` or `log-probabilities`.
    pub head: String,
    /// Logits that it gives, where it is a classifier.
    pub labels: usize,
    /// Where a score is read.
    pub pooling: String,
    /// Tokens that it can attend over.
    pub context_tokens: usize,
    /// Number of layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Entries of the embedding.
    pub vocab_size: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Stored bytes, by the type that they are stored as.
    pub stored_bytes: BTreeMap<String, u64>,
    /// Whether it says how conversations are written.
    pub has_chat_template: bool,
    /// Tensors that are there and that nobody reads.
    pub unread: Vec<String>,
    /// What whoever compares its scores should know: sentences.
    pub notes: Vec<String>,
    /// What the weights need on a device as each type.
    pub needs: Vec<Need>,
}

impl ModelFiles {
    /// What there is to say of a model, from its headers alone.
    ///
    /// # Errors
    /// When a file is damaged or unsupported, a tensor is missing, or the head is another
    /// backbone's.
    pub async fn inspect(&self, head: Option<&RewardHead>) -> Result<Inspection, EngineError> {
        // No text is rendered, so the time does not matter.
        let mut opened = self.open(Clock::from_local_seconds(0)).await?;
        if let Some(head) = head {
            head.attach(&mut opened, &self.fingerprint(&crate::Cancel::default()).await?).await?;
        }
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
            (Head::Pooled, _) => "the model's own, over the pair".to_owned(),
            (Head::LanguageModel, _) => "none: every token of the completion".to_owned(),
            (Head::Score, Some(head)) => format!("{:?}", head.config.pooling),
            (Head::Score, None) => match summary.pad_token_id {
                Some(pad) => format!("the rightmost token that is not {pad}"),
                None => "the last token".to_owned(),
            },
        };
        Ok(Inspection {
            name: self.name().to_owned(),
            architecture: summary.architecture.to_owned(),
            head: match summary.head {
                Head::Score => "score",
                Head::Pooled => "pooled score",
                Head::LanguageModel => "log-probabilities",
            }
            .to_owned(),
            labels: summary.labels,
            pooling,
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
