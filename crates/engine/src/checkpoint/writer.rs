//! Parts of the checkpoint folders that are written: the tokenizer's files, and the header of packed weights.

use std::collections::BTreeMap;

use rewardscope_models::TensorSpec;
use rewardscope_weights::{Checkpoint, TensorInfo, WeightsError, safetensors};

use crate::Dtype;
use crate::checkpoint::dtype::stored_as;

/// Takes the name of a file of the checkpoint, and that file's next bytes.
pub type WriteFile<'a> = dyn FnMut(&str, &[u8]) -> std::io::Result<()> + 'a;

/// Files of a tokenizer that are copied, where a folder has them.
pub(crate) const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/// A tensor's entry in the header of a packed file.
pub(crate) fn entry(spec: &TensorSpec, info: &TensorInfo, dtype: Dtype) -> safetensors::Entry {
    let packing = dtype.packing(info.dtype, info.columns(), spec.packs);
    safetensors::Entry {
        name: spec.stored.clone(),
        shape: spec.shape.clone(),
        dtype: packing.map_or(info.dtype, stored_as),
    }
}

/// The header of a packed file with these tensors in this order, and the number of bytes of the whole file.
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
