//! Files of scores: ours, the reference evaluators', and any list of rows. Marks are made anew from
//! the scores; what a file says of marks is not read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rewardscope_benchmarks::published::{Placement, placement};
use rewardscope_benchmarks::{Assessment, Benchmark, Effort, MarkError, Marks, ScoredItem, Variant, assess, marks};
use rewardscope_data::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run_file::RunFile;
use crate::{ScoredRow, Shortfall};

/// Why a file gave no scores.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum ScoreFileError {
    /// It is none of the forms that are known.
    #[error(
        "reading {file}: a score file was expected (JSON Lines or a JSON array of rows with scores and num_correct, the reference evaluator's object of parallel arrays, or a run file), {found} was found"
    )]
    Format {
        /// The file.
        file: String,
        /// What is there.
        found: String,
    },
    /// A summary has marks that cannot be.
    #[error("reading {file}: a summary with each subset's mark once, from 0 to 1, was expected, {found} was found")]
    Summary {
        /// The file.
        file: String,
        /// What is there.
        found: String,
    },
    /// A row has not what it needs.
    #[error("reading {file}: row {row}: {expected} was expected, {found} was found")]
    Row {
        /// The file.
        file: String,
        /// From 1.
        row: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A run that strict marking refuses.
    #[error("marking {file}: scores of whole texts were expected for every item, {found}")]
    Incomplete {
        /// The file.
        file: String,
        /// What is missing or cut.
        found: String,
    },
    /// Its rows cannot be marked.
    #[error("marking {file}: {reason}")]
    Mark {
        /// The file.
        file: String,
        /// Why not.
        reason: MarkError,
    },
}

/// What lengths of completions are counted in. The prompt is the same in all of an item's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// The model's tokens of the conversation.
    Tokens,
    /// Characters of the text that a file of scores has.
    Characters,
}

/// What a score file may be as a whole.
enum Top {
    Object(Record),
    Array(Vec<Record>),
}

impl Top {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        match text.starts_with('[') {
            true => serde_json::from_str(text).map(Self::Array),
            false => serde_json::from_str(text).map(Self::Object),
        }
    }
}

/// Whether a text is one object over several lines, not one a line.
fn is_one_object(text: &str) -> bool {
    text.lines().next().is_some_and(|first| first.trim() == "{")
}

/// The text with the numbers that Python writes and JSON has not as texts: NaN, Infinity, -Infinity.
fn python_numbers(text: &str) -> Cow<'_, str> {
    const NUMBERS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    // Where they may begin, and what begins, ends or hides in a text.
    let marks: &[char] = &['"', '\\', 'N', 'I', '-'];
    let mut out = String::new();
    let (mut written, mut at, mut is_text) = (0, 0, false);
    while let Some(found) = text[at..].find(marks) {
        at += found;
        let rest = &text[at..];
        let number = NUMBERS.iter().find(|number| !is_text && rest.starts_with(**number));
        at += match (number, rest.chars().next()) {
            (Some(number), _) => {
                out.push_str(&text[written..at]);
                out.push_str(&format!("\"{number}\""));
                written = at + number.len();
                number.len()
            }
            // What is escaped ends no text.
            (None, Some('\\')) => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, mark) => {
                is_text ^= mark == Some('"');
                1
            }
        };
    }
    if written == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[written..]);
    Cow::Owned(out)
}

/// The scores of a file, with what it says beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreFile {
    /// Its name.
    pub name: String,
    /// The model that it says scored, where it does.
    pub model: Option<String>,
    /// Scored items.
    pub rows: Vec<ScoredRow>,
    /// A length of each completion, where the file has them or its texts.
    pub lengths: Option<Vec<Vec<f64>>>,
    /// What those are counted in.
    pub length_unit: LengthUnit,
    /// Who wrote the completions of each item, where the file says.
    pub models: Vec<Vec<String>>,
    /// The run, where it is a run file.
    pub run: Option<Box<RunFile>>,
}

