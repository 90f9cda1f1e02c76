//! Why a model could not be loaded or a text not be scored.

use rewardscope_models::ModelError;
use rewardscope_store::{Cancelled, StoreError};
use rewardscope_text::TextError;
use rewardscope_weights::WeightsError;

/// Why a model could not be loaded or a text not be scored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Bytes could not be had.
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
    /// The files that were picked are no model.
    #[error(
        "opening a model: a .gguf file, or a folder with config.json, model.safetensors and tokenizer.json was expected, {found} was found"
    )]
    NoModel {
        /// What was picked instead.
        found: String,
    },
    /// A checkpoint in a form that is not read.
    #[error("opening {model}: {expected} was expected, {found} was found; {convert}")]
    Convert {
        /// The folder's name.
        model: String,
        /// The file that is read.
        expected: &'static str,
        /// The file that is there instead.
        found: String,
        /// How to make the one of the other.
        convert: &'static str,
    },
    /// An adapter without its base.
    #[error(
        "opening the adapter {adapter}: its base {base} was expected beside it, none was given; name the base too, or open the adapter by its Hub id"
    )]
    NoBase {
        /// The adapter's name.
        adapter: String,
        /// The base that its configuration names.
        base: String,
    },
    /// A repository has several models.
    #[error(
        "opening {repository}: one model was expected, it has {found}; name one after a colon, as in {repository}:{example}"
    )]
    SeveralModels {
        /// The repository's name.
        repository: String,
        /// The models' file names.
        found: String,
        /// One of them.
        example: String,
    },
    /// A model with tensors that change its value and that nothing here reads.
    #[error("loading {model}: tensors that are all read were expected, {found} was found")]
    NotWhole {
        /// The model's name.
        model: String,
        /// What was found instead.
        found: String,
    },
    /// A file is no reward head.
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
    /// No device of the wanted kind.
    #[error("opening the {wanted}: {reason}")]
    NoDevice {
        /// What was asked for.
        wanted: &'static str,
        /// Why there is none, and what to do.
        reason: String,
    },
    /// The device failed while it worked; nothing it returned since can be trusted.
    #[error("computing on {device}: {reason}; reload the model, or choose the CPU")]
    DeviceFailed {
        /// The device's name.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// The device computes a stored case wrongly.
    #[error(
        "testing {device}: {case} came out {largest_error:e} off its known answer, more than the {tolerance:e} allowed; no score from this device can be trusted, choose another one"
    )]
    SelfTest {
        /// The device's name.
        device: String,
        /// Which case failed.
        case: &'static str,
        /// Largest absolute error found.
        largest_error: f64,
        /// Largest absolute error allowed.
        tolerance: f64,
    },
    /// The weights do not fit.
    #[error(
        "loading {model}: its weights need {weight_bytes} bytes {dtype}, the CPU path here has at most {most_bytes}; {advice}"
    )]
    TooLarge {
        /// The file's or folder's name.
        model: String,
        /// What they were to be on the device.
        dtype: &'static str,
        /// Bytes of the weights so.
        weight_bytes: u64,
        /// Bytes that there can be.
        most_bytes: u64,
        /// What to do.
        advice: String,
    },
    /// A classifier's score cannot be told from its other logits.
    #[error(
        "loading {model}: {} was expected, for it has {labels} labels; {} was found",
        if *labels == 1 { "no label or label 0" } else { "a label to take as the score" },
        label.map_or("none".to_owned(), |label| format!("label {label}"))
    )]
    Label {
        /// The model's name.
        model: String,
        /// How many there are.
        labels: usize,
        /// The one that was asked for.
        label: Option<usize>,
    },
    /// The tokenizer gives ids that the model's embedding does not have.
    #[error(
        "scoring with {model}: the tokenizer gave id {id}, but the model's vocabulary ends at {vocab_size}; tokenizer and weights do not belong together"
    )]
    OutOfVocabulary {
        /// The model's name.
        model: String,
        /// The id.
        id: u32,
        /// Entries of the embedding.
        vocab_size: usize,
    },
    /// The tokenizer numbers a text beyond the types that the model has.
    #[error(
        "scoring with {model}: the tokenizer gave the token type {kind}, but the model has {most}; tokenizer and weights do not belong together"
    )]
    TokenType {
        /// The model's name.
        model: String,
        /// The type.
        kind: u32,
        /// How many types there are.
        most: usize,
    },
    /// Nothing is left to score.
    #[error(
        "scoring with {model}: the conversation has {tokens} tokens, its completion begins at token {first_completion_token}, and the context ends at {context_tokens}; shorten the prompt"
    )]
    NothingToScore {
        /// The model's name.
        model: String,
        /// Tokens before the cut.
        tokens: usize,
        /// Where the completion begins.
        first_completion_token: usize,
        /// Where the cut is.
        context_tokens: usize,
    },
    /// The work was cancelled; what was done before stays.
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
