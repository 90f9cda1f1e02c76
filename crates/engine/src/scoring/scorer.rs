//! A loaded model that scores conversations.

use std::cell::RefCell;
use std::ops::Range;

use rewardscope_models::{Architecture, Head, ModelError};
use rewardscope_text::{ChatTemplate, Clock, Encoding, Message, TextPipeline, TruncationSide};

use crate::device::OpenDevice;
use crate::error::EngineError;
use crate::loading::{LoadOptions, LoadProgress, LoadStage};
use crate::reader::attach::{Attached, Judged, attach};
use crate::reader::verdict::sigmoid;
use crate::scoring::batching::{batch_tokens, bytes_a_token};
use crate::scoring::forward::{Forward, PrefixCache, Readings, Row};
use crate::scoring::implicit::Against;
use crate::scoring::protocol::pooled_index;
use crate::scoring::reading::{Outputs, Reading};
use crate::scoring::report::{ModelReport, tokenizer_fingerprint};
use crate::scoring::score::{Detail, LogProbabilities, Score, ScoreProgress};
use crate::scoring::selftest;
use crate::scoring::sequence::{Features, TokenSequence};
use crate::{CacheEntry, Cancel, ModelFiles, Pooling, Reader, RewardHead};

/// A loaded model with its tokenizer and chat template.
pub struct Scorer {
    pub(super) forward: Forward,
    pub(super) text: TextPipeline,
    pub(super) options: LoadOptions,
    pooling: Pooling,
    pub(super) reading: Reading,
    pub(super) reader: Option<Attached>,
    pub(super) against: Option<Against>,
    pub(super) report: ModelReport,
    pub(super) batch_tokens: usize,
    draft: RefCell<Draft>,
}

/// What is kept from one call of [`Scorer::rescore`] to the next.
#[derive(Default)]
struct Draft {
    prefixes: Prefixes,
    scored: Vec<(TokenSequence, Score)>,
}

/// The beginnings of a model, and of its reference.
#[derive(Default)]
struct Prefixes {
    own: PrefixCache,
    reference: PrefixCache,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scorer({} on {})", self.report.name, self.report.device.name)
    }
}

impl Scorer {
    /// Streams a model onto a device and tests the kernels there. With `head`, the model is that reward head's
    /// backbone.
    ///
    /// # Errors
    /// When a file is damaged or unsupported, the head is another backbone's, the device fails, or the
    /// self-test finds wrong answers; each message names the file or the device. Then nothing is left on the
    /// device.
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
        let (mut opened, mut fingerprint) = (files.open(options.clock).await?, backbone_fingerprint.clone());
        if let Some(head) = head {
            head.attach(&mut opened, &backbone_fingerprint).await?;
            fingerprint = head.fingerprint(&backbone_fingerprint);
        }
        let reader = attach(&mut opened, files.name(), head.is_some(), &options).await?;
        let is_pair = opened.architecture.summary().head == Head::Pair;
        let one_output = is_pair || reader.is_some() || opened.reading.gates.is_some();
        if !one_output {
            choose_label(opened.architecture.as_mut(), files.name(), options.label)?;
        }
        let cache = kept_form(files, head.is_some() || reader.is_some(), &backbone_fingerprint);
        now.stage = LoadStage::Weights;
        let architecture = opened.architecture.as_ref();
        let tell = &mut |done, total| {
            (now.bytes_done, now.bytes_total) = (done, total);
            progress(now.clone());
        };
        let (forward, parameters, device_bytes) =
            Forward::load(&opened.checkpoint, architecture, device, options.dtype, cache, cancel, tell).await?;
        let load_ms = crate::device::now_ms() - started;
        now.stage = LoadStage::SelfTest;
        progress(now.clone());
        formatted(&mut opened.text, &options)?;
        let self_test = selftest::run(&forward.device, &forward.summary).await?;
        let (summary, own) = (&forward.summary, reader.as_ref().map(|own| &own.reader));
        let own_most = opened.text.tokenizer.most_tokens().filter(|_| summary.head == Head::Pooled);
        let context_tokens = summary.context_tokens.min(options.max_tokens.or(own_most).unwrap_or(usize::MAX));
        let mut options = options;
        options.protocol.truncation.get_or_insert(opened.text.tokenizer.side());
        let tells_time = opened.text.template.as_ref().is_some_and(ChatTemplate::tells_time);
        let report = ModelReport {
            name: files.name().to_owned(),
            origin: files.origin().map(str::to_owned),
            fingerprint,
            backbone_fingerprint,
            head: head.map(|head| head.config.clone()),
            aggregate: (summary.head == Head::LanguageModel).then_some(options.aggregate),
            tokenizer_fingerprint: tokenizer_fingerprint(&opened.text.tokenizer)?,
            protocol: options.protocol.described(),
            template: template_name(&options, opened.text.template.as_ref()),
            reading: opened.reading.described(),
            label: (summary.labels > 1 && !one_output).then_some(summary.label),
            step_aggregate: reader.as_ref().filter(|own| own.reads_several()).map(|_| options.step_aggregate),
            reader: own.cloned(),
            reference: None,
            pair_aggregate: is_pair.then_some(options.pair_aggregate),
            template_seconds: tells_time.then_some(options.clock.local_seconds()),
            architecture: summary.architecture.to_owned(),
            is_reward_model: own.map_or(summary.head != Head::LanguageModel, Reader::gives_rewards),
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
        let (pooling, draft) = (head.map(|head| head.config.pooling).unwrap_or_default(), RefCell::default());
        let (text, reading) = (opened.text, opened.reading);
        Ok(Self { forward, text, options, pooling, reading, reader, against: None, report, batch_tokens, draft })
    }

