//! Bytes to named tensors: safetensors and GGUF. A [`Checkpoint`] knows every tensor's place, type
//! and shape from the files' headers alone; the values are read row by row with
//! [`Checkpoint::rows`], still in their stored type, so that nobody holds a whole file.

pub mod adapter;
pub mod gguf;
pub mod safetensors;
mod stored_type;

use std::collections::BTreeMap;

use rewardscope_store::{Folder, Source, StoreError};

pub use stored_type::{Group, StoredType};

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
    #[error("reading {file}: tensor {tensor} has the type {found}; supported are {}", StoredType::NAMES)]
    UnsupportedType {
        /// The file's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its type's name or number.
        found: String,
    },
    /// An adapter that is not merged here.
    #[error("reading {file}: {found} is not supported; merge it into its base with peft's merge_and_unload()")]
    UnsupportedAdapter {
        /// The adapter's configuration.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// A tensor that the model needs is not there.
    #[error("loading {file}: tensor {tensor} was expected, {found} was found")]
    MissingTensor {
        /// The file's or folder's name.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// How many tensors there are, those with names near to it, and what they point to.
        found: String,
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

/// Bytes that are compared at once.
const PIECE_BYTES: usize = 4 << 20;

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// The file's own name for it.
    pub name: String,
    /// Outermost dimension first, as in PyTorch (GGUF stores them the other way round).
    pub shape: Vec<usize>,
    /// The stored type.
    pub dtype: StoredType,
    /// Which of the checkpoint's files it is in.
    file: usize,
    /// First byte in that file.
    start: u64,
    /// What an adapter changes of it.
    change: Option<Box<Change>>,
}

/// What is done to a tensor while it is read; `stored` is the tensor as the base has it.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// `stored + scale b a`, with `b` of `[rows, rank]` and `a` of `[rank, columns]`.
    LowRank { stored: TensorInfo, a: TensorInfo, b: TensorInfo, scale: f32 },
    /// `stored + scale (b a)^T`, with `b` of `[columns, rank]` and `a` of `[rank, rows]`.
    Transposed { stored: TensorInfo, a: TensorInfo, b: TensorInfo, scale: f32 },
    /// `stored + scale added`, of one shape.
    Sum { stored: TensorInfo, added: TensorInfo, scale: f32 },
    /// Some rows are others.
    Rows { stored: TensorInfo, rows: Vec<usize>, replaced: TensorInfo },
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

    /// With its tensors under other names, where `of` has one for them.
    ///
    /// # Errors
    /// When two tensors come to one name.
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

    /// What is to be said of a tensor that is not there: what there is instead.
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

    /// Whether two tensors hold the same bytes.
    ///
    /// # Errors
    /// When the bytes cannot be had.
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

    /// The tensor of this name and shape.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`] or [`WeightsError::Shape`].
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

    /// The stored bytes of `rows` rows from row `first`.
    ///
    /// # Errors
    /// When the bytes cannot be had.
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
