//! Features: the pooled hidden state of each completion, computed once. The cache finds them by the token ids that the
//! model saw, and pairs refer to places in the cache.

use std::collections::HashMap;
use std::ops::Range;

use ndarray::Array2;
use rewardscope_data::Skipped;
use rewardscope_engine::device::pause;
use rewardscope_engine::{Cancel, EngineError, ModelReport, Pooling, Scorer, TokenSequence};
use rewardscope_store::{LogPlace, Records, Source};
use serde::{Deserialize, Serialize};

use crate::overlap::{Benchmark, Key, key_of};
use crate::preferences::{Checked, Preference, each_preference, prompt_number};
use crate::{FitError, FormReport, OverlapReport, OverlapRule, PreferenceFiles};

/// Number of completions that are computed together and then written to the cache.
const AT_ONCE: usize = 32;

/// Number of pairs in a block of rows, and of cached records that are read at once.
const BLOCK: usize = 512;

/// Size limit of a file of features to import, in bytes.
const MOST_IMPORTED_BYTES: u64 = 1 << 30;

/// How many bytes of differences of features are held in memory. If there are more, each pass reads them again.
const HELD_BYTES: u64 = 64 << 20;

/// What the features in a cache were computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturesHeader {
    /// The hash over the backbone's files.
    pub backbone: String,
    /// Number of layers that run before the final norm.
    pub layers: usize,
    /// How the hidden states of a completion become one.
    pub pooling: Pooling,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Whether the cache holds the backbone's log-probabilities too.
    pub has_likelihood: bool,
}

impl FeaturesHeader {
    /// The header for features of a loaded backbone after `layers` layers; all of its layers where that is `None`.
    ///
    /// # Errors
    /// [`FitError::NoSuchLayer`] when it has no such layer, [`FitError::OtherProtocol`] when it was loaded with another
    /// protocol than the one that heads are used with.
    pub fn of(model: &ModelReport, layers: Option<usize>, pooling: Pooling) -> Result<Self, FitError> {
        let layers = layers.unwrap_or(model.layers);
        if layers == 0 || layers > model.layers {
            return Err(FitError::NoSuchLayer { model: model.name.clone(), most: model.layers, found: layers });
        }
        if !model.protocol.is_empty() {
            return Err(FitError::OtherProtocol { model: model.name.clone(), found: model.protocol.clone() });
        }
        Ok(Self {
            backbone: model.backbone_fingerprint.clone(),
            layers,
            pooling,
            hidden_size: model.hidden_size,
            has_likelihood: !model.is_reward_model,
        })
    }

    /// Bytes of a record: the key (16), the mean log-probability of the completion's tokens in nats (f64), the number
    /// of tokens (u64), and the hidden state (f32 each).
    fn record_bytes(&self) -> usize {
        16 + 8 + 8 + 4 * self.hidden_size
    }

    /// The first line of a file of features.
    fn line(&self) -> String {
        serde_json::json!({ "rewardscope_features": self }).to_string()
    }
}

/// A cache of pooled hidden states, in memory or in a file. It finds them by the token ids that the model saw.
///
/// ```
/// use rewardscope_engine::Pooling;
/// use rewardscope_fit::{FeatureCache, FeaturesHeader};
///
/// let (backbone, pooling) = ("the hash of the backbone's files".to_owned(), Pooling::LastToken);
/// let header = FeaturesHeader { backbone, layers: 24, pooling, hidden_size: 3, has_likelihood: false };
/// let mut cache = FeatureCache::memory(header);
/// cache.push(1, &[0.5, -1.0, 2.0])?;
/// assert_eq!((cache.len(), cache.header().hidden_size), (1, 3));
/// # Ok::<(), rewardscope_fit::FitError>(())
/// ```
pub struct FeatureCache {
    header: FeaturesHeader,
    records: Records,
    places: HashMap<Key, u32>,
}

impl FeatureCache {
    /// An empty cache in memory.
    pub fn memory(header: FeaturesHeader) -> Self {
        let records = Records::memory(&header.line(), header.record_bytes());
        Self { header, records, places: HashMap::new() }
    }

