//! Transformer architectures over burn, one file for each, to be read top to bottom. [`ARCHITECTURES`] lists what is
//! supported. A new architecture needs its own file, a line in that table and a fixture test.
//!
//! A model is built in three steps: [`describe`] reads the configuration, [`Architecture::tensors`] says which tensors
//! must be on the device, and [`Architecture::build`] makes a [`Network`] of them.
//!
//! # Example
//! The score of three tokens. All weights are 0 here; a program reads them from a checkpoint.
//! ```
//! use burn::tensor::{Device, Tensor};
//! use rewardscope_models::{Batch, Description, Stored, Tensors, Wanted, describe};
//!
//! # fn main() -> Result<(), rewardscope_models::ModelError> {
//! let json = r#"{"architectures": ["LlamaForSequenceClassification"], "num_labels": 1, "vocab_size": 8,
//!     "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}"#;
//! let tensors = &Default::default();
//! let architecture = describe(Description::ConfigJson { file: "config.json", json, tensors })?;
//!
//! let (device, mut weights) = (Device::flex(), Tensors::default());
//! for spec in architecture.tensors()? {
//!     let [rows, columns] = spec.shape.try_into().unwrap_or_else(|vector: Vec<usize>| [1, vector[0]]);
//!     weights.insert(&spec.name, Stored::plain(Tensor::zeros([rows, columns], &device)));
//! }
//! let network = architecture.build(&mut weights, &device)?;
//!
//! let wanted = Wanted { tokens: &[2], tap: None, keeps_state: false };
//! let hidden = network.hidden(&Batch::of([[3, 5, 7].as_slice()]), None, wanted);
//! assert_eq!(network.outputs(hidden.last, &[]).into_scalar::<f32>(), 0.0);
//! # Ok(()) }
//! ```

mod architectures;
mod batch;
mod config;
mod decoder;
mod decoder_config;
mod head;
mod layers;
mod relative_bias;
mod rope;

use std::collections::{BTreeSet, HashMap};

use burn::tensor::{Device, Int, Tensor};
use rewardscope_weights::{Checkpoint, gguf};

pub use architectures::ARCHITECTURES;
pub use batch::{Batch, State};
use head::has_known_head;
pub use head::{GatePlan, Head, HeadLayer, HeadPlan, KnownHead, known_heads};
pub use rewardscope_kernels::{GROUP, Packed, Packing, Stored, project};

/// Why a model cannot be built. A message about a configuration names its file.
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
    /// The configuration asks for something that this crate does not compute.
    #[error("loading {file}: {found} is not supported")]
    Unsupported {
        /// The configuration's file.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// This crate does not compute the architecture.
    #[error("loading {file}: {found} is not supported; supported are {}", supported())]
    UnknownArchitecture {
        /// The configuration's file.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// A tensor that [`Architecture::tensors`] asked for was not handed to
    /// [`Architecture::build`].
    #[error("building a network: tensor {tensor} was not loaded")]
    NotLoaded {
        /// The tensor's name.
        tensor: String,
    },
    /// A fitted head cannot be put on this model: only a decoder has a hidden state for every token to read it from.
    #[error(
        "putting a head on a {architecture}: a decoder was expected, which has a hidden state for every token; an encoder's score comes from its own head alone"
    )]
    NoBackbone {
        /// The architecture's name.
        architecture: &'static str,
    },
}

/// A model's configuration, by where it comes from.
#[derive(Debug, Clone, Copy)]
pub enum Description<'a> {
    /// A `config.json` as transformers 4 or 5 writes it.
    ConfigJson {
        /// The file's name, for messages.
        file: &'a str,
        /// Its contents.
        json: &'a str,
        /// The names of the checkpoint's tensors. They say whether the model is a classifier where `architectures`
        /// names no model, or one without a head.
        tensors: &'a BTreeSet<String>,
    },
    /// A GGUF file.
    Gguf(GgufDescription<'a>),
}

