//! Chat templates and tokenizers of published packages against transformers: every text byte for
//! byte, every id. `cargo xtask test` fetches the packages; none of their texts is kept here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rewardscope_tests::{json_fixture, root};
use rewardscope_text::{ChatTemplate, Clock, Encoding, Tokenizer};
use serde_json::Value;

fn fetched(name: &str, file: &str) -> Vec<u8> {
    let path = root().join(".cache/packages").join(name).join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; cargo xtask test fetches it", path.display()))
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_json(name, &fetched(name, "tokenizer.json")).unwrap()
}

/// Renders every case, and gives how many there were.
fn texts_agree(name: &str, template: &ChatTemplate, cases: &[Value]) -> usize {
    for case in cases {
        let found = template.render_with(&case["messages"], &case["kwargs"]);
        match case.get("error") {
            Some(_) => assert!(found.is_err(), "{name}, {}: {found:?}", case["id"]),
            None => assert_eq!(found.unwrap(), case["text"].as_str().unwrap(), "{name}, {}", case["id"]),
        }
    }
    cases.len()
}

fn template(name: &str, source: &str, special: &Value, clock: &Value) -> ChatTemplate {
    let clock = Clock::parse(clock.as_str().unwrap()).unwrap();
    let token = |name: &'static str| {
        let token = special.get(name)?;
        Some((name, token.get("content").unwrap_or(token).as_str()?.to_owned()))
    };
    let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"].into_iter().filter_map(token).collect();
    ChatTemplate::new(name, source.to_owned(), tokens, clock).unwrap()
}

#[test]
fn chat_templates_render_as_transformers_renders_them() {
    let fixture = json_fixture("templates.json");
    for (name, cases) in fixture["templates"].as_object().unwrap() {
        let config: Value = serde_json::from_slice(&fetched(name, "tokenizer_config.json")).unwrap();
        let source = config["chat_template"].as_str().unwrap();
        let template = template(name, source, &config, &fixture["strftime_now"]);
        assert_eq!(texts_agree(name, &template, cases.as_array().unwrap()), 28);
    }
}

/// Templates that cannot be fetched and are not ours to keep: a file of them with their texts.
#[test]
fn other_chat_templates_render_as_transformers_renders_them() {
    let Ok(path) = std::env::var("REWARDSCOPE_TEMPLATES") else {
        println!(
            "not run: gemma, llama3_1, llama3_2, qwen2_5, qwen3_5, qwen3_instruct_2507; REWARDSCOPE_TEMPLATES names their file"
        );
        return;
    };
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (name, entry) in file["templates"].as_object().unwrap() {
        let template = template(name, entry["template"].as_str().unwrap(), entry, &file["strftime_now"]);
        let cases = texts_agree(name, &template, entry["cases"].as_array().unwrap());
        println!("{name}: {cases} cases");
    }
}

#[test]
fn tokenizers_give_the_expected_ids() {
    let fixture = json_fixture("tokenize.json");
    let tokenizers = fixture["tokenizers"].as_object().unwrap();
    assert_eq!(tokenizers.len(), 4);
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).unwrap();
    for (name, entry) in tokenizers {
        let tokenizer = tokenizer(name);
        let encoding = Encoding { bos: Default::default(), side: Default::default(), most_tokens: usize::MAX };
        for case in entry["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
            if let Some(special) = case.get("ids_special") {
                let found = tokenizer.encode_cut(text, true, encoding.most_tokens, encoding.side).unwrap();
                assert_eq!(found, (ids(special), 0), "{name}: {text:?}");
            }
        }
        for pair in entry.get("pairs").and_then(Value::as_array).into_iter().flatten() {
            let [a, b] = ["a", "b"].map(|text| pair[text].as_str().unwrap());
            let found = tokenizer.encode_pair(a, b, encoding).unwrap();
            assert_eq!((found.input_ids, found.token_type_ids), (ids(&pair["ids"]), ids(&pair["type_ids"])));
        }
    }
}
