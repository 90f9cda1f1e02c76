use std::cell::RefCell;
use std::ops::Range;

use rewardscope_models::{Architecture, Head, ModelError, Summary};
use rewardscope_store::{FetchProgress, FetchStage};
use rewardscope_text::{ChatTemplate, Clock, Conversation, Encoding, Message, Pair, TextPipeline, TruncationSide};
use serde::{Deserialize, Serialize};

use crate::device::{DeviceKind, DeviceReport, OpenDevice};
use crate::forward::{Forward, Kept, Row};
use crate::score::{Aggregate, Detail, LogProbabilities, Score};
use crate::{
    Cancel, Dtype, EngineError, HeadConfig, ModelFiles, PooledToken, Pooling, Protocol, RewardHead, SelfTest, selftest,
};

/// What is settled before a model is loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// The time that templates are told.
    pub clock: Clock,
    /// How a language model's log-probabilities become a score.
    pub aggregate: Aggregate,
    /// Cut conversations at so many tokens; never beyond the model's own context.
    pub max_tokens: Option<usize>,
    /// Which logit of a classifier with several is the score.
    pub label: Option<usize>,
    /// How conversations become ids, and where scores are read.
    pub protocol: Protocol,
    /// What the weights are on the device.
    pub dtype: Dtype,
    /// Tokens in a batch; as suits the device where none are given.
    pub batch_tokens: Option<usize>,
}

impl LoadOptions {
    /// All by default: the model's own template, context and only label.
    pub fn new(clock: Clock) -> Self {
        let (aggregate, protocol) = (Aggregate::default(), Protocol::default());
        let dtype = Dtype::default();
        Self { clock, aggregate, max_tokens: None, label: None, protocol, dtype, batch_tokens: None }
    }

    /// As the reference evaluator has it.
    pub fn reference(clock: Clock) -> Self {
        Self { max_tokens: Some(Protocol::REFERENCE_TOKENS), protocol: Protocol::reference(), ..Self::new(clock) }
    }
}

/// What a loading model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum LoadStage {
    /// Files over the network into the cache.
    Download,
    /// Files of the cache against their hashes.
    Check,
    /// Configuration, tokenizer and the weights' headers.
    Headers,
    /// The weights onto the device.
    Weights,
    /// A stored case through the kernels.
    SelfTest,
}

/// How far a loading model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LoadProgress {
    /// What is fetched or loaded.
    pub name: String,
    /// What is being done.
    pub stage: LoadStage,
    /// Bytes fetched, checked or on the device, as stored.
    pub bytes_done: u64,
    /// Bytes of that stage in all.
    pub bytes_total: u64,
    /// What went wrong and is tried again: a sentence.
    pub trouble: Option<String>,
}

impl From<FetchProgress> for LoadProgress {
    fn from(now: FetchProgress) -> Self {
        let stage = match now.stage {
            FetchStage::Downloading => LoadStage::Download,
            FetchStage::Checking => LoadStage::Check,
        };
        Self { name: now.name, stage, bytes_done: now.bytes_done, bytes_total: now.bytes_total, trouble: now.trouble }
    }
}

/// What there is to say of a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ModelReport {
    /// The file's or folder's name.
    pub name: String,
    /// [`ModelFiles::origin`]
    pub origin: Option<String>,
    /// A hash over its files and its fitted head, which tells models apart.
    pub fingerprint: String,
    /// A hash over its files alone.
    pub backbone_fingerprint: String,
    /// The fitted head on it, where there is one.
    pub head: Option<HeadConfig>,
    /// The architecture's name.
    pub architecture: String,
    /// Whether scores are rewards; otherwise they are log-probabilities.
    pub is_reward_model: bool,
    /// How log-probabilities become a score; a reward model's need not.
    pub aggregate: Option<Aggregate>,
    /// A hash over what turns text into token ids.
    pub tokenizer_fingerprint: String,
    /// [`Protocol::described`]
    pub protocol: String,
    /// What makes a text of a conversation: `tokenizer` for the model's own template, a format's
    /// name, or `none`, where prompt and completion are read as a pair or one after the other.
    pub template: String,
    /// Which of a classifier's logits is the score, where it has several.
    pub label: Option<usize>,
    /// The time that the template was told, in seconds of [`Clock`], where it asks: scores depend
    /// on it.
    pub template_seconds: Option<i64>,
    /// Tokens that it can attend over, after any limit that was set.
    pub context_tokens: usize,
    /// What whoever compares its scores should know: sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Number of layers that run.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Stored bytes of the weights.
    pub weight_bytes: u64,
    /// What the weights are on the device.
    pub dtype: Dtype,
    /// Bytes of the weights there.
    pub device_bytes: u64,
    /// Where it runs.
    pub device: DeviceReport,
    /// How the device did on known answers.
    pub self_test: SelfTest,
    /// Milliseconds from the first byte to the last upload.
    pub load_ms: f64,
}

