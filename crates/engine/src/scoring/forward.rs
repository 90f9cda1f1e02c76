//! The forward pass: from token ids to logits, log-probabilities and pooled hidden states.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_models::{
    Architecture, Batch, GROUP, Head, Network, Packing, State, Stored, Summary, TensorSpec, Tensors, Wanted, project,
};
use rewardscope_weights::Checkpoint;

use crate::checkpoint::dtype::needs;
use crate::checkpoint::upload::{Uploader, Watcher};
use crate::device::{DeviceKind, OpenDevice, now_ms, pause};
use crate::error::EngineError;
use crate::{CacheEntry, Cancel, Dtype};

/// A network on a device, from token ids to values per token. It knows nothing of texts.
pub(crate) struct Forward {
    network: Box<dyn Network>,
    pub summary: Summary,
    pub device: OpenDevice,
}

impl Forward {
    /// Streams a checkpoint's tensors onto the device. `progress` gets stored bytes, done and total. `keep` is
    /// a cache entry to fill with the packed weights, and the model's fingerprint. Also returns the number of
    /// weights, and their bytes on the device.
    pub async fn load(
        checkpoint: &Checkpoint,
        architecture: &dyn Architecture,
        device: OpenDevice,
        dtype: Dtype,
        cache: Option<(&CacheEntry, &str)>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, u64, u64), EngineError> {
        let mut specs = architecture.tensors()?;
        let needs = needs(&specs, checkpoint)?;
        let (mut done, mut total, mut parameters) = (0, 0, 0);
        for spec in &specs {
            let info = checkpoint.expect(&spec.stored, &spec.shape)?;
            total += info.bytes();
            parameters += info.rows() as u64 * info.columns() as u64;
        }
        device.fits(checkpoint.name(), &needs, dtype)?;
        let device_bytes = needs.iter().find(|need| need.dtype == dtype).map_or(0, |need| need.weight_bytes);
        // In the file's order, so that the file is read once from beginning to end.
        specs.sort_by_key(|spec| checkpoint.find(&spec.stored).map(|info| info.position()));
        progress(done, total);
        let mut tensors = Tensors::default();
        if device.report.kind == DeviceKind::Gpu
            && (!device.report.software || parameters <= MOST_REHEARSED_IN_SOFTWARE)
        {
            Self::rehearse(&specs, checkpoint, architecture, &device, dtype)?;
        }
        let mut cache_writer = match cache {
            Some((form, fingerprint)) => form.begin(&specs, checkpoint, dtype, fingerprint).await?,
            None => None,
        };
        let mut uploader =
            Uploader::new(checkpoint, &device, cancel, cache_writer.as_mut().map(|writer| writer as &mut dyn Watcher));
        for spec in &specs {
            let tensor = uploader
                .upload(spec, dtype, &mut |bytes| {
                    done += bytes;
                    progress(done, total);
                })
                .await?;
            tensors.insert(&spec.name, tensor);
            pause().await;
        }
        if let Some(writer) = cache_writer {
            writer.finish().await;
        }
        let network = architecture.build(&mut tensors, &device.device)?;
        Ok((Self { network, summary: architecture.summary().clone(), device }, parameters, device_bytes))
    }

