//! Configurations as transformers reads them: an absent key means the default of the configuration's class, which is
//! not always none; a null key means none.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Head, ModelError};

/// A `config.json`: as it is written, and with defaults for its absent keys.
pub(crate) struct ConfigJson<'a> {
    pub file: &'a str,
    /// As it is written. Where a key stands twice, the last one counts, as in Python.
    pub given: Value,
    /// With the defaults.
    whole: Map<String, Value>,
}

impl<'a> ConfigJson<'a> {
    /// Reads a configuration. `defaults` is a JSON object with transformers' defaults.
    pub fn read(file: &'a str, json: &str, defaults: &str) -> Result<Self, ModelError> {
        let given: Value = crate::from_json(file, json)?;
        let damaged = |found: String| ModelError::Config {
            file: file.to_owned(),
            expected: "a model configuration as transformers writes it".to_owned(),
            found,
        };
        let Value::Object(mut whole) = given.clone() else {
            return Err(damaged("no JSON object".to_owned()));
        };
        let defaults: Map<String, Value> = serde_json::from_str(defaults).map_err(|e| damaged(e.to_string()))?;
        for (key, value) in defaults {
            whole.entry(key).or_insert(value);
        }
        Ok(Self { file, given, whole })
    }

    /// The keys that a model reads.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key that is wrong.
    pub fn keys<T: DeserializeOwned>(&self) -> Result<T, ModelError> {
        let read = |whole: Map<String, Value>| serde_json::from_value::<T>(Value::Object(whole));
        let Err(error) = read(self.whole.clone()) else {
            return read(self.whole.clone()).map_err(|e| self.wrong(None, &e.to_string()));
        };
        // The message does not name the key. The wrong key is the one whose removal changes the message.
        let found = error.to_string();
        let key = self.whole.keys().find(|key| {
            let mut without = self.whole.clone();
            without.shift_remove(*key);
            read(without).err().is_none_or(|other| other.to_string() != found)
        });
        Err(self.wrong(key.map(String::as_str), &found))
    }

    /// The error for a key, with its value.
    fn wrong(&self, key: Option<&str>, found: &str) -> ModelError {
        let value = key.and_then(|key| Some((key, self.whole.get(key)?)));
        let found = match value {
            Some((key, value)) => {
                let value: String = value.to_string().chars().take(60).collect();
                format!("{key}: {value} ({found})")
            }
            None => found.to_owned(),
        };
        ModelError::Config {
            file: self.file.to_owned(),
            expected: "a model configuration as transformers writes it".to_owned(),
            found,
        }
    }
}

/// How many logits a classifier returns, as its configuration says; the shape of its head decides in the end.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub(crate) struct Labels {
    id2label: Option<Map<String, Value>>,
    num_labels: Option<usize>,
}

impl Labels {
    /// The number of logits with this head. transformers' default is two.
    pub fn of(&self, head: Head) -> usize {
        match head {
            Head::LanguageModel => 1,
            Head::Pair => 2,
            Head::Score | Head::Pooled => self.id2label.as_ref().map(Map::len).or(self.num_labels).unwrap_or(2),
        }
    }
}

/// What an absent `is_causal` means.
pub(crate) fn causal() -> Option<bool> {
    Some(true)
}

/// A token's id. A negative one means none, as the -1 of LLaMA-1's pad token.
pub(crate) fn id(value: Option<i64>) -> Option<u32> {
    value.and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    struct Keys {
        width: usize,
        window: Option<usize>,
        cap: Option<f64>,
    }

    fn keys(json: &str) -> Result<Keys, String> {
        let config = ConfigJson::read("config.json", json, r#"{"window":4096,"cap":50.0}"#);
        config.and_then(|config| config.keys()).map_err(|e| e.to_string())
    }

    #[test]
    fn absent_is_the_default_and_null_is_none() {
        let both = Keys { width: 8, window: Some(4096), cap: Some(50.0) };
        assert_eq!(keys(r#"{"width":8}"#), Ok(both));
        let neither = Keys { width: 8, window: None, cap: None };
        assert_eq!(keys(r#"{"width":8,"window":null,"cap":null}"#), Ok(neither));
        // Where a key stands twice, the last one counts.
        assert_eq!(keys(r#"{"width":8,"width":9}"#).map(|keys| keys.width), Ok(9));
    }

    #[test]
    fn errors_name_the_key() {
        for (json, named) in [
            (r#"{"width":"wide","window":2}"#, "width: \"wide\""),
            (r#"{"width":8,"window":-3}"#, "window: -3"),
            (r#"{"width":null}"#, "width: null"),
            ("{}", "missing field `width`"),
            ("[]", "no JSON object"),
        ] {
            let message = keys(json).expect_err(json);
            assert!(message.contains(named) && message.contains("config.json"), "{json}: {message}");
        }
    }
}