impl ScoreFile {
    /// Reads a file, whichever its form.
    ///
    /// # Errors
    /// With the row and what is wrong with it.
    pub fn read(name: &str, text: &str) -> Result<Self, ScoreFileError> {
        let unknown = |found: String| ScoreFileError::Format { file: name.to_owned(), found };
        let trimmed = text.trim_start_matches('\u{feff}').trim_start();
        let mut model = None;
        let readable = python_numbers(trimmed);
        let trimmed: &str = &readable;
        let records: Vec<Map<String, Value>> = match Top::read(trimmed) {
            Ok(Top::Object(Record(object))) if RunFile::is(&object) => {
                let run: RunFile = serde_json::from_value(Value::Object(object)).map_err(|e| unknown(e.to_string()))?;
                return Self::of_run(name, run);
            }
            Ok(Top::Object(Record(object))) => {
                model = object.get("model").and_then(Value::as_str).map(str::to_owned);
                if is_one_row(&object) { vec![object] } else { parallel(name, &object)? }
            }
            Ok(Top::Array(records)) => records.into_iter().map(|Record(record)| record).collect(),
            Err(_) if !trimmed.starts_with(['{', '[']) => {
                return Err(unknown(format!("{:?}", trimmed.chars().take(40).collect::<String>())));
            }
            // An array, and an object over several lines, are one piece of JSON.
            Err(error) if trimmed.starts_with('[') || is_one_object(trimmed) => return Err(unknown(error.to_string())),
            Err(_) => {
                let lines = trimmed.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                let parse = |(number, line): (usize, &str)| {
                    serde_json::from_str(line).map(|Record(record)| record).map_err(|e| ScoreFileError::Row {
                        file: name.to_owned(),
                        row: number + 1,
                        expected: "a JSON object".to_owned(),
                        found: e.to_string(),
                    })
                };
                lines.map(parse).collect::<Result<_, _>>()?
            }
        };
        let mut rows = Vec::with_capacity(records.len());
        for (at, record) in records.iter().enumerate() {
            rows.push(scored_row(record).map_err(|(expected, found)| ScoreFileError::Row {
                file: name.to_owned(),
                row: at + 1,
                expected,
                found,
            })?);
        }
        let lengths = records.iter().zip(&rows).map(|(record, row)| text_lengths(record, row)).collect();
        let length_unit = LengthUnit::Characters;
        Self { name: name.to_owned(), model, rows, lengths, length_unit, models: Vec::new(), run: None }.checked()
    }

    /// The scores of a run.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_run(name: &str, run: RunFile) -> Result<Self, ScoreFileError> {
        let scored = || run.items.iter().filter(|item| item.error.is_none());
        Self {
            name: name.to_owned(),
            model: Some(run.protocol.head.clone().unwrap_or_else(|| run.protocol.model.clone())),
            rows: scored().map(|item| item.row.clone()).collect(),
            lengths: Some(scored().map(|item| item.lengths()).collect()),
            length_unit: LengthUnit::Tokens,
            models: scored().map(|item| item.models.clone()).collect(),
            run: Some(Box::new(run.clone())),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ScoreFileError> {
        let refuse = |at: usize, expected: &str, found: String| ScoreFileError::Row {
            file: self.name.clone(),
            row: at + 1,
            expected: expected.to_owned(),
            found,
        };
        if self.rows.is_empty() {
            return Err(ScoreFileError::Format { file: self.name, found: "no rows".to_owned() });
        }
        let mut seen = BTreeSet::new();
        for (at, row) in self.rows.iter().enumerate() {
            let which = format!("{}/{}", row.subset, row.id);
            if row.num_correct == 0 || row.num_correct >= row.scores.len() {
                return Err(refuse(
                    at,
                    "num_correct of at least 1 and less than the number of scores",
                    format!("num_correct {} with {} scores ({which})", row.num_correct, row.scores.len()),
                ));
            }
            if !seen.insert((&row.subset, &row.id)) {
                return Err(refuse(at, "an id once in its subset", format!("{which} twice")));
            }
        }
        Ok(self)
    }

    /// Where the overall mark stands among published ones; under what it came about is unknown where
    /// the file is no run.
    pub fn placement(&self, assessment: &Assessment) -> Option<Placement> {
        let under = self.run.as_ref().map(|run| run.protocol.made_under()).unwrap_or_default();
        placement(&assessment.benchmark, assessment.items, assessment.overall.as_ref()?.score, &under)
    }

    /// Whether the sigmoid of a score difference is known to be a Bradley-Terry probability.
    pub(crate) fn is_bradley_terry(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.protocol.is_bradley_terry)
    }