/// A GGUF file with its metadata.
#[derive(Debug, Clone, Copy)]
pub struct GgufDescription<'a> {
    /// The file's tensors. A file without an output matrix is one whose output is tied to its embedding.
    pub checkpoint: &'a Checkpoint,
    /// The file's metadata.
    pub metadata: &'a gguf::Metadata,
    /// The values of `rope_freqs.weight`, by which the rotary frequencies are divided; empty where there are none.
    pub rope_factors: &'a [f32],
}

/// What the rest of the program needs to know about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The name under which [`ARCHITECTURES`] lists it.
    pub architecture: &'static str,
    /// What the model's last step returns.
    pub head: Head,
    /// Number of outputs, such as a classifier's logits.
    pub labels: usize,
    /// Index of the output that is the score.
    pub label: usize,
    /// Most tokens that the model can attend over.
    pub context_tokens: usize,
    /// Number of the embedding's entries.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// The id of padding, which pooling skips, where the configuration names one.
    pub pad_token_id: Option<u32>,
    /// Whether a token sees only itself and the tokens before it. If so, a beginning that texts share is computed once.
    pub is_causal: bool,
    /// Texts of more tokens than this have other rotary frequencies, so that they share nothing with shorter ones.
    pub long_after: Option<usize>,
    /// Number of token types that an encoder reads; `None` where it reads none.
    pub token_types: Option<usize>,
}

impl Summary {
    /// Refuses sizes, its own and `others`, that would divide by zero, overflow, or exhaust memory later.
    fn check(&self, file: &str, others: &[usize]) -> Result<(), ModelError> {
        let own =
            [self.vocab_size, self.hidden_size, self.intermediate_size, self.layers, self.context_tokens, self.labels];
        let sizes = [&own, others].concat();
        if sizes.iter().any(|&n| n == 0 || n > 1 << 24) || self.layers > 1 << 10 {
            return Err(ModelError::Config {
                file: file.to_owned(),
                expected: "sizes from 1 to 16777216 and at most 1024 layers".to_owned(),
                found: format!("{sizes:?}"),
            });
        }
        Ok(())
    }
}

/// How a stored tensor must be changed on its way to the device. Only those of a GGUF need a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As stored.
    AsStored,
    /// The rows of a rotary projection are reordered. llama.cpp stores the two coordinates of a rotation side by side;
    /// transformers, and this crate, keep them half a head apart.
    RotaryPairs {
        /// Number of heads that the rows belong to.
        heads: usize,
    },
    /// One is subtracted. llama.cpp stores the weights of Gemma's norms plus one; transformers adds the one when it
    /// computes, and this crate when it builds the model.
    PlusOne,
}

/// A tensor that a model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub stored: String,
    /// Its name for [`Architecture::build`], which is transformers' name.
    pub name: String,
    /// Its shape: `[rows, columns]`, or `[columns]` for a vector.
    pub shape: Vec<usize>,
    /// How it must be changed on its way to the device.
    pub rows: RowOrder,
    /// How it may be packed on the device.
    pub packs: Packs,
}

/// How a tensor may be packed on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packs {
    /// Not at all, but in f32: norms, biases, heads, and tables of positions, token types and distances.
    Never,
    /// In any way: a large matrix.
    Matrix,
    /// Not quantised to four bits: a projection to values. It takes little memory, and scores are the most sensitive to
    /// it. llama.cpp's mixtures of types do the same.
    Values,
}

/// The tensors that a network is built from: tensors on the device by their [`TensorSpec::name`] (at first none), or a
/// plan that only notes which tensors are asked for.
#[derive(Debug)]
pub struct Tensors(Supply);

#[derive(Debug)]
enum Supply {
    Loaded(HashMap<String, Stored>),
    Plan(Vec<TensorSpec>),
}

impl Default for Tensors {
    fn default() -> Self {
        Self(Supply::Loaded(HashMap::new()))
    }
}

