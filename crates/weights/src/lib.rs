//! Weight files as named tensors: safetensors, GGUF, and LoRA adapters merged into their base.
//!
//! A [`Checkpoint`] is opened from the files' headers alone: it then knows every tensor's place, type and shape.
//! [`Checkpoint::rows`] reads the values row by row, still in their stored type, so that no file is ever held in
//! memory whole.
//!
//! # Example
//! One row of a tensor of shape `[2, 3]`, from a file that lies in memory:
//! ```
//! use rewardscope_store::Source;
//! use rewardscope_weights::{Checkpoint, StoredType, safetensors};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
//! let entry = safetensors::Entry { name: "score.weight".to_owned(), shape: vec![2, 3], dtype: StoredType::F32 };
//! let mut bytes = safetensors::header(&[entry], &Default::default());
//! bytes.extend([1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_le_bytes()));
//!
//! let checkpoint = Checkpoint::from_safetensors(&Source::memory("model.safetensors", bytes)).await?;
//! let info = checkpoint.expect("score.weight", &[2, 3])?;
//! let second_row = checkpoint.rows(info, 1, 1).await?;
//! assert_eq!(info.dtype.to_f32(&second_row), [4.0, 5.0, 6.0]);
//! # Ok(()) }) }
//! ```

pub mod adapter;
pub mod gguf;
pub mod safetensors;
mod stored_type;

use std::collections::BTreeMap;

use rewardscope_store::{Folder, Source, StoreError};

pub use stored_type::{Group, StoredType};

/// Why weights cannot be read, or do not fit the model. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WeightsError {
    /// The bytes could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what its name says, or is damaged.
    #[error("reading {file}: {expected} was expected, {found} was found")]
    Format {
        /// The file's name.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor has a type that this crate does not decode.
    #[error("reading {file}: tensor {tensor} has the type {found}; supported are {}", StoredType::NAMES)]
    UnsupportedType {
        /// The file's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The name or number of its type.
        found: String,
    },
    /// The adapter is of a kind that this crate does not merge.
    #[error("reading {file}: {found} is not supported; merge it into its base with peft's merge_and_unload()")]
    UnsupportedAdapter {
        /// The name of the adapter's configuration file.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// The checkpoint lacks a tensor that the model needs.
    #[error("loading {file}: tensor {tensor} was expected, {found} was found")]
    MissingTensor {
        /// The file's or folder's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// How many tensors there are, the names closest to it, and a hint where these are weights that another
        /// program quantised.
        found: String,
    },
    /// A tensor does not have the shape that the configuration implies.
    #[error("loading {file}: tensor {tensor} should have the shape {expected:?}, it has {found:?}")]
    Shape {
        /// The file's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape that the configuration implies, outermost dimension first.
        expected: Vec<usize>,
        /// The shape in the file, outermost dimension first.
        found: Vec<usize>,
    },
}

pub(crate) fn format_error(file: &str, expected: impl Into<String>, found: impl Into<String>) -> WeightsError {
    WeightsError::Format { file: file.to_owned(), expected: expected.into(), found: found.into() }
}

/// Bytes that [`Checkpoint::are_equal`] compares at once; at least one row.
const PIECE_BYTES: usize = 4 << 20;

/// A tensor's name, shape and type, and where its bytes lie.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name: the file's own, unless [`Checkpoint::renamed`] changed it.
    pub name: String,
    /// Dimensions, outermost first as in PyTorch (GGUF stores them the other way round).
    pub shape: Vec<usize>,
    /// The type of the bytes that [`Checkpoint::rows`] returns: the stored type, or F32 where an adapter changes the
    /// tensor.
    pub dtype: StoredType,
    /// Index of its file among the checkpoint's files.
    file: usize,
    /// First byte in that file.
    start: u64,
    /// What an adapter changes in it.
    change: Option<Box<Change>>,
}

/// How an adapter changes a tensor while it is read. `stored` is the base's tensor, `[rows, columns]`.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// `stored + scale b a`, with `b` of `[rows, rank]` and `a` of `[rank, columns]`.
    LowRank { stored: TensorInfo, a: TensorInfo, b: TensorInfo, scale: f32 },
    /// `stored + scale (b a)^T`, with `b` of `[columns, rank]` and `a` of `[rank, rows]`.
    Transposed { stored: TensorInfo, a: TensorInfo, b: TensorInfo, scale: f32 },
    /// `stored + scale added`, both of the same shape.
    Sum { stored: TensorInfo, added: TensorInfo, scale: f32 },
    /// Row `rows[i]` becomes row `i` of `replaced`, `[rows.len(), columns]`.
    Rows { stored: TensorInfo, rows: Vec<usize>, replaced: TensorInfo },
}