    /// Refuses ids that the vocabulary lacks; `model` is named then.
    pub fn check_ids<'a>(&self, model: &str, ids: impl IntoIterator<Item = &'a u32>) -> Result<(), EngineError> {
        let vocab_size = self.summary.vocab_size;
        match ids.into_iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(EngineError::OutOfVocabulary { model: model.to_owned(), id, vocab_size }),
            None => Ok(()),
        }
    }

    /// Milliseconds of the host for handing one layer's work over `tokens` tokens to the device, without
    /// waiting for it.
    pub fn encode_ms(&self, tokens: usize) -> f64 {
        let (ids, all): (Vec<u32>, Vec<usize>) = (0..tokens).map(|token| (0, token)).unzip();
        let wanted = Wanted { tokens: &all, tap: None, keeps_state: false };
        let started = now_ms();
        let _hidden = self.network.hidden(&Batch::of([ids.as_slice()]), None, wanted);
        (now_ms() - started) / self.summary.layers as f64
    }

    /// The number of tokens that all rows begin with and whose states are the same in all: then they are
    /// computed once.
    pub fn shared(&self, rows: &[&[u32]]) -> usize {
        let [first, others @ ..] = rows else {
            return 0;
        };
        if others.is_empty() || !self.shares(rows) {
            return 0;
        }
        let common = |row: &&[u32]| first.iter().zip(*row).take_while(|(a, b)| a == b).count();
        others.iter().map(common).min().unwrap_or_default()
    }

    /// Whether the states of the rows' common beginning do not depend on what follows.
    pub(super) fn shares(&self, rows: &[&[u32]]) -> bool {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or_default();
        self.summary.is_causal && self.summary.long_after.is_none_or(|most| longest <= most)
    }

    /// Reads what each row asks for, with one readback for each batch. A batch has at most `budget` tokens, but
    /// at least one row. Tokens that all rows begin with are computed once. Where `kept` has their states from
    /// an earlier call, they are not computed at all; it then keeps those of this call. `tap` is the number of
    /// layers after which states are pooled. `told` gets the number of rows that are read, after each batch.
    pub async fn read(
        &self,
        rows: &[Row<'_>],
        tap: usize,
        budget: usize,
        cache: Option<&mut PrefixCache>,
        cancel: &Cancel,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vec<Readings>, EngineError> {
        let all: Vec<&[u32]> = rows.iter().map(|row| row.ids).collect();
        let firsts: Vec<usize> = rows.iter().map(|row| self.first_read(row)).collect();
        let shared = match &cache {
            // The beginning of a single text is cache too, up to the first state that is read.
            Some(_) if rows.len() == 1 && self.shares(&all) => firsts[0],
            _ => self.shared(&all),
        };
        let at_hand = cache.as_ref().map_or(0, |cache| {
            let same = cache.ids.iter().zip(&all[0][..shared]).take_while(|(a, b)| a == b).count();
            // States that are read must be computed in this call.
            firsts.iter().copied().fold(same, usize::min)
        });
        let mut prefix: Option<State> =
            cache.as_ref().filter(|_| at_hand > 0).and_then(|cache| Some(cache.state.as_ref()?.select(&[0..at_hand])));
        let mut readings = Vec::with_capacity(rows.len());
        while readings.len() < rows.len() {
            cancel.check()?;
            let is_first = readings.is_empty();
            let left = &rows[readings.len()..];
            // The first token that is computed for each row. The first batch also computes the common
            // beginning; later ones have only its keys and values, so they compute again what is read of it.
            let starts: Vec<usize> = firsts[readings.len()..]
                .iter()
                .map(|&first| if is_first { shared } else { shared.min(first) })
                .collect();
            let beginning = if is_first { at_hand..shared } else { shared..shared };
            let mut tokens = beginning.len();
            let own = left.iter().zip(&starts).map(|(row, start)| row.ids.len() - start);
            let fitting = own.take_while(|own| {
                tokens += own;
                tokens <= budget
            });
            let count = fitting.count().max(1);
            let keeps_state = is_first && shared > 0 && (cache.is_some() || count < left.len());
            let known = prefix.as_ref().map_or(0, State::rows);
            let placed = Placed::after(known, &left[..count], &starts[..count], beginning);
            let state = self.read_placed(&placed, prefix.as_ref(), tap, keeps_state, &mut readings).await?;
            if keeps_state {
                prefix = state.map(|state| state.select(&[0..shared]));
            }
            told(readings.len());
            pause().await;
        }
        if let Some(cache) = cache {
            *cache = PrefixCache { ids: all[0][..shared].to_vec(), state: prefix };
        }
        Ok(readings)
    }

    /// The positions of the hidden states that a row's values and its pooled state are made of.
    fn reads(&self, row: &Row<'_>) -> Vec<usize> {
        let mut reads: Vec<usize> = match self.summary.head {
            Head::Score | Head::Pair => row.values.clone(),
            Head::Pooled => (0..self.network.pooled_tokens(row.ids.len())).collect(),
            // The hidden state of token t predicts token t + 1.
            Head::LanguageModel => row.values.iter().map(|position| position.saturating_sub(1)).collect(),
        };
        reads.extend(row.pooled.clone().into_iter().flatten());
        reads
    }

    /// The first of these positions.
    pub(super) fn first_read(&self, row: &Row<'_>) -> usize {
        self.reads(row).into_iter().min().unwrap_or_default()
    }

    /// Computes rows that have their places in a batch, and appends their readings. Returns the batch's keys and values,
    /// after those of `prefix`, where `keeps_state` asks for them.
    pub(super) async fn read_placed(
        &self,
        placed: &Placed<'_>,
        prefix: Option<&State>,
        tap: usize,
        keeps_state: bool,
        readings: &mut Vec<Readings>,
    ) -> Result<Option<State>, EngineError> {
        let dispatched = self.dispatch(placed, prefix, tap, keeps_state);
        let width = dispatched.pooled_width;
        let all = self.device.read_back(dispatched.all).await?;
        let (pooled, values) = all.split_at(width * placed.rows.len());
        for (at, places) in dispatched.values.into_iter().enumerate() {
            let values = places.into_iter().map(|place| values[place]).collect();
            let state = pooled[at * width..(at + 1) * width].to_vec();
            readings.push(Readings { values, state, computed: placed.computed[at] });
        }
        Ok(dispatched.state)
    }

    /// Hands a batch's work to the device without waiting for it.
    fn dispatch(&self, placed: &Placed<'_>, prefix: Option<&State>, tap: usize, keeps_state: bool) -> Dispatched {
        let Placed { batch, rows, .. } = placed;
        let token = |row: usize, position: usize| placed.token(row, position);
        let mut tokens: Vec<usize> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            tokens.extend(self.reads(row).into_iter().map(|position| token(at, position)));
        }
        tokens.sort_unstable();
        tokens.dedup();
        let place = |row: usize, position: usize| tokens.binary_search(&token(row, position)).unwrap_or_default();
        let is_tapped = tap < self.summary.layers && rows.iter().any(|row| row.pooled.is_some());
        let wanted = Wanted { tokens: &tokens, tap: is_tapped.then_some(tap), keeps_state };
        let hidden = self.network.hidden(batch, prefix, wanted);
        let states = hidden.tapped.unwrap_or_else(|| hidden.last.clone());
        let (values, counts) = self.values(hidden.last, rows, &place);
        let pooled = self.pooled(states, rows, &place);
        let mut next = 0;
        let outputs = self.summary.labels;
        let of = |(at, row): (usize, &Row<'_>)| {
            let own = next..next + counts[at];
            next = own.end;
            match self.summary.head {
                Head::Score => {
                    let first = |position: &usize| place(at, *position) * outputs;
                    row.values.iter().flat_map(|position| first(position)..first(position) + outputs).collect()
                }
                Head::Pooled | Head::Pair | Head::LanguageModel => own.collect(),
            }
        };
        Dispatched {
            values: rows.iter().enumerate().map(of).collect(),
            pooled_width: if pooled.is_some() { self.summary.hidden_size } else { 0 },
            all: Tensor::cat(pooled.into_iter().chain([values]).collect(), 0),
            state: hidden.state,
        }
    }

    /// Runs the network once with weights that are all zero, so that the device compiles its kernels while the
    /// real weights arrive. It does not wait for the result.
    fn rehearse(
        specs: &[TensorSpec],
        checkpoint: &Checkpoint,
        architecture: &dyn Architecture,
        device: &OpenDevice,
        dtype: Dtype,
    ) -> Result<(), EngineError> {
        let summary = architecture.summary().clone();
        let mut stand_ins = HashMap::new();
        let mut tensors = Tensors::default();
        for spec in specs {
            let info = checkpoint.expect(&spec.stored, &spec.shape)?;
            let packing = dtype.packing(info.dtype, info.columns(), spec.packs);
            // A few rows of the vocabulary are enough, and all layers can share the same weights.
            let rows = if info.rows() == summary.vocab_size { REHEARSED_TOKENS } else { info.rows() };
            let key = (rows, info.columns(), packing);
            let stand_in = stand_ins.entry(key).or_insert_with(|| stand_in(rows, info.columns(), packing, device));
            tensors.insert(&spec.name, stand_in.clone());
        }
        let network = architecture.build(&mut tensors, &device.device)?;
        let forward = Self { network, summary, device: device.clone() };
        // Two texts that share their beginning, as an item's completions do.
        let texts = [[1, 2, 3, 4, 5], [1, 2, 3, 5, 4]];
        // A pair is read at three tokens, all others at one.
        let values = if forward.summary.head == Head::Pair { vec![0, 2, 4] } else { vec![4] };
        let rows = texts.each_ref().map(|ids| Row { ids, types: &[], values: values.clone(), pooled: None });
        let ids = texts.each_ref().map(|ids| ids.as_slice());
        let shared = forward.shared(&ids);
        let placed = Placed::after(0, &rows, &[shared; 2], 0..shared);
        drop(forward.dispatch(&placed, None, forward.summary.layers, false));
        device.device.flush().map_err(|e| device.failed(e))
    }

    /// The values of all rows from the hidden states `[read tokens, hidden]`, and how many of them belong to
    /// each row. For [`Head::Score`] every token that is read has its outputs, and the numbers are 0.
    fn values(
        &self,
        hidden: Tensor<2>,
        rows: &[Row<'_>],
        place: &dyn Fn(usize, usize) -> usize,
    ) -> (Tensor<1>, Vec<usize>) {
        match self.summary.head {
            Head::Score => (flat(self.network.outputs(hidden, &[])), vec![0; rows.len()]),
            Head::Pooled => {
                let counts: Vec<usize> = rows.iter().map(|row| self.network.pooled_tokens(row.ids.len())).collect();
                let of = |row: &Row<'_>| (0..self.network.pooled_tokens(row.ids.len())).collect();
                let own = self.reads_of_rows(hidden, rows, of, place);
                (flat(self.network.outputs(own, &counts)), vec![self.summary.labels; rows.len()])
            }
            Head::Pair => {
                let own = self.reads_of_rows(hidden, rows, |row| row.values.clone(), place);
                (flat(self.network.outputs(own, &[])), vec![self.summary.labels; rows.len()])
            }
            Head::LanguageModel => {
                let targets: Vec<i32> =
                    rows.iter().flat_map(|row| row.values.iter().map(|&position| row.ids[position] as i32)).collect();
                let count = targets.len();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [count]), &self.device.device);
                let from = |row: &Row<'_>| row.values.iter().map(|position| position - 1).collect();
                let hidden = self.reads_of_rows(hidden, rows, from, place);
                (self.network.log_probability(hidden, targets), rows.iter().map(|row| row.values.len()).collect())
            }
        }
    }

    /// The states of each row's positions, one row after the other: `[positions of all rows, hidden]`.
    fn reads_of_rows(
        &self,
        hidden: Tensor<2>,
        rows: &[Row<'_>],
        positions: impl Fn(&Row<'_>) -> Vec<usize>,
        place: &dyn Fn(usize, usize) -> usize,
    ) -> Tensor<2> {
        let of = |(at, row): (usize, &Row<'_>)| {
            positions(row).into_iter().map(|position| place(at, position) as i32).collect::<Vec<_>>()
        };
        let from: Vec<i32> = rows.iter().enumerate().flat_map(of).collect();
        let count = from.len();
        hidden.select(0, Tensor::<1, Int>::from_data(TensorData::new(from, [count]), &self.device.device))
    }

    /// The mean of the states that each row pools, `[rows * hidden]`; `None` where no row pools.
    fn pooled(&self, states: Tensor<2>, rows: &[Row<'_>], place: &dyn Fn(usize, usize) -> usize) -> Option<Tensor<1>> {
        if rows.iter().all(|row| row.pooled.is_none()) {
            return None;
        }
        let [tokens, width] = states.dims();
        let mut shares = vec![0.0f32; rows.len() * tokens];
        for (at, row) in rows.iter().enumerate() {
            let span = row.pooled.clone().unwrap_or_default();
            let share = 1.0 / span.len().max(1) as f32;
            span.for_each(|position| shares[at * tokens + place(at, position)] = share);
        }
        let shares = Tensor::<2>::from_data(TensorData::new(shares, [rows.len(), tokens]), &self.device.device);
        Some(project(shares, states.transpose(), None).reshape([rows.len() * width]))
    }
}

/// A token sequence, and what is read of it.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// Token types: they say which part of a pair each token belongs to, for encoders that read them.
    pub types: &'a [u32],
    /// The tokens whose outputs or log-probabilities are read, in ascending order. An encoder has the same outputs for
    /// all tokens. For a pair, the three tokens that begin its parts.
    pub values: Vec<usize>,
    /// The tokens whose states are pooled.
    pub pooled: Option<Range<usize>>,
}

/// What was read of a [`Row`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Readings {
    /// The outputs of each token of [`Row::values`], one after the other, or an encoder's only ones; for a language
    /// model one log-probability for each, in nats.
    pub values: Vec<f32>,
    /// `[hidden]`: the mean of the pooled states; empty where none were wanted.
    pub state: Vec<f32>,
    /// Number of tokens computed for the row; tokens that rows share count for the first.
    pub computed: usize,
}

