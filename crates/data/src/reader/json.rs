//! Reads JSON as people write it: one object on each line, a list of objects, one object after another, or one object
//! with the rows inside. Python's NaN and integers of any length are read too.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::Record;

/// What becomes of NaN and the infinities, which Python writes and JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// Null: pandas writes NaN where a table lacks a text.
    Null,
    /// The texts `NaN`, `Infinity` and `-Infinity`.
    Named,
}

/// Digits from which an integer may exceed 64 bits.
const LONG: usize = 19;

/// Parses the text of an object.
///
/// # Errors
/// When it cannot be parsed; the text says what is wrong.
pub(crate) fn record(text: &[u8], non_finite: NonFinite) -> Result<Map<String, Value>, String> {
    read(text, non_finite).map(|Record(record)| record)
}

/// Parses a JSON text.
///
/// # Errors
/// When it cannot be parsed; the text says what is wrong.
pub(crate) fn value(text: &[u8], non_finite: NonFinite) -> Result<Value, String> {
    read(text, non_finite)
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8], non_finite: NonFinite) -> Result<T, String> {
    let has_long = has_long_number(text);
    if !has_long {
        match serde_json::from_slice(text) {
            Ok(found) => return Ok(found),
            Err(error) if !has_word(text) => return Err(shown(&error, text)),
            Err(_) => {}
        }
    }
    let text = std::str::from_utf8(text).map_err(|_| "bytes that are no text in UTF-8".to_owned())?;
    let readable = readable(text, non_finite);
    serde_json::from_str(&readable).map_err(|error| shown(&error, readable.as_bytes()))
}

/// The error for a message. Two common mistakes are named: an object as Python prints it, and bytes that are not UTF-8.
fn shown(error: &serde_json::Error, text: &[u8]) -> String {
    if text.trim_ascii_start().starts_with(b"{'") {
        return "an object as Python prints it, with single quotes; write it with json.dumps".to_owned();
    }
    if std::str::from_utf8(text).is_err() {
        return "bytes that are no text in UTF-8".to_owned();
    }
    error.to_string()
}

fn has_word(text: &[u8]) -> bool {
    text.windows(3).any(|word| word == b"NaN" || word == b"Inf")
}

/// Whether a text has [`LONG`] digits in a row: such a number could lose its last digits.
fn has_long_number(text: &[u8]) -> bool {
    let mut run = 0;
    text.iter().any(|byte| {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        run >= LONG
    })
}

/// Rewrites a text so that a JSON parser can read it without loss: NaN and the infinities become null or texts, as
/// `non_finite` says, and integers that do not fit in 64 bits become texts. Borrows a text that needs no change.
pub fn readable(text: &str, non_finite: NonFinite) -> Cow<'_, str> {
    const NUMBERS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    // Where a number may begin, and what begins or ends a string or escapes in it.
    let is_mark = |c: char| matches!(c, '"' | '\\' | 'N' | 'I' | '-' | '0'..='9');
    let mut out = String::new();
    let (mut written, mut at, mut is_text) = (0, 0, false);
    while let Some(found) = text[at..].find(|c| if is_text { c == '"' || c == '\\' } else { is_mark(c) }) {
        at += found;
        let rest = &text[at..];
        let number = NUMBERS.iter().find(|number| !is_text && rest.starts_with(**number));
        let first = rest.chars().next();
        at += match (number, first) {
            (Some(number), _) => {
                out.push_str(&text[written..at]);
                match non_finite {
                    NonFinite::Null => out.push_str("null"),
                    NonFinite::Named => out.push_str(&format!("\"{number}\"")),
                }
                written = at + number.len();
                number.len()
            }
            // An escaped quote does not end the string.
            (None, Some('\\')) => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, Some('"')) => {
                is_text = !is_text;
                1
            }
            (None, _) => {
                let sign = usize::from(first == Some('-'));
                let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
                let number = &rest[..sign + digits];
                let is_whole = !rest[number.len()..].starts_with(['.', 'e', 'E']);
                if digits >= LONG && is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    out.push_str(&text[written..at]);
                    out.push_str(&format!("\"{number}\""));
                    written = at + number.len();
                }
                let rest = &rest[number.len()..];
                // Skip the rest of a number with a point or exponent: its digits are no integer.
                let more = rest.bytes().take_while(|b| b.is_ascii_digit() || b".eE+-".contains(b)).count();
                (number.len() + more).max(1)
            }
        };
    }
    if written == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[written..]);
    Cow::Owned(out)
}