impl Tensors {
    /// Adds a tensor under its [`TensorSpec::name`]: `[rows, columns]`, or `[1, columns]` for a vector.
    pub fn insert(&mut self, name: &str, tensor: Stored) {
        if let Supply::Loaded(loaded) = &mut self.0 {
            loaded.insert(name.to_owned(), tensor);
        }
    }

    fn take(&mut self, name: &str, shape: &[usize], rows: RowOrder, packs: Packs) -> Result<Stored, ModelError> {
        match &mut self.0 {
            Supply::Loaded(loaded) => {
                loaded.remove(name).ok_or_else(|| ModelError::NotLoaded { tensor: name.to_owned() })
            }
            Supply::Plan(wanted) => {
                let (stored, name) = (name.to_owned(), name.to_owned());
                wanted.push(TensorSpec { stored, name, shape: shape.to_vec(), rows, packs });
                // No shape matters while a network is built, so a stand-in of any shape will do.
                Ok(Stored::plain(Tensor::zeros([1, 1], &Device::flex())))
            }
        }
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], rows: RowOrder, packs: Packs) -> Result<Stored, ModelError> {
        self.take(name, &shape, rows, packs)
    }

    fn vector(&mut self, name: &str, width: usize) -> Result<Tensor<1>, ModelError> {
        self.vector_ordered(name, width, RowOrder::AsStored)
    }

    fn vector_ordered(&mut self, name: &str, width: usize, rows: RowOrder) -> Result<Tensor<1>, ModelError> {
        Ok(self.take(name, &[width], rows, Packs::Never)?.all().squeeze_dim(0))
    }
}

/// A model's configuration, read and checked.
pub trait Architecture {
    /// What the rest of the program needs to know about the model.
    fn summary(&self) -> &Summary;

    /// The same, to be changed: to choose a label, or to set the numbers of labels and of embedding entries to those of
    /// the stored tensors.
    fn summary_mut(&mut self) -> &mut Summary;

    /// Makes it a sequence classifier: its first `layers` layers, the final norm, and one logit for every token by a
    /// `score.weight` of shape `[1, hidden]`.
    ///
    /// # Errors
    /// [`ModelError::NoBackbone`] where it is an encoder.
    fn classify(&mut self, layers: usize) -> Result<(), ModelError> {
        self.read_by(layers, HeadPlan::linear("score", 1))
    }

    /// Makes it a reward model with this head: its first `layers` layers, the final norm, and the head's outputs for
    /// every token.
    ///
    /// # Errors
    /// [`ModelError::NoBackbone`] where it is an encoder.
    fn read_by(&mut self, layers: usize, head: HeadPlan) -> Result<(), ModelError> {
        let _ = (layers, head);
        Err(ModelError::NoBackbone { architecture: self.summary().architecture })
    }

    /// The name of a language model's own head, where its configuration ties the head to the embedding. Some
    /// checkpoints store such a head all the same. `None` for every other model.
    fn tied_head(&self) -> Option<&'static str> {
        None
    }

    /// Makes a language model read its own head in place of the embedding.
    fn untie(&mut self) {}

    /// The `config.json` with which transformers opens it as a sequence classifier with one logit, after
    /// [`Self::classify`] made it one. Null for an encoder, and where transformers has no class for it.
    fn classifier_config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// The checkpoint's name of the tensor that transformers calls `name`; `None` where the checkpoint uses
    /// transformers' names, and therefore stores all rows in transformers' order.
    fn stored_name(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// The tensors that must be on the device; the embedding of tokens comes first.
    ///
    /// # Errors
    /// As [`Self::build`].
    fn tensors(&self) -> Result<Vec<TensorSpec>, ModelError> {
        let mut plan = Tensors(Supply::Plan(Vec::new()));
        self.build(&mut plan, &Device::flex())?;
        let Supply::Plan(wanted) = plan.0 else {
            return Ok(Vec::new());
        };
        let spec = |spec: TensorSpec| match self.stored_name(&spec.name) {
            Some(stored) => TensorSpec { stored, ..spec },
            None => TensorSpec { rows: RowOrder::AsStored, ..spec },
        };
        Ok(wanted.into_iter().map(spec).collect())
    }

    /// Builds the network from all of those tensors, which it takes out of `tensors`.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`] when one of them is missing.
    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError>;
}