/// Size of the vocabulary in a rehearsal.
const REHEARSED_TOKENS: usize = 64;

/// Most weights of a model that is rehearsed on a software adapter: with more, the rehearsal takes longer than
/// the compilation that it saves.
const MOST_REHEARSED_IN_SOFTWARE: u64 = 50_000_000;

/// The rows of a matrix one after the other.
fn flat(outputs: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = outputs.dims();
    outputs.reshape([rows * columns])
}

/// A matrix of zeros.
fn stand_in(rows: usize, columns: usize, packing: Option<Packing>, device: &OpenDevice) -> Stored {
    let device = &device.device;
    let words = |width: usize| Tensor::<2, Int>::zeros([rows, width], device);
    match packing {
        None => Stored::plain(Tensor::zeros([rows, columns], device)),
        Some(packing) => {
            let pairs = packing.has_groups().then(|| words(columns / GROUP));
            Stored::packed(packing, words(columns / packing.per_word()), pairs)
        }
    }
}

/// Work that was handed to the device, and where its results are.
struct Dispatched {
    /// For each row, the places of its values among all values.
    values: Vec<Vec<usize>>,
    /// Width of the pooled states, which come before the values; 0 where there are none.
    pooled_width: usize,
    /// Pooled states of all rows, then values: what is read back.
    all: Tensor<1>,
    /// Keys and values, where they are kept.
    state: Option<State>,
}

