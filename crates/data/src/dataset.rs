//! Rows of any dataset with prompts and completions, by a description of where they have what.

use std::collections::BTreeSet;

use rewardscope_store::Source;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::preferences::{Text, conversations, prompt_turns};
use crate::{DataError, MAX_LINE_BYTES, Record, Rows, Turn, format_error, is_parquet, jsonl, parquet_file};

/// Where rows have what an item needs. Each field lists names to try, the first that a file has
/// wins. A name may lead into objects and lists (`chosen.answer`, `losers.answer`), be several
/// columns joined by a slash (`language/subset`), or a family of numbered columns (`response_*`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// What tells an item from others of its subset; the row's number where a file has none.
    pub id: Vec<String>,
    /// The part of the benchmark; where a file has none, what `subset_otherwise` says.
    pub subset: Vec<String>,
    /// What rows that name no subset belong to; `all` without it.
    #[serde(skip)]
    pub subset_otherwise: Option<String>,
    /// Whether a file without it is refused.
    pub needs_subset: bool,
    /// Whether rows may say how many completions they have, as RewardBench 2's do in [`COUNTS`].
    #[serde(skip)]
    pub has_counts: bool,
    /// Of each of these lists a file must have one.
    #[serde(skip)]
    pub must_have: Vec<Vec<String>>,
    /// A text or a list of messages; part of the completions' conversations where a file has none.
    pub prompt: Vec<String>,
    /// A text, a conversation that ends with the assistant, or a list of texts.
    pub chosen: Vec<String>,
    /// As `chosen`; no names where rows have completions and nothing to compare them with.
    pub rejected: Vec<String>,
    /// Who wrote the chosen completions, then the rejected ones: one name a completion, or a single
    /// column with one name for all.
    pub models: Vec<String>,
    /// A column that says whether `chosen` is the better one, as JudgeBench has it: its name, its
    /// value where it is, and its value where the two change places.
    pub chosen_if: Option<[String; 3]>,
    /// A column with a true or false (or number) a completion, as PPE has it: `chosen` are all
    /// completions then.
    pub correct: Option<String>,
}

/// How many correct and incorrect completions a row has, and how many together.
pub const COUNTS: [&str; 3] = ["num_correct", "num_incorrect", "total_completions"];

/// An item's row: a prompt with correct and incorrect completions.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetRow {
    /// As [`Columns::id`].
    pub id: String,
    /// As [`Columns::subset`].
    pub subset: String,
    /// The conversation up to the completion; its last turn is the user's.
    pub prompt: Vec<Turn>,
    /// The correct completions.
    pub chosen: Vec<String>,
    /// The others.
    pub rejected: Vec<String>,
    /// Who wrote the completions, in their order; empty where the dataset does not say of each.
    pub models: Vec<String>,
}

/// Larger files of JSON arrays and CSV are refused: those formats are read whole.
const MAX_WHOLE_BYTES: u64 = 1 << 30;

impl Columns {
    fn all(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.id, &self.subset, &self.prompt, &self.chosen, &self.rejected, &self.models];
        let others = self.chosen_if.iter().map(|[column, ..]| column).chain(&self.correct);
        let counts = COUNTS.iter().copied().filter(|_| self.has_counts);
        lists.into_iter().flatten().chain(others).map(String::as_str).chain(counts)
    }

    /// The top-level columns of a file that any of the names asks for.
    pub(crate) fn wanted<'a>(&self, found: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let roots: BTreeSet<&str> =
            self.all().flat_map(|name| name.split('/')).map(|name| name.split('.').next().unwrap_or(name)).collect();
        let family = |column: &str| roots.iter().any(|root| of_family(root, column).is_some());
        found.filter(|column| roots.contains(column) || family(column)).collect()
    }
}

/// The number of a column in a family such as `response_*`.
fn of_family(family: &str, column: &str) -> Option<u64> {
    column.strip_prefix(family.strip_suffix('*')?)?.parse().ok()
}

/// What a name leads to; a list on the way gives the list of what its elements lead to.
fn lookup(row: &Map<String, Value>, name: &str) -> Option<Value> {
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
            _ => None,
        }
    }
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    into(row.get(first)?, rest)
}

fn first_of(row: &Map<String, Value>, names: &[String]) -> Option<Value> {
    names.iter().find_map(|name| lookup(row, name))
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.into_iter().flat_map(texts).collect(),
        other => as_text(&other).into_iter().collect(),
    }
}