fn tokenizer_fingerprint(tokenizer: &rewardscope_text::Tokenizer) -> Result<String, EngineError> {
    let mut hash = rewardscope_store::Hasher::sha256();
    hash.update(tokenizer.to_json()?.as_bytes());
    Ok(hash.finish().hex())
}

/// Ids to score, and where in them the completion begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequence {
    /// The whole conversation.
    pub input_ids: Vec<u32>,
    /// A language model's log-probabilities are read from this token on.
    pub first_completion_token: usize,
    /// Which part of a pair each token belongs to, for encoders that are told; empty where there
    /// are no parts.
    pub token_type_ids: Vec<u32>,
    /// Tokens that tokenizing cut off already, as it must where special tokens follow them.
    pub cut_tokens: usize,
}

impl TokenSequence {
    /// Ids of a conversation, whole.
    pub fn new(input_ids: Vec<u32>, first_completion_token: usize) -> Self {
        Self { input_ids, first_completion_token, token_type_ids: Vec::new(), cut_tokens: 0 }
    }

    /// The types of its first tokens.
    fn types(&self, tokens: usize) -> &[u32] {
        &self.token_type_ids[..self.token_type_ids.len().min(tokens)]
    }
}

/// A loaded model with its tokenizer and template.
pub struct Scorer {
    forward: Forward,
    text: TextPipeline,
    options: LoadOptions,
    pooling: Pooling,
    report: ModelReport,
    batch_tokens: usize,
    draft: RefCell<Draft>,
}

/// What is kept from one call of [`Scorer::rescore`] to the next.
#[derive(Default)]
struct Draft {
    kept: Kept,
    scored: Vec<(TokenSequence, Score)>,
}

/// What a reward head sees of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `[hidden]`: the pooled hidden state.
    pub state: Vec<f32>,
    /// A language model's own word on the completion.
    pub log_probabilities: Option<LogProbabilities>,
    /// Tokens of the whole conversation that the model saw.
    pub tokens: usize,
    /// Tokens cut off at the context's end.
    pub cut_tokens: usize,
}

/// A token as the model saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct TracedToken {
    /// Its id.
    pub id: u32,
    /// What it stands for in the text.
    pub text: String,
    /// A decoder's score up to it, or its log-probability; none where there is no such value.
    pub value: Option<f64>,
}

/// A conversation token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Trace {
    /// All that the model saw.
    pub tokens: Vec<TracedToken>,
    /// Where among them the completion begins.
    pub first_completion_token: usize,
    /// The completion's score.
    pub score: f64,
    /// Whether values are rewards; otherwise they are log-probabilities in nats.
    pub is_reward: bool,
}

/// Most tokens in one batch, and most bytes of what a layer makes of them. On the CPU more save
/// nothing but cost memory.
const BATCH_GPU: (usize, u64) = (4096, 256 << 20);
const BATCH_CPU: (usize, u64) = (1024, 96 << 20);

/// Fewer tokens leave most of a device idle.
const LEAST_BATCH_TOKENS: u64 = 64;

/// Bytes of what a layer makes of a token: the residual, its norms, queries, keys, values and what they
/// come to are there at once, then both halves of the feed-forward layer, their product and its result.
fn bytes_a_token(summary: &Summary) -> u64 {
    4 * (3 * summary.intermediate_size as u64 + 8 * summary.hidden_size as u64)
}

/// Tokens in one batch, as suits the device and the model's width.
fn batch_tokens(device: &OpenDevice, summary: &Summary) -> usize {
    let (most, most_bytes) = match device.report.kind {
        DeviceKind::Gpu => BATCH_GPU,
        DeviceKind::Cpu => BATCH_CPU,
    };
    let (hidden, inner) = (summary.hidden_size as u64, summary.intermediate_size as u64);
    // A kernel reads each of a layer's values whole.
    let bound = device.most_bound_bytes() / (4 * inner.max(hidden));
    let budget = (most_bytes / bytes_a_token(summary)).min(bound).max(LEAST_BATCH_TOKENS);
    usize::try_from(budget).unwrap_or(most).min(most)
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scorer({} on {})", self.report.name, self.report.device.name)
    }
}