    /// What is known of the loaded model.
    pub fn report(&self) -> &ModelReport {
        &self.report
    }

    /// Estimated bytes on the device: the weights, and a layer's activations for the largest batch.
    pub fn memory_bytes(&self) -> u64 {
        self.report.device_bytes + self.batch_tokens as u64 * bytes_a_token(&self.forward.summary)
    }

    /// Which end of a text is cut off where it is too long.
    pub fn truncation(&self) -> TruncationSide {
        self.options.protocol.truncation.unwrap_or(self.text.tokenizer.side())
    }

    pub(super) fn encoding(&self) -> Encoding {
        let (bos, side) = (self.options.protocol.bos, self.truncation());
        Encoding { bos, side, most_tokens: self.report.context_tokens }
    }

    /// Sets the time that the chat template sees from now on.
    pub fn set_clock(&self, clock: Clock) {
        if let Some(template) = &self.text.template {
            template.set_clock(clock);
        }
    }

    /// Milliseconds of the host for handing one layer's work over `tokens` tokens to the device, without
    /// waiting for it. The first call also compiles kernels.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn encode_ms(&self, tokens: usize) -> Result<f64, EngineError> {
        let ms = self.forward.encode_ms(tokens);
        // Wait, so that nothing of this work is left when the next begins.
        let row = Row { ids: &[0, 0], types: &[], values: vec![1], pooled: None };
        self.forward.read(&[row], self.report.layers, 2, None, &Cancel::default(), &mut |_| ()).await?;
        Ok(ms)
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

    /// The scores of token sequences, in their order. Sequences longer than the context are truncated on the
    /// side that [`Self::truncation`] says. Tokens that all of them begin with are computed once.
    ///
    /// # Errors
    /// When an id is outside the vocabulary, nothing of a completion is left to score, the device fails, or the
    /// work is cancelled.
    pub async fn score_tokens(
        &self,
        sequences: &[TokenSequence],
        detail: Detail,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        self.score_after(sequences, detail, None, cancel, &mut |_| ()).await
    }