/// A row's prompt and completions, or what is wrong with it.
///
/// # Errors
/// A sentence: what was expected and what was found.
pub(crate) fn scorable(columns: &Columns, record: &Map<String, Value>) -> Result<ScorableRow, String> {
    completions(columns, record)
        .map(|(prompt, chosen, rejected, _)| ScorableRow { prompt, chosen, rejected })
        .map_err(|(expected, found)| format!("{expected} was expected, {found} was found"))
}

/// What of a row is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScorableRow {
    /// The conversation up to the completion.
    pub prompt: Vec<Turn>,
    /// Its completions; of a pair the better one.
    pub chosen: Vec<String>,
    /// What they are compared with.
    pub rejected: Vec<String>,
}

/// What is wrong with a row: what was expected, what was found.
type Wrong = (String, String);

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::Array(values)) => format!("a list of {}", values.len()),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(other) => other.to_string().chars().take(60).collect(),
    }
}

/// A row of a benchmark, or of one's own, by its description.
fn row(columns: &Columns, number: usize, record: &Map<String, Value>) -> Result<DatasetRow, (String, String, Wrong)> {
    let id = first_of(record, &columns.id).and_then(|id| as_text(&id)).unwrap_or_else(|| number.to_string());
    let subset = first_of(record, &columns.subset)
        .and_then(|name| as_text(&name))
        .or_else(|| columns.subset_otherwise.clone())
        .unwrap_or_else(|| "all".to_owned());
    completions(columns, record)
        .map(|(prompt, chosen, rejected, models)| DatasetRow {
            id: id.clone(),
            subset: subset.clone(),
            prompt,
            chosen,
            rejected,
            models,
        })
        .map_err(|wrong| (id, subset, wrong))
}

/// Refuses counts that are not those of the lists.
fn counts_agree(record: &Map<String, Value>, chosen: usize, rejected: usize) -> Result<(), Wrong> {
    for (name, count) in COUNTS.into_iter().zip([chosen, rejected, chosen + rejected]) {
        let found = record.get(name).filter(|found| !found.is_null());
        // CSV has texts alone.
        let number = |found: &Value| found.as_u64().or_else(|| found.as_str()?.trim().parse().ok());
        if let Some(found) = found.filter(|found| number(found) != Some(count as u64)) {
            return Err((format!("{name} of {count}"), shown(Some(found))));
        }
    }
    Ok(())
}

type Completions = (Vec<Turn>, Vec<String>, Vec<String>, Vec<String>);

