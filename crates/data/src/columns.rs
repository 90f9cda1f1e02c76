//! Which columns hold an item's fields, and which columns tell the better completion.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::DataError;
use crate::reader::Column;

/// Which columns hold an item's fields. Each field lists column names to try; the first that leads to a value is taken.
/// A name may be:
///
/// - a column (`prompt`),
/// - a path into objects and lists (`chosen.answer`, `losers.answer`),
/// - several columns joined by a slash (`language/subset`),
/// - a family of numbered columns (`response_*`),
/// - a text with names in braces (`TITLE: {title}`).
///
/// As text, columns are JSON (`{"prompt": ["question"]}`) or pairs (`prompt=question chosen=better`):
///
/// ```
/// use rewardscope_data::Columns;
///
/// let columns: Columns = "prompt=question chosen=answer_a rejected=answer_b chosen_if=winner:a:b:tie".parse()?;
/// assert_eq!(columns.prompt, ["question"]);
/// assert!(columns.has_verdict());
/// assert!("promt=question".parse::<Columns>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// The item's id, unique in its subset. A file may have none: callers then use the row's number.
    #[serde(deserialize_with = "one_or_many")]
    pub id: Vec<String>,
    /// The part of the dataset; `subset_otherwise` where a row names none.
    #[serde(deserialize_with = "one_or_many")]
    pub subset: Vec<String>,
    /// The subset of rows that name none.
    #[serde(skip)]
    pub subset_otherwise: Option<String>,
    /// Whether a file without a column of `subset` is refused.
    #[serde(skip)]
    pub needs_subset: bool,
    /// Whether rows may say how many completions they have, as RewardBench 2's do in the columns of [`COUNTS`]. Rows
    /// with wrong counts are then refused.
    #[serde(skip)]
    pub has_counts: bool,
    /// Lists of names: a file must have at least one column of each list.
    #[serde(skip)]
    pub must_have: Vec<Vec<String>>,
    /// A system prompt. It goes before the prompt where it is not empty.
    #[serde(deserialize_with = "one_or_many")]
    pub system: Vec<String>,
    /// The prompt: a text or a list of messages. Where a file has none, it is part of the completions' conversations.
    #[serde(deserialize_with = "one_or_many")]
    pub prompt: Vec<String>,
    /// A text that is put below the prompt, such as Alpaca's `input` below its `instruction`.
    #[serde(deserialize_with = "one_or_many")]
    pub context: Vec<String>,
    /// The better completions: a text, a conversation that ends with the assistant, or a list of texts.
    #[serde(deserialize_with = "one_or_many")]
    pub chosen: Vec<String>,
    /// The worse completions, in the same forms; no names where `chosen` holds all completions.
    #[serde(deserialize_with = "one_or_many")]
    pub rejected: Vec<String>,
    /// The models that wrote the chosen completions, then the rejected ones. All columns are read: one name for each
    /// completion, or a single column with one name for all.
    #[serde(deserialize_with = "one_or_many")]
    pub models: Vec<String>,
    /// A column that says which side is better: the column's name, its value where `chosen` is better, its value where
    /// `rejected` is, and values that mean a tie. With the name alone, or with an empty value for `chosen`, the
    /// column's value itself names the better side (`model_a`, `A`, `1`).
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none")]
    pub chosen_if: Option<Vec<String>>,
    /// A column with true or false, or a number, for each completion, as in PPE. A number above 0 means correct. Then
    /// `chosen` holds all completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct: Option<String>,
    /// A column with a signed preference: below 0 where `chosen` is better, 0 for a tie. With a minus before the name:
    /// above 0 where `chosen` is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// A column with the place of the better completion, from 0. Where `rejected` has no names it is a place among the
    /// completions of `chosen`; otherwise 0 means `chosen` and 1 means `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// A column with a rank for each completion of `chosen`, 1 for the best. The best are correct, the others are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<String>,
    /// A number for each completion, the largest for the best: a column with a list, or one column for each side joined
    /// by a slash (`score_a/score_b`).
    #[serde(deserialize_with = "one_or_many")]
    pub scores: Vec<String>,
    /// Whether `chosen` lists the better completion first, then the worse ones.
    pub order: bool,
    /// A column with the label of an unpaired completion: true or false, or a number. The rows of one prompt make an
    /// item; the completions with its highest label are correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The place of the first wrong step of a solution, from 0, or -1 where none is; or true or false for each step. Then
    /// `chosen` holds the steps, and those before the first wrong one are correct.
    #[serde(deserialize_with = "one_or_many")]
    pub first_wrong: Vec<String>,
    /// A column with the number of the assistant turn that was judged, from 1. Conversations are cut after that turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// Tools that belong in the chat template. A row with any is skipped ([`Reason::Tools`](crate::Reason::Tools)).
    #[serde(deserialize_with = "one_or_many")]
    pub tools: Vec<String>,
}

