//! Lists of scores in JSON. JSON has no NaN and no infinities, so they are written as the texts `"NaN"`, `"Infinity"`
//! and `"-Infinity"`. On reading, a score may also be a list of one number, as the reference evaluator writes it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(f64),
    Named(String),
    Nested([Box<Number>; 1]),
}

pub(crate) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    let name = |v: f64| {
        if v.is_nan() {
            "NaN"
        } else if v > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
    };
    serializer.collect_seq(
        values.iter().map(|&v| if v.is_finite() { Number::Plain(v) } else { Number::Named(name(v).to_owned()) }),
    )
}

fn value<E: Error>(number: Number) -> Result<f64, E> {
    match number {
        Number::Plain(value) => Ok(value),
        Number::Nested([inner]) => value(*inner),
        Number::Named(name) => match name.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            other => Err(E::custom(format!("a score, NaN or an infinity was expected, {other:?} was found"))),
        },
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    Vec::<Number>::deserialize(deserializer)?.into_iter().map(value).collect()
}