    /// Opens the cache of a file; creates the file where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open elsewhere, or holds features of another backbone.
    pub async fn open(place: &LogPlace, header: FeaturesHeader) -> Result<Self, FitError> {
        let records = Records::open(place, &header.line(), header.record_bytes()).await?;
        let mut cache = Self { header, records, places: HashMap::new() };
        for first in (0..cache.records.len()).step_by(BLOCK) {
            let count = BLOCK.min(cache.records.len() - first);
            cache.index(first, &cache.records.read(first, count)?);
        }
        Ok(cache)
    }

    /// What the features were computed from.
    pub fn header(&self) -> &FeaturesHeader {
        &self.header
    }

    /// Number of completions in the cache.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the cache holds no completion.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds the features of a file that was prepared elsewhere. Returns how many completions were new.
    ///
    /// # Errors
    /// When the file is not a file of features, holds those of another backbone, is too large for memory, or has a
    /// value that is NaN or infinite.
    pub async fn import(&mut self, source: &Source, cancel: &Cancel) -> Result<usize, FitError> {
        let line = Records::header_of(source).await?;
        let expected = describe(&self.header);
        let refuse = |found: String| FitError::OtherFeatures {
            file: source.name().to_owned(),
            expected: expected.clone(),
            found,
        };
        #[derive(Deserialize)]
        struct Line {
            rewardscope_features: FeaturesHeader,
        }
        let Ok(Line { rewardscope_features: header }) = serde_json::from_str(&line) else {
            return Err(refuse("another kind of file".to_owned()));
        };
        let is_same = FeaturesHeader { has_likelihood: self.header.has_likelihood, ..header.clone() } == self.header;
        if !is_same {
            return Err(refuse(describe(&header)));
        }
        if source.bytes() > MOST_IMPORTED_BYTES {
            return Err(refuse(format!("a file of {} bytes, more than {MOST_IMPORTED_BYTES}", source.bytes())));
        }
        let record = self.header.record_bytes();
        let (mut at, before) = (line.len() as u64 + 1, self.len());
        while source.bytes() - at >= record as u64 {
            let count = ((source.bytes() - at) / record as u64).min(BLOCK as u64) as usize;
            let bytes = source.read(at, count * record).await?;
            at += bytes.len() as u64;
            cancel.check()?;
            pause().await;
            for record in bytes.chunks_exact(record) {
                if floats(&record[32..]).any(|value| !value.is_finite()) {
                    return Err(refuse("a hidden state that is no number".to_owned()));
                }
                if !self.places.contains_key(&key_in(record)) {
                    self.append(record)?;
                }
            }
        }
        Ok(self.len() - before)
    }

    /// Adds whole records.
    fn append(&mut self, records: &[u8]) -> Result<(), FitError> {
        let first = self.records.len();
        self.records.append(records)?;
        self.index(first, records);
        Ok(())
    }

    /// Notes the places of records, the first of which is record `first`.
    fn index(&mut self, first: usize, records: &[u8]) {
        let keys = records.chunks_exact(self.header.record_bytes()).map(key_in);
        self.places.extend(keys.zip(first as u32..));
    }

    /// Computes the features of those sequences that are not in the cache yet. Returns the place of each sequence.
    pub(crate) async fn have(
        &mut self,
        scorer: &Scorer,
        sequences: &[TokenSequence],
        cancel: &Cancel,
    ) -> Result<Vec<u32>, FitError> {
        let context = scorer.report().context_tokens;
        let keys: Vec<Key> = sequences.iter().map(|sequence| sequence_key(sequence, context)).collect();
        let mut missing: Vec<(Key, TokenSequence)> = Vec::new();
        for (key, sequence) in keys.iter().zip(sequences) {
            if !self.places.contains_key(key) && !missing.iter().any(|(other, _)| other == key) {
                missing.push((*key, sequence.clone()));
            }
        }
        let wanted: Vec<TokenSequence> = missing.iter().map(|(_, sequence)| sequence.clone()).collect();
        let found = scorer.features(&wanted, self.header.layers, self.header.pooling, cancel).await?;
        for ((key, _), features) in missing.iter().zip(found) {
            let mut record = key.to_vec();
            let likelihood = features.log_probabilities.map_or(f64::NAN, |all| all.avg);
            record.extend(likelihood.to_le_bytes());
            record.extend((features.tokens as u64).to_le_bytes());
            record.extend(features.state.iter().flat_map(|value| value.to_le_bytes()));
            self.append(&record)?;
        }
        Ok(keys.iter().map(|key| self.places[key]).collect())
    }

