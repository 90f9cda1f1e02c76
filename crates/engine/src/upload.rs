//! Weights onto the device: read a piece, hand it over still quantised, unpack it there. No piece
//! is larger than [`PIECE_BYTES`], and queued pieces are waited for before they add up.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rewardscope_models::{RowOrder, TensorSpec};
use rewardscope_weights::{Checkpoint, DType, Q4_1Blocks, Q8_0Blocks, TensorInfo};

use crate::device::{DeviceKind, OpenDevice};
use crate::{Cancel, EngineError};

/// Stored bytes read and handed over at once. Some drivers corrupt larger uploads.
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

    /// The tensor as `[rows, columns]` in f32 on the device. `progress` gets the stored bytes of
    /// each piece.
    pub(crate) async fn upload(
        &mut self,
        spec: &TensorSpec,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Tensor<2>, EngineError> {
        let info = self.checkpoint.expect(&spec.stored, &spec.shape)?;
        let (rows, columns) = (info.rows(), info.columns());
        let piece_rows = piece_rows(info, spec.rows);
        if spec.rows == RowOrder::PlusOne {
            let bytes = self.piece(info, spec.rows, 0, rows).await?;
            let values: Vec<f32> = info.dtype.to_f32(&bytes).into_iter().map(|value| value - 1.0).collect();
            progress(bytes.len() as u64);
            return Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), &self.device.device));
        }
        if self.device.report.kind == DeviceKind::Cpu {
            let mut values = Vec::with_capacity(rows * columns);
            for first in (0..rows).step_by(piece_rows) {
                let bytes = self.piece(info, spec.rows, first, piece_rows.min(rows - first)).await?;
                values.extend(info.dtype.to_f32(&bytes));
                progress(bytes.len() as u64);
            }
            return Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), &self.device.device));
        }
        if piece_rows >= rows {
            let bytes = self.piece(info, spec.rows, 0, rows).await?;
            let tensor = unpack(info.dtype, &bytes, columns, &self.device.device);
            self.wait(&tensor, bytes.len()).await?;
            progress(bytes.len() as u64);
            return Ok(tensor);
        }
        let mut whole = Tensor::zeros([rows, columns], &self.device.device);
        for first in (0..rows).step_by(piece_rows) {
            let bytes = self.piece(info, spec.rows, first, piece_rows.min(rows - first)).await?;
            let piece = unpack(info.dtype, &bytes, columns, &self.device.device);
            let end = first + piece.dims()[0];
            whole = whole.slice_assign([first..end, 0..columns], piece);
            self.wait(&whole, bytes.len()).await?;
            progress(bytes.len() as u64);
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

    /// Hands queued work to the device, and now and then waits until it is done.
    async fn wait(&mut self, last: &Tensor<2>, bytes: usize) -> Result<(), EngineError> {
        self.device.device.flush().map_err(|e| self.device.failed(e))?;
        self.queued += bytes;
        if self.queued >= QUEUED_BYTES {
            self.queued = 0;
            self.device.read_back(last.clone().slice([0..1, 0..1]).reshape([1])).await?;
        }
        Ok(())
    }
}

/// How many rows are read at once: whole heads where they are ordered.
pub(crate) fn piece_rows(info: &TensorInfo, order: RowOrder) -> usize {
    let unit = match order {
        RowOrder::AsStored | RowOrder::PlusOne => 1,
        RowOrder::RotaryPairs { heads } => info.rows() / heads,
    };
    (PIECE_BYTES / info.row_bytes() / unit).max(1) * unit
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

/// Stored rows to `[rows, columns]` in f32; the commonest blocks are unpacked by the device.
pub(crate) fn unpack(dtype: DType, bytes: &[u8], columns: usize, device: &Device) -> Tensor<2> {
    let rows = bytes.len() / dtype.bytes(columns);
    match dtype {
        DType::Q4_1 => {
            let Q4_1Blocks { words, scales, minimums } = Q4_1Blocks::split(bytes);
            let blocks = scales.len();
            // [blocks, word, nibble of word] -> [blocks, word, byte, half] -> [blocks, half, word, byte]
            let quants = fields(words, [blocks, 4], 4, device).bitwise_and_scalar(15);
            let quants = quants.reshape([blocks, 4, 4, 2]).permute([0, 3, 1, 2]).reshape([blocks, 32]);
            let column = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [blocks, 1]), device);
            (quants.float() * column(scales) + column(minimums)).reshape([rows, columns])
        }
        DType::Q8_0 => {
            let Q8_0Blocks { words, scales } = Q8_0Blocks::split(bytes);
            let blocks = scales.len();
            // 0..=255 to -128..=127: flip the sign bit, then shift the range.
            let quants = fields(words, [blocks, 8], 8, device).bitwise_and_scalar(255);
            let quants = quants.bitwise_xor_scalar(128).sub_scalar(128).reshape([blocks, 32]);
            let scales = Tensor::<2>::from_data(TensorData::new(scales, [blocks, 1]), device);
            (quants.float() * scales).reshape([rows, columns])
        }
        _ => Tensor::from_data(TensorData::new(dtype.to_f32(bytes), [rows, columns]), device),
    }
}

/// Each word shifted right by every multiple of `bits`: `[blocks, words]` to
/// `[blocks, words, 32 / bits]`. The bits above a field are left in.
fn fields(words: Vec<i32>, [blocks, count]: [usize; 2], bits: usize, device: &Device) -> Tensor<3, Int> {
    let per_word = 32 / bits;
    let words = Tensor::<3, Int>::from_data(TensorData::new(words, [blocks, count, 1]), device);
    let shifts: Vec<i32> = (0..per_word).map(|field| (field * bits) as i32).collect();
    let shifts = Tensor::<3, Int>::from_data(TensorData::new(shifts, [1, 1, per_word]), device);
    let shape = [blocks, count, per_word];
    words.expand(shape).bitwise_right_shift(shifts.expand(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(dtype: DType, count: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 24) as u8
        };
        let mut bytes = Vec::new();
        for _ in 0..count {
            let scales = if dtype == DType::Q4_1 { 2 } else { 1 };
            for _ in 0..scales {
                // Finite halves near 0.1.
                bytes.extend([next(), 0x2e]);
            }
            bytes.extend((0..dtype.block_bytes() - 2 * scales).map(|_| next()));
        }
        bytes
    }

    #[test]
    fn devices_unpack_blocks_as_defined() {
        for dtype in [DType::Q4_1, DType::Q8_0] {
            let bytes = blocks(dtype, 6);
            let found: Vec<f32> = unpack(dtype, &bytes, 64, &Device::flex()).into_data().try_to_vec().expect("f32");
            assert_eq!(found, dtype.to_f32(&bytes), "{dtype}");
        }
    }

    #[test]
    fn rotary_pairs_come_apart() {
        assert_eq!(unpair(&[0, 1, 2, 3, 10, 11, 12, 13], 1, 4), [0, 2, 1, 3, 10, 12, 11, 13]);
    }
}
