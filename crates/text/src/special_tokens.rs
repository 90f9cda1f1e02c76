//! Special and added tokens as transformers (5.24) gathers them from `tokenizer_config.json`,
//! `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`.
//!
//! Matches `_from_pretrained` and `__init__` in `tokenization_utils_base.py`, and `__init__` in
//! `tokenization_utils_tokenizers.py`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

/// The names of special tokens that every tokenizer knows.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A tokenizer's files beside `tokenizer.json`, each a JSON object.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSettings {
    /// `tokenizer_config.json`; empty where there is none.
    pub config: Map<String, Value>,
    /// `special_tokens_map.json`
    pub special_tokens_map: Option<Map<String, Value>>,
    /// `added_tokens.json`
    pub added_tokens: Option<Map<String, Value>>,
}

/// A tokenizer's special and added tokens.
#[derive(Debug, Default)]
pub(crate) struct SpecialTokens {
    /// Tokens with a name, in order.
    named: Vec<(String, AddedToken)>,
    /// Special tokens without a name.
    extra: Vec<AddedToken>,
    /// All added tokens that the files list, by id.
    listed: BTreeMap<u64, AddedToken>,
}

/// Reads a token: a text, or an object with its `content`. `is_special` counts where the object does not say.
fn token(value: &Value, is_special: bool) -> Result<AddedToken, String> {
    if let Some(content) = value.as_str() {
        return Ok(AddedToken::from(content, is_special));
    }
    let content = value.get("content").and_then(Value::as_str);
    let content =
        content.ok_or_else(|| format!("the token {value}, where a text or one with its content was expected"))?;
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let is_special = flag("special").unwrap_or(is_special);
    Ok(AddedToken::from(content, is_special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!is_special)))
}

impl SpecialTokens {
    /// Gathers the tokens from all files. `defaults` are the class's own tokens (name and token), `stored` the added
    /// tokens of `tokenizer.json` by id.
    pub fn gather(
        settings: &TokenizerSettings,
        defaults: &[(&str, &str)],
        stored: &BTreeMap<u64, AddedToken>,
    ) -> Result<Self, String> {
        let mut given = settings.config.clone();
        if let Some(older) = given.shift_remove("additional_special_tokens")
            && given.get("extra_special_tokens").is_none_or(is_empty)
        {
            given.insert("extra_special_tokens".to_owned(), older);
        }
        let mut listed = BTreeMap::new();
        if let Some(tokens) = settings.config.get("added_tokens_decoder") {
            let tokens = tokens.as_object().ok_or("added_tokens_decoder that is no object")?;
            for (id, value) in tokens {
                let id: u64 = id.parse().map_err(|_| format!("the id {id:?} in added_tokens_decoder"))?;
                if !value.is_object() {
                    return Err(format!("the token {value} in added_tokens_decoder, where an object was expected"));
                }
                listed.insert(id, token(value, false)?);
            }
        } else {
            Self::older_files(settings, &mut given, &mut listed)?;
            listed.extend(stored.iter().map(|(id, token)| (*id, token.clone())));
        }
        let mut all = Self { listed, ..Self::default() };
        all.name(&given, defaults)?;
        Ok(all)
    }

