//! Weights onto the device: read a piece, pack or widen it, hand it over. No piece is larger than
//! [`PIECE_BYTES`], and queued pieces are waited for before they add up.

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor, TensorData};
use rewardscope_models::{GROUP, Packed, Packing, RowOrder, Stored, TensorSpec};
use rewardscope_weights::{Checkpoint, TensorInfo};

use crate::device::{DeviceKind, OpenDevice};
use crate::dtype::{Dtype, pack};
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
    queued: usize,
}

impl<'a> Uploader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, device: &'a OpenDevice, cancel: &'a Cancel) -> Self {
        Self { checkpoint, device, cancel, queued: 0 }
    }

    /// The tensor as `[rows, columns]` on the device, packed where the type says so. `progress` gets
    /// the stored bytes of each piece.
    pub(crate) async fn upload(
        &mut self,
        spec: &TensorSpec,
        dtype: Dtype,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, EngineError> {
        let info = self.checkpoint.expect(&spec.stored, &spec.shape)?;
        let (rows, columns) = (info.rows(), info.columns());
        if let Some(packing) = dtype.packing(info.dtype, columns, spec.packs) {
            return self.packed(info, spec.rows, packing, progress).await;
        }
        let mut whole: Option<Tensor<2>> = None;
        let piece_rows = piece_rows(info, spec.rows);
        let shift = if spec.rows == RowOrder::PlusOne { -1.0 } else { 0.0 };
        // The processor's memory is the host's: there the pieces are put together at once.
        let mut held: Vec<f32> = Vec::new();
        for first in (0..rows).step_by(piece_rows) {
            let bytes = self.piece(info, spec.rows, first, piece_rows.min(rows - first)).await?;
            let mut values = info.dtype.to_f32(&bytes);
            values.iter_mut().for_each(|value| *value += shift);
            if self.device.report.kind == DeviceKind::Cpu {
                held.reserve_exact(if first == 0 { rows * columns } else { 0 });
                held.extend(values);
            } else {
                let piece = Tensor::from_data(
                    TensorData::new(values, [bytes.len() / info.row_bytes(), columns]),
                    &self.device.device,
                );
                whole = Some(self.assemble(whole, piece, first, rows).await?);
            }
            progress(bytes.len() as u64);
        }
        let held = || Tensor::from_data(TensorData::new(held, [rows, columns]), &self.device.device);
        Ok(Stored::plain(whole.unwrap_or_else(held)))
    }

    async fn packed(
        &mut self,
        info: &TensorInfo,
        order: RowOrder,
        packing: Packing,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, EngineError> {
        let (rows, columns) = (info.rows(), info.columns());
        let piece_rows = piece_rows(info, order);
        let mut whole: [Option<Tensor<2, Int>>; 2] = [None, None];
        let mut held = Packed::default();
        let widths = [columns / packing.per_word(), if packing.has_groups() { columns / GROUP } else { 0 }];
        for first in (0..rows).step_by(piece_rows) {
            let count = piece_rows.min(rows - first);
            let bytes = self.piece(info, order, first, count).await?;
            let packed = pack(info.dtype, &bytes, packing);
            if self.device.report.kind == DeviceKind::Cpu {
                if first == 0 {
                    held.words.reserve_exact(rows * widths[0]);
                    held.pairs.reserve_exact(rows * widths[1]);
                }
                held.words.extend(packed.words);
                held.pairs.extend(packed.pairs);
            } else {
                for ((whole, values), width) in whole.iter_mut().zip([packed.words, packed.pairs]).zip(widths) {
                    if width > 0 {
                        let piece = Tensor::from_data(TensorData::new(values, [count, width]), &self.device.device);
                        *whole = Some(self.assemble(whole.take(), piece, first, rows).await?);
                    }
                }
            }
            progress(bytes.len() as u64);
        }
        let on_device = |values: Vec<i32>, width: usize| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows, width]), &self.device.device)
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

/// How many rows are read at once: whole heads where they are ordered.
pub(crate) fn piece_rows(info: &TensorInfo, order: RowOrder) -> usize {
    let unit = match order {
        RowOrder::AsStored | RowOrder::PlusOne => 1,
        RowOrder::RotaryPairs { heads } => info.rows() / heads,
    };
    (PIECE_BYTES / (4 * info.columns()) / unit).max(1) * unit
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

    #[test]
    fn rotary_pairs_come_apart() {
        assert_eq!(unpair(&[0, 1, 2, 3, 10, 11, 12, 13], 1, 4), [0, 2, 1, 3, 10, 12, 11, 13]);
    }
}
