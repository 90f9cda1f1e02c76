//! GGUF, versions 2 and 3, little-endian: metadata, tensor table, values.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;

use rewardscope_store::Source;

use crate::{Checkpoint, StoredType, TensorInfo, WeightsError, format_error};

/// A metadata value. Integers of every width are widened to 64 bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// UTF-8 text.
    Text(String),
    /// Texts, such as a vocabulary.
    Texts(Vec<String>),
    /// Integers, such as token types; flags are 0 and 1.
    Integers(Vec<i64>),
    /// Floats, such as token scores; those of 64 bits are narrowed.
    Floats(Vec<f32>),
}

/// The key-value part of a GGUF file.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $type:ty, $pattern:pat => $value:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// When there is no such key, or its value has another type.
        pub fn $name(&self, key: &str) -> Result<$type, WeightsError> {
            match self.values.get(key) {
                Some($pattern) => Ok($value),
                Some(_) => Err(format_error(&self.file, format!("{} as the value of {key}", $kind), "another type")),
                None => Err(format_error(&self.file, format!("the metadata key {key}"), "no such key")),
            }
        }
    };
}

impl Metadata {
    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    getter!(
        /// The text under a key.
        text, "text", &str, Value::Text(text) => text.as_str()
    );
    getter!(
        /// The float under a key.
        float, "a float", f64, Value::Float(value) => *value
    );
    getter!(
        /// The list of texts under a key.
        texts, "a list of texts", &[String], Value::Texts(texts) => texts.as_slice()
    );
    getter!(
        /// The list of integers under a key.
        integers, "a list of integers", &[i64], Value::Integers(values) => values.as_slice()
    );
    getter!(
        /// The list of floats under a key.
        floats, "a list of floats", &[f32], Value::Floats(values) => values.as_slice()
    );
    getter!(
        /// The flag under a key.
        flag, "a flag", bool, Value::Bool(flag) => *flag
    );

    /// The non-negative integer under a key.
    ///
    /// # Errors
    /// When there is no such key, or its value is no such integer or too large for a `usize`.
    pub fn unsigned(&self, key: &str) -> Result<usize, WeightsError> {
        let value = match self.values.get(key) {
            Some(Value::Unsigned(value)) => usize::try_from(*value).ok(),
            Some(Value::Signed(value)) => usize::try_from(*value).ok(),
            Some(_) => None,
            None => {
                return Err(format_error(&self.file, format!("the metadata key {key}"), "no such key"));
            }
        };
        value.ok_or_else(|| {
            format_error(&self.file, format!("a non-negative integer as the value of {key}"), "another value")
        })
    }
}

/// Most tensors of a file. No real file comes near this and the next three limits: a header beyond them is damaged or
/// malicious.
const MAX_TENSORS: u64 = 1 << 20;
/// Most metadata keys of a file.
const MAX_KEYS: u64 = 1 << 16;
/// Most bytes of one text.
const MAX_TEXT_BYTES: u64 = 1 << 24;
/// Most elements of one array.
const MAX_ARRAY: u64 = 1 << 24;

/// Bytes of a header that are read at once; more where a single value is longer.
const WINDOW_BYTES: usize = 1 << 20;

/// Reads a header from front to back, a window at a time.
struct Reader<'a> {
    source: &'a Source,
    window: Vec<u8>,
    window_start: u64,
    at: u64,
}

