//! safetensors: eight bytes of header length, a JSON header, the values.

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_store::{Folder, Source};

use crate::{Checkpoint, DType, TensorInfo, WeightsError, format_error};

/// The file of a checkpoint in one file.
pub const SINGLE: &str = "model.safetensors";

/// The file that names a checkpoint's shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// The format's own bound on a header.
const MAX_HEADER_BYTES: u64 = 100_000_000;

pub(crate) async fn open_folder(folder: &Folder) -> Result<Checkpoint, WeightsError> {
    let files = if let Some(index) = folder.find(INDEX) {
        shards(index).await?.iter().map(|shard| folder.get(shard).cloned()).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![folder.get(SINGLE)?.clone()]
    };
    let mut tensors = Vec::new();
    for (position, file) in files.iter().enumerate() {
        tensors.extend(header(file, position).await?);
    }
    Checkpoint::new(folder.name(), files, tensors, None)
}

/// The shards' file names: those in the `weight_map` of an [`INDEX`], without repeats.
///
/// # Errors
/// When it is no such index.
pub async fn shards(index: &Source) -> Result<BTreeSet<String>, WeightsError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index_bytes = index.read_all().await?;
    let parsed: Index = serde_json::from_slice(&index_bytes)
        .map_err(|e| format_error(index.name(), "JSON with a weight_map of tensor names to files", e.to_string()))?;
    Ok(parsed.weight_map.into_values().collect())
}

async fn header(file: &Source, position: usize) -> Result<Vec<TensorInfo>, WeightsError> {
    let expected = "a safetensors header";
    if file.bytes() < 8 {
        return Err(format_error(file.name(), expected, format!("a file of {} bytes", file.bytes())));
    }
    let length_bytes = file.read(0, 8).await?;
    let length = u64::from_le_bytes(std::array::from_fn(|i| length_bytes[i]));
    if length > MAX_HEADER_BYTES || length > file.bytes() - 8 {
        return Err(format_error(
            file.name(),
            expected,
            format!(
                "a header length of {length} bytes in a file of {} bytes; it is truncated or not safetensors",
                file.bytes()
            ),
        ));
    }
    let bytes = file.read(8, length as usize).await?;
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(&bytes).map_err(|e| format_error(file.name(), expected, e.to_string()))?;
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        let Entry::Tensor { dtype, shape, data_offsets: (start, end) } = entry else {
            continue;
        };
        let dtype = match dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            _ => {
                return Err(WeightsError::UnsupportedType { file: file.name().to_owned(), tensor: name, found: dtype });
            }
        };
        let info = TensorInfo { name, shape, dtype, file: position, start: (8 + length).saturating_add(start) };
        let bytes = info.checked_bytes(file.name())?;
        if end.checked_sub(start) != Some(bytes) {
            return Err(format_error(
                file.name(),
                format!("{bytes} bytes for tensor {} of shape {:?}", info.name, info.shape),
                format!("bytes {start} to {end}"),
            ));
        }
        tensors.push(info);
    }
    Ok(tensors)
}

/// A line of the header. Offsets are u64 here, because a browser's usize has 32 bits and files are
/// larger than that.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Entry {
    Tensor {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: (u64, u64),
    },
    /// `__metadata__`
    Other(serde::de::IgnoredAny),
}
