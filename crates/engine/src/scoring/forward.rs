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
use crate::{Cancel, Dtype, KeptForm};

/// A network on a device, from ids to per-token values; it knows no text.
pub(crate) struct Forward {
    network: Box<dyn Network>,
    pub summary: Summary,
    pub device: OpenDevice,
}

impl Forward {
    /// Streams a checkpoint's tensors onto the device. `progress` gets stored bytes, done and
    /// total. With `keep` and the model's fingerprint, what was packed is kept. Also returns how many weights there are, and their bytes on the device.
    pub async fn load(
        checkpoint: &Checkpoint,
        architecture: &dyn Architecture,
        device: OpenDevice,
        dtype: Dtype,
        keep: Option<(&KeptForm, &str)>,
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
        // In the file's order, so that the file is read once through.
        specs.sort_by_key(|spec| checkpoint.find(&spec.stored).map(|info| info.position()));
        progress(done, total);
        let mut tensors = Tensors::default();
        if device.report.kind == DeviceKind::Gpu
            && (!device.report.software || parameters <= MOST_REHEARSED_IN_SOFTWARE)
        {
            Self::rehearse(&specs, checkpoint, architecture, &device, dtype)?;
        }
        let mut keeping = match keep {
            Some((form, fingerprint)) => form.begin(&specs, checkpoint, dtype, fingerprint).await?,
            None => None,
        };
        let mut uploader =
            Uploader::new(checkpoint, &device, cancel, keeping.as_mut().map(|keeping| keeping as &mut dyn Watcher));
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
        if let Some(keeping) = keeping {
            keeping.finish().await;
        }
        let network = architecture.build(&mut tensors, &device.device)?;
        Ok((Self { network, summary: architecture.summary().clone(), device }, parameters, device_bytes))
    }

    /// Milliseconds that it takes to hand one layer's work to the device, without waiting for it.
    pub fn encode_ms(&self, tokens: usize) -> f64 {
        let (ids, all): (Vec<u32>, Vec<usize>) = (0..tokens).map(|token| (0, token)).unzip();
        let wanted = Wanted { tokens: &all, tap: None, keep: false };
        let started = now_ms();
        let _hidden = self.network.hidden(&Batch::of([ids.as_slice()]), None, wanted);
        (now_ms() - started) / self.summary.layers as f64
    }

    /// How many tokens all rows begin with: a decoder's states of them are the same in all.
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

    /// Whether states of what these rows begin with are the same whatever follows.
    fn shares(&self, rows: &[&[u32]]) -> bool {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or_default();
        self.summary.is_causal && self.summary.long_after.is_none_or(|most| longest <= most)
    }

