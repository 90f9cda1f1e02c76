//! What a checkpoint folder that is written begins with.

use std::collections::BTreeMap;

use rewardscope_models::TensorSpec;
use rewardscope_weights::{Checkpoint, TensorInfo, WeightsError, safetensors};

use crate::Dtype;
use crate::checkpoint::dtype::stored_as;

/// Takes the next bytes of a file of the checkpoint, by the file's name.
pub type WriteFile<'a> = dyn FnMut(&str, &[u8]) -> std::io::Result<()> + 'a;

/// Files that belong to a tokenizer, as far as a folder has them.
pub(crate) const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/// What a tensor is in a packed file.
pub(crate) fn entry(spec: &TensorSpec, info: &TensorInfo, dtype: Dtype) -> safetensors::Entry {
    let packing = dtype.packing(info.dtype, info.columns(), spec.packs);
    safetensors::Entry {
        name: spec.stored.clone(),
        shape: spec.shape.clone(),
        dtype: packing.map_or(info.dtype, stored_as),
    }
}

/// The first bytes of a packed file of these tensors in this order, and how many it has in all.
pub(crate) fn header(
    specs: &[TensorSpec],
    checkpoint: &Checkpoint,
    dtype: Dtype,
    metadata: BTreeMap<String, String>,
) -> Result<(Vec<u8>, u64), WeightsError> {
    let of = |spec: &TensorSpec| Ok(entry(spec, checkpoint.expect(&spec.stored, &spec.shape)?, dtype));
    let entries: Vec<_> = specs.iter().map(of).collect::<Result<_, WeightsError>>()?;
    let header = safetensors::header(&entries, &metadata);
    let bytes = header.len() as u64 + entries.iter().map(safetensors::Entry::bytes).sum::<u64>();
    Ok((header, bytes))
}
