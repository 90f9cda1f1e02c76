use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A JSON object without repeated keys. Reading refuses an object that repeats a key, because nobody can say which of
/// its values is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Record(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Record;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Record, A::Error> {
                let mut record = Map::new();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if record.contains_key(&key) {
                        let shown: String = key.chars().take(60).collect();
                        return Err(A::Error::custom(format!("{shown:?} twice in one object")));
                    }
                    record.insert(key, value);
                }
                Ok(Record(record))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