    /// Reads the files of older versions, for a configuration that has no `added_tokens_decoder`:
    /// `special_tokens_map.json` overrides the configuration, and `added_tokens.json` lists tokens.
    fn older_files(
        settings: &TokenizerSettings,
        given: &mut Map<String, Value>,
        listed: &mut BTreeMap<u64, AddedToken>,
    ) -> Result<(), String> {
        for (key, value) in settings.special_tokens_map.iter().flatten() {
            let mut value = value.clone();
            if let Some(object) = value.as_object_mut().filter(|_| key != "extra_special_tokens") {
                object.insert("special".to_owned(), true.into());
            }
            if key == "extra_special_tokens"
                && let (Some(Value::Array(before)), Value::Array(more)) = (given.get(key), &value)
            {
                let new = more.iter().filter(|token| !before.contains(token)).cloned();
                value = Value::Array(before.iter().cloned().chain(new).collect());
            }
            given.insert(key.clone(), value);
        }
        // The older name counts where the newer one is absent.
        if let Some(older) = given.get("additional_special_tokens").cloned()
            && !given.contains_key("extra_special_tokens")
        {
            given.insert("extra_special_tokens".to_owned(), older);
        }
        for (content, id) in settings.added_tokens.iter().flatten() {
            let id = id.as_u64().ok_or_else(|| format!("the id {id} of {content:?} in added_tokens.json"))?;
            let is_special = given.iter().any(|(key, value)| {
                let is = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()) == Some(content);
                (NAMES.contains(&key.as_str()) && is(value))
                    || (key == "extra_special_tokens" && value.as_array().into_iter().flatten().any(is))
            });
            listed.insert(id, AddedToken::from(content.clone(), is_special));
        }
        Ok(())
    }

    /// Fills in the tokens with names, and the special ones without.
    fn name(&mut self, given: &Map<String, Value>, defaults: &[(&str, &str)]) -> Result<(), String> {
        let known: BTreeMap<String, AddedToken> =
            self.listed.values().map(|token| (token.content.clone(), token.clone())).collect();
        let of = |value: &Value| -> Result<AddedToken, String> {
            let token = token(value, true)?;
            Ok(known.get(&token.content).cloned().unwrap_or(token))
        };
        for name in NAMES {
            let default = defaults.iter().find(|(key, _)| *key == name).map(|(_, token)| *token);
            match (given.get(name), default) {
                (Some(Value::Null), _) | (None, None) => {}
                (Some(value), _) => self.named.push((name.to_owned(), of(value)?)),
                (None, Some(token)) => self.named.push((name.to_owned(), AddedToken::from(token, true))),
            }
        }
        // Tokens of one model only, such as for an image or for the beginning of a thought.
        for (key, value) in given {
            let is_token = value.is_string() || value.get("content").is_some();
            if key.ends_with("_token") && !NAMES.contains(&key.as_str()) && is_token {
                self.named.push((key.clone(), token(value, true)?));
            }
        }
        match given.get("extra_special_tokens") {
            None | Some(Value::Null) => {}
            Some(Value::Array(tokens)) => {
                self.extra = tokens.iter().map(|value| token(value, true)).collect::<Result<_, _>>()?;
            }
            Some(Value::Object(tokens)) => {
                for (name, value) in tokens {
                    self.named.push((name.clone(), token(value, true)?));
                }
            }
            Some(other) => return Err(format!("extra_special_tokens: {other}, where a list was expected")),
        }
        Ok(())
    }

    /// The token of this name.
    pub fn named(&self, name: &str) -> Option<String> {
        self.named.iter().find(|(key, _)| key == name).map(|(_, token)| token.content.clone())
    }

    /// All tokens that have a name, as pairs of name and token; templates may use them.
    pub fn names(&self) -> Vec<(String, String)> {
        self.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect()
    }

    /// Adds the tokens to a tokenizer: first the listed ones in the order of their ids, then the named ones and the
    /// special ones without a name, as far as the tokenizer lacks them.
    pub fn add_to(&self, inner: &mut tokenizers::Tokenizer) {
        let there: Vec<String> = inner.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
        let mut tokens: Vec<AddedToken> = self.listed.values().cloned().collect();
        for token in &mut tokens {
            token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
        }
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            let known = there.iter().chain(self.listed.values().map(|token| &token.content));
            if !known.into_iter().any(|content| *content == token.content) && !tokens.contains(token) {
                let mut token = token.clone();
                token.special = true;
                tokens.push(token);
            }
        }
        inner.add_tokens(&tokens);
    }
}

impl SpecialTokens {
    /// Adds the named tokens and the special ones without a name once more, without their flags.
    pub fn add_plain_to(&self, inner: &mut tokenizers::Tokenizer) {
        let plain = |token: &AddedToken| AddedToken::from(token.content.clone(), true);
        let tokens: Vec<AddedToken> = self.named.iter().map(|(_, token)| token).chain(&self.extra).map(plain).collect();
        inner.add_tokens(&tokens);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &str, map: Option<&str>) -> TokenizerSettings {
        let object = |json: &str| serde_json::from_str(json).expect("an object");
        TokenizerSettings { config: object(config), special_tokens_map: map.map(object), added_tokens: None }
    }

    #[test]
    fn an_older_map_counts_where_no_tokens_are_listed() {
        let map = Some(r#"{"bos_token":"<b>","eos_token":{"content":"<e>","lstrip":true}}"#);
        let found = SpecialTokens::gather(&settings("{}", map), &[], &BTreeMap::new()).expect("tokens");
        assert_eq!(
            (found.named("bos_token").as_deref(), found.named("eos_token").as_deref()),
            (Some("<b>"), Some("<e>"))
        );
        let listed = r#"{"added_tokens_decoder":{"7":{"content":"<x>"}},"bos_token":"<c>"}"#;
        let found = SpecialTokens::gather(&settings(listed, map), &[], &BTreeMap::new()).expect("tokens");
        assert_eq!((found.named("bos_token").as_deref(), found.named("eos_token")), (Some("<c>"), None));
    }

    #[test]
    fn null_takes_a_class_its_default() {
        let defaults = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let found = SpecialTokens::gather(&settings(r#"{"bos_token":null}"#, None), &defaults, &BTreeMap::new());
        let found = found.expect("tokens");
        assert_eq!((found.named("bos_token"), found.named("eos_token").as_deref()), (None, Some("</s>")));
    }

    #[test]
    fn tokens_without_a_name_are_added_too() {
        for config in [r#"{"additional_special_tokens":["<a>"]}"#, r#"{"extra_special_tokens":{"image_token":"<a>"}}"#]
        {
            let found = SpecialTokens::gather(&settings(config, None), &[], &BTreeMap::new()).expect("tokens");
            let mut inner = tokenizers::Tokenizer::new(tokenizers::models::bpe::BPE::default());
            found.add_to(&mut inner);
            assert_eq!(inner.token_to_id("<a>"), Some(0), "{config}");
        }
    }
}
