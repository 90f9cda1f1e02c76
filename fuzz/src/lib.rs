//! What the targets share.

use pollster::block_on;
use rewardscope_store::Source;
use rewardscope_text::{Bos, Encoding, Tokenizer, TruncationSide};
use rewardscope_weights::{Checkpoint, DType, Q4_1Blocks, Q8_0Blocks, TensorInfo};

/// A row larger than this is left alone: the inputs are smaller.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Splits an input in two: two little-endian bytes tell the first part's length.
pub fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    Some(rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len())))
}

/// A source in memory.
pub fn source(name: &str, bytes: &[u8]) -> Source {
    Source::memory(name, bytes)
}

/// Lists the tensors of an opened checkpoint and reads each one's first and last row.
///
/// # Panics
/// When what was opened breaks its promises.
pub fn read_rows(checkpoint: &Checkpoint) {
    for info in checkpoint.tensors() {
        assert_eq!(checkpoint.find(&info.name), Some(info));
        assert!(info.rows() > 0 && info.columns() > 0, "{info:?}");
        assert_eq!(info.bytes(), info.rows() as u64 * info.row_bytes() as u64, "{info:?}");
        assert!(checkpoint.expect(&info.name, &info.shape).is_ok(), "{info:?}");
        if info.row_bytes() > MAX_ROW_BYTES {
            continue;
        }
        for row in [0, info.rows() - 1] {
            let bytes = block_on(checkpoint.rows(info, row, 1));
            let bytes = bytes.unwrap_or_else(|e| panic!("row {row} of {info:?}: {e}"));
            assert_eq!(bytes.len(), info.row_bytes(), "{info:?}");
            decode(info, &bytes);
        }
    }
    assert!(checkpoint.find("no such tensor").is_none());
}

fn decode(info: &TensorInfo, bytes: &[u8]) {
    assert_eq!(info.dtype.to_f32(bytes).len(), info.columns(), "{info:?}");
    let blocks = info.columns() / info.dtype.block_elements();
    match info.dtype {
        DType::Q4_1 => assert_eq!(Q4_1Blocks::split(bytes).words.len(), 4 * blocks),
        DType::Q8_0 => assert_eq!(Q8_0Blocks::split(bytes).words.len(), 8 * blocks),
        _ => {}
    }
}

/// Encodes a text and pairs, and writes the tokenizer as JSON; errors are in order, panics not.
pub fn encode(tokenizer: &Tokenizer, text: &str) {
    if let Ok(ids) = tokenizer.encode(text) {
        for id in ids {
            let _ = tokenizer.token(id);
        }
    }
    for (most_tokens, side) in [(0, TruncationSide::Right), (5, TruncationSide::Left), (64, TruncationSide::Right)] {
        if let Ok(pair) = tokenizer.encode_pair(text, "Yes, it is.", Encoding { bos: Bos::Template, side, most_tokens })
        {
            assert_eq!(pair.input_ids.len(), pair.token_type_ids.len());
            assert!(pair.first_completion_token <= pair.input_ids.len());
        }
        let _ = tokenizer.encode_cut(text, true, most_tokens, side);
    }
}
