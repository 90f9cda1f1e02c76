//! One file an architecture, as burn modules, read top to bottom. [`ARCHITECTURES`] is the list of
//! what is supported; adding one touches its file, a line of that table and a fixture test.
//!
//! A model is made in three steps: [`describe`] reads the configuration, [`Architecture::tensors`]
//! says which tensors must be brought onto the device, [`Architecture::build`] takes them.

mod architectures;
mod batch;
mod config;
mod decoder;
mod decoder_config;
mod layers;
mod rope;

use std::collections::{BTreeSet, HashMap};

use architectures::{
    bert, deberta, gemma, gemma2, gemma3, gpt_neox, llama, mistral, modernbert, qwen2, qwen3, roberta,
};
use burn::tensor::{Device, Int, Tensor};
use rewardscope_weights::{Checkpoint, gguf};

pub use batch::{Batch, State};
pub use rewardscope_kernels::{GROUP, Packed, Packing, Stored, project};

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
    /// A switch of an architecture that nothing here computes.
    #[error("loading {file}: {found} is not supported")]
    Unsupported {
        /// The configuration's file.
        file: String,
        /// What is not supported.
        found: String,
    },
    /// An architecture that nothing here computes.
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
    /// A fitted head on a model that has no state to read it from.
    #[error(
        "putting a head on a {architecture}: a decoder was expected, whose tokens have states of their own; an encoder's score is its own head's"
    )]
    NoBackbone {
        /// The architecture's name.
        architecture: &'static str,
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
        /// The names of the checkpoint's tensors, which say whether a configuration without a name in
        /// `architectures` is a classifier's.
        tensors: &'a BTreeSet<String>,
    },
    /// A GGUF file.
    Gguf(GgufDescription<'a>),
}

/// A GGUF file with its metadata.
#[derive(Debug, Clone, Copy)]
pub struct GgufDescription<'a> {
    /// Which tensors it has matters: a tied embedding is said by leaving the output matrix out.
    pub checkpoint: &'a Checkpoint,
    /// Its keys.
    pub metadata: &'a gguf::Metadata,
    /// The values of `rope_freqs.weight`, by which frequencies are divided; empty where there is none.
    pub rope_factors: &'a [f32],
}

/// What the model's last step gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// One logit a token: a decoder's score, read at one of them.
    Score,
    /// One logit a row: an encoder's score, pooled by the model itself. Its rows are pairs of a
    /// prompt and a completion.
    Pooled,
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
    /// Logits that a classifier gives.
    pub labels: usize,
    /// Which of them is the score.
    pub label: usize,
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
    /// Whether a token sees those before it alone: then what texts begin with alike is computed once.
    pub is_causal: bool,
    /// Texts of more tokens than this turn by other frequencies, so that they share nothing with shorter ones.
    pub long_after: Option<usize>,
    /// Token types that an encoder has; none where it reads none.
    pub token_types: Option<usize>,
}

impl Summary {
    /// Refuses sizes that would divide by zero, overflow, or exhaust memory later.
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

/// How a GGUF's tensor must be changed on the way to the device.
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
    /// llama.cpp adds one to the weights of Gemma's norms; transformers adds it when it computes.
    PlusOne,
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
    /// Whether it may be packed on the device.
    pub packs: Packs,
}

/// Which tensors may be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packs {
    /// Norms, biases, heads and tables of positions: they stay in f32.
    Never,
    /// A large matrix.
    Matrix,
    /// A projection to values, which costs little and to which scores are the most sensitive: four
    /// bits are not enough for it, as llama.cpp's mixtures have it too.
    Values,
}

/// The tensors of a model on their way into its network: loaded ones by their
/// [`TensorSpec::name`], on the device, or a plan that only notes which are asked for.
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
    /// Adds a tensor; vectors are handed over as `[1, columns]`.
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
                // Nothing is computed while a network is built, so a stand-in of any shape will do.
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

/// A parsed configuration.
pub trait Architecture {
    /// What the rest of the program needs to know.
    fn summary(&self) -> &Summary;

    /// The same, to choose a label, or to settle what the tensors settle: how many labels and tokens there are.
    fn summary_mut(&mut self) -> &mut Summary;

    /// Makes it a sequence classifier: its first `layers` layers, the final norm, and one logit a
    /// token by a `score.weight` of shape `[1, hidden]`.
    ///
    /// # Errors
    /// [`ModelError::NoBackbone`] where it is an encoder.
    fn classify(&mut self, layers: usize) -> Result<(), ModelError> {
        let _ = layers;
        Err(ModelError::NoBackbone { architecture: self.summary().architecture })
    }

