//! A GGUF: its tensors and the tokenizer in its metadata.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use rewardscope_fuzz::{encode, read_rows, source};
use rewardscope_text::Tokenizer;
use rewardscope_weights::Checkpoint;

fuzz_target!(|data: &[u8]| {
    let Ok(checkpoint) = block_on(Checkpoint::from_gguf(&source("model.gguf", data))) else { return };
    read_rows(&checkpoint);
    let Some(metadata) = checkpoint.metadata() else { return };
    for key in ["general.alignment", "tokenizer.ggml.bos_token_id"] {
        let _ = (metadata.unsigned(key), metadata.text(key), metadata.float(key), metadata.flag(key));
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(metadata) {
        encode(&tokenizer, "Hello, wörld 1234");
        let _ = tokenizer.to_json();
    }
});