    /// The mean log-probability of a completion's tokens in nats; NaN where it is not known.
    pub(crate) fn likelihood(&self, place: u32) -> Result<f64, FitError> {
        let record = self.records.read(place as usize, 1)?;
        Ok(f64::from_le_bytes(std::array::from_fn(|i| record[16 + i])))
    }

    /// The hidden state of a completion, `[hidden]`.
    pub(crate) fn state(&self, place: u32) -> Result<Vec<f32>, FitError> {
        Ok(floats(&self.records.read(place as usize, 1)?[32..]).collect())
    }

    /// Adds a made-up state, `[hidden]`, under a made-up key, without log-probabilities.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, key: u64, state: &[f32]) -> Result<(), FitError> {
        let mut record = key_of([key.to_le_bytes().as_slice()]).to_vec();
        record.extend(f64::NAN.to_le_bytes());
        record.extend(1u64.to_le_bytes());
        record.extend(state.iter().flat_map(|value| value.to_le_bytes()));
        self.append(&record)
    }
}

/// A header in words, for errors.
fn describe(header: &FeaturesHeader) -> String {
    let FeaturesHeader { backbone, layers, pooling, hidden_size, .. } = header;
    let backbone: String = backbone.chars().take(12).collect();
    format!("the backbone {backbone} after {layers} layers, {pooling:?}, {hidden_size} wide")
}

/// The key of a record.
fn key_in(record: &[u8]) -> Key {
    std::array::from_fn(|i| record[i])
}

/// The little-endian f32 values of bytes.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(std::array::from_fn(|i| four[i])))
}

/// The key of a sequence: its ids as far as the context holds them, and where its completion begins.
fn sequence_key(sequence: &TokenSequence, context: usize) -> Key {
    let ids: Vec<u8> = sequence.input_ids.iter().take(context).flat_map(|id| id.to_le_bytes()).collect();
    key_of([ids.as_slice(), (sequence.first_completion_token as u64).to_le_bytes().as_slice()])
}

/// A pair to fit on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The place of the chosen completion in the cache.
    pub chosen: u32,
    /// The place of the rejected completion in the cache.
    pub rejected: u32,
    /// The number of its prompt; the same prompt has the same number.
    pub prompt: u64,
    /// The position of its subset in [`Gathered::subsets`].
    pub subset: Option<usize>,
    /// Number of characters of the chosen and of the rejected completion.
    pub characters: [u32; 2],
}

/// Pairs with their features.
pub struct Gathered {
    /// The name of the files of preferences.
    pub name: String,
    /// The files' sha256, in hexadecimal digits.
    pub data_hash: String,
    /// The pairs in the files' order.
    pub pairs: Vec<Pair>,
    /// The names of the subsets.
    pub subsets: Vec<String>,
    /// Counts of what the files hold.
    pub form: FormReport,
    /// How many pairs have prompts that the benchmark has.
    pub overlap: OverlapReport,
    /// Number of completions whose end the context cut off.
    pub cut_completions: usize,
    /// Number of pairs that the template, the tokenizer or the context refused; they are left out.
    pub refused: usize,
}

/// Callbacks for progress, and for rows that are not preferences.
pub struct Tell<'a> {
    /// Gets the number of pairs done and of all pairs.
    pub progress: &'a mut dyn FnMut(usize, usize),
    /// Gets each row that is left out, once.
    pub bad: &'a mut dyn FnMut(Skipped),
}

