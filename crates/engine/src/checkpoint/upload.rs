//! Brings weights onto the device: reads a piece, packs it or widens it to f32, and hands it over. Pieces have
//! about [`PIECE_BYTES`](crate::checkpoint::stored_rows::PIECE_BYTES) at most, and queued pieces are waited for
//! before they add up.

use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_models::{GROUP, Packed, Packing, RowOrder, Stored, TensorSpec};
use rewardscope_weights::{Checkpoint, TensorInfo};

use crate::Cancel;
use crate::checkpoint::dtype::{Dtype, pack};
use crate::checkpoint::stored_rows::{pieces, read_rows, unit_rows};
use crate::device::{DeviceKind, OpenDevice};
use crate::error::EngineError;

/// Bytes handed to a GPU before the queue is waited for. Until then they lie in the host's memory.
const QUEUED_BYTES: usize = 16 << 20;

/// Receives what is brought onto a device: piece by piece, in the order of the tensors.
pub(crate) trait Watcher {
    /// Rows that stay as they are stored.
    fn stored(&mut self, bytes: &[u8]);
    /// Rows that were packed.
    fn packed(&mut self, packing: Packing, packed: &Packed);
}

/// Brings tensors onto one device.
pub(crate) struct Uploader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a OpenDevice,
    cancel: &'a Cancel,
    watcher: Option<&'a mut dyn Watcher>,
    queued: usize,
}

