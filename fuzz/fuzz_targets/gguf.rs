//! Fuzzes the reader of GGUF files: header and metadata, the tensors that the header promises, and the tokenizer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use rewardscope_store::Source;
use rewardscope_text::Tokenizer;
use rewardscope_weights::Checkpoint;

fuzz_target!(|data: &[u8]| {
    let Ok(checkpoint) = block_on(Checkpoint::from_gguf(&Source::memory("fuzz.gguf", data))) else { return };
    rewardscope_fuzz_rows(&checkpoint);
    let Some(metadata) = checkpoint.metadata() else { return };
    if let Ok(tokenizer) = Tokenizer::from_gguf(metadata) {
        let _ = tokenizer.encode("Hello, w\u{f6}rld 1234 \u{1f980}");
    }
});

include!("rows.rs");