fn completions(columns: &Columns, record: &Map<String, Value>) -> Result<Completions, Wrong> {
    let text = |names: &[String], what: &str| -> Result<Text, Wrong> {
        let value = first_of(record, names);
        let expected = || format!("{what} (a text, a list of texts or a list of messages) in {}", names.join(" or "));
        let Some(found) = value.clone() else {
            return Err((expected(), "nothing".to_owned()));
        };
        serde_json::from_value(found).map_err(|_| (expected(), shown(value.as_ref())))
    };
    let prompt = match first_of(record, &columns.prompt) {
        None => Vec::new(),
        Some(value) => {
            let text: Text = serde_json::from_value(value.clone())
                .map_err(|_| ("a prompt that is a text or a list of messages".to_owned(), shown(Some(&value))))?;
            prompt_turns(Some(text)).map_err(|found| ("a prompt".to_owned(), found))?
        }
    };
    let mut models: Vec<String> =
        columns.models.iter().filter_map(|name| lookup(record, name)).flat_map(texts).collect();
    let pair = |found: String| ("a prompt with a completion".to_owned(), found);
    let side = |text: Text| -> Result<(Option<Vec<Turn>>, Vec<String>), Wrong> {
        let all = conversations(&prompt, text).map_err(pair)?;
        let before = all.first().map(|(turns, _)| turns.clone());
        Ok((before, all.into_iter().map(|(_, completion)| completion).collect()))
    };
    let (before, mut chosen, rejected, order) = if let Some(column) = &columns.correct {
        let (before, all) = side(text(&columns.chosen, "completions")?)?;
        let flags: Vec<bool> = match lookup(record, column) {
            Some(Value::Array(flags)) => {
                flags.iter().map(|flag| flag.as_bool().or(flag.as_f64().map(|x| x > 0.0)).unwrap_or(false)).collect()
            }
            other => return Err((format!("a list of true and false in {column}"), shown(other.as_ref()))),
        };
        if flags.len() != all.len() {
            return Err((format!("as many flags in {column} as completions ({})", all.len()), flags.len().to_string()));
        }
        let places = |of: bool| (0..all.len()).filter(|&i| flags[i] == of).collect::<Vec<_>>();
        let (right, wrong) = (places(true), places(false));
        let pick = |places: &[usize]| places.iter().map(|&i| all[i].clone()).collect::<Vec<_>>();
        (before, pick(&right), pick(&wrong), Some([right, wrong].concat()))
    } else if columns.rejected.is_empty() {
        let (before, chosen) = side(text(&columns.chosen, "a completion")?)?;
        (before, chosen, Vec::new(), None)
    } else {
        let mut sides = [text(&columns.chosen, "chosen")?, text(&columns.rejected, "rejected")?];
        if let Some([column, value, other]) = &columns.chosen_if {
            let found = lookup(record, column);
            match found.as_ref().and_then(as_text) {
                Some(label) if label == *value => {}
                Some(label) if label == *other => sides.reverse(),
                _ => return Err((format!("{value} or {other} in {column}"), shown(found.as_ref()))),
            }
        }
        let [chosen, rejected] = sides;
        let ((before, chosen), (other, rejected)) = (side(chosen)?, side(rejected)?);
        if before.is_some() && other.is_some() && before != other {
            return Err(pair("chosen and rejected that answer different prompts".to_owned()));
        }
        (before, chosen, rejected, None)
    };
    let is_one_sided = columns.rejected.is_empty() && columns.correct.is_none();
    if chosen.is_empty() || (rejected.is_empty() && !is_one_sided) {
        let found = format!("{} and {}", chosen.len(), rejected.len());
        return Err(("at least one chosen and one rejected completion".to_owned(), found));
    }
    let before = before.unwrap_or_default();
    if !before.iter().any(|turn| turn.role == "user") {
        let roles: Vec<&str> = before.iter().map(|turn| turn.role.as_str()).take(5).collect();
        let found = if roles.is_empty() { "none".to_owned() } else { format!("turns of {}", roles.join(", ")) };
        return Err(("a prompt with a turn of the user".to_owned(), found));
    }
    if columns.has_counts {
        counts_agree(record, chosen.len(), rejected.len())?;
    }
    chosen.shrink_to_fit();
    let count = chosen.len() + rejected.len();
    // One column with one name is of a model that wrote them all.
    if let [column] = columns.models.as_slice()
        && let Some(Value::String(only)) = lookup(record, column)
    {
        models = vec![only; count];
    }
    let models = match (models.len() == count, order) {
        (true, Some(order)) => order.into_iter().map(|i| models[i].clone()).collect(),
        (true, None) => models,
        (false, _) => Vec::new(),
    };
    Ok((before, chosen, rejected, models))
}

/// Rows of a dataset file: parquet (only the columns and row groups that are asked for are read),
/// JSON Lines, a JSON array, or CSV with a header.
///
/// # Errors
/// [`DataError`] when the file is none of these, is damaged, lacks columns, or has a row without
/// what is asked for, or one twice.
pub async fn read_dataset(source: &Source, columns: &Columns, wanted: Rows) -> Result<Vec<DatasetRow>, DataError> {
    let mut rows: Vec<DatasetRow> = Vec::new();
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    each_record(source, columns, wanted, &mut |number, record| {
        let refuse = |subset: String, id: String, (expected, found): Wrong| DataError::Row {
            file: source.name().to_owned(),
            row: number,
            subset,
            id,
            expected,
            found,
        };
        let row = row(columns, number, record).map_err(|(id, subset, wrong)| refuse(subset, id, wrong))?;
        if !seen.insert((row.subset.clone(), row.id.clone())) {
            let wrong = ("an id once in its subset".to_owned(), "it twice".to_owned());
            return Err(refuse(row.subset, row.id, wrong));
        }
        rows.push(row);
        Ok(())
    })
    .await?;
    wanted.refuse_none(source.name(), rows.len())?;
    Ok(rows)
}

/// Takes a row with its number.
type Take<'a> = dyn FnMut(usize, &Map<String, Value>) -> Result<(), DataError> + 'a;