    /// A head of its own that a language model may have stored although its head is its embedding: the tensor's name.
    fn tied_head(&self) -> Option<&'static str> {
        None
    }

    /// Makes a language model read a head of its own.
    fn untie(&mut self) {}

    /// The `config.json` with which transformers opens it as a sequence classifier with one logit,
    /// once it was made one.
    fn classifier_config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// The checkpoint's own name of a tensor that transformers names so; `None` where it is the
    /// same and nothing is ordered otherwise.
    fn stored_name(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// The tensors to bring onto the device.
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

    /// The model, from all of those tensors. Nothing is computed with them here.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`] when one is not there.
    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError>;
}

/// What is wanted of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The tokens whose hidden states are read, in ascending order; the last layer computes no
    /// others.
    pub tokens: &'a [usize],
    /// A number of layers, fewer than all, after which the hidden states are wanted too.
    pub tap: Option<usize>,
    /// Whether keys and values are wanted, for what comes later.
    pub keep: bool,
}

/// What a network makes of a batch.
pub struct Hidden {
    /// After the last layer: `[read tokens, hidden]`.
    pub last: Tensor<2>,
    /// After the layer that was asked for: the same.
    pub tapped: Option<Tensor<2>>,
    /// Keys and values, where they were wanted and the model has any to go on from.
    pub state: Option<State>,
}

/// A model on a device.
pub trait Network {
    /// The hidden states of tokens after the final norm. Where `tap` is a number of layers, also
    /// what the final norm makes of the hidden states after so many. `state` is what the batch goes
    /// on from; an encoder has none.
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden;

    /// For [`Head::Pooled`]: how many of a sequence's first tokens its score is made of, of so many.
    fn pooled_tokens(&self, tokens: usize) -> usize {
        tokens.min(1)
    }

    /// The chosen label's logits from `[tokens, hidden]`: of every token, `[tokens]`, for
    /// [`Head::Score`]; for [`Head::Pooled`] of every sequence, `[sequences]`, whose tokens are as
    /// many as `counts` say, one sequence after the other.
    fn score(&self, hidden: Tensor<2>, counts: &[usize]) -> Tensor<1>;

    /// `log p(target | hidden)` in nats: `[tokens, hidden]` and `[tokens]` to `[tokens]`. For
    /// [`Head::LanguageModel`]; not a number for the others.
    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let _ = targets;
        Tensor::full([hidden.dims()[0]], f32::NAN, &hidden.device())
    }
}

/// One line of the table of what is supported.
pub struct Entry {
    /// The name in `config.json`'s `architectures`, or GGUF's `general.architecture`.
    pub name: &'static str,
    /// `config.json`'s `model_type`; GGUF's own name.
    pub model_type: &'static str,
    /// Whether `name` is GGUF's.
    pub gguf: bool,
    /// What it gives.
    pub head: Head,
    /// What it was compared with transformers on: folders of `tests/fixtures/parity`, or a file of
    /// `tests/fixtures`.
    pub proven: &'static [&'static str],
    parse: Parse,
}

/// Reads a configuration of this entry's architecture.
type Parse = fn(&Entry, Description<'_>) -> Result<Box<dyn Architecture>, ModelError>;

/// A classifier in `config.json`.
const fn scores(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::Score, proven, parse }
}

/// An encoder's classifier.
const fn pools(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::Pooled, proven, parse }
}

/// A language model in `config.json`.
const fn writes(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::LanguageModel, proven, parse }
}

/// A language model in a GGUF.
const fn gguf(name: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type: name, gguf: true, head: Head::LanguageModel, proven, parse }
}

