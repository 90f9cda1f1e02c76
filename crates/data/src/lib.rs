//! Bytes to typed rows and back: parquet by column and row group, and JSONL line by line.

mod dataset;
mod jsonl;
mod parquet_file;
mod preferences;
mod record;
mod rows;
mod sieve;

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_store::{Source, StoreError};
use serde::{Deserialize, Deserializer, Serialize};

pub use dataset::{COUNTS, Columns, DatasetRow, ScorableRow, read_dataset};
pub use parquet_file::to_parquet;
pub use preferences::{Preference, PreferenceRow, Turn, each_preference};
pub use record::Record;
pub use rows::Rows;
pub use sieve::{Kept, Stored, each_stored};

/// Why a file gave no rows. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    /// The bytes could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what its name says, or is damaged.
    #[error("reading {file}: {expected} was expected, {found} was found")]
    Format {
        /// The file's name.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Columns are missing.
    #[error(
        "reading {file}: the columns {missing} were expected, the file has {found}; is it another benchmark's, or are its columns called otherwise (--columns)?"
    )]
    Columns {
        /// The file's name.
        file: String,
        /// The columns that are missing.
        missing: String,
        /// The columns that are there.
        found: String,
    },
    /// It has none of the rows that are asked for.
    #[error("reading {file}: {rows} were expected, the file has none of them")]
    NoRows {
        /// The file's name.
        file: String,
        /// Which rows.
        rows: String,
    },
    /// A row contradicts itself or another.
    #[error("reading {file}: row {row} ({subset}/{id}): {expected} was expected, {found} was found")]
    Row {
        /// The file's name.
        file: String,
        /// The row's number, from 1.
        row: usize,
        /// Its subset.
        subset: String,
        /// Its id.
        id: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

fn format_error(file: &str, expected: impl Into<String>, found: impl ToString) -> DataError {
    DataError::Format { file: file.to_owned(), expected: expected.into(), found: found.to_string() }
}

/// A row in RewardBench 2's official schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique only together with `subset`.
    pub id: String,
    /// What the user asked.
    pub prompt: String,
    /// The correct completions.
    pub chosen: Vec<String>,
    /// The incorrect completions.
    pub rejected: Vec<String>,
    /// Length of `chosen`.
    pub num_correct: i64,
    /// Length of `rejected`.
    pub num_incorrect: i64,
    /// Length of both.
    pub total_completions: i64,
    /// The models that wrote the completions; empty where the dataset does not say.
    #[serde(default, deserialize_with = "texts_or_null")]
    pub models: Vec<String>,
    /// The part of the benchmark.
    pub subset: String,
    /// Whatever else the dataset says, as far as it is text: the official rows also have numbers,
    /// lists and nulls there. Not read from parquet, where its form differs by dataset.
    #[serde(default, deserialize_with = "texts_of", skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<BTreeMap<String, String>>,
}

fn texts_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn texts_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let all: Option<BTreeMap<String, serde_json::Value>> = Option::deserialize(deserializer)?;
    let text = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
    Ok(all.map(|all| all.into_iter().filter_map(text).collect()))
}

/// The columns that reading needs; the file may have more.
pub const COLUMNS: [&str; 8] =
    ["id", "prompt", "chosen", "rejected", "num_correct", "num_incorrect", "total_completions", "subset"];

/// A longer line is no row.
const MAX_LINE_BYTES: usize = 64 << 20;

/// Rows of a parquet or JSONL file, told apart by what the file begins with. Of parquet only the
/// row groups that `rows` lie in are read, of those only the pages where the file says where they
/// are; of JSONL what lies before them too.
///
/// # Errors
/// [`DataError`] when the file is neither, is damaged, lacks columns, or has a row that contradicts
/// itself.
pub async fn read_rows(source: &Source, rows: Rows) -> Result<Vec<Row>, DataError> {
    let found = if is_parquet(source).await? {
        parquet_file::read(source, rows).await?
    } else {
        jsonl_rows(source, rows).await?
    };
    rows.refuse_none(source.name(), found.len())?;
    check(source.name(), rows.first(), &found)?;
    Ok(found)
}

