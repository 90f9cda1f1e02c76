//! One file an architecture, as burn modules, read top to bottom. [`ARCHITECTURES`] is the list of
//! what is supported; adding one touches its file, a line of that table and a fixture test.
//!
//! A model is made in three steps: [`describe`] reads the configuration, [`Architecture::tensors`]
//! says which tensors must be brought onto the device, [`Architecture::build`] takes them.

mod llama;

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor};
use rewardscope_weights::{Checkpoint, gguf};

/// Why a configuration does not describe a model that runs here. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The configuration is not what its name says.
    #[error("reading {file}: {expected} was expected, {found} was found")]
    Config {
        /// The configuration's file.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An architecture, or a switch of one, that nothing here computes.
    #[error("loading {file}: {found} is not supported; supported are {}", supported())]
    Unsupported {
        /// The configuration's file.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// A tensor that [`Architecture::tensors`] asked for was not handed to
    /// [`Architecture::build`].
    #[error("building {architecture}: tensor {tensor} was not loaded")]
    NotLoaded {
        /// The architecture's name.
        architecture: &'static str,
        /// The tensor's name.
        tensor: String,
    },
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub enum Description<'a> {
    /// A `config.json` as transformers 4 or 5 writes it.
    ConfigJson {
        /// The file's name for messages.
        file: &'a str,
        /// Its contents.
        json: &'a str,
    },
    /// A GGUF file with its metadata. Which tensors it has matters: a tied embedding is said by
    /// leaving the output matrix out.
    Gguf(&'a Checkpoint, &'a gguf::Metadata),
}

/// What the model's last step gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// One logit a token: a reward model's score.
    Score,
    /// A distribution over the vocabulary: log-probabilities.
    LanguageModel,
}

/// What the rest of the program needs to know of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The name under which [`ARCHITECTURES`] lists it.
    pub architecture: &'static str,
    /// The model's last step.
    pub head: Head,
    /// Tokens that the model can attend over.
    pub context_tokens: usize,
    /// Entries of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// The id that pooling skips, where the configuration names one.
    pub pad_token_id: Option<u32>,
}

/// How a tensor's rows must be ordered on the way to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As stored.
    AsStored,
    /// llama.cpp stores the rows of rotary projections so that the two coordinates of a rotation
    /// stand side by side; transformers, and this crate, keep them half a head apart.
    RotaryPairs {
        /// Number of heads that the rows belong to.
        heads: usize,
    },
}

/// A tensor that a model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub stored: String,
    /// Its name for [`Architecture::build`].
    pub name: String,
    /// Its shape: `[rows, columns]` or `[columns]`.
    pub shape: Vec<usize>,
    /// How its rows are to be ordered.
    pub rows: RowOrder,
}

/// The loaded tensors of a model by their [`TensorSpec::name`], on the device, in f32.
#[derive(Debug, Default)]
pub struct Tensors {
    matrices: HashMap<String, Tensor<2>>,
}

impl Tensors {
    /// Adds a tensor; vectors are handed over as `[1, columns]`.
    pub fn insert(&mut self, name: &str, tensor: Tensor<2>) {
        self.matrices.insert(name.to_owned(), tensor);
    }

    fn matrix(&mut self, architecture: &'static str, name: &str) -> Result<Tensor<2>, ModelError> {
        self.matrices.remove(name).ok_or_else(|| ModelError::NotLoaded { architecture, tensor: name.to_owned() })
    }

    fn vector(&mut self, architecture: &'static str, name: &str) -> Result<Tensor<1>, ModelError> {
        Ok(self.matrix(architecture, name)?.squeeze_dim(0))
    }
}

/// A parsed configuration.
pub trait Architecture {
    /// What the rest of the program needs to know.
    fn summary(&self) -> &Summary;

    /// Makes it a sequence classifier: its first `layers` layers, the final norm, and one logit a
    /// token by a `score.weight` of shape `[1, hidden]`.
    fn classify(&mut self, layers: usize);

