//! Preference pairs in the layouts that datasets have: TRL's (`prompt` with `chosen` and
//! `rejected`, as texts or message lists), UltraFeedback's (message lists that repeat the prompt),
//! HH-RLHF's transcripts, and benchmarks' lists of completions.

use rewardscope_store::Source;
use serde::{Deserialize, Serialize};

use crate::{DataError, Rows, format_error, is_parquet, jsonl, parquet_file};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    #[serde(default)]
    pub content: String,
}

/// Two completions of a prompt, the better one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The conversation up to the completion.
    pub prompt: Vec<Turn>,
    /// The better completion.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// The part of the dataset, where it names any.
    pub subset: Option<String>,
}

/// A row as it is stored.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(default)]
    prompt: Option<Text>,
    #[serde(default)]
    chosen: Option<Text>,
    #[serde(default)]
    rejected: Option<Text>,
    #[serde(default)]
    subset: Option<Name>,
    #[serde(default)]
    category: Option<Name>,
    #[serde(default)]
    source: Option<Name>,
}

/// A subset's name, where it is a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Stored {
    fn subset(&mut self) -> Option<String> {
        let text = |name: Option<Name>| match name {
            Some(Name::Text(text)) => Some(text),
            _ => None,
        };
        text(self.subset.take()).or(text(self.category.take())).or(text(self.source.take()))
    }
}

/// What stands for a text in one dataset or another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Texts(Vec<String>),
    Turns(Vec<Turn>),
}

const REQUIRED: [&str; 2] = ["chosen", "rejected"];
const OPTIONAL: [&str; 4] = ["prompt", "subset", "category", "source"];

/// A longer line is no preference.
const MAX_LINE_BYTES: usize = 8 << 20;

/// Pairs that one row may give, and bytes of prompt that they may repeat.
const MOST_PAIRS: usize = 4096;
const MOST_PROMPT_BYTES: usize = 64 << 20;

/// What a row gives: its pairs (every chosen completion with every rejected one), or why it gives
/// none.
pub type PreferenceRow = Result<Vec<Preference>, String>;

/// Hands on each row of a parquet or JSON Lines file in turn, with its number from 1; the file is
/// never held whole.
///
/// # Errors
/// When the file is neither, is damaged or lacks columns; and whatever `take` returns.
pub async fn each_preference<E: From<DataError>>(
    source: &Source,
    mut take: impl AsyncFnMut(usize, PreferenceRow) -> Result<(), E>,
) -> Result<(), E> {
    let mut number = 0;
    if is_parquet(source).await? {
        let mut batches = parquet_file::Batches::open(source, &REQUIRED, &OPTIONAL, Rows::ALL).await?;
        while let Some(batch) = batches.next().await? {
            let rows: Vec<Stored> = serde_arrow::from_record_batch(&batch).map_err(|e| {
                format_error(source.name(), "prompt, chosen and rejected as texts or lists of messages", e.message())
            })?;
            for row in rows {
                number += 1;
                take(number, pairs(row)).await?;
            }
        }
    } else {
        let mut lines = jsonl::Lines::new(source, MAX_LINE_BYTES);
        while let Some((line_number, line)) = lines.next().await? {
            let row: serde_json::Value = serde_json::from_slice(&line).map_err(|e| {
                format_error(source.name(), format!("a preference as a JSON object on line {line_number}"), e)
            })?;
            number += 1;
            let row = serde_json::from_value(row).map_err(|_| NO_PAIR.to_owned());
            take(number, row.and_then(pairs)).await?;
        }
    }
    if number == 0 {
        return Err(format_error(source.name(), "at least one row", "none").into());
    }
    Ok(())
}

const NO_PAIR: &str = "no chosen and rejected that are texts or lists of messages";

fn user(content: String) -> Turn {
    Turn { role: "user".to_owned(), content }
}