impl Scorer {
    /// Streams a model onto a device and tests the kernels there. With `head` the model is that
    /// reward head's backbone.
    ///
    /// # Errors
    /// When a file is damaged or unsupported, the head is another backbone's, the device fails, or
    /// the self-test is off; each message names the file or the device. Nothing is left on the
    /// device then.
    pub async fn load(
        files: &ModelFiles,
        head: Option<&RewardHead>,
        device: OpenDevice,
        options: LoadOptions,
        cancel: &Cancel,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, EngineError> {
        let started = crate::device::now_ms();
        let name = files.name().to_owned();
        let mut now = LoadProgress { name, stage: LoadStage::Headers, bytes_done: 0, bytes_total: 0, trouble: None };
        progress(now.clone());
        let backbone_fingerprint = files.fingerprint(cancel).await?;
        let mut opened = files.open(options.clock).await?;
        let mut fingerprint = backbone_fingerprint.clone();
        if let Some(head) = head {
            head.attach(&mut opened, &backbone_fingerprint).await?;
            fingerprint = head.fingerprint(&backbone_fingerprint);
        }
        choose_label(opened.architecture.as_mut(), files.name(), options.label)?;
        // A head may sit on fewer layers: then not all of the model comes by.
        let keep = match (files, head) {
            (ModelFiles::Folder { form: Some(form), .. }, None) => Some((form.as_ref(), backbone_fingerprint.as_str())),
            _ => None,
        };
        now.stage = LoadStage::Weights;
        let architecture = opened.architecture.as_ref();
        let tell = &mut |done, total| {
            (now.bytes_done, now.bytes_total) = (done, total);
            progress(now.clone());
        };
        let (forward, parameters, device_bytes) =
            Forward::load(&opened.checkpoint, architecture, device, options.dtype, keep, cancel, tell).await?;
        let load_ms = crate::device::now_ms() - started;
        now.stage = LoadStage::SelfTest;
        progress(now.clone());
        if let Some(format) = &options.protocol.format {
            opened.text.template = Some(ChatTemplate::new(format.name, format.template(), Vec::new(), options.clock)?);
        }
        let self_test = selftest::run(&forward.device, &forward.summary).await?;
        let summary = &forward.summary;
        let own_most = opened.text.tokenizer.most_tokens().filter(|_| summary.head == Head::Pooled);
        let context_tokens = summary.context_tokens.min(options.max_tokens.or(own_most).unwrap_or(usize::MAX));
        let mut options = options;
        options.protocol.truncation.get_or_insert(opened.text.tokenizer.side());
        let report = ModelReport {
            name: files.name().to_owned(),
            origin: files.origin().map(str::to_owned),
            fingerprint,
            backbone_fingerprint,
            head: head.map(|head| head.config.clone()),
            aggregate: (summary.head == Head::LanguageModel).then_some(options.aggregate),
            tokenizer_fingerprint: tokenizer_fingerprint(&opened.text.tokenizer)?,
            protocol: options.protocol.described(),
            template: match (&options.protocol.format, &opened.text.template) {
                (Some(format), _) => format.name,
                (None, Some(_)) => "tokenizer",
                (None, None) => "none",
            }
            .to_owned(),
            label: (summary.labels > 1).then_some(summary.label),
            template_seconds: opened
                .text
                .template
                .as_ref()
                .filter(|template| template.tells_time())
                .map(|_| options.clock.local_seconds()),
            architecture: summary.architecture.to_owned(),
            is_reward_model: summary.head != Head::LanguageModel,
            context_tokens,
            notes: opened.notes,
            layers: summary.layers,
            hidden_size: summary.hidden_size,
            parameters,
            weight_bytes: now.bytes_total,
            dtype: options.dtype,
            device_bytes,
            device: forward.device.report.clone(),
            self_test,
            load_ms,
        };
        let batch_tokens = options.batch_tokens.unwrap_or_else(|| batch_tokens(&forward.device, &forward.summary));
        let pooling = head.map(|head| head.config.pooling).unwrap_or_default();
        let draft = RefCell::default();
        Ok(Self { forward, text: opened.text, options, pooling, report, batch_tokens, draft })
    }

    /// What there is to say of the model.
    pub fn report(&self) -> &ModelReport {
        &self.report
    }

    /// Bytes on the device of the weights and of what a layer makes of the largest batch.
    pub fn memory_bytes(&self) -> u64 {
        self.report.device_bytes + self.batch_tokens as u64 * bytes_a_token(&self.forward.summary)
    }

    /// Which end of a text that is too long is cut.
    pub fn truncation(&self) -> TruncationSide {
        self.options.protocol.truncation.unwrap_or(self.text.tokenizer.side())
    }

    fn encoding(&self) -> Encoding {
        let (bos, side) = (self.options.protocol.bos, self.truncation());
        Encoding { bos, side, most_tokens: self.report.context_tokens }
    }

    /// The time that templates are told from now on.
    pub fn set_clock(&self, clock: Clock) {
        if let Some(template) = &self.text.template {
            template.set_clock(clock);
        }
    }

    /// Milliseconds that it takes to hand one layer's work over `tokens` tokens to the device,
    /// without waiting for it; the first call also compiles.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn encode_ms(&self, tokens: usize) -> Result<f64, EngineError> {
        let ms = self.forward.encode_ms(tokens);
        // Waits, so that nothing of it is left when the next work comes.
        let row = Row { ids: &[0, 0], types: &[], values: 1..2, pooled: None };
        self.forward.read(&[row], self.report.layers, 2, None, &Cancel::default()).await?;
        Ok(ms)
    }