    /// The `config.json` with which transformers opens it as a sequence classifier with one logit.
    fn classifier_config(&self) -> serde_json::Value;

    /// The tensors to bring onto the device.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// The model, from all of those tensors.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`] when one is not there.
    fn build(&self, tensors: Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError>;
}

/// What a network makes of ids.
pub struct Hidden {
    /// After the last layer: `[batch, seq, hidden]`.
    pub last: Tensor<3>,
    /// After the layer that was asked for.
    pub tapped: Option<Tensor<3>>,
}

/// A model on a device.
pub trait Network {
    /// The hidden states after the final norm: `[batch, seq]` ids to `[batch, seq, hidden]`.
    /// Rows are padded on the right; no token sees those after it. Where `tap` is a number of
    /// layers, also what the final norm makes of the hidden states after so many.
    fn hidden(&self, ids: Tensor<2, Int>, tap: Option<usize>) -> Hidden;

    /// The head's logit at every position: `[tokens, hidden]` to `[tokens]`. For [`Head::Score`].
    fn score(&self, hidden: Tensor<2>) -> Tensor<1>;

    /// `log p(target | hidden)` in nats: `[tokens, hidden]` and `[tokens]` to `[tokens]`. For
    /// [`Head::LanguageModel`].
    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1>;
}

/// One line of the table of what is supported.
pub struct Entry {
    /// The name in `config.json`'s `architectures`, or GGUF's `general.architecture`.
    pub name: &'static str,
    /// Whether `name` is GGUF's.
    pub gguf: bool,
    parse: Parse,
}

/// Reads a configuration of this entry's architecture.
type Parse = fn(&Entry, Description<'_>) -> Result<Box<dyn Architecture>, ModelError>;

/// What is supported, a line each.
pub const ARCHITECTURES: &[Entry] = &[
    Entry { name: "LlamaForSequenceClassification", gguf: false, parse: llama::parse },
    Entry { name: "LlamaForCausalLM", gguf: false, parse: llama::parse },
    Entry { name: "llama", gguf: true, parse: llama::parse },
];

fn supported() -> String {
    let kind = |entry: &Entry| {
        if entry.gguf { format!("{} (GGUF)", entry.name) } else { entry.name.to_owned() }
    };
    ARCHITECTURES.iter().map(kind).collect::<Vec<_>>().join(", ")
}

/// The architecture that a configuration describes.
///
/// # Errors
/// [`ModelError`] when it is damaged, or describes something that is not supported.
pub fn describe(description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, name, gguf) = match description {
        Description::ConfigJson { file, json } => {
            #[derive(serde::Deserialize)]
            struct Named {
                #[serde(default)]
                architectures: Vec<String>,
            }
            let named: Named = from_json(file, json)?;
            let name = named.architectures.into_iter().next().ok_or_else(|| ModelError::Config {
                file: file.to_owned(),
                expected: "a name in \"architectures\"".to_owned(),
                found: "none".to_owned(),
            })?;
            (file, name, false)
        }
        Description::Gguf(_, metadata) => {
            let name = metadata.text("general.architecture").map_err(|e| ModelError::Config {
                file: metadata.file().to_owned(),
                expected: "general.architecture".to_owned(),
                found: e.to_string(),
            })?;
            (metadata.file(), name.to_owned(), true)
        }
    };
    let entry = ARCHITECTURES
        .iter()
        .find(|e| e.name == name && e.gguf == gguf)
        .ok_or_else(|| ModelError::Unsupported { file: file.to_owned(), found: format!("the architecture {name}") })?;
    (entry.parse)(entry, description)
}

fn from_json<T: serde::de::DeserializeOwned>(file: &str, json: &str) -> Result<T, ModelError> {
    serde_json::from_str(json).map_err(|e| ModelError::Config {
        file: file.to_owned(),
        expected: "a model configuration as transformers writes it".to_owned(),
        found: e.to_string(),
    })
}