/// What a network must return for a batch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Indices in the batch of the tokens whose hidden states are read, in ascending order. The last layer computes no
    /// others.
    pub tokens: &'a [usize],
    /// A number of layers, fewer than all, after which the hidden states are wanted too.
    pub tap: Option<usize>,
    /// Whether keys and values are wanted, for later batches that continue this one.
    pub keeps_state: bool,
}

/// What a network returns for a batch.
pub struct Hidden {
    /// The hidden states after the last layer, `[read tokens, hidden]`.
    pub last: Tensor<2>,
    /// The hidden states after [`Wanted::tap`] layers, `[read tokens, hidden]`.
    pub tapped: Option<Tensor<2>>,
    /// Keys and values, where they were wanted; an encoder has none.
    pub state: Option<State>,
}

/// A model on a device.
pub trait Network {
    /// The hidden states of the wanted tokens, through the final norm where the model has one. Where `wanted.tap` is a
    /// number of layers, also those after so many layers, through the same norm. `state` is the keys and values that
    /// the batch continues; an encoder ignores it.
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden;

    /// For [`Head::Pooled`]: from how many of its first tokens the score of a sequence of `tokens` tokens is computed.
    fn pooled_tokens(&self, tokens: usize) -> usize {
        tokens.min(1)
    }

    /// The [`Summary::labels`] outputs from hidden states `[tokens, hidden]`.
    ///
    /// For [`Head::Score`]: `[tokens, outputs]`; `counts` is not read. For [`Head::Pooled`]: `[sequences, outputs]`.
    /// `hidden` then has the [`Self::pooled_tokens`] of one sequence after the other, and `counts` says how many each
    /// has. For [`Head::Pair`]: `[sequences, 2]`, from three states of each sequence; `counts` is not read.
    fn outputs(&self, hidden: Tensor<2>, counts: &[usize]) -> Tensor<2>;

    /// `log p(target | hidden)` in nats: `[tokens, hidden]` and `[tokens]` to `[tokens]`. Only for
    /// [`Head::LanguageModel`]; an encoder returns NaN.
    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let _ = targets;
        Tensor::full([hidden.dims()[0]], f32::NAN, &hidden.device())
    }
}

/// One line of [`ARCHITECTURES`].
pub struct Entry {
    /// The name in `config.json`'s `architectures`, or GGUF's `general.architecture`.
    pub name: &'static str,
    /// The `model_type` in `config.json`; for a GGUF the same as `name`.
    pub model_type: &'static str,
    /// Whether `name` is that of a GGUF.
    pub gguf: bool,
    /// What the model's last step returns.
    pub head: Head,
    /// The fixtures on which it was compared with transformers: folders of `tests/fixtures/parity`, or a file of
    /// `tests/fixtures`.
    pub proven: &'static [&'static str],
    parse: Parse,
}