impl TensorInfo {
    /// Number of rows: the product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// Values in a row: the last dimension, or 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Size of one row in bytes, in the type `dtype`.
    pub fn row_bytes(&self) -> usize {
        self.dtype.bytes(self.columns())
    }

    /// Size of the tensor in bytes, in the type `dtype`.
    pub fn bytes(&self) -> u64 {
        self.rows() as u64 * self.row_bytes() as u64
    }

    /// A sort key: the index of the file, and the first byte in it. Tensors that are read in this order go through
    /// each file once, front to back.
    pub fn position(&self) -> (usize, u64) {
        (self.file, self.start)
    }

    /// The size in bytes, after the checks that later steps rely on: a number of elements within bounds, and rows of
    /// whole blocks.
    fn checked_bytes(&self, file: &str) -> Result<u64, WeightsError> {
        let elements =
            self.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n > 0 && n < 1 << 40);
        let Some(elements) = elements else {
            return Err(format_error(
                file,
                format!("a shape of at least 1 and fewer than 2^40 elements for tensor {}", self.name),
                format!("{:?}", self.shape),
            ));
        };
        let block = self.dtype.block_elements();
        if !self.columns().is_multiple_of(block) {
            return Err(format_error(
                file,
                format!("rows of a multiple of {block} elements for the {} tensor {}", self.dtype, self.name),
                format!("{} elements", self.columns()),
            ));
        }
        Ok(elements / block as u64 * self.dtype.block_bytes() as u64)
    }
}

/// The tensors of one model, in one file or several.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    name: String,
    files: Vec<Source>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Tensors of types that this crate does not decode, such as stored positions. Whoever asks for one gets its
    /// error.
    undecoded: BTreeMap<String, WeightsError>,
    metadata: Option<gguf::Metadata>,
}

impl Checkpoint {
    /// Opens the safetensors of a checkpoint folder: `model.safetensors`, or where it is absent the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// When a file is missing, is damaged, or ends before its tensors do.
    pub async fn from_folder(folder: &Folder) -> Result<Self, WeightsError> {
        safetensors::open_folder(folder).await
    }

    /// Opens a GGUF file of version 2 or 3, little-endian.
    ///
    /// # Errors
    /// When the file is not GGUF, is damaged, ends before its tensors do, or has a tensor of an unknown type.
    pub async fn from_gguf(source: &Source) -> Result<Self, WeightsError> {
        gguf::open(source).await
    }

    /// Opens one safetensors file, whatever its name.
    ///
    /// # Errors
    /// When the file is not safetensors, is damaged, or ends before its tensors do.
    pub async fn from_safetensors(source: &Source) -> Result<Self, WeightsError> {
        safetensors::open(source).await
    }

