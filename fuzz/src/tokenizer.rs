//! Fuzzes the reader of tokenizer.json, and the tokenizer's encoding of a text and of a pair.

use rewardscope_text::{Bos, Encoding, Tokenizer, TruncationSide};

/// Reads one input; a finding is a panic.
pub fn run(data: &[u8]) {
    let Ok(tokenizer) = Tokenizer::from_json("fuzz", data) else { return };
    let text = "Hello, w\u{f6}rld 1234 \u{1f980}\n";
    let _ = tokenizer.encode(text);
    let encoding = Encoding { bos: Bos::Template, side: TruncationSide::Right, most_tokens: 16 };
    let _ = tokenizer.encode_pair(text, "Yes.", encoding);
    let _ = tokenizer.encode_cut(text, true, 4, TruncationSide::Left);
}