/// Finds the ends of JSON values that stand one after another. It looks at each byte once, as bytes come.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    looked: usize,
}

impl Scanner {
    /// The length in bytes of the value at the beginning of `bytes`; `None` until its end is there. After `None`, the
    /// next call must have the same bytes with more behind them.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate().skip(self.looked) {
            if self.is_text {
                match (self.is_escaped, byte) {
                    (true, _) => self.is_escaped = false,
                    (false, b'\\') => self.is_escaped = true,
                    (false, b'"') => self.is_text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.is_text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            *self = Self::default();
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.looked = bytes.len();
        None
    }
}

/// Names of lists of rows in an object that has other fields too; the first seven are preferred over other lists.
const WRAPPERS: [&str; 9] = ["data", "rows", "items", "examples", "instances", "records", "results", "train", "test"];

/// The rows inside one object: a list under a name (`data`, `rows`, a split's name), columns of lists, or a table of
/// pandas. Otherwise the object itself is a row. `split` chooses among several lists.
///
/// # Errors
/// When the object has several lists and nothing chooses among them.
pub(crate) fn rows_of(object: Map<String, Value>, split: Option<&str>) -> Result<Vec<Map<String, Value>>, String> {
    if let Some(rows) = table_of(&object) {
        return Ok(rows);
    }
    if is_row(&object) {
        return Ok(vec![object]);
    }
    if let Some(rows) = columns_of(&object) {
        return Ok(rows);
    }
    let is_list = |value: &Value| match value {
        Value::Array(values) => !values.is_empty() && values.iter().all(Value::is_object),
        Value::Object(inner) => columns_of(inner).is_some(),
        _ => false,
    };
    let lists: Vec<&String> = object.iter().filter(|(_, value)| is_list(value)).map(|(name, _)| name).collect();
    let chosen = match split {
        Some(split) => lists.iter().find(|name| ***name == split).copied(),
        None => None,
    };
    let name = match (chosen, lists.as_slice()) {
        (Some(name), _) => name.clone(),
        (None, []) => return Ok(vec![object]),
        (None, [only]) => (*only).clone(),
        (None, several) => {
            let known = WRAPPERS[..7].iter().find(|known| several.iter().any(|name| name == *known));
            match known {
                Some(known) => (*known).to_owned(),
                None => {
                    let names = several.iter().take(12).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(format!("several lists of rows ({names}); choose one with --split"));
                }
            }
        }
    };
    let mut object = object;
    match object.shift_remove(&name) {
        Some(Value::Array(values)) => Ok(values.into_iter().filter_map(unwrapped).collect()),
        Some(Value::Object(inner)) => Ok(columns_of(&inner).unwrap_or_default()),
        _ => Ok(Vec::new()),
    }
}

/// The row in an element of a list. The Hub's viewer puts each row into an object with `row_idx` and `row`.
fn unwrapped(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(mut object)
            if object.contains_key("row_idx") && object.get("row").is_some_and(Value::is_object) =>
        {
            match object.shift_remove("row") {
                Some(Value::Object(row)) => Some(row),
                _ => None,
            }
        }
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn is_messages(values: &[Value]) -> bool {
    let is_message =
        |value: &Value| value.as_object().is_some_and(|turn| turn.contains_key("role") || turn.contains_key("from"));
    !values.is_empty() && values.iter().all(is_message)
}

/// Whether an object is itself a row: a usual column of a row holds a text or messages.
fn is_row(object: &Map<String, Value>) -> bool {
    const TEXTS: [&str; 10] = [
        "prompt",
        "chosen",
        "rejected",
        "question",
        "instruction",
        "completion",
        "response",
        "history",
        "input",
        "output",
    ];
    let own = |name: &&str| match object.get(*name) {
        Some(Value::String(_)) => true,
        Some(Value::Array(values)) => is_messages(values),
        _ => false,
    };
    TEXTS.iter().chain(&["messages", "conversations"]).any(own)
}

/// The rows of an object of columns with equally many values each, as `datasets` and pandas write them.
fn columns_of(object: &Map<String, Value>) -> Option<Vec<Map<String, Value>>> {
    let count = |value: &Value| match value {
        Value::Array(values) if !is_messages(values) => Some(values.len()),
        Value::Object(values) if is_numbered(values) => Some(values.len()),
        _ => None,
    };
    let rows = object.values().next().and_then(count)?;
    if object.len() < 2 || rows == 0 || !object.values().all(|value| count(value) == Some(rows)) {
        return None;
    }
    // Columns that hold objects are lists of rows, not columns of a table.
    if object.values().any(|value| value.as_array().is_some_and(|values| values.iter().any(Value::is_object))) {
        return None;
    }
    let at = |value: &Value, row: usize| match value {
        Value::Array(values) => values[row].clone(),
        Value::Object(values) => values.values().nth(row).cloned().unwrap_or_default(),
        _ => Value::Null,
    };
    Some((0..rows).map(|row| object.iter().map(|(name, value)| (name.clone(), at(value, row))).collect()).collect())
}

/// Whether the keys are 0, 1, 2 and so on, as pandas writes a column.
fn is_numbered(values: &Map<String, Value>) -> bool {
    !values.is_empty() && values.keys().enumerate().all(|(at, key)| key.parse() == Ok(at))
}

/// The rows of a table whose column names stand apart, as pandas writes it with `orient="split"`.
fn table_of(object: &Map<String, Value>) -> Option<Vec<Map<String, Value>>> {
    let names: Option<Vec<&str>> = object.get("columns")?.as_array()?.iter().map(Value::as_str).collect();
    let names = names?;
    let rows = object.get("data")?.as_array()?;
    let row = |row: &Value| {
        let cells = row.as_array().filter(|cells| cells.len() == names.len())?;
        Some(names.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect())
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_json_has_not_become_texts_or_nothing_and_texts_stay() {
        for (text, read) in [
            (r#"[NaN, -Infinity, Infinity, -1]"#, r#"["NaN", "-Infinity", "Infinity", -1]"#),
            (r#"{"NaN": "-Infinity, \"NaN", "ü\\": NaN}"#, r#"{"NaN": "-Infinity, \"NaN", "ü\\": "NaN"}"#),
            (r#"[123456789012345678901234, -1.5e3]"#, r#"["123456789012345678901234", -1.5e3]"#),
        ] {
            assert_eq!(readable(text, NonFinite::Named), read);
        }
        assert_eq!(readable("[NaN]", NonFinite::Null), "[null]");
        assert!(matches!(readable(r#"{"scores": ["NaN", -2, "I"]}"#, NonFinite::Named), Cow::Borrowed(_)));
        let whole = r#"[9223372036854775808, -9223372036854775808, 0.12345678901234567890123]"#;
        assert!(matches!(readable(whole, NonFinite::Null), Cow::Borrowed(_)));
    }

    #[test]
    fn values_end_where_they_end() {
        let text = br#"{"a": "}\"]", "b": [1, {"c": 2}]} [3]"#;
        let mut scanner = Scanner::default();
        assert_eq!(scanner.end(&text[..9]), None);
        assert_eq!(scanner.end(text), Some(33));
        assert_eq!(scanner.end(&text[34..]), Some(3));
    }

    #[test]
    fn rows_are_found_inside_one_object() {
        let of = |value: Value, split: Option<&str>| match value {
            Value::Object(object) => rows_of(object, split).map(|rows| json!(rows)),
            _ => Err(String::new()),
        };
        let rows = json!([{"prompt": "p", "chosen": "a"}, {"prompt": "q", "chosen": "b"}]);
        for wrapped in [
            json!({"data": rows}),
            json!({"version": 1, "rows": [{"row_idx": 0, "row": rows[0]}, {"row_idx": 1, "row": rows[1]}]}),
            json!({"prompt": ["p", "q"], "chosen": ["a", "b"]}),
            json!({"prompt": {"0": "p", "1": "q"}, "chosen": {"0": "a", "1": "b"}}),
            json!({"columns": ["prompt", "chosen"], "index": [0, 1], "data": [["p", "a"], ["q", "b"]]}),
        ] {
            assert_eq!(of(wrapped.clone(), None), Ok(rows.clone()), "{wrapped}");
        }
        let splits = json!({"train": rows, "validation": [{"prompt": "v", "chosen": "c"}]});
        assert!(of(splits.clone(), None).is_err_and(|error| error.contains("--split")));
        assert_eq!(of(splits, Some("train")), Ok(rows));
        let row = json!({"chosen": [{"role": "user", "content": "p"}], "rejected": [{"role": "user", "content": "p"}]});
        assert_eq!(of(row.clone(), None), Ok(json!([row])));
    }
}
