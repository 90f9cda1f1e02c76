//! Tells a file's columns and what they hold, by their first values or their types.

use arrow_schema::{DataType, Schema};
use serde_json::{Map, Value};

use super::RawRow;
use super::json::{self, NonFinite};

/// Most rows that are read to find the columns.
pub(super) const LOOKED_AT: usize = 100;

/// Most bytes of those rows.
pub(super) const LOOKED_AT_BYTES: usize = 1 << 18;

/// A column that a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// Whether its values look like sentences or conversations.
    pub is_text: bool,
    /// Whether its texts are JSON: lists of texts, lists of messages, or messages.
    pub is_json: bool,
    /// Whether its values are lists of two texts.
    pub is_pair: bool,
}

/// The columns of some rows, by their values.
pub(crate) fn columns_by_value(rows: &[RawRow]) -> Vec<Column> {
    let mut columns = Vec::new();
    for record in rows.iter().take(LOOKED_AT).filter_map(|row| row.record.as_ref().ok()) {
        look_at(record, &mut columns);
    }
    seen(columns)
}

/// The columns that were looked at. One without any value, as counted beside it, is neither JSON nor a pair.
pub(super) fn seen(columns: Vec<(Column, usize)>) -> Vec<Column> {
    let seen = |(mut column, seen): (Column, usize)| {
        column.is_json &= seen > 0;
        column.is_pair &= seen > 0;
        column
    };
    columns.into_iter().map(seen).collect()
}

/// Takes note of a row's columns. The number beside each column counts its values that are not empty.
pub(super) fn look_at(record: &Map<String, Value>, columns: &mut Vec<(Column, usize)>) {
    for (name, value) in record {
        let at = columns.iter().position(|(column, _)| column.name == *name).unwrap_or_else(|| {
            columns.push((Column { name: name.clone(), is_text: false, is_json: true, is_pair: true }, 0));
            columns.len() - 1
        });
        let (column, seen) = &mut columns[at];
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => {
                column.is_text |= is_sentence(text);
                column.is_json &= is_json_list(text);
                column.is_pair = false;
                *seen += 1;
            }
            other => {
                column.is_text |= has_sentence(other);
                column.is_json = false;
                let is_pair = |values: &Vec<Value>| values.len() == 2 && values.iter().all(Value::is_string);
                column.is_pair &= other.as_array().is_some_and(is_pair);
                *seen += 1;
            }
        }
    }
}

fn is_sentence(text: &str) -> bool {
    text.trim().contains(char::is_whitespace) || text.chars().count() > 80
}

fn has_sentence(value: &Value) -> bool {
    match value {
        Value::String(text) => is_sentence(text),
        Value::Array(values) => values.iter().any(has_sentence),
        Value::Object(values) => values.values().any(has_sentence),
        _ => false,
    }
}

/// Whether a text is a list of texts, a list of messages or a message as JSON, or a list as Python prints it.
fn is_json_list(text: &str) -> bool {
    let text = text.trim();
    let is_printed = ["['", "[{'", "[\""].iter().any(|start| text.starts_with(start)) && text.ends_with(']');
    is_printed || ((text.starts_with('[') || text.starts_with('{')) && json_list(text).is_some())
}

/// Parses a text that is a list of texts, a list of messages or a message as JSON; `None` for any other text.
pub(crate) fn json_list(text: &str) -> Option<Value> {
    let is_turn =
        |value: &Value| value.as_object().is_some_and(|turn| turn.contains_key("role") || turn.contains_key("from"));
    match json::value(text.as_bytes(), NonFinite::Named).ok()? {
        Value::Array(values)
            if values.iter().all(|value| value.is_string() || value.is_null()) || values.iter().all(is_turn) =>
        {
            Some(Value::Array(values))
        }
        one if is_turn(&one) => Some(one),
        _ => None,
    }
}

/// The columns of an Arrow schema, by their types.
pub(super) fn columns_of(schema: &Schema) -> Vec<Column> {
    fn has_text(of: &DataType) -> bool {
        match of {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
            DataType::Dictionary(_, values) => has_text(values),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                has_text(item.data_type())
            }
            DataType::ListView(item) | DataType::LargeListView(item) => has_text(item.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| has_text(field.data_type())),
            _ => false,
        }
    }
    schema
        .fields()
        .iter()
        .map(|field| Column {
            name: field.name().clone(),
            is_text: has_text(field.data_type()),
            // A type does not tell this; the first values do.
            is_json: false,
            is_pair: false,
        })
        .collect()
}