    /// The token sequences of a prompt with each of its completions.
    ///
    /// # Errors
    /// When the template or the tokenizer fails.
    pub fn tokenize<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<TokenSequence>, EngineError> {
        let encoding = self.encoding();
        if self.forward.summary.head == Head::Pooled {
            let pairs = self.text.pairs(prompt, completions, encoding)?;
            let sequence = |pair: Pair| TokenSequence {
                input_ids: pair.input_ids,
                first_completion_token: pair.first_completion_token,
                token_type_ids: pair.token_type_ids,
                cut_tokens: pair.cut_tokens,
            };
            return Ok(pairs.into_iter().map(sequence).collect());
        }
        let conversations = self.text.conversations(prompt, completions, encoding)?;
        let sequence = |conversation: Conversation| TokenSequence {
            cut_tokens: conversation.cut_tokens,
            ..TokenSequence::new(conversation.input_ids, conversation.first_completion_token)
        };
        Ok(conversations.into_iter().map(sequence).collect())
    }

    /// The scores of a prompt's completions, in their order.
    ///
    /// # Errors
    /// As [`Self::tokenize`] and [`Self::score_tokens`].
    pub async fn score<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
        detail: Detail,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        let sequences = self.tokenize(prompt, completions)?;
        self.score_tokens(&sequences, detail, cancel).await
    }

    /// Whether conversations can become texts: asked before many of them are scored.
    ///
    /// # Errors
    /// When the model has no template and no format stands in.
    pub fn check_template(&self) -> Result<(), EngineError> {
        match self.tokenize(&[Message::new("user", "?")], ["."]) {
            Err(error @ EngineError::Text(rewardscope_text::TextError::NoTemplate { .. })) => Err(error),
            // What a template makes of one conversation says little of another.
            _ => Ok(()),
        }
    }

    /// The scores of token sequences, in their order. Sequences longer than the context are cut on
    /// the side that the protocol says. What all of them begin with is computed once.
    ///
    /// # Errors
    /// When an id is outside the vocabulary, nothing of a completion is left to score, the device
    /// fails, or the work is cancelled.
    pub async fn score_tokens(
        &self,
        sequences: &[TokenSequence],
        detail: Detail,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        self.score_after(sequences, detail, None, cancel).await
    }

    /// The scores of a prompt's completions while somebody writes them: what is as it was in the call
    /// before, the prompt's beginning and whole texts, is not computed again.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub async fn rescore<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        let sequences = self.tokenize(prompt, completions)?;
        // Taken out while it is used: a call that fails leaves nothing behind.
        let mut draft = self.draft.take();
        let known = |sequence: &TokenSequence| draft.scored.iter().find(|(scored, _)| scored == sequence);
        let mut scores: Vec<Option<Score>> = sequences
            .iter()
            .map(|sequence| known(sequence).map(|(_, score)| Score { computed_tokens: 0, ..score.clone() }))
            .collect();
        let changed: Vec<usize> = (0..scores.len()).filter(|&place| scores[place].is_none()).collect();
        if !changed.is_empty() {
            let wanted: Vec<TokenSequence> = changed.iter().map(|&place| sequences[place].clone()).collect();
            let found = self.score_after(&wanted, Detail::Score, Some(&mut draft.kept), cancel).await?;
            for (place, score) in changed.into_iter().zip(found) {
                scores[place] = Some(score);
            }
        }
        let scores: Vec<Score> = scores.into_iter().flatten().collect();
        draft.scored = sequences.into_iter().zip(scores.iter().cloned()).collect();
        self.draft.replace(draft);
        Ok(scores)
    }

    /// What the model sees of a prompt and a completion, token by token, with the value at each: a
    /// decoder's score were the text to end there, or a language model's log-probability of the token.
    /// An encoder has one value for all.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub async fn trace(&self, prompt: &[Message], completion: &str, cancel: &Cancel) -> Result<Trace, EngineError> {
        let sequences = self.tokenize(prompt, [completion])?;
        let text = match self.forward.summary.head {
            Head::Pooled => None,
            Head::Score | Head::LanguageModel => {
                let encoding = self.encoding();
                self.text.conversations(prompt, [completion], encoding)?.pop().map(|conversation| conversation.text)
            }
        };
        let mut scores = self.score_tokens(&sequences, Detail::EveryToken, cancel).await?;
        let (Some(sequence), Some(score)) = (sequences.first(), scores.pop()) else {
            return Err(EngineError::Cancelled);
        };
        let ids = self.kept(std::slice::from_ref(sequence))?.concat();
        let texts = match &text {
            Some(text) => self.text.token_texts(text, &ids)?,
            None => ids.iter().map(|&id| self.text.tokenizer.token(id).unwrap_or_default()).collect(),
        };
        // A language model's values begin where the completion does; a classifier's with the text.
        let values = &score.token_scores;
        let first_value = ids.len().saturating_sub(values.len());
        let token = |(place, (&id, text)): (usize, (&u32, String))| TracedToken {
            id,
            text,
            value: place.checked_sub(first_value).and_then(|at| values.get(at)).map(|&value| f64::from(value)),
        };
        Ok(Trace {
            tokens: ids.iter().zip(texts).enumerate().map(token).collect(),
            first_completion_token: self.first(sequence),
            score: score.score,
            is_reward: self.report.is_reward_model,
        })
    }

    async fn score_after(
        &self,
        sequences: &[TokenSequence],
        detail: Detail,
        after: Option<&mut Kept>,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        let kept = self.kept(sequences)?;
        let values = |ids: &[u32], sequence: &TokenSequence| match (self.forward.summary.head, detail) {
            (Head::LanguageModel, _) => self.first(sequence).max(1)..ids.len(),
            (Head::Score, Detail::EveryToken) => 0..ids.len(),
            (Head::Score, Detail::Score) => self.pooled_span(self.pooling, ids, self.first(sequence)),
            (Head::Pooled, _) => 0..0,
        };
        let rows: Vec<Row<'_>> = kept
            .iter()
            .zip(sequences)
            .map(|(&ids, sequence)| Row {
                ids,
                types: sequence.types(ids.len()),
                values: values(ids, sequence),
                pooled: None,
            })
            .collect();
        let readings = self.forward.read(&rows, self.report.layers, self.batch_tokens, after, cancel).await?;
        let scored = kept.iter().zip(sequences).zip(rows.iter().zip(readings));
        Ok(scored
            .map(|((ids, sequence), (row, readings))| {
                self.score_of(sequence, ids, row.values.start, readings.values, readings.computed)
            })
            .collect())
    }

    /// Tokens that [`Self::score_tokens`] would compute.
    ///
    /// # Errors
    /// As [`Self::score_tokens`], where a sequence cannot be scored.
    pub fn computed_tokens(&self, sequences: &[TokenSequence]) -> Result<usize, EngineError> {
        let kept = self.kept(sequences)?;
        let all: usize = kept.iter().map(|ids| ids.len()).sum();
        Ok(all - self.forward.shared(&kept) * kept.len().saturating_sub(1))
    }

    /// What a head sees of token sequences after `layers` layers, in their order; with the
    /// log-probabilities of a language model's completions. Cut and refused as by
    /// [`Self::score_tokens`].
    ///
    /// # Errors
    /// As [`Self::score_tokens`].
    pub async fn features(
        &self,
        sequences: &[TokenSequence],
        layers: usize,
        pooling: Pooling,
        cancel: &Cancel,
    ) -> Result<Vec<Features>, EngineError> {
        if self.forward.summary.head == Head::Pooled {
            return Err(ModelError::NoBackbone { architecture: self.forward.summary.architecture }.into());
        }
        self.pooled_states(sequences, layers, pooling, cancel).await
    }

    /// As [`Self::features`], for encoders too: the states of the last layer, or of an earlier one,
    /// pooled over the tokens that `pooling` names.
    ///
    /// # Errors
    /// As [`Self::score_tokens`].
    pub async fn pooled_states(
        &self,
        sequences: &[TokenSequence],
        layers: usize,
        pooling: Pooling,
        cancel: &Cancel,
    ) -> Result<Vec<Features>, EngineError> {
        let kept = self.kept(sequences)?;
        let is_language_model = self.forward.summary.head == Head::LanguageModel;
        let rows: Vec<Row<'_>> = kept
            .iter()
            .zip(sequences)
            .map(|(ids, sequence)| Row {
                ids,
                types: sequence.types(ids.len()),
                values: if is_language_model { self.first(sequence).max(1)..ids.len() } else { 0..0 },
                pooled: Some(self.pooled_span(pooling, ids, self.first(sequence))),
            })
            .collect();
        let readings = self.forward.read(&rows, layers, self.batch_tokens, None, cancel).await?;
        let features = kept.iter().zip(sequences).zip(readings).map(|((ids, sequence), readings)| Features {
            state: readings.state,
            log_probabilities: is_language_model.then(|| LogProbabilities::of(&readings.values)),
            tokens: ids.len(),
            cut_tokens: sequence.cut_tokens + sequence.input_ids.len() - ids.len(),
        });
        Ok(features.collect())
    }

    /// The sequences as far as the model sees them.
    fn kept<'a>(&self, sequences: &'a [TokenSequence]) -> Result<Vec<&'a [u32]>, EngineError> {
        let context = self.report.context_tokens;
        let mut kept = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let over = sequence.input_ids.len().saturating_sub(context);
            let ids = match self.truncation() {
                TruncationSide::Left => &sequence.input_ids[over..],
                TruncationSide::Right => &sequence.input_ids[..sequence.input_ids.len() - over],
            };
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.forward.summary.vocab_size) {
                let vocab_size = self.forward.summary.vocab_size;
                return Err(EngineError::OutOfVocabulary { model: self.report.name.clone(), id, vocab_size });
            }
            let types = sequence.types(ids.len());
            if let Some(most) = self.forward.summary.token_types
                && let Some(&kind) = types.iter().find(|&&kind| kind as usize >= most)
            {
                return Err(EngineError::TokenType { model: self.report.name.clone(), kind, most });
            }
            let nothing_left = match self.forward.summary.head {
                Head::Score | Head::Pooled => ids.is_empty(),
                Head::LanguageModel => self.first(sequence).max(1) >= ids.len(),
            };
            if nothing_left {
                return Err(EngineError::NothingToScore {
                    model: self.report.name.clone(),
                    tokens: sequence.input_ids.len(),
                    first_completion_token: sequence.first_completion_token,
                    context_tokens: context,
                });
            }
            kept.push(ids);
        }
        Ok(kept)
    }

    /// Where the completion begins in what is left of a sequence.
    fn first(&self, sequence: &TokenSequence) -> usize {
        let over = sequence.input_ids.len().saturating_sub(self.report.context_tokens);
        match self.truncation() {
            TruncationSide::Left => sequence.first_completion_token.saturating_sub(over),
            TruncationSide::Right => sequence.first_completion_token,
        }
    }

    /// The tokens whose hidden states, or logits, are averaged.
    fn pooled_span(&self, pooling: Pooling, ids: &[u32], first_completion_token: usize) -> Range<usize> {
        let last = pooled_index(ids, self.forward.summary.pad_token_id, self.options.protocol.pooled);
        match pooling {
            Pooling::LastToken => last..last + 1,
            // A completion that was cut off whole leaves the prompt's last token.
            Pooling::CompletionMean => first_completion_token.min(ids.len() - 1)..ids.len(),
        }
    }

    /// `values` are those of the tokens from `first_value` on.
    fn score_of(
        &self,
        sequence: &TokenSequence,
        ids: &[u32],
        first_value: usize,
        values: Vec<f32>,
        computed_tokens: usize,
    ) -> Score {
        let head = self.forward.summary.head;
        let log_probabilities = (head == Head::LanguageModel).then(|| LogProbabilities::of(&values));
        let score = match log_probabilities {
            Some(all) => all.get(self.options.aggregate),
            None if head == Head::Pooled => values.first().copied().map_or(f64::NAN, f64::from),
            None => {
                let pooled = self.pooled_span(self.pooling, ids, self.first(sequence));
                let own = &values[pooled.start - first_value..pooled.end - first_value];
                own.iter().map(|&score| f64::from(score)).sum::<f64>() / own.len() as f64
            }
        };
        let is_whole = head == Head::LanguageModel || (head == Head::Score && values.len() == ids.len());
        Score {
            score,
            log_probabilities,
            tokens: ids.len(),
            completion_tokens: ids.len().saturating_sub(self.first(sequence)),
            cut_tokens: sequence.cut_tokens + sequence.input_ids.len() - ids.len(),
            computed_tokens,
            input_ids: ids.to_vec(),
            token_scores: if is_whole { values } else { Vec::new() },
        }
    }
}