/// Reads a configuration of this entry's architecture.
type Parse = fn(&Entry, Description<'_>) -> Result<Box<dyn Architecture>, ModelError>;

/// [`ARCHITECTURES`] as a table in Markdown.
pub fn supported_table() -> String {
    let mut table = "| architecture | in | gives | proven on |\n|---|---|---|---|\n".to_owned();
    for entry in ARCHITECTURES {
        let place = if entry.gguf { "GGUF" } else { "`config.json`" };
        let gives = match entry.head {
            Head::Score => "a score at every token, read at the last",
            Head::Pooled => "a score of a prompt and completion",
            Head::Pair => "which of two completions is better",
            Head::LanguageModel => "log-probabilities",
        };
        let proven: Vec<String> = entry.proven.iter().map(|fixture| format!("`{fixture}`")).collect();
        table += &format!("| `{}` | {place} | {gives} | {} |\n", entry.name, proven.join(", "));
    }
    table
}

/// The names in [`ARCHITECTURES`], for a message.
fn supported() -> String {
    let kind = |entry: &Entry| {
        if entry.gguf { format!("{} (GGUF)", entry.name) } else { entry.name.to_owned() }
    };
    ARCHITECTURES.iter().map(kind).collect::<Vec<_>>().join(", ")
}

/// The names of the tensors that transformers' classifiers are known by: their head's weight.
pub const HEADS: [&str; 3] = ["score.weight", "classifier.weight", "classifier.out_proj.weight"];

/// The ends of transformers' names for a model without a head, or with a head that gives no score.
const HEADLESS: [&str; 4] = ["Model", "ForMaskedLM", "ForPreTraining", "PreTrainedModel"];

/// The ends of transformers' names for language models. One that is not in the table has another backbone, whatever head
/// lies beside it.
const OTHER_BACKBONES: [&str; 4] = ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM"];

/// Reads a configuration: returns the architecture that it describes.
///
/// # Errors
/// [`ModelError`] when it is damaged, or describes something that is not supported.
///
/// # Example
/// ```
/// use rewardscope_models::{Description, Head, describe};
///
/// # fn main() -> Result<(), rewardscope_models::ModelError> {
/// let json = r#"{"architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 3}"#;
/// let tensors = &Default::default();
/// let mut architecture = describe(Description::ConfigJson { file: "config.json", json, tensors })?;
/// assert_eq!(architecture.summary().head, Head::LanguageModel);
///
/// // Its first two layers, with a fitted head that reads their hidden states.
/// architecture.classify(2)?;
/// let specs = architecture.tensors()?;
/// let head = specs.iter().find(|spec| spec.name == "score.weight").expect("a head");
/// assert_eq!(head.shape, [1, 64]);
/// # Ok(()) }
/// ```
pub fn describe(description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let unknown = |file: &str, found: String| ModelError::UnknownArchitecture { file: file.to_owned(), found };
    let entry = match description {
        Description::ConfigJson { file, json, tensors } => named_entry(file, json, tensors)?,
        Description::Gguf(GgufDescription { metadata, .. }) => {
            let file = metadata.file();
            let name = metadata.text("general.architecture").map_err(|e| ModelError::Config {
                file: file.to_owned(),
                expected: "general.architecture".to_owned(),
                found: e.to_string(),
            })?;
            let entry = ARCHITECTURES.iter().find(|entry| entry.gguf && entry.name == name);
            entry.ok_or_else(|| unknown(file, format!("the architecture {name}")))?
        }
    };
    (entry.parse)(entry, description)
}

/// The entry for a `config.json`: the one with the name in `architectures`. Where that is absent or names a model
/// without a head, it is the one with the `model_type` and with the head that the tensors have. Where it is a class of a
/// publisher's own, it is the decoder with the `model_type`, if the tensors have a known head.
fn named_entry(file: &str, json: &str, tensors: &BTreeSet<String>) -> Result<&'static Entry, ModelError> {
    let config: serde_json::Value = from_json(file, json)?;
    let text = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str).map(str::to_owned);
    let name = text(config.get("architectures").and_then(|names| names.get(0)));
    let model_type = text(config.get("model_type"));
    if let Some(name) = &name
        && let Some(entry) = ARCHITECTURES.iter().find(|entry| !entry.gguf && entry.name == name)
    {
        return match &model_type {
            // transformers goes by model_type, so the name would be read otherwise there.
            Some(other) if other != entry.model_type => {
                let found = format!("the architecture {name} with the model_type {other:?}");
                Err(ModelError::UnknownArchitecture { file: file.to_owned(), found })
            }
            _ => Ok(entry),
        };
    }
    let of_type = |entry: &&Entry| !entry.gguf && model_type.as_deref() == Some(entry.model_type);
    let is_headless = |entry: &Entry| match &name {
        None => true,
        Some(name) => {
            let stem = entry.name.split("For").next().unwrap_or_default();
            name.strip_prefix(stem).is_some_and(|rest| HEADLESS.contains(&rest))
        }
    };
    let has_head = HEADS.iter().any(|head| tensors.contains(*head));
    let fits = |entry: &&Entry| match entry.head {
        Head::Score | Head::Pooled => has_head,
        // Known by its name alone.
        Head::Pair => false,
        // A decoder without a name and without a classifier's head is a language model.
        Head::LanguageModel => !has_head && name.is_none(),
    };
    let entry = ARCHITECTURES.iter().filter(of_type).find(|entry| is_headless(entry) && fits(entry));
    // A class of a publisher's own is known by its head, which stands on a decoder of the model's type.
    let named_head = config.get("value_head_prefix").and_then(serde_json::Value::as_str);
    let own = || {
        let is_own = name.as_ref().is_some_and(|name| !OTHER_BACKBONES.iter().any(|end| name.ends_with(end)));
        let has_own = is_own && has_known_head(tensors, named_head);
        ARCHITECTURES.iter().filter(of_type).find(|entry| has_own && entry.head == Head::Score)
    };
    entry.or_else(own).ok_or_else(|| {
        let found = match (&name, &model_type) {
            (Some(name), Some(_)) if ARCHITECTURES.iter().filter(of_type).any(is_headless) => {
                let heads = HEADS.join(", ");
                format!("the architecture {name} without a head that gives a score ({heads})")
            }
            (Some(name), _) => format!("the architecture {name}"),
            (None, Some(model_type)) => format!("no name in \"architectures\", and the model_type {model_type:?},"),
            (None, None) => "a configuration without \"architectures\" and model_type".to_owned(),
        };
        ModelError::UnknownArchitecture { file: file.to_owned(), found }
    })
}