impl<'a> Uploader<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a OpenDevice,
        cancel: &'a Cancel,
        watcher: Option<&'a mut dyn Watcher>,
    ) -> Self {
        Self { checkpoint, device, cancel, watcher, queued: 0 }
    }

    /// Brings a tensor onto the device as `[rows, columns]`: packed where the type says so, and in parts where
    /// a kernel cannot read all of it at once. `progress` gets the stored bytes of each piece.
    pub(crate) async fn upload(
        &mut self,
        spec: &TensorSpec,
        dtype: Dtype,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, EngineError> {
        let info = self.checkpoint.expect(&spec.stored, &spec.shape)?;
        let packing = dtype.packing(info.dtype, info.columns(), spec.packs);
        let row_bytes = 4 * packing.map_or(info.columns(), |packing| info.columns() / packing.per_word());
        let unit = unit_rows(info, spec.rows);
        let most = usize::try_from(self.device.most_bound_bytes() / row_bytes as u64).unwrap_or(usize::MAX);
        let most = (most / unit).clamp(1, info.rows().div_ceil(unit)) * unit;
        let mut parts = Vec::new();
        for first in (0..info.rows()).step_by(most) {
            let rows = first..(first + most).min(info.rows());
            parts.push(match packing {
                Some(packing) => self.packed(info, spec.rows, packing, rows, progress).await?,
                None => self.plain(info, spec.rows, rows, progress).await?,
            });
        }
        Ok(Stored::parts(parts))
    }

    /// Brings rows onto the device in f32.
    async fn plain(
        &mut self,
        info: &TensorInfo,
        order: RowOrder,
        rows: Range<usize>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, EngineError> {
        let columns = info.columns();
        let mut whole: Option<Tensor<2>> = None;
        let shift = if order == RowOrder::PlusOne { -1.0 } else { 0.0 };
        // The CPU computes in the host's memory, so pieces are put together there at once.
        let mut held: Vec<f32> = Vec::new();
        for piece in pieces(info, order, rows.clone()) {
            let bytes = self.piece(info, order, piece.start, piece.len()).await?;
            if let Some(watcher) = &mut self.watcher {
                watcher.stored(&bytes);
            }
            let mut values = info.dtype.to_f32(&bytes);
            values.iter_mut().for_each(|value| *value += shift);
            if self.device.report.kind == DeviceKind::Cpu {
                held.reserve_exact(if held.is_empty() { rows.len() * columns } else { 0 });
                held.extend(values);
            } else {
                let tensor = Tensor::from_data(TensorData::new(values, [piece.len(), columns]), &self.device.device);
                whole = Some(self.assemble(whole, tensor, piece.start - rows.start, rows.len()).await?);
            }
            progress(bytes.len() as u64);
        }
        let held = || Tensor::from_data(TensorData::new(held, [rows.len(), columns]), &self.device.device);
        Ok(Stored::plain(whole.unwrap_or_else(held)))
    }

    /// Brings rows onto the device packed.
    async fn packed(
        &mut self,
        info: &TensorInfo,
        order: RowOrder,
        packing: Packing,
        rows: Range<usize>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, EngineError> {
        let columns = info.columns();
        let mut whole: [Option<Tensor<2, Int>>; 2] = [None, None];
        let mut held = Packed::default();
        let widths = [columns / packing.per_word(), if packing.has_groups() { columns / GROUP } else { 0 }];
        for piece in pieces(info, order, rows.clone()) {
            let bytes = self.piece(info, order, piece.start, piece.len()).await?;
            let packed = pack(info.dtype, &bytes, packing);
            if let Some(watcher) = &mut self.watcher {
                watcher.packed(packing, &packed);
            }
            if self.device.report.kind == DeviceKind::Cpu {
                if held.words.is_empty() {
                    held.words.reserve_exact(rows.len() * widths[0]);
                    held.pairs.reserve_exact(rows.len() * widths[1]);
                }
                held.words.extend(packed.words);
                held.pairs.extend(packed.pairs);
            } else {
                for ((whole, values), width) in whole.iter_mut().zip([packed.words, packed.pairs]).zip(widths) {
                    if width > 0 {
                        let shape = [piece.len(), width];
                        let tensor = Tensor::from_data(TensorData::new(values, shape), &self.device.device);
                        let place = piece.start - rows.start;
                        *whole = Some(self.assemble(whole.take(), tensor, place, rows.len()).await?);
                    }
                }
            }
            progress(bytes.len() as u64);
        }
        let on_device = |values: Vec<i32>, width: usize| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), width]), &self.device.device)
        };
        let [words, pairs] = whole;
        let words = words.unwrap_or_else(|| on_device(held.words, widths[0]));
        let pairs = pairs.or_else(|| packing.has_groups().then(|| on_device(held.pairs, widths[1])));
        Ok(Stored::packed(packing, words, pairs))
    }

    /// Puts a piece into the whole tensor, from row `first` on. A piece with all rows is the whole tensor.
    async fn assemble<K: Basic>(
        &mut self,
        whole: Option<Tensor<2, K>>,
        piece: Tensor<2, K>,
        first: usize,
        rows: usize,
    ) -> Result<Tensor<2, K>, EngineError> {
        let [count, columns] = piece.dims();
        let bytes = 4 * count * columns;
        let whole = if count == rows {
            piece
        } else {
            let whole = whole.unwrap_or_else(|| Tensor::zeros([rows, columns], &self.device.device));
            whole.slice_assign([first..first + count, 0..columns], piece)
        };
        self.device.device.flush().map_err(|e| self.device.failed(e))?;
        self.queued += bytes;
        // Queued pieces lie in the host's memory until the device has them.
        if self.queued >= QUEUED_BYTES {
            self.queued = 0;
            self.device.wait().await?;
        }
        Ok(whole)
    }

    /// Reads the stored bytes of some rows, unless the work was cancelled.
    async fn piece(
        &self,
        info: &TensorInfo,
        order: RowOrder,
        first: usize,
        rows: usize,
    ) -> Result<Vec<u8>, EngineError> {
        self.cancel.check()?;
        read_rows(self.checkpoint, info, order, first, rows).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a device whose kernels read 4 KiB at once, every larger matrix is stored in parts.
    #[test]
    fn matrices_are_split_where_a_device_reads_little_at_once() {
        use pollster::block_on;

        use crate::{Clock, Detail, DeviceChoice, LoadOptions, ModelFiles, Scorer, TokenSequence, device};

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity/llama_rope_scaled");
        let folder = rewardscope_store::Folder::open(std::path::Path::new(path)).expect("the fixture");
        let files = ModelFiles::from_sources("fixture", folder.sources().cloned().collect()).expect("a model");
        let sequences = [TokenSequence::new((5..60).collect(), 20), TokenSequence::new((9..90).collect(), 20)];
        for dtype in [Dtype::F32, Dtype::Q8] {
            let scores = |most_bound_bytes: u64| -> Vec<f64> {
                let device = block_on(device::open(DeviceChoice::Cpu)).expect("the CPU");
                let device = device.limited(u64::MAX, most_bound_bytes);
                let options = LoadOptions { dtype, ..LoadOptions::new(Clock::from_local_seconds(0)) };
                let cancel = Cancel::default();
                let scorer =
                    block_on(Scorer::load(&files, None, device, options, &cancel, &mut |_| {})).expect("loaded");
                let scores = block_on(scorer.score_tokens(&sequences, Detail::Score, &cancel)).expect("scored");
                scores.into_iter().map(|score| score.score).collect()
            };
            let (whole, split) = (scores(u64::MAX), scores(4096));
            for (whole, split) in whole.iter().zip(&split) {
                assert!((whole - split).abs() < 1e-5, "{dtype:?}: {whole} and {split}");
            }
        }
    }
}
