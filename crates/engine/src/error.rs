//! Why a model could not be loaded, or a text could not be scored.

use rewardscope_models::ModelError;
use rewardscope_store::{Cancelled, StoreError};
use rewardscope_text::TextError;
use rewardscope_weights::WeightsError;

/// Why a model could not be loaded, or a text could not be scored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Bytes could not be read or fetched.
    #[error(transparent)]
    Store(StoreError),
    /// The weights are damaged, incomplete or of an unsupported type.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The configuration is damaged or describes something unsupported.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer or the chat template failed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The chosen files are not a model.
    #[error(
        "opening a model: a .gguf file, or a folder with config.json, model.safetensors and tokenizer.json was expected, {found} was found"
    )]
    NoModel {
        /// What was chosen instead.
        found: String,
    },
    /// The checkpoint has a format that is not read.
    #[error("opening {model}: {expected} was expected, {found} was found; {convert}")]
    Convert {
        /// The folder's name.
        model: String,
        /// The file that would be read.
        expected: &'static str,
        /// The file that is there instead.
        found: String,
        /// How to convert it.
        convert: &'static str,
    },
    /// An adapter was opened without its base model.
    #[error(
        "opening the adapter {adapter}: its base {base} was expected beside it, none was given; name the base too, or open the adapter by its Hub id"
    )]
    NoBase {
        /// The adapter's name.
        adapter: String,
        /// The base that its configuration names.
        base: String,
    },
    /// A repository has several models, and none was named.
    #[error(
        "opening {repository}: one model was expected, it has {found}; name one after a colon, as in {repository}:{example}"
    )]
    SeveralModels {
        /// The repository's name.
        repository: String,
        /// The models' file names.
        found: String,
        /// One of these names.
        example: String,
    },
    /// The model is not complete, or has tensors that change its scores but are not read.
    #[error("loading {model}: a complete model without unknown tensors was expected, {found} was found")]
    NotWhole {
        /// The model's name.
        model: String,
        /// What was found instead.
        found: String,
    },
    /// A file is not a reward head.
    #[error("reading {file}: a reward head (score.weight and its description) was expected, {found} was found")]
    NoHead {
        /// The file's name.
        file: String,
        /// What was found instead.
        found: String,
    },
    /// A reward head does not belong to the backbone.
    #[error(
        "putting the head {head} on its backbone: {expected} was expected, {found} was found; load the backbone that the head was fitted on"
    )]
    OtherBackbone {
        /// The head's name.
        head: String,
        /// The backbone that it was fitted on.
        expected: String,
        /// What was there instead.
        found: String,
    },
    /// A reward head cannot be written as a checkpoint that transformers opens.
    #[error("writing a checkpoint of {model}: {reason}")]
    NoCheckpoint {
        /// The model's name.
        model: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// There is no device of the wanted kind.
    #[error("opening the {wanted}: {reason}")]
    NoDevice {
        /// What was asked for.
        wanted: &'static str,
        /// Why there is none, and what to do.
        reason: String,
    },
    /// The device failed while it worked. Nothing that it returned since can be trusted.
    #[error("computing on {device}: {reason}; reload the model, or choose the CPU")]
    DeviceFailed {
        /// The device's name.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// The device computes a known case wrongly.
    #[error(
        "testing {device}: {case} came out {largest_error:e} off its known answer, more than the {tolerance:e} allowed; no score from this device can be trusted, choose another one"
    )]
    SelfTest {
        /// The device's name.
        device: String,
        /// Which case failed.
        case: &'static str,
        /// Largest absolute error found, in nats for log-probabilities.
        largest_error: f64,
        /// Largest absolute error allowed, in the same unit.
        tolerance: f64,
    },
    /// The weights do not fit into memory.
    #[error(
        "loading {model}: its weights need {weight_bytes} bytes {dtype}, the CPU path here has at most {most_bytes}; {advice}"
    )]
    TooLarge {
        /// The file's or folder's name.
        model: String,
        /// The chosen type of the weights, as in `as q8`.
        dtype: &'static str,
        /// Bytes of the weights as this type.
        weight_bytes: u64,
        /// Most bytes of weights that the device can hold.
        most_bytes: u64,
        /// What to do.
        advice: String,
    },
    /// It is not clear which of a classifier's logits is the score.
    #[error(
        "loading {model}: {} was expected, for it has {labels} labels; {} was found",
        if *labels == 1 { "no label or label 0" } else { "a label to take as the score" },
        label.map_or("none".to_owned(), |label| format!("label {label}"))
    )]
    Label {
        /// The model's name.
        model: String,
        /// Number of labels.
        labels: usize,
        /// The label that was asked for.
        label: Option<usize>,
    },
    /// The tokenizer gives an id that the model's embedding does not have.
    #[error(
        "scoring with {model}: the tokenizer gave id {id}, but the model's vocabulary ends at {vocab_size}; tokenizer and weights do not belong together"
    )]
    OutOfVocabulary {
        /// The model's name.
        model: String,
        /// The id.
        id: u32,
        /// Number of tokens in the embedding.
        vocab_size: usize,
    },
    /// The tokenizer gives a token type that the model does not have.
    #[error(
        "scoring with {model}: the tokenizer gave the token type {kind}, but the model has {most}; tokenizer and weights do not belong together"
    )]
    TokenType {
        /// The model's name.
        model: String,
        /// The token type.
        kind: u32,
        /// Number of token types that the model has.
        most: usize,
    },
    /// After truncation, nothing of the completion is left to score.
    #[error(
        "scoring with {model}: the conversation has {tokens} tokens, its completion begins at token {first_completion_token}, and the context ends at {context_tokens}; shorten the prompt"
    )]
    NothingToScore {
        /// The model's name.
        model: String,
        /// Number of tokens before truncation.
        tokens: usize,
        /// Index of the completion's first token.
        first_completion_token: usize,
        /// Most tokens that the model sees.
        context_tokens: usize,
    },
    /// A gated head finds no beginning of an answer in what truncation leaves.
    #[error(
        "scoring with {model}: its gates are read where the last answer begins, at {pattern:?}; the text that it sees has none; shorten the prompt, or use the model's own template"
    )]
    NoGate {
        /// The model's name.
        model: String,
        /// The text of the tokens that begin an answer.
        pattern: String,
    },
    /// A reader is damaged, does not fit its model, or cannot read a text.
    #[error("reading a verdict by {reader}: {found}")]
    Reader {
        /// The reader's name.
        reader: String,
        /// What was found, and what to do.
        found: String,
    },
    /// Implicit rewards cannot be read of these models.
    #[error("reading implicit rewards of {model}: {found}")]
    Implicit {
        /// The policy's name.
        model: String,
        /// What was expected and found, and what to do.
        found: String,
    },
    /// Completions cannot be compared.
    #[error("comparing completions with {model}: {found}")]
    Pair {
        /// The model's name.
        model: String,
        /// What was expected and found, and what to do.
        found: String,
    },
    /// There is no reader of this name.
    #[error("choosing a reader: none, the name of a JSON file, or one of {known} was expected, {name} was found")]
    NoReader {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The work was cancelled. What was done before stays.
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for EngineError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled(cancelled) => cancelled.into(),
            other => Self::Store(other),
        }
    }
}