/// Reads files of preferences, checks their form, and gets the features of every pair that is kept. Features that
/// `cache` lacks are computed by `scorer`. `benchmark` is the name, and `prompts` are the prompts, of the benchmark
/// that the head will be marked on; `rule` says what to do with pairs that have one of these prompts.
///
/// # Errors
/// When a file is damaged or holds no usable pair, the device fails, or the work is cancelled.
pub async fn gather<'a>(
    scorer: &Scorer,
    files: &PreferenceFiles<'_>,
    (benchmark, prompts): (&str, impl IntoIterator<Item = &'a str>),
    rule: OverlapRule,
    cache: &mut FeatureCache,
    cancel: &Cancel,
    tell: &mut Tell<'_>,
) -> Result<Gathered, FitError> {
    let Tell { progress, bad } = tell;
    let mut checked = Checked::read(files, Benchmark::new(benchmark, prompts, rule), cancel, *bad).await?;
    let total = checked.form.kept;
    let mut gathered = Gathered {
        name: files.name(),
        data_hash: checked.data_hash.clone(),
        pairs: Vec::with_capacity(total),
        subsets: checked.form.subsets.iter().map(|(name, _)| name.clone()).collect(),
        form: checked.form.clone(),
        overlap: checked.overlap.clone(),
        cut_completions: 0,
        refused: 0,
    };
    progress(0, total);
    let mut waiting: Vec<Waiting> = Vec::new();
    each_preference(files, async |_, _, row| {
        for preference in row.unwrap_or_default() {
            cancel.check()?;
            if !checked.keeps(&preference) {
                continue;
            }
            let subset = checked.subset(&preference);
            match Waiting::of(scorer, &preference, subset) {
                Ok(pair) => {
                    gathered.cut_completions += pair.cut;
                    waiting.push(pair);
                }
                // A refused row must not refuse the file: a template may know no system message.
                Err(EngineError::Text(_) | EngineError::NothingToScore { .. }) => gathered.refused += 1,
                Err(error) => return Err(error.into()),
            }
            if 2 * waiting.len() >= AT_ONCE {
                settle(scorer, &mut waiting, cache, &mut gathered.pairs, cancel).await?;
                progress(gathered.pairs.len() + gathered.refused, total);
                pause().await;
            }
        }
        Ok(())
    })
    .await?;
    settle(scorer, &mut waiting, cache, &mut gathered.pairs, cancel).await?;
    progress(total, total);
    Ok(gathered)
}

/// A pair whose features are not in the cache yet.
struct Waiting {
    /// Chosen and rejected.
    sequences: [TokenSequence; 2],
    /// Without the places in the cache.
    pair: Pair,
    /// How many of the two completions the context cuts off.
    cut: usize,
}

impl Waiting {
    fn of(scorer: &Scorer, preference: &Preference, subset: Option<usize>) -> Result<Self, EngineError> {
        let both = [preference.chosen.as_str(), preference.rejected.as_str()];
        let sequences = scorer.tokenize(&preference.prompt, both)?;
        let context = scorer.report().context_tokens;
        let mut cut = 0;
        for sequence in &sequences {
            if sequence.first_completion_token.max(1) >= sequence.input_ids.len().min(context) {
                return Err(EngineError::NothingToScore {
                    model: scorer.report().name.clone(),
                    tokens: sequence.input_ids.len(),
                    first_completion_token: sequence.first_completion_token,
                    context_tokens: context,
                });
            }
            cut += usize::from(sequence.input_ids.len() > context);
        }
        let sequences: [TokenSequence; 2] = sequences.try_into().map_err(|_| EngineError::Cancelled)?;
        let characters = both.map(|text| text.chars().count().min(u32::MAX as usize) as u32);
        let pair = Pair { chosen: 0, rejected: 0, prompt: prompt_number(preference), subset, characters };
        Ok(Self { sequences, pair, cut })
    }
}

/// Gets the features of all waiting pairs, and moves the pairs to `pairs`.
async fn settle(
    scorer: &Scorer,
    waiting: &mut Vec<Waiting>,
    cache: &mut FeatureCache,
    pairs: &mut Vec<Pair>,
    cancel: &Cancel,
) -> Result<(), FitError> {
    let sequences: Vec<TokenSequence> = waiting.iter().flat_map(|pair| pair.sequences.clone()).collect();
    let places = cache.have(scorer, &sequences, cancel).await?;
    for (waiting, places) in waiting.drain(..).zip(places.chunks_exact(2)) {
        pairs.push(Pair { chosen: places[0], rejected: places[1], ..waiting.pair });
    }
    Ok(())
}