/// RewardBench 2's count columns: how many correct and incorrect completions a row has, and how many in all.
pub const COUNTS: [&str; 3] = ["num_correct", "num_incorrect", "total_completions"];

/// A text is not a description of columns; the field says what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "reading columns: expected names as prompt=NAME chosen=NAME rejected=NAME (also id, subset, system, context, models, chosen_if, correct, signed, index, ranks, scores, label, first_wrong, turn, tools) or the same as JSON, found {0}"
)]
pub struct ColumnsError(String);

/// A name, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(name) => vec![name],
        OneOrMany::Many(names) => names,
    })
}

fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let values: Option<Vec<Value>> = Option::deserialize(deserializer)?;
    let texts = |values: Vec<Value>| values.iter().map(|value| as_text(value).unwrap_or_default()).collect();
    Ok(values.map(texts))
}

impl FromStr for Columns {
    type Err = ColumnsError;

    fn from_str(text: &str) -> Result<Self, ColumnsError> {
        let found: Self = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|e| ColumnsError(e.to_string()))?
        } else {
            let mut object = Map::new();
            // Names may have spaces: a text with a comma or semicolon is split there only.
            let separators: &[char] = if text.contains([',', ';']) { &[',', ';'] } else { &[' '] };
            for pair in text.split(separators).map(str::trim).filter(|pair| !pair.is_empty()) {
                let (field, name) = pair.split_once('=').ok_or_else(|| ColumnsError(format!("{pair:?}")))?;
                let (field, name) = (field.trim(), name.trim());
                let value = match field {
                    // Colons separate the values: winner:model_a:model_b:tie.
                    "chosen_if" => Value::from(name.split(':').map(str::to_owned).collect::<Vec<_>>()),
                    "order" => Value::Bool(name == "true"),
                    _ => Value::from(name),
                };
                if name.is_empty() || object.insert(field.to_owned(), value).is_some() {
                    return Err(ColumnsError(format!("{pair:?}, which is empty or comes twice")));
                }
            }
            serde_json::from_value(object.into()).map_err(|e| ColumnsError(e.to_string()))?
        };
        match &found.chosen_if {
            Some(values) if ![1].contains(&values.len()) && values.len() < 3 => Err(ColumnsError(format!(
                "chosen_if with {} values; it takes a column, its value where chosen is better, its value where rejected is, and values of ties",
                values.len()
            ))),
            _ if found == Self::default() => Err(ColumnsError("no names".to_owned())),
            _ => Ok(found),
        }
    }
}

impl Columns {
    /// Columns with these names of prompt, chosen and rejected.
    pub(crate) fn of(prompt: &[&str], chosen: &[&str], rejected: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self { prompt: names(prompt), chosen: names(chosen), rejected: names(rejected), ..Self::default() }
    }

    /// All column names that are tried, of every field.
    fn all(&self) -> impl Iterator<Item = &str> {
        let counts = COUNTS.iter().copied().filter(|_| self.has_counts);
        self.fields().into_iter().flatten().map(String::as_str).chain(self.verdict_columns()).chain(counts)
    }

    fn fields(&self) -> [&Vec<String>; 11] {
        [
            &self.id,
            &self.subset,
            &self.system,
            &self.prompt,
            &self.context,
            &self.chosen,
            &self.rejected,
            &self.models,
            &self.scores,
            &self.first_wrong,
            &self.tools,
        ]
    }

    /// The columns that tell the better completion or which turn was judged; without `scores`.
    fn verdict_columns(&self) -> impl Iterator<Item = &str> {
        let chosen_if = self.chosen_if.iter().filter_map(|values| values.first());
        let signed = self.signed.iter().map(|name| name.strip_prefix('-').unwrap_or(name));
        let others = [&self.correct, &self.index, &self.ranks, &self.label, &self.turn].into_iter().flatten();
        chosen_if.chain(others).map(String::as_str).chain(signed)
    }

    /// Whether a column, or the order of a list, tells the better completion; otherwise it is the one in `chosen`.
    pub fn has_verdict(&self) -> bool {
        let none =
            [&self.correct, &self.signed, &self.index, &self.ranks, &self.label].into_iter().all(Option::is_none);
        self.order || self.chosen_if.is_some() || !none || !self.scores.is_empty() || !self.first_wrong.is_empty()
    }

    /// The names of the columns that tell the better completion, for messages.
    pub(crate) fn told_by(&self, found: &[Column]) -> String {
        let first = |names: &[String]| names.iter().find(|name| has(found, name)).cloned();
        let mut names: Vec<String> = self.verdict_columns().map(str::to_owned).collect();
        names.extend(first(&self.scores).map(|name| name.replace('/', ", ")));
        if names.is_empty() {
            names.extend([&self.chosen, &self.rejected].into_iter().filter_map(|of| first(of)));
        }
        names.join(", ")
    }

