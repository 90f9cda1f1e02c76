//! safetensors files: eight bytes with the header's length, a JSON header, then the values.
//! Format: <https://github.com/huggingface/safetensors>.

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_store::{Folder, Source};

use crate::{Checkpoint, StoredType, TensorInfo, WeightsError, format_error};

/// The file name of a checkpoint that is one file.
pub const SINGLE: &str = "model.safetensors";

/// The name of the file that lists a checkpoint's shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Most bytes of a header, a limit of the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The header's key for the metadata, a map of texts; every other key names a tensor.
const METADATA: &str = "__metadata__";

/// This crate's metadata key for block types: a JSON object from the names of [`BYTES`] tensors to the types of their
/// blocks.
const BLOCKS: &str = "rewardscope.blocks";

/// The format's name of the type of plain bytes.
const BYTES: &str = "U8";

pub(crate) async fn open(source: &Source) -> Result<Checkpoint, WeightsError> {
    let header = read_header(source, 0).await?;
    Checkpoint::new(source.name(), vec![source.clone()], header.tensors, header.undecoded, None)
}

pub(crate) async fn open_folder(folder: &Folder) -> Result<Checkpoint, WeightsError> {
    // A single file wins over an index, which may be left over from another form of the model.
    let files = match (folder.find(SINGLE), folder.find(INDEX)) {
        (None, Some(index)) => {
            shards(index).await?.iter().map(|shard| folder.get(shard).cloned()).collect::<Result<Vec<_>, _>>()?
        }
        _ => vec![folder.get(SINGLE)?.clone()],
    };
    let mut all = Header::default();
    for (position, file) in files.iter().enumerate() {
        let header = read_header(file, position).await?;
        all.tensors.extend(header.tensors);
        all.undecoded.extend(header.undecoded);
    }
    Checkpoint::new(folder.name(), files, all.tensors, all.undecoded, None)
}

/// The shards' file names: those in the `weight_map` of an [`INDEX`], without repeats.
///
/// # Errors
/// When the file is not such an index.
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

/// The text that a file's metadata has under `name`; `None` where it has none.
///
/// # Errors
/// When the file is not safetensors.
pub async fn metadata(file: &Source, name: &str) -> Result<Option<String>, WeightsError> {
    let (entries, _) = entries(file).await?;
    Ok(match entries.into_iter().find(|(key, _)| key == METADATA) {
        Some((_, Line::Metadata(mut texts))) => texts.remove(name),
        _ => None,
    })
}

/// A tensor as a file's header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The type of its values. The last dimension must be a multiple of [`StoredType::block_elements`].
    pub dtype: StoredType,
}

impl Entry {
    /// Size of its values in bytes.
    pub fn bytes(&self) -> u64 {
        let (columns, rows) = self.shape.split_last().map_or((1, &[][..]), |(columns, rows)| (*columns, rows));
        rows.iter().map(|&n| n as u64).product::<u64>() * self.dtype.bytes(columns) as u64
    }
}

