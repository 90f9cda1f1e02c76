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

/// The header's key for what is no tensor: a map of texts.
const METADATA: &str = "__metadata__";

pub(crate) async fn open(source: &Source) -> Result<Checkpoint, WeightsError> {
    let header = header(source, 0).await?;
    Checkpoint::new(source.name(), vec![source.clone()], header.tensors, header.undecoded, None)
}

pub(crate) async fn open_folder(folder: &Folder) -> Result<Checkpoint, WeightsError> {
    let files = if let Some(index) = folder.find(INDEX) {
        shards(index).await?.iter().map(|shard| folder.get(shard).cloned()).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![folder.get(SINGLE)?.clone()]
    };
    let mut all = Header::default();
    for (position, file) in files.iter().enumerate() {
        let header = header(file, position).await?;
        all.tensors.extend(header.tensors);
        all.undecoded.extend(header.undecoded);
    }
    Checkpoint::new(folder.name(), files, all.tensors, all.undecoded, None)
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

/// A text of a file's metadata, where it has one of this name.
///
/// # Errors
/// When it is no safetensors.
pub async fn metadata(file: &Source, name: &str) -> Result<Option<String>, WeightsError> {
    let (entries, _) = entries(file).await?;
    Ok(match entries.into_iter().find(|(key, _)| key == METADATA) {
        Some((_, Entry::Metadata(mut texts))) => texts.remove(name),
        _ => None,
    })
}

/// The first bytes of a file that holds tensors in f32 one after the other, by name and shape, in
/// that order, with texts in its metadata. The values follow in little-endian order.
pub fn f32_header(tensors: &[(String, Vec<usize>)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    entries.insert(METADATA.to_owned(), serde_json::json!(metadata));
    let mut start = 0u64;
    for (name, shape) in tensors {
        let end = start + 4 * shape.iter().map(|&n| n as u64).product::<u64>();
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        entries.insert(name.clone(), entry);
        start = end;
    }
    let mut json = serde_json::Value::Object(entries).to_string();
    // The values begin at a multiple of eight, as the format's own writer has it.
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}

/// The tensors of a file.
#[derive(Default)]
struct Header {
    tensors: Vec<TensorInfo>,
    /// What is to be said of those of other types, by name.
    undecoded: BTreeMap<String, WeightsError>,
}

async fn header(file: &Source, position: usize) -> Result<Header, WeightsError> {
    let (entries, values) = entries(file).await?;
    let mut header = Header::default();
    for (name, entry) in entries {
        let Entry::Tensor { dtype, shape, data_offsets: (start, end) } = entry else {
            continue;
        };
        let dtype = match dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            _ => {
                let refusal =
                    WeightsError::UnsupportedType { file: file.name().to_owned(), tensor: name.clone(), found: dtype };
                header.undecoded.insert(name, refusal);
                continue;
            }
        };
        let info =
            TensorInfo { name, shape, dtype, file: position, start: values.saturating_add(start), low_rank: None };
        let bytes = info.checked_bytes(file.name())?;
        if end.checked_sub(start) != Some(bytes) {
            return Err(format_error(
                file.name(),
                format!("{bytes} bytes for tensor {} of shape {:?}", info.name, info.shape),
                format!("bytes {start} to {end}"),
            ));
        }
        header.tensors.push(info);
    }
    Ok(header)
}

/// The header's lines, and where in the file the values begin.
async fn entries(file: &Source) -> Result<(BTreeMap<String, Entry>, u64), WeightsError> {
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
    let entries = serde_json::from_slice(&bytes).map_err(|e| format_error(file.name(), expected, e.to_string()))?;
    Ok((entries, 8 + length))
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
    /// [`METADATA`], as the format has it.
    Metadata(BTreeMap<String, String>),
    /// Anything else, such as numbers in the metadata.
    Other(serde::de::IgnoredAny),
}