    /// The file's columns that any of the names leads to.
    pub(crate) fn wanted<'a>(&self, found: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let roots: BTreeSet<&str> = self.all().flat_map(parts).map(root_of).collect();
        let family = |column: &str| roots.iter().any(|root| of_family(root, column).is_some());
        found.filter(|column| roots.contains(column) || family(column)).collect()
    }

    /// The columns that items are made of: for each field the first that the file has.
    pub(crate) fn used<'a>(&'a self, found: &[Column]) -> BTreeSet<&'a str> {
        let first = |names: &'a Vec<String>| names.iter().find(|name| has(found, name)).map(String::as_str);
        let several = self.models.iter().filter(|_| self.models.len() > 1).map(String::as_str);
        let fields = self.fields().into_iter().filter_map(first);
        fields.chain(self.verdict_columns()).chain(several).flat_map(parts).map(root_of).collect()
    }

    /// These columns, with those that `own` names in their place. A file must then have the columns that `own` names.
    #[must_use]
    pub fn overlaid(&self, own: &Self) -> Self {
        let mut all = self.clone();
        let named = own.fields().into_iter().filter(|names| !names.is_empty()).cloned();
        if !own.prompt.is_empty() {
            all.must_have.clear();
            // The usual prompt's context need not belong to another prompt.
            all.context = own.context.clone();
        }
        all.must_have.extend(named);
        if !own.chosen.is_empty() || own.has_verdict() {
            // The usual verdict belongs to the usual completions.
            let Self { chosen_if, correct, signed, index, ranks, scores, label, turn, order, .. } = own.clone();
            all.order = order;
            (all.chosen_if, all.correct, all.signed, all.index) = (chosen_if, correct, signed, index);
            (all.ranks, all.scores, all.label, all.turn) = (ranks, scores, label, turn);
        }
        if !own.chosen.is_empty() && own.rejected.is_empty() && own.has_list_verdict() {
            all.rejected.clear();
        }
        macro_rules! over {
            ($($field:ident),*) => { $(if !own.$field.is_empty() { all.$field.clone_from(&own.$field); })* };
        }
        over!(id, subset, system, prompt, context, chosen, rejected, models, first_wrong, tools);
        if own.turn.is_some() {
            all.turn.clone_from(&own.turn);
        }
        all
    }

    /// Whether a column can tell the better ones in a list of completions.
    pub(crate) fn has_list_verdict(&self) -> bool {
        let is_list = self.order
            || !self.first_wrong.is_empty()
            || self.correct.is_some()
            || self.ranks.is_some()
            || self.index.is_some()
            || self.label.is_some();
        is_list || self.scores.iter().any(|name| !name.contains('/'))
    }

    /// Refuses a file without the columns that every row needs.
    pub(crate) fn require(&self, file: &str, found: &[Column]) -> Result<(), DataError> {
        let mut missing: Vec<String> = Vec::new();
        let mut need = |names: &[String]| {
            if !names.is_empty() && !names.iter().any(|name| has(found, name)) {
                missing.push(names.join(" or "));
            }
        };
        need(&self.chosen);
        if self.needs_subset {
            need(&self.subset);
        }
        need(&self.rejected);
        need(&self.scores);
        for column in self.verdict_columns() {
            need(&[column.to_owned()]);
        }
        for names in &self.must_have {
            need(names);
        }
        let mut seen = BTreeSet::new();
        missing.retain(|names| seen.insert(names.clone()));
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = found.iter().take(40).map(|column| column.name.as_str()).collect();
        Err(DataError::Columns {
            file: file.to_owned(),
            missing: missing.join(", "),
            found: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        })
    }
}

/// The column at which a name begins.
fn root_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The names in a name: several joined by slashes, or those in the braces of a template.
fn parts(name: &str) -> Vec<&str> {
    match name.contains('{') {
        true => name.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect(),
        false => name.split('/').collect(),
    }
}

/// Whether a file has every column that a name asks for.
pub(crate) fn has(found: &[Column], name: &str) -> bool {
    parts(name).into_iter().all(|part| {
        let root = root_of(part);
        found.iter().any(|column| column.name == part || column.name == root || of_family(root, &column.name).is_some())
    })
}

/// The number of a column in a family such as `response_*`.
fn of_family(family: &str, column: &str) -> Option<u64> {
    column.strip_prefix(family.strip_suffix('*')?)?.parse().ok()
}

