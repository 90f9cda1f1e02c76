//! Fuzzes the reader of GGUF files: header and metadata, the tensors that the header promises, and the tokenizer.

use pollster::block_on;
use rewardscope_store::Source;
use rewardscope_text::Tokenizer;
use rewardscope_weights::Checkpoint;

use crate::rows;

/// Reads one input; a finding is a panic.
pub fn run(data: &[u8]) {
    let Ok(checkpoint) = block_on(Checkpoint::from_gguf(&Source::memory("fuzz.gguf", data))) else { return };
    rows::read(&checkpoint);
    let Some(metadata) = checkpoint.metadata() else { return };
    if let Ok(tokenizer) = Tokenizer::from_gguf(metadata) {
        let _ = tokenizer.encode("Hello, w\u{f6}rld 1234 \u{1f980}");
    }
}