/// Rows that go through the network in one batch, with their places in it.
pub(super) struct Placed<'a> {
    pub batch: Batch<'a>,
    pub rows: &'a [Row<'a>],
    /// For each row, the runs of its tokens that are computed in this batch: the position of the first, and their indices
    /// in the batch.
    pub runs: Vec<Vec<(usize, Range<usize>)>>,
    /// Number of tokens that are computed for each row; those that rows share count for the first.
    pub computed: Vec<usize>,
}

impl<'a> Placed<'a> {
    /// Rows that continue the first `known` rows of a state, of which they all begin with some. `starts` are the
    /// positions of the first tokens that are computed for each, `beginning` those of their common beginning that are
    /// computed in this batch.
    fn after(known: usize, rows: &'a [Row<'a>], starts: &[usize], beginning: Range<usize>) -> Self {
        let mut batch = Batch::after(known);
        let first = beginning.start;
        let common = rows.first().map_or(0..0, |row| {
            let before = vec![0..first.min(known)];
            batch.push(&row.ids[beginning], &[], before)
        });
        let (mut runs, mut computed) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (at, (row, &start)) in rows.iter().zip(starts).enumerate() {
            let before = vec![0..start.min(known), batch.rows(common.clone())];
            let types = row.types.get(start..).unwrap_or_default();
            let own = batch.push(&row.ids[start..], types, before);
            computed.push(own.len() + if at == 0 { common.len() } else { 0 });
            runs.push(vec![(first, common.clone()), (start, own)]);
        }
        Self { batch, rows, runs, computed }
    }

    /// The index in the batch of the token at a position of a row.
    fn token(&self, row: usize, position: usize) -> usize {
        let within = |(first, tokens): &&(usize, Range<usize>)| (*first..first + tokens.len()).contains(&position);
        let found = self.runs[row].iter().find(within);
        found.map_or(0, |(first, tokens)| tokens.start + position - first)
    }
}

/// The states of the common beginning of an earlier call's rows.
#[derive(Default)]
pub(crate) struct PrefixCache {
    ids: Vec<u32>,
    state: Option<State>,
}
