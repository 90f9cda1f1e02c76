//! A tokenizer.json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rewardscope_fuzz::encode;
use rewardscope_text::Tokenizer;

fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json("tokenizer.json", data) {
        encode(&tokenizer, "Hello, wörld 1234");
        encode(&tokenizer, "");
        let _ = tokenizer.to_json();
    }
});
