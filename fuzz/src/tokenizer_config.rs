//! Fuzzes the reader of tokenizer_config.json on valid tokenizers. The first byte chooses the tokenizer and the model
//! type.

use rewardscope_text::{ChatTemplate, Clock, Message, Tokenizer, TokenizerSettings, Vocabulary};

const TOKENIZERS: [&[u8]; 3] = [
    include_bytes!("../../tests/fixtures/parity/llama_plain/tokenizer.json"),
    include_bytes!("../../tests/fixtures/parity/bert/tokenizer.json"),
    include_bytes!("../../tests/fixtures/parity/deberta_v3/tokenizer.json"),
];
const TYPES: [&str; 6] = ["llama", "bert", "deberta-v2", "qwen2", "gemma", ""];

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let Some((&first, json)) = bytes.split_first() else { return };
    let Ok(serde_json::Value::Object(config)) = serde_json::from_slice(json) else { return };
    let template = config.get("chat_template").and_then(serde_json::Value::as_str).map(str::to_owned);
    let settings = TokenizerSettings { config, special_tokens_map: None, added_tokens: None };
    let vocabulary = Vocabulary::Whole(TOKENIZERS[usize::from(first) % TOKENIZERS.len()]);
    let model_type = TYPES[usize::from(first / 8) % TYPES.len()];
    let Ok(tokenizer) = Tokenizer::assemble("tokenizer.json", vocabulary, model_type, None, &settings) else { return };
    let _ = tokenizer.encode("Hello, w\u{f6}rld 1234 \u{1f980}");
    if let Some(template) = template
        && let Ok(template) =
            ChatTemplate::new("fuzz", template, tokenizer.special_tokens().to_vec(), Clock::from_local_seconds(0))
    {
        let _ = template.render(&[Message::new("user", "Hi"), Message::new("assistant", "Yes.")], true);
    }
}