/// Hands on each of some rows of a file in turn, with its number from 1.
async fn each_record(source: &Source, columns: &Columns, wanted: Rows, take: &mut Take<'_>) -> Result<(), DataError> {
    let mut take = |number: usize, record: &Map<String, Value>| match wanted.has(number) {
        true => take(number, record),
        false => Ok(()),
    };
    if is_parquet(source).await? {
        let mut batches = parquet_file::Batches::open_with(source, wanted, &|found| {
            let wanted = columns.wanted(found.iter().copied());
            require(source, columns, found)?;
            Ok(wanted.into_iter().map(str::to_owned).collect())
        })
        .await?;
        let mut number = wanted.first() - 1;
        while let Some(batch) = batches.next().await? {
            let records: Vec<Map<String, Value>> = serde_arrow::from_record_batch(&batch)
                .map_err(|e| format_error(source.name(), "columns of texts, numbers and lists", e.message()))?;
            for record in &records {
                number += 1;
                take(number, record)?;
            }
        }
        return Ok(());
    }
    let start = source.read(0, source.bytes().min(4096) as usize).await?;
    let first = start.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(b'[') && !source.name().ends_with(".csv") {
        let mut lines = jsonl::Lines::new(source, MAX_LINE_BYTES);
        let mut number = 0;
        while let Some((at, line)) = lines.next().await? {
            number += 1;
            if wanted.is_past(number) {
                break;
            }
            // The first tells the columns.
            if number > 1 && !wanted.has(number) {
                continue;
            }
            let Record(record) = serde_json::from_slice(&line)
                .map_err(|e| format_error(source.name(), format!("a JSON object on line {at}"), e))?;
            if number == 1 {
                require(source, columns, &record.keys().map(String::as_str).collect::<Vec<_>>())?;
            }
            take(number, &record)?;
        }
        return Ok(());
    }
    if source.bytes() > MAX_WHOLE_BYTES {
        let expected =
            format!("at most {MAX_WHOLE_BYTES} bytes of a JSON array or CSV; JSON Lines and parquet may be larger");
        return Err(format_error(source.name(), expected, format!("{} bytes", source.bytes())));
    }
    let bytes = source.read(0, source.bytes() as usize).await?;
    if first == Some(b'[') {
        let records: Vec<Record> =
            serde_json::from_slice(&bytes).map_err(|e| format_error(source.name(), "a JSON array of objects", e))?;
        if let Some(Record(record)) = records.first() {
            require(source, columns, &record.keys().map(String::as_str).collect::<Vec<_>>())?;
        }
        for (at, Record(record)) in records.iter().enumerate() {
            take(at + 1, record)?;
        }
        return Ok(());
    }
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let damaged = |e: &csv::Error| format_error(source.name(), "CSV with a header", e);
    let headers = reader.headers().map_err(|e| damaged(&e))?.clone();
    require(source, columns, &headers.iter().collect::<Vec<_>>())?;
    let twice = headers.iter().enumerate().find(|(at, name)| headers.iter().take(*at).any(|other| other == *name));
    if let Some((_, name)) = twice {
        return Err(format_error(source.name(), "a column once in CSV's header", format!("{name:?} twice")));
    }
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|e| damaged(&e))?;
        let mut cells = Map::new();
        for (name, text) in headers.iter().zip(record.iter()) {
            let value = cell(text).map_err(|found| {
                let expected =
                    format!("a text in {name} of row {}, or a list as JSON writes it ([\"a\", \"b\"])", at + 1);
                format_error(source.name(), expected, found)
            })?;
            cells.insert(name.to_owned(), value);
        }
        take(at + 1, &cells)?;
    }
    Ok(())
}

/// A cell of CSV: a text, or a list of texts or messages as JSON.
///
/// # Errors
/// With a list as Python prints it, which no text is likely to be.
fn cell(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if let Ok(Value::Array(values)) = serde_json::from_str(text) {
        let is_list = values.iter().all(Value::is_string) || values.iter().all(|value| value.get("role").is_some());
        if is_list {
            return Ok(Value::Array(values));
        }
    }
    let inner = text.trim().strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.starts_with(['\'', '"', '{']) && inner.ends_with(['\'', '"', '}'])) {
        return Err(format!("a list as Python prints it, {}", text.chars().take(40).collect::<String>()));
    }
    Ok(Value::String(text.to_owned()))
}

/// Refuses a file without the columns that every row needs.
pub(crate) fn require(source: &Source, columns: &Columns, found: &[&str]) -> Result<(), DataError> {
    let has = |name: &String| {
        name.split('/').all(|part| {
            let root = part.split('.').next().unwrap_or(part);
            found.iter().any(|column| *column == root || of_family(root, column).is_some())
        })
    };
    let mut missing: Vec<String> = Vec::new();
    let mut need = |names: &[String]| {
        if !names.is_empty() && !names.iter().any(has) {
            missing.push(names.join(" or "));
        }
    };
    need(&columns.chosen);
    if columns.needs_subset {
        need(&columns.subset);
    }
    need(&columns.rejected);
    for column in columns.chosen_if.iter().map(|[column, ..]| column).chain(&columns.correct) {
        need(std::slice::from_ref(column));
    }
    for names in &columns.must_have {
        need(names);
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::Columns {
        file: source.name().to_owned(),
        missing: missing.join(", "),
        found: match found {
            [] => "none".to_owned(),
            found => found.iter().take(40).copied().collect::<Vec<_>>().join(", "),
        },
    })
}
