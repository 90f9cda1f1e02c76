//! Reads and writes rows in RewardBench 2's official schema. Reading is strict. The bundled sample has such rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rewardscope_store::{ByteStream, Source};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{DataError, Opening, Reader, Rows, format_error};

/// A row in RewardBench 2's official schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The item's id, unique only together with `subset`.
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
    /// Further texts about the row. The official rows also have numbers, lists and nulls here, which are left out. Not
    /// read from parquet, where its form differs by dataset.
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

/// The columns that [`read_rows`] needs; the file may have more.
pub const COLUMNS: [&str; 8] =
    ["id", "prompt", "chosen", "rejected", "num_correct", "num_incorrect", "total_completions", "subset"];

/// Reads rows of a file, whatever its form.
///
/// # Errors
/// [`DataError`] when the file holds no rows, is damaged, lacks columns, or has a row that contradicts itself.
pub async fn read_rows(source: &Source, rows: Rows) -> Result<Vec<Row>, DataError> {
    let opening = Opening { rows, ..Opening::default() };
    let mut reader = Reader::open(ByteStream::of(source), opening).await?;
    let found: Vec<&str> = reader.columns().iter().map(|column| column.name.as_str()).collect();
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|name| !found.contains(name)).collect();
    if !missing.is_empty() && !found.is_empty() {
        return Err(DataError::Columns {
            file: source.name().to_owned(),
            missing: missing.join(", "),
            found: found.join(", "),
        });
    }
    let wanted = COLUMNS.into_iter().chain(["models"]).map(str::to_owned);
    reader.select(&wanted.collect::<Vec<_>>())?;
    let mut all = Vec::new();
    while let Some(few) = reader.next().await? {
        for row in few.rows {
            let damaged = |found: String| {
                format_error(source.name(), format!("a RewardBench 2 row as row {}", row.number), found)
            };
            let record = row.record.map_err(damaged)?;
            all.push(serde_json::from_value(record.into()).map_err(|e| damaged(e.to_string()))?);
        }
    }
    rows.refuse_none(source.name(), all.len())?;
    check(source.name(), rows.first(), &all)?;
    Ok(all)
}

fn check(file: &str, first: usize, rows: &[Row]) -> Result<(), DataError> {
    let mut seen = BTreeSet::new();
    for (position, row) in rows.iter().enumerate() {
        let refuse = |expected: String, found: String| DataError::Row {
            file: file.to_owned(),
            row: first + position,
            expected,
            found: format!("{found} in {}/{}", row.subset, row.id),
            reason: crate::Reason::Counts,
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

/// Writes rows as the bytes of a parquet file in the official schema; `additional_metadata` is a struct of texts. The
/// same rows give the same bytes.
///
/// # Errors
/// When a row cannot be written. The error names no file: the rows come from memory.
pub fn to_parquet(rows: &[Row]) -> Result<Vec<u8>, DataError> {
    let failed = |e: &dyn std::fmt::Display| format_error("the rows to write", "rows that parquet holds", e);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let texts = |name: &str| {
        let item = Field::new("item", DataType::Utf8, false);
        Field::new(name, DataType::List(Arc::new(item)), false)
    };
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let keys: BTreeSet<&String> =
        rows.iter().filter_map(|row| row.additional_metadata.as_ref()).flat_map(|m| m.keys()).collect();
    let mut fields = vec![
        text("id"),
        text("prompt"),
        texts("chosen"),
        texts("rejected"),
        number("num_correct"),
        number("num_incorrect"),
        number("total_completions"),
        texts("models"),
        text("subset"),
    ];
    if !keys.is_empty() {
        let keys = keys.into_iter().map(|key| Field::new(key, DataType::Utf8, true)).collect::<Vec<_>>();
        fields.push(Field::new("additional_metadata", DataType::Struct(keys.into()), true));
    }
    let fields: Vec<FieldRef> = fields.into_iter().map(Arc::new).collect();
    let arrays = serde_arrow::to_arrow(&fields, rows).map_err(|e| failed(&e))?;
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| failed(&e))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(|e| failed(&e))?;
    writer.write(&batch).and_then(|()| writer.close()).map_err(|e| failed(&e))?;
    Ok(bytes)
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
            ("rows.parquet", b"PAX1 and more".to_vec(), "PAR1"),
            ("rows.parquet", good[..good.len() - 20].to_vec(), "a whole parquet file"),
            ("rows.parquet", good[..6].to_vec(), "a whole parquet file"),
            ("rows.jsonl", b"{\"id\": 3}".to_vec(), "columns prompt"),
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