    /// The scores of a prompt's completions while somebody edits them. What did not change since the call
    /// before (whole texts, and the beginning of the prompt) is not computed again. `progress` is called after
    /// each batch.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub async fn rescore<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(ScoreProgress),
    ) -> Result<Vec<Score>, EngineError> {
        let sequences = self.tokenize(prompt, completions)?;
        // Taken out while in use: a call that fails leaves nothing behind.
        let mut draft = self.draft.take();
        let known = |sequence: &TokenSequence| draft.scored.iter().find(|(scored, _)| scored == sequence);
        // Completions that are compared are scored together.
        let is_same = draft.scored.iter().map(|(scored, _)| scored).eq(&sequences);
        let known = |sequence: &TokenSequence| known(sequence).filter(|_| is_same || !self.compares());
        let mut scores: Vec<Option<Score>> = sequences
            .iter()
            .map(|sequence| known(sequence).map(|(_, score)| Score { computed_tokens: 0, ..score.clone() }))
            .collect();
        let changed: Vec<usize> = (0..scores.len()).filter(|&place| scores[place].is_none()).collect();
        if !changed.is_empty() {
            let wanted: Vec<TokenSequence> = changed.iter().map(|&place| sequences[place].clone()).collect();
            let (total, known) = (scores.len(), scores.len() - wanted.len());
            let told = &mut |done| progress(ScoreProgress { completions_done: known + done, completions_total: total });
            let found = self.score_after(&wanted, Detail::Score, Some(&mut draft.prefixes), cancel, told).await?;
            for (place, score) in changed.into_iter().zip(found) {
                scores[place] = Some(score);
            }
        }
        let scores: Vec<Score> = scores.into_iter().flatten().collect();
        draft.scored = sequences.into_iter().zip(scores.iter().cloned()).collect();
        self.draft.replace(draft);
        Ok(scores)
    }

    /// [`Self::score_tokens`], with the states that `after` keeps from an earlier call.
    async fn score_after(
        &self,
        sequences: &[TokenSequence],
        detail: Detail,
        after: Option<&mut Prefixes>,
        cancel: &Cancel,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vec<Score>, EngineError> {
        if self.compares() {
            return self.compare(sequences, cancel, told).await;
        }
        let rows = self.rows(sequences, detail)?;
        let (own, other) = after.map(|after| (&mut after.own, &mut after.reference)).unzip();
        let passes = self.passes();
        let half = &mut |done| told(done / passes);
        let readings = self.forward.read(&rows, self.report.layers, self.batch_tokens, own, cancel, half).await?;
        let mut scores = self.scores_of(sequences, &rows, readings);
        if let Some(against) = &self.against {
            let half = &mut |done| told((rows.len() + done) / passes);
            let readings = against.read(&rows, other, cancel, half).await?;
            scores.iter_mut().zip(&readings).for_each(|(score, readings)| against.measure(score, readings));
        }
        Ok(scores)
    }

    /// The scores of token sequences by what was read of their rows.
    pub(super) fn scores_of(
        &self,
        sequences: &[TokenSequence],
        rows: &[Row<'_>],
        readings: Vec<Readings>,
    ) -> Vec<Score> {
        let read = sequences.iter().zip(rows).zip(readings);
        read.map(|((sequence, row), readings)| {
            self.score_of(sequence, row.ids, &row.values, readings.values, readings.computed)
        })
        .collect()
    }

    /// What the forward pass reads of token sequences.
    pub(super) fn rows<'a>(&self, sequences: &'a [TokenSequence], detail: Detail) -> Result<Vec<Row<'a>>, EngineError> {
        let ids = self.within_context(sequences)?;
        let row = |(ids, sequence): (&'a [u32], &'a TokenSequence)| {
            let values = self.positions(ids, sequence, detail)?;
            Ok(Row { ids, types: sequence.types(ids.len()), values, pooled: None })
        };
        ids.into_iter().zip(sequences).map(row).collect()
    }

    /// How often a text is computed: by the model, and by its reference if it has one.
    fn passes(&self) -> usize {
        1 + usize::from(self.against.is_some())
    }

    /// Number of tokens that [`Self::score_tokens`] would compute, a reference's among them.
    ///
    /// # Errors
    /// As [`Self::score_tokens`], where a sequence cannot be scored.
    pub fn computed_tokens(&self, sequences: &[TokenSequence]) -> Result<usize, EngineError> {
        if self.compares() {
            return Ok(Self::compared_tokens(sequences));
        }
        let ids = self.within_context(sequences)?;
        let all: usize = ids.iter().map(|ids| ids.len()).sum();
        Ok(self.passes() * (all - self.forward.shared(&ids) * ids.len().saturating_sub(1)))
    }

    /// What a reward head sees of token sequences, in their order: the pooled hidden states after `layers`
    /// layers. For a language model, also the log-probabilities of the completions. Sequences are truncated and
    /// refused as by [`Self::score_tokens`].
    ///
    /// # Errors
    /// As [`Self::score_tokens`], and for encoders, which take no reward head.
    pub async fn features(
        &self,
        sequences: &[TokenSequence],
        layers: usize,
        pooling: Pooling,
        cancel: &Cancel,
    ) -> Result<Vec<Features>, EngineError> {
        if self.forward.summary.head.is_an_encoders() {
            return Err(ModelError::NoBackbone { architecture: self.forward.summary.architecture }.into());
        }
        if let Some(own) = &self.reader {
            let found = "its model as the backbone of a head; load it without a reader (--reader none)".to_owned();
            return Err(EngineError::Reader { reader: own.reader.name.clone(), found });
        }
        if let Some(reference) = &self.report.reference {
            let found = format!(
                "the backbone of a head was expected, {} is measured against {}; load it without a reference",
                self.report.name, reference.model
            );
            return Err(self.no_implicit(found));
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
        let ids = self.within_context(sequences)?;
        let is_language_model = self.forward.summary.head == Head::LanguageModel;
        let rows: Vec<Row<'_>> = ids
            .iter()
            .zip(sequences)
            .map(|(ids, sequence)| Row {
                ids,
                types: sequence.types(ids.len()),
                values: match is_language_model {
                    true => (self.completion_start(sequence).max(1)..ids.len()).collect(),
                    false => Vec::new(),
                },
                pooled: Some(self.pooled_span(pooling, ids, self.completion_start(sequence))),
            })
            .collect();
        let readings = self.forward.read(&rows, layers, self.batch_tokens, None, cancel, &mut |_| ()).await?;
        let features = ids.iter().zip(sequences).zip(readings).map(|((ids, sequence), readings)| Features {
            state: readings.state,
            log_probabilities: is_language_model.then(|| LogProbabilities::of(&readings.values)),
            tokens: ids.len(),
            cut_tokens: sequence.cut_tokens + sequence.input_ids.len() - ids.len(),
        });
        Ok(features.collect())
    }

    /// The ids of each sequence that the model sees: what truncation leaves.
    pub(super) fn within_context<'a>(&self, sequences: &'a [TokenSequence]) -> Result<Vec<&'a [u32]>, EngineError> {
        let context = self.report.context_tokens;
        let mut all = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let over = sequence.input_ids.len().saturating_sub(context);
            let ids = match self.truncation() {
                TruncationSide::Left => &sequence.input_ids[over..],
                TruncationSide::Right => &sequence.input_ids[..sequence.input_ids.len() - over],
            };
            self.forward.check_ids(&self.report.name, ids)?;
            let types = sequence.types(ids.len());
            if let Some(most) = self.forward.summary.token_types
                && let Some(&kind) = types.iter().find(|&&kind| kind as usize >= most)
            {
                return Err(EngineError::TokenType { model: self.report.name.clone(), kind, most });
            }
            let nothing_left = match self.forward.summary.head {
                Head::Score | Head::Pooled | Head::Pair => ids.is_empty(),
                Head::LanguageModel => self.completion_start(sequence).max(1) >= ids.len(),
            };
            if nothing_left {
                return Err(EngineError::NothingToScore {
                    model: self.report.name.clone(),
                    tokens: sequence.input_ids.len(),
                    first_completion_token: sequence.first_completion_token,
                    context_tokens: context,
                });
            }
            all.push(ids);
        }
        Ok(all)
    }

    /// Index of the completion's first token in what truncation leaves of a sequence.
    pub(super) fn completion_start(&self, sequence: &TokenSequence) -> usize {
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
            // Where the whole completion was cut off, the prompt's last token stands for it.
            Pooling::CompletionMean => first_completion_token.min(ids.len() - 1)..ids.len(),
        }
    }

    /// The tokens of a sequence whose values are read.
    fn positions(&self, ids: &[u32], sequence: &TokenSequence, detail: Detail) -> Result<Vec<usize>, EngineError> {
        let start = self.completion_start(sequence);
        let span = match (self.forward.summary.head, detail) {
            (Head::Pooled | Head::Pair, _) => return Ok(Vec::new()),
            (Head::LanguageModel, _) => return Ok((start.max(1)..ids.len()).collect()),
            (Head::Score, Detail::EveryToken) => return Ok((0..ids.len()).collect()),
            (Head::Score, Detail::Score) if !sequence.read_at.is_empty() => return self.read_at(ids, sequence),
            (Head::Score, Detail::Score) => self.pooled_span(self.pooling, ids, start),
        };
        let Some(gates) = &self.reading.gates else {
            return Ok(span.collect());
        };
        let gate = gates.position(ids, span.end).ok_or_else(|| EngineError::NoGate {
            model: self.report.name.clone(),
            pattern: gates.pattern.iter().filter_map(|&id| self.text.tokenizer.token(id)).collect(),
        })?;
        Ok((gate..gate + 1).filter(|gate| !span.contains(gate)).chain(span.clone()).collect())
    }

    /// The tokens at which a reader reads, in what truncation leaves.
    fn read_at(&self, ids: &[u32], sequence: &TokenSequence) -> Result<Vec<usize>, EngineError> {
        let over = sequence.input_ids.len() - ids.len();
        let before = if self.truncation() == TruncationSide::Left { over } else { 0 };
        let seen = |&position: &usize| position.checked_sub(before).filter(|position| *position < ids.len());
        sequence.read_at.iter().map(seen).collect::<Option<_>>().ok_or_else(|| EngineError::Reader {
            reader: self.reader.as_ref().map(|own| own.reader.name.clone()).unwrap_or_default(),
            found: format!("a text of which {over} tokens were cut, with tokens that are read; shorten it"),
        })
    }

    /// The score of a sequence. `values` are the outputs of the tokens at `positions`, or a language model's
    /// log-probabilities.
    fn score_of(
        &self,
        sequence: &TokenSequence,
        ids: &[u32],
        positions: &[usize],
        values: Vec<f32>,
        computed_tokens: usize,
    ) -> Score {
        let summary = &self.forward.summary;
        let log_probabilities = (summary.head == Head::LanguageModel).then(|| LogProbabilities::of(&values));
        let (count, label) = (summary.labels, summary.label);
        let outputs = Outputs { ids, positions, values: &values, count, label };
        let value_at = |position: usize| match &self.reader {
            Some(own) => own.verdict(&outputs, position).value,
            None => self.reading.value_at(&outputs, position),
        };
        let (mut objectives, mut judged) = (Vec::new(), Judged::default());
        let score = match (log_probabilities, &self.reader) {
            (Some(all), _) => all.get(self.options.aggregate),
            (None, Some(own)) => {
                let pooled = || self.pooled_span(Pooling::LastToken, ids, 0).collect();
                let read = self.read_at(ids, sequence).ok().filter(|read| !read.is_empty()).unwrap_or_else(pooled);
                judged = own.judged(&outputs, &read, self.options.step_aggregate);
                judged.score
            }
            (None, None) if summary.head == Head::Pooled => {
                values.get(label).map_or(f64::NAN, |&logit| f64::from(logit))
            }
            (None, None) => {
                let pooled = self.pooled_span(self.pooling, ids, self.completion_start(sequence));
                objectives = self.reading.objectives_at(&outputs, pooled.end - 1);
                pooled.clone().map(value_at).sum::<f64>() / pooled.len() as f64
            }
        };
        let token_scores = match summary.head {
            Head::Score if positions.len() == ids.len() => positions.iter().map(|&at| value_at(at) as f32).collect(),
            Head::Score | Head::Pooled | Head::Pair => Vec::new(),
            Head::LanguageModel => values,
        };
        Score {
            score,
            log_probabilities,
            tokens: ids.len(),
            completion_tokens: ids.len().saturating_sub(self.completion_start(sequence)),
            cut_tokens: sequence.cut_tokens + sequence.input_ids.len() - ids.len(),
            computed_tokens,
            input_ids: ids.to_vec(),
            token_scores,
            objectives,
            probabilities: judged.probabilities,
            probability: judged.probability.or_else(|| self.reading.is_sigmoid.then(|| sigmoid(score))),
            steps: judged.steps,
            reference_log_probabilities: None,
            duels: Vec::new(),
        }
    }
}

/// Puts the protocol's conversation format in the place of the model's own template.
pub(super) fn formatted(text: &mut TextPipeline, options: &LoadOptions) -> Result<(), EngineError> {
    if let Some(format) = &options.protocol.format {
        text.template = Some(ChatTemplate::new(format.name, format.template(), Vec::new(), options.clock)?);
    }
    Ok(())
}

/// What turns a conversation into a text, for [`ModelReport::template`].
fn template_name(options: &LoadOptions, own: Option<&ChatTemplate>) -> String {
    match (&options.protocol.format, own) {
        (Some(format), _) => format.name,
        (None, Some(_)) => "tokenizer",
        (None, None) => "none",
    }
    .to_owned()
}

/// The cache entry to fill while loading, with the model's fingerprint. With a head, fewer layers may be loaded, and with
/// a reader a few rows of a matrix: then there is no whole model to keep.
fn kept_form<'a>(files: &'a ModelFiles, is_part: bool, fingerprint: &'a str) -> Option<(&'a CacheEntry, &'a str)> {
    match files {
        ModelFiles::Folder { form: Some(form), .. } if !is_part => Some((form.as_ref(), fingerprint)),
        _ => None,
    }
}

/// Sets which logit is the score: the classifier's only one, or the one that was asked for.
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