fn from_json<T: serde::de::DeserializeOwned>(file: &str, json: &str) -> Result<T, ModelError> {
    serde_json::from_str(json).map_err(|e| ModelError::Config {
        file: file.to_owned(),
        expected: "a model configuration as transformers writes it".to_owned(),
        found: e.to_string(),
    })
}

/// The file name and text of a `config.json`, for an entry that cannot be a GGUF.
fn json_only<'a>(entry: &Entry, description: Description<'a>) -> Result<(&'a str, &'a str), ModelError> {
    match description {
        Description::ConfigJson { file, json, .. } => Ok((file, json)),
        Description::Gguf(GgufDescription { metadata, .. }) => Err(ModelError::Unsupported {
            file: metadata.file().to_owned(),
            found: format!("the architecture {} in a GGUF", entry.name),
        }),
    }
}

/// A configuration changed to that of a sequence classifier with one logit in float32.
fn classifier(config: &serde_json::Value, architecture: &str, summary: &Summary) -> serde_json::Value {
    let mut config = config.clone();
    config["architectures"] = serde_json::json!([architecture]);
    config["num_hidden_layers"] = summary.layers.into();
    if let Some(serde_json::Value::Array(types)) = config.get_mut("layer_types") {
        types.truncate(summary.layers);
    }
    config["tie_word_embeddings"] = false.into();
    config["id2label"] = serde_json::json!({ "0": "LABEL_0" });
    config["label2id"] = serde_json::json!({ "LABEL_0": 0 });
    for old in ["torch_dtype", "num_labels", "transformers_version", "quantization_config"] {
        config.as_object_mut().map(|config| config.shift_remove(old));
    }
    config["dtype"] = "float32".into();
    config
}
