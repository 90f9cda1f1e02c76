use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_models::{Architecture, Batch, Head, Network, Summary, Tensors};
use rewardscope_weights::Checkpoint;

use crate::device::{OpenDevice, now_ms, pause};
use crate::upload::Uploader;
use crate::{Cancel, EngineError};

/// A network on a device, from ids to per-token values; it knows no text.
pub(crate) struct Forward {
    network: Box<dyn Network>,
    pub summary: Summary,
    pub device: OpenDevice,
}

impl Forward {
    /// Streams a checkpoint's tensors onto the device. `progress` gets stored bytes, done and
    /// total. Also returns the number of weights.
    pub async fn load(
        checkpoint: &Checkpoint,
        architecture: &dyn Architecture,
        device: OpenDevice,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, u64), EngineError> {
        let mut specs = architecture.tensors()?;
        let (mut done, mut total, mut parameters, mut largest) = (0, 0, 0, 0);
        for spec in &specs {
            let info = checkpoint.expect(&spec.stored, &spec.shape)?;
            total += info.bytes();
            let weights = info.rows() as u64 * info.columns() as u64;
            parameters += weights;
            largest = weights.max(largest);
        }
        device.fits(checkpoint.name(), parameters, largest)?;
        // In the file's order, so that the file is read once through.
        specs.sort_by_key(|spec| checkpoint.find(&spec.stored).map(|info| info.position()));
        progress(done, total);
        let mut tensors = Tensors::default();
        let mut uploader = Uploader::new(checkpoint, &device, cancel);
        for spec in &specs {
            let tensor = uploader
                .upload(spec, &mut |bytes| {
                    done += bytes;
                    progress(done, total);
                })
                .await?;
            tensors.insert(&spec.name, tensor);
            pause().await;
        }
        let network = architecture.build(&mut tensors, &device.device)?;
        Ok((Self { network, summary: architecture.summary().clone(), device }, parameters))
    }

    /// Milliseconds that it takes to hand one layer's work to the device, without waiting for it.
    pub fn encode_ms(&self, tokens: usize) -> f64 {
        let started = now_ms();
        let _hidden = self.network.hidden(&Batch { rows: &[&vec![0; tokens]], types: &[] }, None);
        (now_ms() - started) / self.summary.layers as f64
    }

    /// The values of each row of one batch, in one readback: a logit for every token, the one logit
    /// of an encoder, or the log-probability of every token from `firsts` on.
    pub async fn read(&self, batch: &Batch<'_>, firsts: &[usize]) -> Result<Vec<Vec<f32>>, EngineError> {
        let hidden = self.network.hidden(batch, None).last;
        let (values, lengths) = self.token_values(hidden, batch, firsts);
        let values = self.device.read_back(values).await?;
        Ok(split(&values, &lengths, batch.rows))
    }

    /// The hidden states after `layers` layers and the final norm, pooled over each row's tokens in
    /// `spans`, in one readback with what [`Self::read`] gives for a language model.
    pub async fn pooled(
        &self,
        batch: &Batch<'_>,
        firsts: &[usize],
        layers: usize,
        spans: &[Range<usize>],
    ) -> Result<Vec<Pooled>, EngineError> {
        let width = self.summary.hidden_size;
        let (rows, seq) = (batch.rows, batch.seq());
        // After all layers the last states are these, and need no norm of their own.
        let tap = (layers < self.summary.layers).then_some(layers);
        let hidden = self.network.hidden(batch, tap);
        let states = hidden.tapped.unwrap_or_else(|| hidden.last.clone());
        let shares: Vec<f32> = spans
            .iter()
            .flat_map(|span| (0..seq).map(|t| if span.contains(&t) { 1.0 / span.len() as f32 } else { 0.0 }))
            .collect();
        let shares = Tensor::<3>::from_data(TensorData::new(shares, [rows.len(), seq, 1]), &self.device.device);
        let pooled: Tensor<1> = (states * shares).sum_dim(1).reshape([rows.len() * width]);
        let (all, lengths) = match self.summary.head {
            Head::Score | Head::Pooled => (pooled, vec![0; rows.len()]),
            Head::LanguageModel => {
                let (values, lengths) = self.token_values(hidden.last, batch, firsts);
                (Tensor::cat(vec![pooled, values], 0), lengths)
            }
        };
        let all = self.device.read_back(all).await?;
        let (pooled, values) = all.split_at(rows.len() * width);
        let token_values = split(values, &lengths, rows);
        Ok(pooled
            .chunks_exact(width)
            .zip(token_values)
            .map(|(state, token_values)| Pooled { state: state.to_vec(), token_values })
            .collect())
    }

    /// The values of all rows one after the other, and how many are each row's.
    fn token_values(&self, hidden: Tensor<3>, batch: &Batch<'_>, firsts: &[usize]) -> (Tensor<1>, Vec<usize>) {
        let (rows, seq) = (batch.rows, batch.seq());
        match self.summary.head {
            Head::Score => (self.network.score(hidden, &batch.lengths()), vec![seq; rows.len()]),
            Head::Pooled => (self.network.score(hidden, &batch.lengths()), vec![1; rows.len()]),
            Head::LanguageModel => {
                // The hidden state of token t predicts token t + 1.
                let spans: Vec<Range<usize>> =
                    rows.iter().zip(firsts).map(|(row, &first)| first.max(1)..row.len()).collect();
                let from: Vec<i32> = (0..)
                    .zip(&spans)
                    .flat_map(|(i, span)| span.clone().map(move |t| (i * seq + t - 1) as i32))
                    .collect();
                let targets: Vec<i32> = spans
                    .iter()
                    .zip(rows)
                    .flat_map(|(span, row)| row[span.clone()].iter().map(|&id| id as i32))
                    .collect();
                let count = from.len();
                let device = &self.device.device;
                let column = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device);
                let hidden: Tensor<2> = hidden.reshape([rows.len() * seq, self.summary.hidden_size]);
                let hidden = hidden.select(0, column(from));
                (self.network.log_probability(hidden, column(targets)), spans.iter().map(Range::len).collect())
            }
        }
    }
}

/// What pooling gives of a row.
pub(crate) struct Pooled {
    /// `[hidden]`
    pub state: Vec<f32>,
    /// A language model: the log-probability of each token of the completion.
    pub token_values: Vec<f32>,
}

/// Each row's own values, without those of its padding.
fn split(values: &[f32], lengths: &[usize], rows: &[&[u32]]) -> Vec<Vec<f32>> {
    let mut left = values;
    let own = lengths.iter().zip(rows).map(|(&length, row)| {
        let (own, after) = left.split_at(length);
        left = after;
        own[..length.min(row.len())].to_vec()
    });
    own.collect()
}