    /// The rows as the benchmarks take them.
    pub fn items(&self) -> Vec<ScoredItem<'_>> {
        self.rows.iter().map(ScoredRow::as_item).collect()
    }

    /// Marks with what they are worth.
    ///
    /// # Errors
    /// When a row cannot be marked.
    pub fn assess(
        &self,
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        seed: u64,
        strict: bool,
    ) -> Result<Assessment, ScoreFileError> {
        let shortfall = self.run.as_ref().map(|run| run.shortfall());
        if let Some(Shortfall { items, missing, cut }) = shortfall.filter(|of| strict && (of.missing > 0 || of.cut > 0))
        {
            let found = match (missing, cut) {
                (0, cut) => format!("{cut} of {items} items have a completion that was cut at the context's end"),
                (missing, _) => format!("{missing} of {items} items have none"),
            };
            return Err(ScoreFileError::Incomplete { file: self.name.clone(), found });
        }
        let mut assessment =
            assess(benchmark, variant, &self.items(), self.lengths.as_deref(), seed, strict, Effort::FULL)
                .map_err(|reason| ScoreFileError::Mark { file: self.name.clone(), reason })?;
        if let Some(shortfall) = shortfall {
            shortfall.qualify(&mut assessment);
        }
        Ok(assessment)
    }

    /// Marks alone, with those of the items and the parts of Ties.
    ///
    /// # Errors
    /// When a row cannot be marked.
    pub fn marks(&self, benchmark: &'static Benchmark, variant: &'static Variant) -> Result<Marks, ScoreFileError> {
        marks(benchmark, variant, &self.items())
            .map_err(|reason| ScoreFileError::Mark { file: self.name.clone(), reason })
    }
}

/// A single row has its own numbers where parallel arrays have lists of them.
fn is_one_row(object: &Map<String, Value>) -> bool {
    ["num_correct", "label"].iter().any(|name| object.get(*name).is_some_and(|value| !value.is_array()))
        || object.get("id").is_some_and(|id| !id.is_array())
}

/// The reference evaluator's object of parallel arrays, as rows.
fn parallel(file: &str, object: &Map<String, Value>) -> Result<Vec<Map<String, Value>>, ScoreFileError> {
    let arrays: Vec<(&String, &Vec<Value>)> =
        object.iter().filter_map(|(name, value)| Some((name, value.as_array()?))).collect();
    let rows = arrays.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
    if arrays.is_empty() {
        let found = format!("an object of {}", object.keys().take(20).cloned().collect::<Vec<_>>().join(", "));
        return Err(ScoreFileError::Format { file: file.to_owned(), found });
    }
    if let Some((name, values)) = arrays.iter().find(|(_, values)| values.len() != rows) {
        return Err(ScoreFileError::Format {
            file: file.to_owned(),
            found: format!("arrays of {rows} values and {} in {name}", values.len()),
        });
    }
    // Its texts are as large as the dataset, and only their lengths are needed.
    let value = |name: &str, value: &Value| match name.starts_with("text") {
        true => characters(value),
        false => value.clone(),
    };
    // One subset may be said once for all.
    let one =
        object.get("subset").filter(|subset| subset.is_string()).map(|subset| ("subset".to_owned(), subset.clone()));
    let row = |at: usize| {
        let of_row = arrays.iter().map(|(name, values)| ((*name).clone(), value(name, &values[at])));
        one.clone().into_iter().chain(of_row).collect()
    };
    Ok((0..rows).map(row).collect())
}

/// Texts replaced by the number of their characters.
fn characters(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.chars().count()),
        Value::Array(values) => Value::Array(values.iter().map(characters).collect()),
        other => other.clone(),
    }
}

/// The characters of each completion's text, in the order of its scores, where a record has them: one
/// `text` a score, or those of the chosen and of the rejected apart.
fn text_lengths(record: &Map<String, Value>, row: &ScoredRow) -> Option<Vec<f64>> {
    fn flat(value: &Value, into: &mut Vec<f64>) -> Option<()> {
        match characters(value) {
            Value::Array(values) => values.iter().try_for_each(|value| flat(value, into)),
            count => {
                into.push(count.as_f64()?);
                Some(())
            }
        }
    }
    let mut lengths = Vec::new();
    match record.get("text") {
        Some(texts) => flat(texts, &mut lengths)?,
        None => ["text_chosen", "text_rejected"].iter().try_for_each(|name| flat(record.get(*name)?, &mut lengths))?,
    }
    (lengths.len() == row.scores.len()).then_some(lengths)
}