/// The conversation that a row's prompt stands for.
pub(crate) fn prompt_turns(prompt: Option<Text>) -> Result<Vec<Turn>, String> {
    match prompt {
        None => Ok(Vec::new()),
        Some(Text::Plain(text)) => Ok(transcript(&text).unwrap_or_else(|| vec![user(text)])),
        Some(Text::Turns(turns)) => Ok(turns),
        // An empty list, as text readers see it.
        Some(Text::Texts(texts)) if texts.is_empty() => Ok(Vec::new()),
        Some(Text::Texts(_)) => Err("a prompt that is a list of texts".to_owned()),
    }
}

fn pairs(mut row: Stored) -> PreferenceRow {
    let subset = row.subset();
    let (Some(chosen), Some(rejected)) = (row.chosen, row.rejected) else {
        return Err(NO_PAIR.to_owned());
    };
    let count = |text: &Text| if let Text::Texts(texts) = text { texts.len() } else { 1 };
    let (many, others) = (count(&chosen), count(&rejected));
    let prompt = prompt_turns(row.prompt)?;
    let prompt_bytes: usize = prompt.iter().map(|turn| turn.role.len() + turn.content.len()).sum();
    let pairs = many.checked_mul(others).filter(|&pairs| pairs.max(many).max(others) <= MOST_PAIRS);
    if pairs.is_none_or(|pairs| pairs.saturating_mul(prompt_bytes) > MOST_PROMPT_BYTES) {
        return Err(format!("more than {MOST_PAIRS} pairs, or {MOST_PROMPT_BYTES} bytes of prompts, in one row"));
    }
    let chosen = conversations(&prompt, chosen)?;
    let rejected = conversations(&prompt, rejected)?;
    let mut pairs = Vec::with_capacity(chosen.len() * rejected.len());
    for (prompt, chosen) in &chosen {
        for (other, rejected) in &rejected {
            if prompt != other {
                return Err("chosen and rejected that answer different prompts".to_owned());
            }
            if !prompt.iter().any(|turn| turn.role == "user") {
                return Err("no prompt".to_owned());
            }
            pairs.push(Preference {
                prompt: prompt.clone(),
                chosen: chosen.clone(),
                rejected: rejected.clone(),
                subset: subset.clone(),
            });
        }
    }
    if pairs.is_empty() { Err(NO_PAIR.to_owned()) } else { Ok(pairs) }
}

/// Each completion in a text with the conversation before it.
pub(crate) fn conversations(prompt: &[Turn], text: Text) -> Result<Vec<(Vec<Turn>, String)>, String> {
    let mut turns = match text {
        Text::Texts(completions) => {
            return Ok(completions.into_iter().map(|completion| (prompt.to_vec(), completion)).collect());
        }
        Text::Plain(completion) if !prompt.is_empty() => return Ok(vec![(prompt.to_vec(), completion)]),
        Text::Plain(text) => transcript(&text).ok_or("neither a prompt nor a transcript of Human and Assistant")?,
        Text::Turns(turns) => turns,
    };
    match turns.pop() {
        Some(last) if last.role == "assistant" => {
            // Some layouts repeat the prompt before the answer, some go on after it.
            let repeats = turns.first().is_some_and(|first| first.role != "assistant");
            let before = if repeats || prompt.is_empty() { turns } else { [prompt, &turns].concat() };
            Ok(vec![(before, last.content)])
        }
        _ => Err("a conversation that does not end with the assistant".to_owned()),
    }
}

