//! Weights onto the device: read a piece, pack or widen it, hand it over. No piece is larger than
//! [`PIECE_BYTES`], and queued pieces are waited for before they add up.

use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_models::{GROUP, Packed, Packing, RowOrder, Stored, TensorSpec};
use rewardscope_weights::{Checkpoint, TensorInfo};

use crate::device::{DeviceKind, OpenDevice};
use crate::dtype::{Dtype, pack};
use crate::packed::Keeping;
use crate::{Cancel, EngineError};

/// Bytes handed over at once, in f32. Some drivers corrupt larger uploads.
const PIECE_BYTES: usize = 4 << 20;

/// Bytes handed to a GPU before the queue is waited for: they lie in the host's memory until then.
const QUEUED_BYTES: usize = 16 << 20;

/// Brings tensors onto one device.
pub(crate) struct Uploader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a OpenDevice,
    cancel: &'a Cancel,
    /// Takes what comes by, too.
    keeping: Option<&'a mut Keeping>,
    queued: usize,
}

impl<'a> Uploader<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a OpenDevice,
        cancel: &'a Cancel,
        keeping: Option<&'a mut Keeping>,
    ) -> Self {
        Self { checkpoint, device, cancel, keeping, queued: 0 }
    }

    /// The tensor as `[rows, columns]` on the device, packed where the type says so, in parts where
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
        // The processor's memory is the host's: there the pieces are put together at once.
        let mut held: Vec<f32> = Vec::new();
        for piece in pieces(info, order, rows.clone()) {
            let bytes = self.piece(info, order, piece.start, piece.len()).await?;
            if let Some(keeping) = &mut self.keeping {
                keeping.take(&bytes);
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
            if let Some(keeping) = &mut self.keeping {
                keeping.packed(packing, &packed);
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

    /// Puts a piece where it belongs; the only piece is the whole.
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

/// Rows that are ordered among each other: whole heads, or one.
fn unit_rows(info: &TensorInfo, order: RowOrder) -> usize {
    match order {
        RowOrder::AsStored | RowOrder::PlusOne => 1,
        RowOrder::RotaryPairs { heads } => info.rows() / heads,
    }
}

/// How many rows are read at once: whole heads where they are ordered.
pub(crate) fn piece_rows(info: &TensorInfo, order: RowOrder) -> usize {
    let unit = unit_rows(info, order);
    (PIECE_BYTES / (4 * info.columns()) / unit).max(1) * unit
}

/// Rows in runs that are read at once.
pub(crate) fn pieces(info: &TensorInfo, order: RowOrder, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let most = piece_rows(info, order);
    rows.clone().step_by(most).map(move |first| first..(first + most).min(rows.end))
}

/// Stored rows in the order that the model takes; rotary ones are read by whole heads.
pub(crate) async fn read_rows(
    checkpoint: &Checkpoint,
    info: &TensorInfo,
    order: RowOrder,
    first: usize,
    rows: usize,
) -> Result<Vec<u8>, EngineError> {
    let bytes = checkpoint.rows(info, first, rows).await?;
    Ok(match order {
        RowOrder::AsStored | RowOrder::PlusOne => bytes,
        RowOrder::RotaryPairs { heads } => unpair(&bytes, info.row_bytes(), info.rows() / heads),
    })
}

/// Row `2 i + j` of a stored head becomes row `j head_rows / 2 + i`.
fn unpair(bytes: &[u8], row_bytes: usize, head_rows: usize) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(row_bytes * head_rows) {
        for j in 0..2 {
            for i in 0..head_rows / 2 {
                let from = (2 * i + j) * row_bytes;
                ordered.extend_from_slice(&head[from..from + row_bytes]);
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a device whose kernels read 4 KiB at once, every larger matrix is in parts.
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

    #[test]
    fn rotary_pairs_come_apart() {
        assert_eq!(unpair(&[0, 1, 2, 3, 10, 11, 12, 13], 1, 4), [0, 2, 1, 3, 10, 12, 11, 13]);
    }
}
