//! Bytes to named tensors: safetensors and GGUF. A [`Checkpoint`] knows every tensor's place, type
//! and shape from the files' headers alone; the values are read row by row with
//! [`Checkpoint::rows`], still in their stored type, so that nobody holds a whole file.

mod dtype;
pub mod gguf;
pub mod lora;
pub mod safetensors;

use std::collections::BTreeMap;

use rewardscope_store::{Folder, Source, StoreError};

pub use dtype::{DType, Group};

/// Why a file is not a checkpoint, or not one that can be read. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WeightsError {
    /// The bytes could not be had.
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
    /// A tensor type that nothing here decodes.
    #[error("reading {file}: tensor {tensor} has the type {found}; supported are {}", DType::NAMES)]
    UnsupportedType {
        /// The file's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its type's name or number.
        found: String,
    },
    /// An adapter that is not merged here.
    #[error("reading {file}: {found} is not supported; supported is LoRA, with rank and alpha patterns of plain names")]
    UnsupportedAdapter {
        /// The adapter's configuration.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// A tensor that the model needs is not there.
    #[error("loading {file}: tensor {tensor} was expected, the file has no such tensor among its {found}")]
    MissingTensor {
        /// The file's or folder's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// How many tensors there are.
        found: usize,
    },
    /// A tensor does not have the shape that the configuration implies.
    #[error("loading {file}: tensor {tensor} should have the shape {expected:?}, it has {found:?}")]
    Shape {
        /// The file's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
}

pub(crate) fn format_error(file: &str, expected: impl Into<String>, found: impl Into<String>) -> WeightsError {
    WeightsError::Format { file: file.to_owned(), expected: expected.into(), found: found.into() }
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// The file's own name for it.
    pub name: String,
    /// Outermost dimension first, as in PyTorch (GGUF stores them the other way round).
    pub shape: Vec<usize>,
    /// The stored type.
    pub dtype: DType,
    /// Which of the checkpoint's files it is in.
    file: usize,
    /// First byte in that file.
    start: u64,
    /// What an adapter adds to it.
    low_rank: Option<Box<LowRank>>,
}

/// A product of two low matrices that is added to a tensor while it is read.
#[derive(Debug, Clone, PartialEq)]
struct LowRank {
    /// The tensor as the base has it.
    stored: TensorInfo,
    /// `[rank, columns]`
    a: TensorInfo,
    /// `[rows, rank]`
    b: TensorInfo,
    scale: f32,
}

impl TensorInfo {
    /// Product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// The last dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Stored size of one row.
    pub fn row_bytes(&self) -> usize {
        self.dtype.bytes(self.columns())
    }

    /// Stored size.
    pub fn bytes(&self) -> u64 {
        self.rows() as u64 * self.row_bytes() as u64
    }

    /// Order in the checkpoint's files: tensors in this order are read once through.
    pub fn position(&self) -> (usize, u64) {
        (self.file, self.start)
    }

    /// Checks what every later step relies on and returns the stored size.
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
    /// Tensors of types that nothing here decodes, such as stored positions: refused when one is
    /// asked for.
    undecoded: BTreeMap<String, WeightsError>,
    metadata: Option<gguf::Metadata>,
}

impl Checkpoint {
    /// The safetensors of a checkpoint folder: `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// When a file is missing, damaged or promises more than it has.
    pub async fn from_folder(folder: &Folder) -> Result<Self, WeightsError> {
        safetensors::open_folder(folder).await
    }

    /// A GGUF file of version 2 or 3.
    ///
    /// # Errors
    /// When the file is not GGUF, is damaged or promises more than it has.
    pub async fn from_gguf(source: &Source) -> Result<Self, WeightsError> {
        gguf::open(source).await
    }

    /// The tensors of one safetensors file, whatever its name.
    ///
    /// # Errors
    /// When it is no safetensors, is damaged or promises more than it has.
    pub async fn from_safetensors(source: &Source) -> Result<Self, WeightsError> {
        safetensors::open(source).await
    }

    /// With another's tensors beside its own; where both have one of a name, the other's counts.
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

    /// The file's or folder's name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The GGUF metadata, where the checkpoint is a GGUF.
    pub fn metadata(&self) -> Option<&gguf::Metadata> {
        self.metadata.as_ref()
    }

    /// Every tensor, ordered by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The tensor of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The tensor of this name and shape.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`] or [`WeightsError::Shape`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo, WeightsError> {
        let missing = || WeightsError::MissingTensor {
            file: self.name.clone(),
            tensor: name.to_owned(),
            found: self.tensors.len(),
        };
        let info = self.find(name).ok_or_else(|| self.undecoded.get(name).cloned().unwrap_or_else(missing))?;
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

    /// The stored bytes of `rows` rows from row `first`.
    ///
    /// # Errors
    /// When the bytes cannot be had.
    pub async fn rows(&self, info: &TensorInfo, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        if let Some(low_rank) = &info.low_rank {
            return self.merged_rows(low_rank, first, rows).await;
        }
        self.stored_rows(info, first, rows).await
    }

    async fn merged_rows(&self, low_rank: &LowRank, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        let LowRank { stored, a, b, scale } = low_rank;
        let values = stored.dtype.to_f32(&self.stored_rows(stored, first, rows).await?);
        let a_values = a.dtype.to_f32(&self.stored_rows(a, 0, a.rows()).await?);
        let b_values = b.dtype.to_f32(&self.stored_rows(b, first, rows).await?);
        let merged = lora::merged(values, &a_values, &b_values, a.rows(), *scale);
        Ok(merged.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    async fn stored_rows(&self, info: &TensorInfo, first: usize, rows: usize) -> Result<Vec<u8>, WeightsError> {
        let row_bytes = info.row_bytes();
        let start = info.start + first as u64 * row_bytes as u64;
        Ok(self.files[info.file].read(start, rows * row_bytes).await?)
    }
}