/// A score, a list of one, or the name of what JSON cannot write.
fn score(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Array(values) => match values.as_slice() {
            [only] => score(only),
            _ => None,
        },
        Value::String(name) => match name.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

type Wrong = (String, String);

fn scores(name: &str, value: &Value) -> Result<Vec<f64>, Wrong> {
    let wrong = |found: &Value| (format!("numbers in {name}"), format!("{found:.60}"));
    match value {
        Value::Array(values) => values.iter().map(|value| score(value).ok_or_else(|| wrong(value))).collect(),
        one => Ok(vec![score(one).ok_or_else(|| wrong(one))?]),
    }
}

fn text(record: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match record.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A row of scores in one of the forms that evaluators write: scores with the correct ones first;
/// scores of the chosen and of the rejected apart (RewardBench, RM-Bench, RMB); a pair with a label
/// (JudgeBench).
fn scored_row(record: &Map<String, Value>) -> Result<ScoredRow, Wrong> {
    const IDS: [&str; 4] = ["id", "pair_id", "pair_uid", "bon_uid"];
    let id = text(record, &IDS).filter(|id| !id.trim().is_empty()).ok_or_else(|| {
        let found = IDS.iter().find_map(|name| record.get(*name));
        (
            "an id that is a text or a number".to_owned(),
            found.map_or_else(|| "none".to_owned(), |found| format!("{found:.60}")),
        )
    })?;
    let subset = text(record, &["subset", "domain", "category_path", "source"]).unwrap_or_else(|| "all".to_owned());
    if let Some(all) = record.get("scores") {
        let scores = scores("scores", all)?;
        let num_correct = match record.get("num_correct") {
            Some(count) => {
                count.as_u64().ok_or_else(|| ("a count in num_correct".to_owned(), format!("{count:.40}")))?
            }
            None => {
                return Err((
                    "num_correct, how many of the scores are correct completions'".to_owned(),
                    "none".to_owned(),
                ));
            }
        };
        return Ok(ScoredRow { id, subset, num_correct: num_correct as usize, scores });
    }
    let sides =
        [["score_chosen", "scores_chosen", "chosen_reward"], ["score_rejected", "scores_rejected", "reject_reward"]]
            .map(|names| names.iter().find_map(|name| Some((*name, record.get(*name)?))));
    if let [Some((name, chosen)), Some((other, rejected))] = sides {
        let chosen = scores(name, chosen)?;
        let num_correct = chosen.len();
        return Ok(ScoredRow { id, subset, num_correct, scores: [chosen, scores(other, rejected)?].concat() });
    }
    if let (Some(label), Some(game)) =
        (text(record, &["label"]), record.get("judgments").and_then(|games| games.get(0)))
    {
        let found = game.get("judgment").and_then(|judgment| judgment.get("scores"));
        let found = found.ok_or_else(|| {
            ("a reward model's two scores in judgments[0].judgment.scores".to_owned(), "none".to_owned())
        })?;
        let mut scores = scores("judgments[0].judgment.scores", found)?;
        match label.as_str() {
            "A>B" => {}
            "B>A" => scores.reverse(),
            other => return Err(("A>B or B>A in label".to_owned(), format!("{other:?}"))),
        }
        return Ok(ScoredRow { id, subset, num_correct: 1, scores });
    }
    let found = record.keys().take(20).cloned().collect::<Vec<_>>().join(", ");
    Err(("scores, or score_chosen and score_rejected".to_owned(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_has_not_become_texts_and_texts_stay() {
        for (text, read) in [
            (r#"[NaN, -Infinity, Infinity, -1]"#, r#"["NaN", "-Infinity", "Infinity", -1]"#),
            (r#"{"NaN": "-Infinity, \"NaN", "ü\\": NaN}"#, r#"{"NaN": "-Infinity, \"NaN", "ü\\": "NaN"}"#),
        ] {
            assert_eq!(python_numbers(text), read);
        }
        assert!(matches!(python_numbers(r#"{"scores": ["NaN", -2, "I"]}"#), Cow::Borrowed(_)));
    }
}
