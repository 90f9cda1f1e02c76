//! A chat template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rewardscope_text::{ChatTemplate, Clock, Message};

fuzz_target!(|source: &str| {
    let special_tokens = vec![("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
    let clock = Clock::from_local_seconds(1_738_555_506);
    let Ok(template) = ChatTemplate::new("tokenizer_config.json", source.to_owned(), special_tokens, clock) else {
        return;
    };
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", " Hello, wörld 1234 "),
        Message::new("assistant", "Hi!\n"),
    ];
    for add_generation_prompt in [false, true] {
        let _ = template.render(&messages, add_generation_prompt);
    }
});