    /// What is wanted of each row. What rows begin with alike is computed once, and not at all where
    /// `kept` has it from an earlier call; the others' tokens go through packed, at most `budget` of
    /// them at once, with one readback each time. `tap` is the number of layers after which states
    /// are pooled.
    pub async fn read(
        &self,
        rows: &[Row<'_>],
        tap: usize,
        budget: usize,
        kept: Option<&mut Kept>,
        cancel: &Cancel,
    ) -> Result<Vec<Readings>, EngineError> {
        let all: Vec<&[u32]> = rows.iter().map(|row| row.ids).collect();
        let shared = match &kept {
            // A single text's beginning is worth keeping too: up to what is read of it.
            Some(_) if rows.len() == 1 && self.shares(&all) => self.reads(&rows[0]).start,
            _ => self.shared(&all),
        };
        let at_hand = kept.as_ref().map_or(0, |kept| {
            let same = kept.ids.iter().zip(&all[0][..shared]).take_while(|(a, b)| a == b).count();
            // What is read must be computed.
            rows.iter().map(|row| self.reads(row).start).fold(same, usize::min)
        });
        let mut prefix: Option<State> =
            kept.as_ref().filter(|_| at_hand > 0).and_then(|kept| Some(kept.state.as_ref()?.select(&[0..at_hand])));
        let mut readings = Vec::with_capacity(rows.len());
        while readings.len() < rows.len() {
            cancel.check()?;
            let is_first = readings.is_empty();
            let left = &rows[readings.len()..];
            // Where each row goes on: states before that are at hand, those that are read are not.
            let starts: Vec<usize> =
                left.iter().map(|row| if is_first { shared } else { shared.min(self.reads(row).start) }).collect();
            let beginning = if is_first { at_hand..shared } else { shared..shared };
            let mut tokens = beginning.len();
            let own = left.iter().zip(&starts).map(|(row, start)| row.ids.len() - start);
            let fitting = own.take_while(|own| {
                tokens += own;
                tokens <= budget
            });
            let count = fitting.count().max(1);
            let keep = is_first && shared > 0 && (kept.is_some() || count < left.len());
            let part = Part { rows: &left[..count], starts: &starts[..count], beginning };
            let state = self.read_part(&part, prefix.as_ref(), tap, keep, &mut readings).await?;
            if keep {
                prefix = state.map(|state| state.select(&[0..shared]));
            }
            pause().await;
        }
        if let Some(kept) = kept {
            *kept = Kept { ids: all[0][..shared].to_vec(), state: prefix };
        }
        Ok(readings)
    }

    /// The positions of the hidden states that a row's values and pooled state are made of.
    fn reads(&self, row: &Row<'_>) -> Range<usize> {
        let values = match self.summary.head {
            Head::Score => row.values.clone(),
            Head::Pooled => 0..self.network.pooled_tokens(row.ids.len()),
            // The hidden state of token t predicts token t + 1.
            Head::LanguageModel => row.values.start.saturating_sub(1)..row.values.end.saturating_sub(1),
        };
        match &row.pooled {
            Some(pooled) if values.is_empty() => pooled.clone(),
            Some(pooled) => values.start.min(pooled.start)..values.end.max(pooled.end),
            None => values,
        }
    }

    async fn read_part(
        &self,
        part: &Part<'_>,
        prefix: Option<&State>,
        tap: usize,
        keep: bool,
        readings: &mut Vec<Readings>,
    ) -> Result<Option<State>, EngineError> {
        let given = self.give(part, prefix, tap, keep);
        let width = given.pooled_width;
        let all = self.device.read_back(given.all).await?;
        let (pooled, values) = all.split_at(width * part.rows.len());
        for (at, places) in given.values.into_iter().enumerate() {
            let values = places.into_iter().map(|place| values[place]).collect();
            let state = pooled[at * width..(at + 1) * width].to_vec();
            readings.push(Readings { values, state, computed: given.computed[at] });
        }
        Ok(given.state)
    }

    /// Hands a part to the device without waiting for it.
    fn give(&self, part: &Part<'_>, prefix: Option<&State>, tap: usize, keep: bool) -> Given {
        let mut batch = Batch::after(prefix.map_or(0, State::rows));
        let known = batch.kept();
        let beginning = part.rows.first().map_or(0..0, |row| {
            let before = vec![0..part.beginning.start.min(known)];
            batch.push(&row.ids[part.beginning.clone()], &[], before)
        });
        let before = |batch: &Batch<'_>, start: usize| vec![0..start.min(known), batch.rows(beginning.clone())];
        let mut places = Vec::with_capacity(part.rows.len());
        for (row, &start) in part.rows.iter().zip(part.starts) {
            let before = before(&batch, start);
            let types = row.types.get(start..).unwrap_or_default();
            places.push(batch.push(&row.ids[start..], types, before));
        }
        // The token of the batch that stands at a position of a row.
        let token = |row: usize, position: usize| match position.checked_sub(part.starts[row]) {
            Some(own) => places[row].start + own,
            None => beginning.start + position - part.beginning.start,
        };
        let mut tokens: Vec<usize> = Vec::new();
        for (at, row) in part.rows.iter().enumerate() {
            tokens.extend(self.reads(row).map(|position| token(at, position)));
        }
        tokens.sort_unstable();
        tokens.dedup();
        let place = |row: usize, position: usize| tokens.binary_search(&token(row, position)).unwrap_or_default();
        let is_tapped = tap < self.summary.layers && part.rows.iter().any(|row| row.pooled.is_some());
        let wanted = Wanted { tokens: &tokens, tap: is_tapped.then_some(tap), keep };
        let hidden = self.network.hidden(&batch, prefix, wanted);
        let states = hidden.tapped.unwrap_or_else(|| hidden.last.clone());
        let (values, counts) = self.values(hidden.last, part.rows, &place);
        let pooled = self.pooled(states, part.rows, &place);
        let mut next = 0;
        let of = |(at, row): (usize, &Row<'_>)| {
            let own = next..next + counts[at];
            next = own.end;
            match self.summary.head {
                Head::Score => row.values.clone().map(|position| place(at, position)).collect(),
                Head::Pooled | Head::LanguageModel => own.collect(),
            }
        };
        Given {
            values: part.rows.iter().enumerate().map(of).collect(),
            computed: (0..part.rows.len())
                .map(|at| places[at].len() + if at == 0 { part.beginning.len() } else { 0 })
                .collect(),
            pooled_width: if pooled.is_some() { self.summary.hidden_size } else { 0 },
            all: Tensor::cat(pooled.into_iter().chain([values]).collect(), 0),
            state: hidden.state,
        }
    }

    /// Has the device go through what it will be asked for later, with weights that are all zero, so
    /// that it compiles while the weights arrive. Nothing is waited for.
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
            // Of a vocabulary a few tokens are enough, and of all layers one's weights.
            let rows = if info.rows() == summary.vocab_size { REHEARSED_TOKENS } else { info.rows() };
            let key = (rows, info.columns(), packing);
            let stand_in = stand_ins.entry(key).or_insert_with(|| stand_in(rows, info.columns(), packing, device));
            tensors.insert(&spec.name, stand_in.clone());
        }
        let network = architecture.build(&mut tensors, &device.device)?;
        let forward = Self { network, summary, device: device.clone() };
        // Two texts that share their beginning, as an item's completions do.
        let texts = [[1, 2, 3, 4, 5], [1, 2, 3, 5, 4]];
        let rows = texts.each_ref().map(|ids| Row { ids, types: &[], values: 4..5, pooled: None });
        let ids = texts.each_ref().map(|ids| ids.as_slice());
        let shared = forward.shared(&ids);
        let part = Part { rows: &rows, starts: &[shared; 2], beginning: 0..shared };
        drop(forward.give(&part, None, forward.summary.layers, false));
        device.device.flush().map_err(|e| device.failed(e))
    }

    /// The values of all rows from `[read tokens, hidden]`, and how many are each row's; for
    /// [`Head::Score`] one for every token that is read.
    fn values(
        &self,
        hidden: Tensor<2>,
        rows: &[Row<'_>],
        place: &dyn Fn(usize, usize) -> usize,
    ) -> (Tensor<1>, Vec<usize>) {
        match self.summary.head {
            Head::Score => (self.network.score(hidden, &[]), vec![0; rows.len()]),
            Head::Pooled => {
                let counts: Vec<usize> = rows.iter().map(|row| self.network.pooled_tokens(row.ids.len())).collect();
                let own = self.reads_of_rows(hidden, rows, |row| 0..self.network.pooled_tokens(row.ids.len()), place);
                (self.network.score(own, &counts), vec![1; rows.len()])
            }
            Head::LanguageModel => {
                let targets: Vec<i32> =
                    rows.iter().flat_map(|row| row.ids[row.values.clone()].iter().map(|&id| id as i32)).collect();
                let count = targets.len();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [count]), &self.device.device);
                let from = |row: &Row<'_>| row.values.start - 1..row.values.end - 1;
                let hidden = self.reads_of_rows(hidden, rows, from, place);
                (self.network.log_probability(hidden, targets), rows.iter().map(|row| row.values.len()).collect())
            }
        }
    }

    /// The states of each row's positions, one row after the other.
    fn reads_of_rows(
        &self,
        hidden: Tensor<2>,
        rows: &[Row<'_>],
        positions: impl Fn(&Row<'_>) -> Range<usize>,
        place: &dyn Fn(usize, usize) -> usize,
    ) -> Tensor<2> {
        let of = |(at, row): (usize, &Row<'_>)| {
            positions(row).map(|position| place(at, position) as i32).collect::<Vec<_>>()
        };
        let from: Vec<i32> = rows.iter().enumerate().flat_map(of).collect();
        let count = from.len();
        hidden.select(0, Tensor::<1, Int>::from_data(TensorData::new(from, [count]), &self.device.device))
    }

    /// The mean of the states that each row pools, `[rows * hidden]`; `None` where none does.
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

/// A token sequence, and what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    pub ids: &'a [u32],
    /// Parts of a pair, for encoders that are told.
    pub types: &'a [u32],
    /// The tokens whose logits, or log-probabilities, are wanted. An encoder has one logit for all.
    pub values: Range<usize>,
    /// The tokens whose states are pooled.
    pub pooled: Option<Range<usize>>,
}

/// What came of a [`Row`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Readings {
    /// One for each of [`Row::values`], or an encoder's one.
    pub values: Vec<f32>,
    /// `[hidden]`: the mean of the pooled states; empty where none were wanted.
    pub state: Vec<f32>,
    /// Tokens that were computed for it; those that rows share count for the first.
    pub computed: usize,
}

/// Tokens of the vocabulary that a rehearsal has.
const REHEARSED_TOKENS: usize = 64;

/// An adapter in software computes a larger model's rehearsal for longer than it then compiles.
const MOST_REHEARSED_IN_SOFTWARE: u64 = 50_000_000;

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

/// What the device was given, and where in what comes back is what.
struct Given {
    /// Of each row the places of its values.
    values: Vec<Vec<usize>>,
    /// Tokens computed for each.
    computed: Vec<usize>,
    /// Width of the pooled states, which come before the values; 0 where there are none.
    pooled_width: usize,
    all: Tensor<1>,
    state: Option<State>,
}

/// Rows that go through the network at once.
struct Part<'a> {
    rows: &'a [Row<'a>],
    /// The position of the first token of each that is computed for it.
    starts: &'a [usize],
    /// The positions that they begin with alike and that are computed here.
    beginning: Range<usize>,
}

/// What an earlier call computed of the beginning of its rows.
#[derive(Default)]
pub(crate) struct Kept {
    ids: Vec<u32>,
    state: Option<State>,
}