/// Told by what the file begins with; a file that only calls itself parquet is refused.
async fn is_parquet(source: &Source) -> Result<bool, DataError> {
    let start = source.read(0, source.bytes().min(4) as usize).await?;
    if start != b"PAR1" && source.name().ends_with(".parquet") {
        let found = format!("a file that begins with {:?}", String::from_utf8_lossy(&start));
        return Err(format_error(source.name(), "parquet, which begins with \"PAR1\"", found));
    }
    Ok(start == b"PAR1")
}

async fn jsonl_rows(source: &Source, wanted: Rows) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    let mut lines = jsonl::Lines::new(source, MAX_LINE_BYTES);
    let mut at = 0;
    while let Some((number, line)) = lines.next().await? {
        at += 1;
        if wanted.is_past(at) {
            break;
        }
        if !wanted.has(at) {
            continue;
        }
        rows.push(serde_json::from_slice(&line).map_err(|e| {
            format_error(source.name(), format!("a RewardBench 2 row as a JSON object on line {number}"), e)
        })?);
    }
    Ok(rows)
}

fn check(file: &str, first: usize, rows: &[Row]) -> Result<(), DataError> {
    let mut seen = BTreeSet::new();
    for (position, row) in rows.iter().enumerate() {
        let refuse = |expected: String, found: String| DataError::Row {
            file: file.to_owned(),
            row: first + position,
            subset: row.subset.clone(),
            id: row.id.clone(),
            expected,
            found,
        };
        let (chosen, rejected) = (row.chosen.len() as i64, row.rejected.len() as i64);
        if chosen == 0 || rejected == 0 {
            return Err(refuse(
                "at least one chosen and one rejected completion".to_owned(),
                format!("{chosen} and {rejected}"),
            ));
        }
        let counts = (row.num_correct, row.num_incorrect, row.total_completions);
        if counts != (chosen, rejected, chosen + rejected) {
            return Err(refuse(
                format!("num_correct, num_incorrect, total_completions of {chosen}, {rejected}, {}", chosen + rejected),
                format!("{}, {}, {}", counts.0, counts.1, counts.2),
            ));
        }
        if !seen.insert((&row.subset, &row.id)) {
            return Err(refuse("an id once in its subset".to_owned(), "it twice".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    fn row(id: &str) -> Row {
        Row {
            id: id.to_owned(),
            prompt: "Why?".to_owned(),
            chosen: vec!["Because.".to_owned()],
            rejected: vec!["No.".to_owned(), "Ünder ☀".to_owned(), String::new()],
            num_correct: 1,
            num_incorrect: 3,
            total_completions: 4,
            models: vec!["hand".to_owned()],
            subset: "Focus".to_owned(),
            additional_metadata: Some([("check".to_owned(), "none".to_owned())].into()),
        }
    }

    fn jsonl(rows: &[Row]) -> String {
        rows.iter().map(|row| serde_json::to_string(row).expect("JSON") + "\n").collect()
    }

    fn refusal(name: &str, bytes: Vec<u8>) -> String {
        block_on(read_rows(&Source::memory(name, bytes), Rows::ALL)).expect_err("refused").to_string()
    }

    #[test]
    fn parquet_gives_back_what_was_written() {
        let rows = [row("1"), row("2")];
        let bytes = to_parquet(&rows).expect("written");
        assert_eq!(bytes, to_parquet(&rows).expect("written"), "the same rows give the same bytes");
        let read = block_on(read_rows(&Source::memory("rows.parquet", bytes), Rows::ALL)).expect("read");
        let plain = rows.map(|row| Row { additional_metadata: None, ..row });
        assert_eq!(read, plain);
    }

    #[test]
    fn jsonl_gives_back_what_was_written() {
        let rows = vec![row("1"), row("2")];
        let read =
            block_on(read_rows(&Source::memory("rows.jsonl", jsonl(&rows).into_bytes()), Rows::ALL)).expect("read");
        assert_eq!(read, rows);
    }

    #[test]
    fn the_official_rows_metadata_is_no_obstacle() {
        let line = r#"{"id":"1","prompt":"p","chosen":["a"],"rejected":["b"],"num_correct":1,"num_incorrect":1,
            "total_completions":2,"models":null,"subset":"Math","additional_metadata":
            {"category":null,"index":3.0,"method":"x","instruction_id_list":["y"],"models":null}}"#;
        let line = line.replace('\n', "");
        let read = block_on(read_rows(&Source::memory("rows.jsonl", line.into_bytes()), Rows::ALL)).expect("read");
        assert_eq!(read[0].additional_metadata, Some([("method".to_owned(), "x".to_owned())].into()));
        assert!(read[0].models.is_empty());
    }

    #[test]
    fn each_kind_of_bad_file_has_its_sentence() {
        let good = to_parquet(&[row("1")]).expect("written");
        let cases = [
            ("rows.parquet", b"GGUF and more".to_vec(), "PAR1"),
            ("rows.parquet", good[..good.len() - 20].to_vec(), "a whole parquet file"),
            ("rows.parquet", good[..6].to_vec(), "a whole parquet file"),
            ("rows.jsonl", b"{\"id\": 3}".to_vec(), "line 1"),
            ("rows.jsonl", b"".to_vec(), "at least one row"),
            ("rows.jsonl", jsonl(&[row("1"), row("1")]).into_bytes(), "twice"),
            ("rows.jsonl", jsonl(&[Row { chosen: vec![], ..row("1") }]).into_bytes(), "at least one chosen"),
            ("rows.jsonl", jsonl(&[Row { num_correct: 2, ..row("1") }]).into_bytes(), "num_correct"),
        ];
        for (name, bytes, named) in cases {
            let message = refusal(name, bytes);
            assert!(message.contains(name) && message.contains(named), "{message}");
        }
    }

    #[test]
    fn some_rows_are_those_rows() {
        let rows: Vec<Row> = (1..=500).map(|id| row(&id.to_string())).collect();
        let sources = [
            Source::memory("rows.parquet", to_parquet(&rows).expect("written")),
            Source::memory("rows.jsonl", jsonl(&rows).into_bytes()),
        ];
        for source in sources {
            let ids = |text: &str| -> Vec<String> {
                let found = block_on(read_rows(&source, text.parse().expect("rows"))).expect("read");
                found.into_iter().map(|row| row.id).collect()
            };
            assert_eq!(ids("1"), ["1"]);
            assert_eq!(ids("300-302"), ["300", "301", "302"]);
            assert_eq!(ids("499-900"), ["499", "500"]);
            let message = block_on(read_rows(&source, "501-502".parse().expect("rows"))).expect_err("past the end");
            assert!(message.to_string().contains("rows 501 to 502"), "{message}");
        }
    }

    #[test]
    fn missing_columns_are_named() {
        #[derive(Serialize)]
        struct Other {
            id: String,
            text: String,
        }
        let fields: Vec<arrow_schema::FieldRef> = ["id", "text"]
            .map(|name| arrow_schema::Field::new(name, arrow_schema::DataType::Utf8, false).into())
            .to_vec();
        let rows = [Other { id: "1".to_owned(), text: "x".to_owned() }];
        let arrays = serde_arrow::to_arrow(&fields, &rows).expect("arrays");
        let schema = std::sync::Arc::new(arrow_schema::Schema::new(fields));
        let batch = arrow_array::RecordBatch::try_new(schema.clone(), arrays).expect("batch");
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema, None).expect("writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        let message = refusal("other.parquet", bytes);
        assert!(message.contains("prompt") && message.contains("id, text"), "{message}");
    }
}