    /// Adds another checkpoint's tensors. Where both have a tensor of the same name, the other's is kept.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        let shift = self.files.len();
        self.files.extend(other.files);
        self.undecoded.extend(other.undecoded);
        for (name, tensor) in other.tensors {
            self.tensors.insert(name, TensorInfo { file: tensor.file + shift, ..tensor });
        }
        self
    }

    fn new(
        name: &str,
        files: Vec<Source>,
        tensors: Vec<TensorInfo>,
        undecoded: BTreeMap<String, WeightsError>,
        metadata: Option<gguf::Metadata>,
    ) -> Result<Self, WeightsError> {
        let mut by_name = BTreeMap::new();
        for tensor in tensors {
            let file = &files[tensor.file];
            let bytes = tensor.checked_bytes(file.name())?;
            if tensor.start.checked_add(bytes).is_none_or(|end| end > file.bytes()) {
                return Err(format_error(
                    file.name(),
                    format!("{bytes} bytes from byte {} for tensor {}", tensor.start, tensor.name),
                    format!("the end of the file at byte {}; it is truncated", file.bytes()),
                ));
            }
            if let Some(twice) = by_name.insert(tensor.name.clone(), tensor) {
                return Err(format_error(name, "each tensor once", format!("{} twice", twice.name)));
            }
        }
        Ok(Self { name: name.to_owned(), files, tensors: by_name, undecoded, metadata })
    }

    /// The file's or folder's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The GGUF metadata; `None` for safetensors.
    pub fn metadata(&self) -> Option<&gguf::Metadata> {
        self.metadata.as_ref()
    }

    /// Every tensor, ordered by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The tensor of this name, if there is one that can be decoded.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Renames its tensors: `of` returns a tensor's new name, or `None` to keep the old one.
    ///
    /// # Errors
    /// When two tensors would get the same name.
    pub fn renamed(mut self, of: impl Fn(&str) -> Option<String>) -> Result<Self, WeightsError> {
        let mut tensors = BTreeMap::new();
        for (name, info) in std::mem::take(&mut self.tensors) {
            let name = of(&name).unwrap_or(name);
            if tensors.insert(name.clone(), TensorInfo { name: name.clone(), ..info }).is_some() {
                return Err(format_error(&self.name, "each tensor once", format!("{name} under two names")));
            }
        }
        self.tensors = tensors;
        Ok(self)
    }

    /// The error for a tensor that is not there; it says what there is instead.
    pub(crate) fn missing(&self, name: &str) -> WeightsError {
        let last = |name: &str| name.rsplit('.').take(2).collect::<Vec<_>>().join(".");
        let module = |name: &str| name.rsplit('.').nth(1).map(str::to_owned);
        let near = |other: &&String| {
            other.ends_with(&format!(".{name}"))
                || name.ends_with(&format!(".{other}"))
                || (last(other) == last(name) && other.len().abs_diff(name.len()) < 12)
                || (name.contains("score") || name.contains("classifier"))
                    && ["head", "score", "classifier", "reward"].iter().any(|part| other.contains(part))
        };
        let mut names: Vec<&str> = self.tensors.keys().filter(near).take(4).map(String::as_str).collect();
        let packed = self.tensors.keys().chain(self.undecoded.keys()).find(|other| {
            ["qweight", "qzeros", "weight_packed", "weight_scale"].iter().any(|part| other.ends_with(part))
                && module(other) == module(name)
        });
        names.extend(packed.map(String::as_str));
        let mut found = format!("no such tensor among {}", self.tensors.len() + self.undecoded.len());
        if !names.is_empty() {
            found.push_str(&format!("; near it: {}", names.join(", ")));
        }
        if packed.is_some() {
            found.push_str(" (weights that another program quantised, which are not read)");
        }
        WeightsError::MissingTensor { file: self.name.clone(), tensor: name.to_owned(), found }
    }

    /// Whether two tensors have the same shape, type and bytes.
    ///
    /// # Errors
    /// When the bytes cannot be read.
    pub async fn are_equal(&self, a: &TensorInfo, b: &TensorInfo) -> Result<bool, WeightsError> {
        if a.shape != b.shape || a.dtype != b.dtype {
            return Ok(false);
        }
        let rows = (PIECE_BYTES / a.row_bytes().max(1)).max(1);
        for first in (0..a.rows()).step_by(rows) {
            let rows = rows.min(a.rows() - first);
            if self.rows(a, first, rows).await? != self.rows(b, first, rows).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The tensor of this name, which must have this shape.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::UnsupportedType`] or [`WeightsError::Shape`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo, WeightsError> {
        let missing = || self.undecoded.get(name).cloned().unwrap_or_else(|| self.missing(name));
        let info = self.find(name).ok_or_else(missing)?;
        if info.shape != shape {
            return Err(WeightsError::Shape {
                file: self.files[info.file].name().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        Ok(info)
    }

    /// The bytes of `rows` rows from row `first`, little-endian, in the type [`TensorInfo::dtype`]. Where an adapter
    /// changes the tensor, the change is applied.
    ///
    /// # Errors
    /// When the bytes cannot be read.
    pub async fn rows(&self, info: &TensorInfo, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        match &info.change {
            Some(change) => self.changed_rows(change, first, rows).await,
            None => self.stored_rows(info, first, rows).await,
        }
    }

    async fn changed_rows(&self, change: &Change, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        let all = async |info: &TensorInfo, first: usize, rows: usize| -> Result<Vec<f32>, WeightsError> {
            Ok(info.dtype.to_f32(&self.stored_rows(info, first, rows).await?))
        };
        let values = match change {
            Change::LowRank { stored, a, b, scale } => {
                let (values, b) = (all(stored, first, rows).await?, all(b, first, rows).await?);
                adapter::added(values, &all(a, 0, a.rows()).await?, &b, a.rows(), *scale)
            }
            Change::Transposed { stored, a, b, scale } => {
                let (values, b) = (all(stored, first, rows).await?, all(b, 0, b.rows()).await?);
                let place = (first, stored.rows());
                adapter::added_transposed(values, &all(a, 0, a.rows()).await?, &b, place, (a.rows(), *scale))
            }
            Change::Sum { stored, added, scale } => {
                let (values, added) = (all(stored, first, rows).await?, all(added, first, rows).await?);
                values.iter().zip(added).map(|(value, added)| value + scale * added).collect()
            }
            Change::Rows { stored, rows: at, replaced } => {
                let mut values = all(stored, first, rows).await?;
                for (row, place) in at.iter().zip(0..).filter(|(row, _)| (first..first + rows).contains(row)) {
                    let columns = stored.columns();
                    values[(row - first) * columns..][..columns].copy_from_slice(&all(replaced, place, 1).await?);
                }
                values
            }
        };
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    async fn stored_rows(&self, info: &TensorInfo, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        let row_bytes = info.row_bytes();
        let start = info.start + first as u64 * row_bytes as u64;
        Ok(self.files[info.file].read(start, rows * row_bytes).await?)
    }
}
