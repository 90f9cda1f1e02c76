//! RoBERTa (Liu et al., 2019, arXiv:1907.11692): BERT's layers with positions that begin behind the
//! pad id, and a classifier of two layers over the first token.
//!
//! Matches `transformers/models/roberta/modeling_roberta.py`.

use burn::tensor::{Device, Tensor};

use crate::bert::{Encoder, EncoderJson, Stack};
use crate::layers::Linear;
use crate::{
    Architecture, Batch, Description, Entry, Hidden, ModelError, Network, State, Summary, Tensors, Wanted, from_json,
    json_only,
};

/// transformers' own default.
const PAD: u32 = 1;

struct Roberta(Encoder);

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: EncoderJson = from_json(file, json)?;
    let first = config.pad_token_id.unwrap_or(PAD) as usize + 1;
    Ok(Box::new(Roberta(config.checked(entry, file, first)?)))
}

impl Architecture for Roberta {
    fn summary(&self) -> &Summary {
        &self.0.summary
    }

    fn choose_label(&mut self, label: usize) {
        self.0.summary.label = label;
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { hidden_size: hidden, labels, label, pad_token_id, .. } = self.0.summary;
        Ok(Box::new(RobertaNetwork {
            stack: Stack::take(&self.0, "roberta", tensors, device)?,
            dense: Linear::take_head(tensors, "classifier.dense", [hidden, hidden], true)?,
            out_proj: Linear::take_head(tensors, "classifier.out_proj", [labels, hidden], true)?,
            label,
            pad: pad_token_id.unwrap_or(PAD),
        }))
    }
}

struct RobertaNetwork {
    stack: Stack,
    dense: Linear,
    out_proj: Linear,
    label: usize,
    pad: u32,
}

impl Network for RobertaNetwork {
    fn hidden(&self, batch: &Batch<'_>, _state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        // Positions count the tokens that are not the pad id, wherever that stands.
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

    fn score(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<1> {
        let pooled = self.dense.forward(hidden).tanh();
        self.out_proj.forward(pooled).narrow(1, self.label, 1).squeeze_dim(1)
    }
}