/// What is supported, a line each.
pub const ARCHITECTURES: &[Entry] = &[
    scores(
        "LlamaForSequenceClassification",
        "llama",
        &["llama_plain", "llama_gqa_tied", "llama_rope_scaled", "lora_llama", "lora_llama_rslora"],
        llama::parse,
    ),
    writes("LlamaForCausalLM", "llama", &["dpo_llama"], llama::parse),
    gguf("llama", &["smollm2_logprobs.json"], llama::parse),
    scores("MistralForSequenceClassification", "mistral", &["mistral_sliding"], mistral::parse),
    writes("MistralForCausalLM", "mistral", &["causal_mistral"], mistral::parse),
    scores("Qwen2ForSequenceClassification", "qwen2", &["qwen2"], qwen2::parse),
    writes("Qwen2ForCausalLM", "qwen2", &["causal_qwen2"], qwen2::parse),
    scores("Qwen3ForSequenceClassification", "qwen3", &["qwen3"], qwen3::parse),
    writes("Qwen3ForCausalLM", "qwen3", &["causal_qwen3"], qwen3::parse),
    scores("GemmaForSequenceClassification", "gemma", &["gemma"], gemma::parse),
    writes("GemmaForCausalLM", "gemma", &["causal_gemma"], gemma::parse),
    scores("Gemma2ForSequenceClassification", "gemma2", &["gemma2"], gemma2::parse),
    writes("Gemma2ForCausalLM", "gemma2", &["causal_gemma2"], gemma2::parse),
    scores("Gemma3TextForSequenceClassification", "gemma3_text", &["gemma3_text"], gemma3::parse),
    writes("Gemma3ForCausalLM", "gemma3_text", &["causal_gemma3"], gemma3::parse),
    gguf("gemma3", &["real.json"], gemma3::parse),
    scores("GPTNeoXForSequenceClassification", "gpt_neox", &["gpt_neox"], gpt_neox::parse),
    writes("GPTNeoXForCausalLM", "gpt_neox", &["causal_gpt_neox"], gpt_neox::parse),
    pools("BertForSequenceClassification", "bert", &["bert"], bert::parse),
    pools("RobertaForSequenceClassification", "roberta", &["roberta"], roberta::parse),
    pools("DebertaV2ForSequenceClassification", "deberta-v2", &["deberta_v3"], deberta::parse),
    pools(
        "ModernBertForSequenceClassification",
        "modernbert",
        &["modernbert_cls", "modernbert_mean"],
        modernbert::parse,
    ),
];

/// The table as Markdown, a line an entry.
pub fn supported_table() -> String {
    let mut table = "| architecture | in | gives | proven on |\n|---|---|---|---|\n".to_owned();
    for entry in ARCHITECTURES {
        let place = if entry.gguf { "GGUF" } else { "`config.json`" };
        let gives = match entry.head {
            Head::Score => "a score at every token, read at the last",
            Head::Pooled => "a score of a prompt and completion",
            Head::LanguageModel => "log-probabilities",
        };
        let proven: Vec<String> = entry.proven.iter().map(|fixture| format!("`{fixture}`")).collect();
        table += &format!("| `{}` | {place} | {gives} | {} |\n", entry.name, proven.join(", "));
    }
    table
}

fn supported() -> String {
    let kind = |entry: &Entry| {
        if entry.gguf { format!("{} (GGUF)", entry.name) } else { entry.name.to_owned() }
    };
    ARCHITECTURES.iter().map(kind).collect::<Vec<_>>().join(", ")
}

/// The tensors that a classifier is known by.
pub const HEADS: [&str; 3] = ["score.weight", "classifier.weight", "classifier.out_proj.weight"];

/// What transformers calls a model before it has a head, or with one that gives no score.
const HEADLESS: [&str; 4] = ["Model", "ForMaskedLM", "ForPreTraining", "PreTrainedModel"];

/// The architecture that a configuration describes.
///
/// # Errors
/// [`ModelError`] when it is damaged, or describes something that is not supported.
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

/// The entry of a `config.json`: that of the name in `architectures`, or where it names none or a model without a
/// head, that of its `model_type` whose head the tensors have.
fn named_entry(file: &str, json: &str, tensors: &BTreeSet<String>) -> Result<&'static Entry, ModelError> {
    let config: serde_json::Value = from_json(file, json)?;
    let text = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str).map(str::to_owned);
    let name = text(config.get("architectures").and_then(|names| names.get(0)));
    let model_type = text(config.get("model_type"));
    if let Some(name) = &name
        && let Some(entry) = ARCHITECTURES.iter().find(|entry| !entry.gguf && entry.name == name)
    {
        return match &model_type {
            // transformers goes by this one.
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
        // Without a name a decoder that has no head of a classifier is a language model.
        Head::LanguageModel => !has_head && name.is_none(),
    };
    let entry = ARCHITECTURES.iter().filter(of_type).find(|entry| is_headless(entry) && fits(entry));
    entry.ok_or_else(|| {
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

/// The file and text of a configuration of an entry that has no GGUF of its own.
fn json_only<'a>(entry: &Entry, description: Description<'a>) -> Result<(&'a str, &'a str), ModelError> {
    match description {
        Description::ConfigJson { file, json, .. } => Ok((file, json)),
        Description::Gguf(GgufDescription { metadata, .. }) => Err(ModelError::Unsupported {
            file: metadata.file().to_owned(),
            found: format!("the architecture {} in a GGUF", entry.name),
        }),
    }
}

/// A configuration as that of a sequence classifier with one logit in float32.
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