/// The value that a name leads to. A list on the way gives the list of its elements' values. Null counts as missing.
pub(crate) fn lookup(row: &Map<String, Value>, name: &str) -> Option<Value> {
    if name.contains('{') {
        let mut pieces = name.split('{');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (part, rest) = piece.split_once('}')?;
            text += &as_text(&lookup(row, part)?)?;
            text += rest;
        }
        return Some(Value::String(text));
    }
    if name.contains('/') {
        let parts: Option<Vec<String>> = name.split('/').map(|part| as_text(&lookup(row, part)?)).collect();
        return Some(Value::String(parts?.join("/")));
    }
    if name.ends_with('*') {
        let mut family: Vec<(u64, &Value)> =
            row.iter().filter_map(|(column, value)| Some((of_family(name, column)?, value))).collect();
        family.sort_by_key(|(number, _)| *number);
        let values: Vec<Value> = family.into_iter().map(|(_, value)| value.clone()).filter(|v| !v.is_null()).collect();
        return (!values.is_empty()).then_some(Value::Array(values));
    }
    fn into(value: &Value, path: &str) -> Option<Value> {
        if path.is_empty() {
            return Some(value.clone()).filter(|value| !value.is_null());
        }
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        match value {
            Value::Object(object) => into(object.get(first)?, rest),
            Value::Array(values) => {
                values.iter().map(|value| into(value, path)).collect::<Option<Vec<_>>>().map(Value::Array)
            }
            // An object or list as JSON in a text, as in CSV.
            Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
                into(&serde_json::from_str::<Value>(text).ok()?, path)
            }
            _ => None,
        }
    }
    // A column may have dots in its own name.
    if let Some(value) = row.get(name) {
        return Some(value.clone()).filter(|value| !value.is_null());
    }
    let (first, rest) = name.split_once('.')?;
    into(row.get(first)?, rest)
}

/// The first name that leads to a value, and that value.
pub(crate) fn first_of<'a>(row: &Map<String, Value>, names: &'a [String]) -> Option<(&'a str, Value)> {
    names.iter().find_map(|name| Some((name.as_str(), lookup(row, name)?)))
}

/// A text, a number or a boolean as text. A whole number is written without a point: 1.0 as 1.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(x) if number.is_f64() && x.fract() == 0.0 && x.abs() < 9_007_199_254_740_992.0 => format!("{x:.0}"),
            _ => number.to_string(),
        }),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The texts in a value, lists flattened.
pub(crate) fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.into_iter().flat_map(texts).collect(),
        other => as_text(&other).into_iter().collect(),
    }
}

/// A number, a text that is a number, or a boolean as 0 or 1.
pub(crate) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(text) => text.trim().parse().ok().filter(|x: &f64| x.is_finite()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn names_lead_into_objects_lists_and_families() {
        let found = row(
            json!({"a": {"b": [{"c": 1}, {"c": 2}]}, "r_10": "z", "r_2": "y", "x.y": "dot", "j": "{\"k\": \"in\"}"}),
        );
        assert_eq!(lookup(&found, "a.b.c"), Some(json!([1, 2])));
        assert_eq!(lookup(&found, "r_*"), Some(json!(["y", "z"])));
        assert_eq!(lookup(&found, "x.y"), Some(json!("dot")));
        assert_eq!(lookup(&found, "j.k"), Some(json!("in")));
        assert_eq!(lookup(&found, "x.y/r_2"), Some(json!("dot/y")));
        assert_eq!(lookup(&found, "a.none"), None);
    }

    #[test]
    fn columns_are_written_as_pairs_or_as_json() {
        let pairs: Columns =
            "prompt=question, chosen=response_a, rejected=response_b, chosen_if=winner:a:b:tie".parse().expect("read");
        let written: Columns = r#"{"prompt": "question", "chosen": ["response_a"], "rejected": ["response_b"],
            "chosen_if": ["winner", "a", "b", "tie"]}"#
            .parse()
            .expect("read");
        assert_eq!(pairs, written);
        let spaces: Columns = "prompt=question chosen=answers.text index=best".parse().expect("read");
        assert_eq!((spaces.chosen, spaces.index.as_deref()), (vec!["answers.text".to_owned()], Some("best")));
        let numbers: Columns = r#"{"chosen": "a", "chosen_if": ["label", 1, false]}"#.parse().expect("read");
        assert_eq!(numbers.chosen_if, Some(vec!["label".to_owned(), "1".to_owned(), "false".to_owned()]));
        for (text, named) in [
            ("question", "\"question\""),
            ("promt=x", "promt"),
            ("{\"x\": 1}", "x"),
            ("", "no names"),
            ("chosen_if=a:b", "2 values"),
        ] {
            let message = text.parse::<Columns>().expect_err("refused").to_string();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn whole_numbers_are_written_alike() {
        let texts =
            [json!(1), json!(1.0), json!(18_446_744_073_709_551_615_u64), json!(0.5)].map(|value| as_text(&value));
        assert_eq!(texts.map(Option::unwrap_or_default), ["1", "1", "18446744073709551615", "0.5"]);
    }
}
