//! RoBERTa (Liu et al., 2019, arXiv:1907.11692): BERT's layers with positions that begin after the pad id, and a
//! classifier of two layers over the first token.
//!
//! Matches `transformers/models/roberta/modeling_roberta.py`.

use burn::tensor::{Device, Tensor};

use crate::architectures::bert::{Encoder, EncoderJson, Stack};
use crate::config::{ConfigJson, id};
use crate::layers::Linear;
use crate::{
    Architecture, Batch, Description, Entry, Hidden, ModelError, Network, State, Summary, Tensors, Wanted, json_only,
};

/// What absent keys mean: `configuration_roberta.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1, "is_decoder": false
}"#;

struct Roberta(Encoder);

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: EncoderJson = ConfigJson::read(file, json, DEFAULTS)?.keys()?;
    // Positions begin at the pad id plus one.
    let pad = id(config.pad_token_id).ok_or_else(|| ModelError::Config {
        file: file.to_owned(),
        expected: "a pad_token_id, from which positions are counted".to_owned(),
        found: "none".to_owned(),
    })?;
    let first = pad as usize + 1;
    Ok(Box::new(Roberta(config.checked(entry, file, first)?)))
}

impl Architecture for Roberta {
    fn summary(&self) -> &Summary {
        &self.0.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.0.summary
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { hidden_size: hidden, labels, pad_token_id, .. } = self.0.summary;
        Ok(Box::new(RobertaNetwork {
            stack: Stack::take(&self.0, "roberta", tensors, device)?,
            dense: Linear::take_head(tensors, "classifier.dense", [hidden, hidden], true)?,
            out_proj: Linear::take_head(tensors, "classifier.out_proj", [labels, hidden], true)?,
            pad: pad_token_id.unwrap_or_default(),
        }))
    }
}

struct RobertaNetwork {
    stack: Stack,
    dense: Linear,
    out_proj: Linear,
    pad: u32,
}

impl Network for RobertaNetwork {
    fn hidden(&self, batch: &Batch<'_>, _state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        // Positions count only the tokens that are not the pad id. A pad token's position is the pad id itself.
        let (ids, mut positions) = (batch.ids(), Vec::with_capacity(batch.tokens()));
        for span in batch.spans() {
            let mut counted = 0;
            positions.extend(ids[span].iter().map(|&id| {
                if id == self.pad {
                    return self.pad;
                }
                counted += 1;
                self.pad + counted
            }));
        }
        self.stack.forward(batch, &positions, wanted)
    }

    fn outputs(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<2> {
        let pooled = self.dense.forward(hidden).tanh();
        self.out_proj.forward(pooled)
    }
}