/// The bytes of a file before its values: the header with these tensors and this metadata, and its length. The values
/// must follow in the same order, little-endian and without gaps.
///
/// The format has no block types. A tensor of blocks is stored as bytes, and the metadata says which type its blocks
/// have.
///
/// ```
/// use rewardscope_store::Source;
/// use rewardscope_weights::{Checkpoint, StoredType, safetensors};
/// use std::collections::BTreeMap;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
/// let entry = safetensors::Entry { name: "w".to_owned(), shape: vec![2, 64], dtype: StoredType::Q8_0 };
/// let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
/// let mut bytes = safetensors::header(std::slice::from_ref(&entry), &metadata);
/// bytes.resize(bytes.len() + entry.bytes() as usize, 0);
///
/// let file = Source::memory("packed.safetensors", bytes);
/// assert_eq!(safetensors::metadata(&file, "format").await?.as_deref(), Some("pt"));
/// let checkpoint = Checkpoint::from_safetensors(&file).await?;
/// assert_eq!(checkpoint.expect("w", &[2, 64])?.dtype, StoredType::Q8_0);
/// # Ok(()) }) }
/// ```
pub fn header(tensors: &[Entry], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut metadata = metadata.clone();
    let in_blocks = tensors.iter().filter(|tensor| tensor.dtype.block_elements() > 1);
    let blocks: BTreeMap<&str, String> =
        in_blocks.map(|tensor| (tensor.name.as_str(), tensor.dtype.to_string())).collect();
    if !blocks.is_empty() {
        metadata.insert(BLOCKS.to_owned(), serde_json::json!(blocks).to_string());
    }
    let mut entries = serde_json::Map::new();
    entries.insert(METADATA.to_owned(), serde_json::json!(metadata));
    let mut start = 0u64;
    for tensor in tensors {
        let end = start + tensor.bytes();
        let mut shape = tensor.shape.clone();
        let mut dtype = tensor.dtype.to_string();
        if tensor.dtype.block_elements() > 1
            && let Some(columns) = shape.last_mut()
        {
            *columns = tensor.dtype.bytes(*columns);
            dtype = BYTES.to_owned();
        }
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut json = serde_json::Value::Object(entries).to_string();
    // Padded so that the values begin at a multiple of eight bytes, as the format's own writer does.
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}

/// The tensors of a file.
#[derive(Default)]
struct Header {
    tensors: Vec<TensorInfo>,
    /// The errors for tensors of types that are not decoded, by name.
    undecoded: BTreeMap<String, WeightsError>,
}

async fn read_header(file: &Source, position: usize) -> Result<Header, WeightsError> {
    let (entries, values) = entries(file).await?;
    let mut header = Header::default();
    let blocks = blocks(file, &entries)?;
    for (name, entry) in entries {
        let Line::Tensor { dtype, mut shape, data_offsets: (start, end) } = entry else {
            continue;
        };
        let dtype = match (dtype.as_str(), blocks.get(&name), shape.last_mut()) {
            ("F64", ..) => StoredType::F64,
            ("F32", ..) => StoredType::F32,
            ("F16", ..) => StoredType::F16,
            ("BF16", ..) => StoredType::BF16,
            (BYTES, Some(dtype), Some(columns)) if columns.is_multiple_of(dtype.block_bytes()) => {
                *columns = (*columns / dtype.block_bytes()).saturating_mul(dtype.block_elements());
                *dtype
            }
            _ => {
                let refusal =
                    WeightsError::UnsupportedType { file: file.name().to_owned(), tensor: name.clone(), found: dtype };
                header.undecoded.insert(name, refusal);
                continue;
            }
        };
        let info = TensorInfo { name, shape, dtype, file: position, start: values.saturating_add(start), change: None };
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

/// The block types of the tensors that are stored as bytes, by name.
fn blocks(file: &Source, entries: &BTreeMap<String, Line>) -> Result<BTreeMap<String, StoredType>, WeightsError> {
    let Some(Line::Metadata(texts)) = entries.get(METADATA) else {
        return Ok(BTreeMap::new());
    };
    let Some(text) = texts.get(BLOCKS) else {
        return Ok(BTreeMap::new());
    };
    let refuse = |found: String| format_error(file.name(), "types of blocks by the names of tensors", found);
    let named: BTreeMap<String, String> = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
    let known =
        |(tensor, name): (String, String)| match StoredType::BLOCKS.into_iter().find(|dtype| dtype.to_string() == name)
        {
            Some(dtype) => Ok((tensor, dtype)),
            None => Err(refuse(format!("{:?}", name.chars().take(80).collect::<String>()))),
        };
    named.into_iter().map(known).collect()
}

/// The header's entries, and the byte of the file at which the values begin.
async fn entries(file: &Source) -> Result<(BTreeMap<String, Line>, u64), WeightsError> {
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

/// An entry of the header. Offsets are u64, because usize has 32 bits in a browser and files are larger than that.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Tensor {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: (u64, u64),
    },
    /// [`METADATA`] as the format wants it: every value is a text.
    Metadata(BTreeMap<String, String>),
    /// Anything else, such as numbers in the metadata.
    Other(serde::de::IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn what_a_header_says_is_read_back() {
        let entry = |name: &str, shape: &[usize], dtype| Entry { name: name.to_owned(), shape: shape.to_vec(), dtype };
        let entries = [
            entry("norm", &[3], StoredType::BF16),
            entry("up", &[2, 64], StoredType::Q4_1),
            entry("down", &[5, 32], StoredType::Q8_0),
            entry("head", &[1, 7], StoredType::F32),
        ];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let header = header(&entries, &metadata);
        let bytes = entries.iter().map(Entry::bytes).sum::<u64>() as usize;
        assert_eq!(bytes, 6 + 2 * 2 * 20 + 5 * 34 + 28);
        let file = |header: &[u8]| Source::memory("a.safetensors", [header, &vec![0; bytes]].concat());
        let checkpoint = block_on(open(&file(&header))).expect("a checkpoint");
        let mut place = 0;
        for entry in &entries {
            let info = checkpoint.expect(&entry.name, &entry.shape).expect("there");
            assert_eq!((info.dtype, info.bytes()), (entry.dtype, entry.bytes()));
            assert_eq!(info.position().1 - header.len() as u64, place);
            place += entry.bytes();
        }
        assert_eq!(block_on(super::metadata(&file(&header), "format")).expect("metadata"), Some("pt".to_owned()));
        let unknown = String::from_utf8_lossy(&header).replace("Q4_1", "Q9_9").into_bytes();
        let message = block_on(open(&file(&unknown))).expect_err("no such type").to_string();
        assert!(message.contains("Q9_9"), "{message}");
    }
}