/// A classifier's only logit, or the one that was asked for.
fn choose_label(architecture: &mut dyn Architecture, model: &str, label: Option<usize>) -> Result<(), EngineError> {
    let labels = architecture.summary().labels;
    match label {
        None if labels == 1 => Ok(()),
        Some(label) if label < labels => {
            architecture.summary_mut().label = label;
            Ok(())
        }
        _ => Err(EngineError::Label { model: model.to_owned(), labels, label }),
    }
}

/// Which token the score is read at; the last where no pad id is known. Where every id is the pad
/// id it is the first since 4.51, the last before.
fn pooled_index(ids: &[u32], pad_token_id: Option<u32>, rule: PooledToken) -> usize {
    let last = ids.len() - 1;
    let Some(pad) = pad_token_id else {
        return last;
    };
    match rule {
        PooledToken::Rightmost => ids.iter().rposition(|&id| id != pad).unwrap_or(0),
        // transformers counted from the end where nothing comes before the first.
        PooledToken::BeforeFirstPad => {
            ids.iter().position(|&id| id == pad).and_then(|first| first.checked_sub(1)).unwrap_or(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_follows_transformers() {
        let fixture = include_str!("../../../tests/fixtures/metrics/torch_ports.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        for case in fixture["pooling"].as_array().expect("cases") {
            let ids: Vec<u32> = serde_json::from_value(case["input_ids"][0].clone()).expect("ids");
            let pad = case["pad"].as_u64().map(|pad| pad as u32);
            let want = case["expected_index_tf4576"][0].as_u64().expect("an index") as usize;
            assert_eq!(pooled_index(&ids, pad, PooledToken::Rightmost), want, "{case}");
            let want = case["expected_index_legacy"][0].as_u64().expect("an index") as usize;
            assert_eq!(pooled_index(&ids, pad, PooledToken::BeforeFirstPad), want, "{case}");
        }
    }

    #[test]
    fn batches_are_as_large_as_a_models_width_allows() {
        let device = pollster::block_on(crate::device::open(crate::DeviceChoice::Cpu)).expect("the CPU");
        let of = |device: &OpenDevice, hidden_size: usize, intermediate_size: usize| {
            let summary = Summary {
                architecture: "any",
                head: Head::Score,
                labels: 1,
                label: 0,
                context_tokens: 8192,
                vocab_size: 1000,
                hidden_size,
                intermediate_size,
                layers: 1,
                pad_token_id: None,
                is_causal: true,
                long_after: None,
                token_types: None,
            };
            batch_tokens(device, &summary)
        };
        assert_eq!(of(&device, 576, 1536), 1024);
        // Llama 3.1 8B: 300 kB a token.
        assert_eq!(of(&device, 4096, 14_336), 332);
        let device = device.limited(u64::MAX, 1 << 20);
        assert_eq!(of(&device, 576, 1536), 170);
        assert_eq!(of(&device, 4096, 14_336), 64);
    }
}