/// The differences `chosen - rejected` of pairs' features, block by block.
pub(crate) struct Differences<'a> {
    cache: &'a FeatureCache,
    pairs: &'a [Pair],
    /// `[pairs, hidden]`, where they are few enough to hold in memory.
    held: Option<Vec<f32>>,
    /// What each column is divided by, `[hidden]`.
    pub scale: Vec<f64>,
}

impl<'a> Differences<'a> {
    /// Reads all differences once to compute the scale: each column's root mean square, or 1 where that is 0.
    pub fn new(name: &str, cache: &'a FeatureCache, pairs: &'a [Pair], cancel: &Cancel) -> Result<Self, FitError> {
        let width = cache.header.hidden_size;
        let mut found = Self { cache, pairs, held: None, scale: vec![1.0; width] };
        let mut held =
            (pairs.len() as u64 * width as u64 * 4 <= HELD_BYTES).then(|| Vec::with_capacity(pairs.len() * width));
        let mut squares = vec![0.0; width];
        for block in found.blocks() {
            cancel.check()?;
            let rows = found.rows(block.clone())?;
            for (row, number) in rows.chunks_exact(width).zip(block) {
                if row.iter().any(|value| !value.is_finite()) {
                    return Err(FitError::NotFinite {
                        file: name.to_owned(),
                        what: format!("a completion of pair {}", number + 1),
                    });
                }
                squares.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
            }
            if let Some(held) = &mut held {
                held.extend(rows);
            }
        }
        for (scale, sum) in found.scale.iter_mut().zip(squares) {
            let size = libm::sqrt(sum / pairs.len().max(1) as f64);
            *scale = if size > 0.0 { size } else { 1.0 };
        }
        found.held = held;
        Ok(found)
    }

    /// Width of the hidden states.
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// The range of pairs of each block.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let pairs = self.pairs.len();
        (0..pairs).step_by(BLOCK).map(move |first| first..(first + BLOCK).min(pairs))
    }

    /// The scaled differences of some pairs: `[pairs, hidden]`.
    pub fn block(&self, block: Range<usize>) -> Result<Array2<f64>, FitError> {
        let width = self.width();
        let read;
        let rows = match &self.held {
            Some(held) => &held[block.start * width..block.end * width],
            None => {
                read = self.rows(block.clone())?;
                read.as_slice()
            }
        };
        Ok(Array2::from_shape_fn((block.len(), width), |(i, j)| f64::from(rows[i * width + j]) / self.scale[j]))
    }

    /// The differences of some pairs before scaling: `[pairs, hidden]`.
    fn rows(&self, block: Range<usize>) -> Result<Vec<f32>, FitError> {
        let width = self.width();
        let record = self.cache.header.record_bytes();
        let pairs = &self.pairs[block];
        let places = || pairs.iter().flat_map(|pair| [pair.chosen as usize, pair.rejected as usize]);
        let (first, last) = (places().min().unwrap_or(0), places().max().unwrap_or(0));
        // Pairs mostly lie in the cache in their own order, so that one read gets a block; otherwise each is read
        // alone.
        let together =
            (last - first < 8 * BLOCK).then(|| self.cache.records.read(first, last - first + 1)).transpose()?;
        let mut rows = Vec::with_capacity(pairs.len() * width);
        for pair in pairs {
            let alone = match &together {
                Some(_) => None,
                None => Some([
                    self.cache.records.read(pair.chosen as usize, 1)?,
                    self.cache.records.read(pair.rejected as usize, 1)?,
                ]),
            };
            let [chosen, rejected] = match (&together, &alone) {
                (Some(all), _) => {
                    [pair.chosen, pair.rejected].map(|place| &all[(place as usize - first) * record..][..record])
                }
                (None, Some([chosen, rejected])) => [chosen.as_slice(), rejected.as_slice()],
                (None, None) => continue,
            };
            rows.extend(floats(&chosen[32..]).zip(floats(&rejected[32..])).map(|(a, b)| a - b));
        }
        Ok(rows)
    }
}