impl Reader<'_> {
    async fn take(&mut self, len: usize) -> Result<&[u8], WeightsError> {
        let end = self.at + len as u64;
        if end > self.source.bytes() {
            return Err(format_error(
                self.source.name(),
                format!("{len} more bytes of header at byte {}", self.at),
                format!("the end of the file at byte {}; it is truncated", self.source.bytes()),
            ));
        }
        if end > self.window_start + self.window.len() as u64 {
            let left = (self.source.bytes() - self.at) as usize;
            self.window = self.source.read(self.at, left.min(len.max(WINDOW_BYTES))).await?;
            self.window_start = self.at;
        }
        let from = (self.at - self.window_start) as usize;
        self.at = end;
        Ok(&self.window[from..from + len])
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let bytes = self.take(N).await?;
        Ok(std::array::from_fn(|i| bytes[i]))
    }

    async fn u32(&mut self) -> Result<u32, WeightsError> {
        Ok(u32::from_le_bytes(self.array().await?))
    }

    async fn u64(&mut self) -> Result<u64, WeightsError> {
        Ok(u64::from_le_bytes(self.array().await?))
    }

    /// A count or length that must exceed neither `max` nor the file's size.
    async fn count(&mut self, what: &str, max: u64) -> Result<usize, WeightsError> {
        let count = self.u64().await?;
        if count > max || count > self.source.bytes() {
            return Err(format_error(self.source.name(), format!("at most {max} as {what}"), count.to_string()));
        }
        Ok(count as usize)
    }

    async fn text(&mut self) -> Result<String, WeightsError> {
        let len = self.count("the length of a text", MAX_TEXT_BYTES).await?;
        let at = self.at;
        let bytes = self.take(len).await?.to_vec();
        String::from_utf8(bytes)
            .map_err(|_| format_error(self.source.name(), format!("UTF-8 text at byte {at}"), "other bytes"))
    }

    async fn scalar(&mut self, kind: u32) -> Result<Value, WeightsError> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>().await?[0])),
            1 => Value::Signed(i64::from(self.array::<1>().await?[0] as i8)),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array().await?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array().await?))),
            4 => Value::Unsigned(u64::from(self.u32().await?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array().await?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array().await?))),
            7 => Value::Bool(self.array::<1>().await?[0] != 0),
            8 => Value::Text(self.text().await?),
            10 => Value::Unsigned(self.u64().await?),
            11 => Value::Signed(i64::from_le_bytes(self.array().await?)),
            12 => Value::Float(f64::from_le_bytes(self.array().await?)),
            other => {
                return Err(format_error(self.source.name(), "a metadata type from 0 to 12", format!("type {other}")));
            }
        })
    }

    async fn value(&mut self) -> Result<Value, WeightsError> {
        const ARRAY: u32 = 9;
        let kind = self.u32().await?;
        if kind != ARRAY {
            return self.scalar(kind).await;
        }
        let element = self.u32().await?;
        let len = self.count("the length of an array", MAX_ARRAY).await?;
        Ok(match element {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..len {
                    texts.push(self.text().await?);
                }
                Value::Texts(texts)
            }
            6 | 12 => {
                let mut floats = Vec::new();
                for _ in 0..len {
                    if let Value::Float(value) = self.scalar(element).await? {
                        floats.push(value as f32);
                    }
                }
                Value::Floats(floats)
            }
            ARRAY => {
                return Err(format_error(self.source.name(), "arrays of plain values", "an array of arrays"));
            }
            _ => {
                let mut integers = Vec::new();
                for _ in 0..len {
                    integers.push(match self.scalar(element).await? {
                        Value::Unsigned(value) => value as i64,
                        Value::Signed(value) => value,
                        Value::Bool(flag) => i64::from(flag),
                        _ => 0,
                    });
                }
                Value::Integers(integers)
            }
        })
    }
}

fn dtype(kind: u32) -> Result<StoredType, &'static str> {
    Ok(match kind {
        0 => StoredType::F32,
        1 => StoredType::F16,
        2 => StoredType::Q4_0,
        3 => StoredType::Q4_1,
        6 => StoredType::Q5_0,
        7 => StoredType::Q5_1,
        8 => StoredType::Q8_0,
        12 => StoredType::Q4_K,
        13 => StoredType::Q5_K,
        14 => StoredType::Q6_K,
        30 => StoredType::BF16,
        10 => return Err("Q2_K"),
        11 => return Err("Q3_K"),
        _ => return Err("unknown"),
    })
}

pub(crate) async fn open(source: &Source) -> Result<Checkpoint, WeightsError> {
    let name = source.name();
    let mut reader = Reader { source, window: Vec::new(), window_start: 0, at: 0 };
    if source.bytes() < 24 {
        return Err(format_error(name, "a GGUF file", format!("a file of {} bytes", source.bytes())));
    }
    let magic: [u8; 4] = reader.array().await?;
    if &magic != b"GGUF" {
        return Err(format_error(
            name,
            "a GGUF file, which begins with \"GGUF\"",
            format!("{:?}", String::from_utf8_lossy(&magic)),
        ));
    }
    let version = reader.u32().await?;
    if !(2..=3).contains(&version) {
        return Err(format_error(name, "GGUF version 2 or 3, little-endian", format!("version {version}")));
    }
    let tensor_count = reader.count("the number of tensors", MAX_TENSORS).await?;
    let key_count = reader.count("the number of metadata keys", MAX_KEYS).await?;
    let mut metadata = Metadata { file: name.to_owned(), values: BTreeMap::new() };
    for _ in 0..key_count {
        let key = reader.text().await?;
        let value = reader.value().await?;
        metadata.values.insert(key, value);
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let tensor = reader.text().await?;
        let dimensions = reader.u32().await?;
        if dimensions > 4 {
            return Err(format_error(
                name,
                format!("at most 4 dimensions for tensor {tensor}"),
                dimensions.to_string(),
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(reader.count("a dimension", 1 << 40).await?);
        }
        shape.reverse();
        let kind = reader.u32().await?;
        let dtype = dtype(kind).map_err(|known| WeightsError::UnsupportedType {
            file: name.to_owned(),
            tensor: tensor.clone(),
            found: format!("{known} ({kind})"),
        })?;
        let offset = reader.u64().await?;
        tensors.push(TensorInfo { name: tensor, shape, dtype, file: 0, start: offset, change: None });
    }
    let alignment = if metadata.has("general.alignment") { metadata.unsigned("general.alignment")? as u64 } else { 32 };
    if alignment == 0 || alignment > 1 << 20 {
        return Err(format_error(name, "an alignment from 1 to 1048576", alignment.to_string()));
    }
    let values_start = reader.at.next_multiple_of(alignment);
    for tensor in &mut tensors {
        tensor.start = tensor.start.checked_add(values_start).ok_or_else(|| {
            format_error(
                name,
                format!("an offset inside the file for tensor {}", tensor.name),
                tensor.start.to_string(),
            )
        })?;
    }
    Checkpoint::new(name, vec![source.clone()], tensors, BTreeMap::new(), Some(metadata))
}
