//! Chat templates and tokenizers of published packages are compared with transformers: every byte of every text, and
//! every id. `cargo xtask test` fetches the packages; none of their texts is kept here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_store::Source;
use rewardscope_tests::{json_fixture, root};
use rewardscope_text::{ChatTemplate, Clock, Encoding, Tokenizer};
use rewardscope_weights::Checkpoint;
use serde_json::Value;

fn fetched(name: &str, file: &str) -> Vec<u8> {
    let path = root().join(".cache/packages").join(name).join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; cargo xtask test fetches it", path.display()))
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_json(name, &fetched(name, "tokenizer.json")).unwrap()
}

/// Asserts that every case renders as expected. Gives the number of cases.
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
    let token = |name: &str| {
        let token = special.get(name)?;
        Some((name.to_owned(), token.get("content").unwrap_or(token).as_str()?.to_owned()))
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

/// Templates that cannot be fetched and that we may not keep. `REWARDSCOPE_TEMPLATES` names a file of them with their
/// texts.
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
    for (name, entry) in tokenizers {
        assert_ids(name, &tokenizer(name), entry);
    }
}

/// Asserts that a tokenizer gives the expected ids of texts and pairs.
fn assert_ids(name: &str, tokenizer: &Tokenizer, expected: &Value) {
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).unwrap();
    let encoding = Encoding { bos: Default::default(), side: Default::default(), most_tokens: usize::MAX };
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
        if let Some(special) = case.get("ids_special") {
            let found = tokenizer.encode_cut(text, true, encoding.most_tokens, encoding.side).unwrap();
            assert_eq!(found, (ids(special), 0), "{name}: {text:?}");
        }
    }
    for pair in expected.get("pairs").and_then(Value::as_array).into_iter().flatten() {
        let [a, b] = ["a", "b"].map(|text| pair[text].as_str().unwrap());
        let found = tokenizer.encode_pair(a, b, encoding).unwrap();
        assert_eq!((found.input_ids, found.token_type_ids), (ids(&pair["ids"]), ids(&pair["type_ids"])));
    }
}

/// A GGUF file, version 3, with only a tokenizer: metadata entries and no tensors.
#[derive(Default)]
struct Gguf {
    entries: u64,
    bytes: Vec<u8>,
}

impl Gguf {
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;

    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.entries += 1;
        self.text(&format!("tokenizer.ggml.{key}"));
        self.bytes.extend(kind.to_le_bytes());
    }

    fn name(&mut self, key: &str, name: &str) {
        self.key(key, Self::TEXT);
        self.text(name);
    }

    fn id(&mut self, key: &str, id: u64) {
        self.key(&format!("{key}_token_id"), 4);
        self.bytes.extend((id as u32).to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, Self::ARRAY);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn tokenizer(self) -> Tokenizer {
        let mut file = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(self.entries.to_le_bytes());
        file.extend(self.bytes);
        let checkpoint = block_on(Checkpoint::from_gguf(&Source::memory("made.gguf", file))).unwrap();
        Tokenizer::from_gguf(checkpoint.metadata().unwrap()).unwrap()
    }
}

/// The tokenizer of a GGUF made from a published tokenizer.json, as llama.cpp's converter writes the metadata.
fn as_gguf(name: &str, model: &str, pre: Option<&str>) -> Tokenizer {
    let json: Value = serde_json::from_slice(&fetched(name, "tokenizer.json")).unwrap();
    let vocabulary = json["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(u64, String, i32)> =
        vocabulary.iter().map(|(token, id)| (id.as_u64().unwrap(), token.clone(), 1)).collect();
    for added in json["added_tokens"].as_array().unwrap() {
        let (id, token) = (added["id"].as_u64().unwrap(), added["content"].as_str().unwrap());
        let kind = if added["special"] == true { 3 } else { 4 };
        tokens.retain(|known| known.0 != id);
        tokens.push((id, token.to_owned(), kind));
    }
    tokens.sort();
    let mut file = Gguf::default();
    file.name("model", model);
    if let Some(pre) = pre {
        file.name("pre", pre);
        let merges = json["model"]["merges"].as_array().unwrap();
        file.list("merges", Gguf::TEXT, merges.len());
        for merge in merges {
            let pair = merge.as_array().map(|pair| pair.iter().map(|half| half.as_str().unwrap()).collect::<Vec<_>>());
            file.text(&pair.map_or_else(|| merge.as_str().unwrap().to_owned(), |pair| pair.join(" ")));
        }
    } else {
        for (key, token) in [("unknown", "[UNK]"), ("seperator", "[SEP]"), ("cls", "[CLS]")] {
            file.id(key, vocabulary[token].as_u64().unwrap());
        }
    }
    file.list("tokens", Gguf::TEXT, tokens.len());
    for (place, (id, token, kind)) in tokens.iter().enumerate() {
        assert_eq!(place as u64, *id, "{name}: the ids have a gap");
        match (pre, token.strip_prefix("##")) {
            (Some(_), _) => file.text(token),
            (None, _) if *kind == 3 || token.starts_with('[') && token.ends_with(']') => file.text(token),
            (None, Some(continuation)) => file.text(continuation),
            (None, None) => file.text(&format!("\u{2581}{token}")),
        }
    }
    file.list("token_type", 5, tokens.len());
    for (_, _, kind) in &tokens {
        file.bytes.extend(kind.to_le_bytes());
    }
    file.tokenizer()
}

#[test]
fn tokenizers_rebuilt_from_a_gguf_give_the_same_ids() {
    let kinds = [("llama3", "gpt2", Some("llama-bpe")), ("qwen3", "gpt2", Some("qwen2")), ("minilm", "bert", None)];
    let fixture = json_fixture("tokenize.json");
    for (name, model, pre) in kinds {
        assert_ids(name, &as_gguf(name, model, pre), &fixture["tokenizers"][name]);
    }
}