/// HH-RLHF's transcripts: turns that begin with `\n\nHuman: ` or `\n\nAssistant: `. An open
/// `Assistant:` at the end is the place of the completion.
fn transcript(text: &str) -> Option<Vec<Turn>> {
    const MARKS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    let begins = |at: usize| MARKS.iter().find(|(mark, _)| text[at..].starts_with(mark)).copied();
    begins(0)?;
    let mut turns = Vec::new();
    let places: Vec<usize> = text.match_indices("\n\n").map(|(at, _)| at).filter(|&at| begins(at).is_some()).collect();
    for (i, &at) in places.iter().enumerate() {
        let (mark, role) = begins(at)?;
        let end = places.get(i + 1).copied().unwrap_or(text.len());
        let content = text[at + mark.len()..end].trim().to_owned();
        if !(content.is_empty() && end == text.len() && role == "assistant") {
            turns.push(Turn { role: role.to_owned(), content });
        }
    }
    if turns.is_empty() { None } else { Some(turns) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    fn rows_of(name: &str, bytes: Vec<u8>) -> Result<Vec<PreferenceRow>, DataError> {
        let mut rows = Vec::new();
        block_on(each_preference(&Source::memory(name, bytes), async |_, row| {
            rows.push(row);
            Ok::<(), DataError>(())
        }))?;
        Ok(rows)
    }

    fn rows(lines: &str) -> Vec<PreferenceRow> {
        rows_of("pairs.jsonl", lines.as_bytes().to_vec()).expect("read")
    }

    fn simple() -> Preference {
        Preference {
            prompt: vec![user("Why?".to_owned())],
            chosen: "Because.".to_owned(),
            rejected: "No.".to_owned(),
            subset: None,
        }
    }

    #[test]
    fn every_layout_gives_the_same_pair() {
        for line in [
            r#"{"prompt":"Why?","chosen":"Because.","rejected":"No."}"#,
            r#"{"prompt":[{"role":"user","content":"Why?"}],"chosen":[{"role":"assistant","content":"Because."}],"rejected":[{"role":"assistant","content":"No."}]}"#,
            r#"{"chosen":[{"role":"user","content":"Why?"},{"role":"assistant","content":"Because."}],"rejected":[{"role":"user","content":"Why?"},{"role":"assistant","content":"No."}]}"#,
            r#"{"prompt":"Why?","prompt_id":"9","chosen":[{"role":"user","content":"Why?"},{"role":"assistant","content":"Because."}],"rejected":[{"role":"user","content":"Why?"},{"role":"assistant","content":"No."}],"score_chosen":8.0}"#,
            r#"{"chosen":"\n\nHuman: Why?\n\nAssistant: Because.","rejected":"\n\nHuman: Why?\n\nAssistant: No."}"#,
            r#"{"prompt":"\n\nHuman: Why?\n\nAssistant:","chosen":"Because.","rejected":"No."}"#,
            r#"{"prompt":"Why?","chosen":["Because."],"rejected":["No."]}"#,
        ] {
            assert_eq!(rows(line), [Ok(vec![simple()])], "{line}");
        }
    }

    #[test]
    fn several_turns_and_several_completions_are_kept() {
        let hh = r#"{"chosen":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d","rejected":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e","source":"hh"}"#;
        let found = rows(hh).remove(0).expect("a pair").remove(0);
        assert_eq!(found.prompt.iter().map(|t| t.content.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((found.chosen.as_str(), found.rejected.as_str(), found.subset.as_deref()), ("d", "e", Some("hh")));
        let lists = rows(r#"{"prompt":"p","chosen":["a","b"],"rejected":["c","d","e"]}"#).remove(0);
        assert_eq!(lists.expect("pairs").len(), 6);
    }

    #[test]
    fn a_subset_is_the_first_text_of_three_columns() {
        for (line, subset) in [
            (r#"{"prompt":"p","chosen":"a","rejected":"b","source":"s","category":"c"}"#, Some("c")),
            (r#"{"prompt":"p","chosen":"a","rejected":"b","source":"s","category":7}"#, Some("s")),
            (r#"{"prompt":"p","chosen":"a","rejected":"b","source":{"x":[1]}}"#, None),
        ] {
            assert_eq!(rows(line).remove(0).expect("a pair")[0].subset.as_deref(), subset, "{line}");
        }
    }

    #[test]
    fn a_row_that_is_no_pair_says_why() {
        let texts = vec![""; 3000];
        let many = serde_json::json!({ "prompt": "p", "chosen": texts, "rejected": texts }).to_string();
        for (line, named) in [
            (r#"{"chosen":"Because.","rejected":"No."}"#, "neither a prompt nor a transcript"),
            (r#"{"prompt":"p","chosen":3,"rejected":"No."}"#, "no chosen and rejected"),
            (r#"{"prompt":"p","chosen":"a"}"#, "no chosen and rejected"),
            (r#"{"prompt":"p","chosen":[],"rejected":["No."]}"#, "no chosen and rejected"),
            (r#"{"prompt":"p","chosen":null,"rejected":["No."]}"#, "no chosen and rejected"),
            (&many, "more than 4096 pairs"),
            (
                r#"{"chosen":[{"role":"user","content":"a"}],"rejected":[{"role":"user","content":"a"}]}"#,
                "end with the assistant",
            ),
            (
                r#"{"chosen":"\n\nHuman: a\n\nAssistant: x","rejected":"\n\nHuman: b\n\nAssistant: y"}"#,
                "different prompts",
            ),
            (
                r#"{"chosen":[{"role":"assistant","content":"a"}],"rejected":[{"role":"assistant","content":"b"}]}"#,
                "no prompt",
            ),
        ] {
            let reason = rows(line).remove(0).expect_err("no pair");
            assert!(reason.contains(named), "{line}: {reason}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_by_name_and_line() {
        for (bytes, named) in
            [("{\"prompt\":\"a\"", "line 1"), ("", "at least one row"), ("PAR1 no parquet", "a whole parquet file")]
        {
            let message = rows_of("bad.file", bytes.as_bytes().to_vec()).expect_err("refused").to_string();
            assert!(message.contains("bad.file") && message.contains(named), "{message}");
        }
    }

    #[test]
    fn parquet_gives_texts_and_messages() {
        use std::sync::Arc;

        use arrow_schema::{DataType, Field, Fields, Schema};

        fn parquet(fields: Vec<Field>, rows: &impl Serialize) -> Vec<u8> {
            let fields: Vec<Arc<Field>> = fields.into_iter().map(Arc::new).collect();
            let arrays = serde_arrow::to_arrow(&fields, rows).expect("arrays");
            let schema = Arc::new(Schema::new(fields));
            let batch = arrow_array::RecordBatch::try_new(schema.clone(), arrays).expect("batch");
            let mut bytes = Vec::new();
            let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema, None).expect("writer");
            writer.write(&batch).expect("written");
            writer.close().expect("closed");
            bytes
        }

        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let turn: Fields = vec![text("content"), text("role")].into();
        let turns = |name: &str| {
            Field::new(name, DataType::List(Arc::new(Field::new("item", DataType::Struct(turn.clone()), true))), false)
        };
        let number = Field::new("score_chosen", DataType::Float64, false);
        let plain =
            serde_json::json!([{ "prompt": "Why?", "chosen": "Because.", "rejected": "No.", "score_chosen": 1.0 }]);
        let plain = parquet(vec![text("prompt"), text("chosen"), text("rejected"), number], &plain);
        assert_eq!(rows_of("plain.parquet", plain).expect("read"), [Ok(vec![simple()])]);
        let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
        let lists = serde_json::json!([{
            "prompt": "Why?",
            "chosen": [turn("user", "Why?"), turn("assistant", "Because.")],
            "rejected": [turn("user", "Why?"), turn("assistant", "No.")],
        }]);
        let lists = parquet(vec![text("prompt"), turns("chosen"), turns("rejected")], &lists);
        assert_eq!(rows_of("lists.parquet", lists).expect("read"), [Ok(vec![simple()])]);
        let other = parquet(vec![text("question")], &serde_json::json!([{ "question": "Why?" }]));
        let message = rows_of("other.parquet", other).expect_err("refused").to_string();
        assert!(message.contains("chosen, rejected") && message.contains("question"), "{message}");
    }
}
