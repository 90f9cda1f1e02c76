//! Reads rows of stored tensors, in pieces, in the order that the model reads them.

use std::ops::Range;

use rewardscope_models::RowOrder;
use rewardscope_weights::{Checkpoint, TensorInfo};

use crate::error::EngineError;

/// Number of rows that are reordered together: those of a whole head, or one.
pub(crate) fn unit_rows(info: &TensorInfo, order: RowOrder) -> usize {
    match order {
        RowOrder::AsStored | RowOrder::PlusOne => 1,
        RowOrder::RotaryPairs { heads } => info.rows() / heads,
    }
}

/// How many rows are read at once: whole heads where rows are reordered.
pub(crate) fn piece_rows(info: &TensorInfo, order: RowOrder) -> usize {
    let unit = unit_rows(info, order);
    (PIECE_BYTES / (4 * info.columns()) / unit).max(1) * unit
}

/// Splits rows into runs that are read at once.
pub(crate) fn pieces(info: &TensorInfo, order: RowOrder, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let most = piece_rows(info, order);
    rows.clone().step_by(most).map(move |first| first..(first + most).min(rows.end))
}

/// Reads `rows` stored rows from `first` on, in the order that the model takes. Rotary rows are read by whole
/// heads.
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
pub(crate) fn unpair(bytes: &[u8], row_bytes: usize, head_rows: usize) -> Vec<u8> {
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

/// Most bytes handed over at once, in f32, but at least one row or head. Some drivers corrupt larger uploads.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_pairs_come_apart() {
        assert_eq!(unpair(&[0, 1, 2, 3, 10, 11, 12, 13], 1, 4), [0, 2, 1, 3, 10, 12, 11, 13]);
    }
}
