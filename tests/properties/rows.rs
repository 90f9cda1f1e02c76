//! Files of rows: the same rows in every form, and no bytes stop the reader.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use pollster::block_on;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rewardscope_data::{Opening, Reader, Row, Rows, read_rows, to_parquet};
use rewardscope_store::{ByteStream, Source};
use serde_json::{Map, Value};

use crate::cases;

type Records = Vec<Result<Map<String, Value>, String>>;

fn read(name: &str, bytes: Vec<u8>) -> Result<Records, String> {
    block_on(async {
        let source = Source::memory(name, bytes);
        let mut reader = Reader::open(ByteStream::of(&source), Opening::default()).await.map_err(|e| e.to_string())?;
        let mut records = Vec::new();
        while let Some(few) = reader.next().await.map_err(|e| e.to_string())? {
            records.extend(few.rows.into_iter().map(|row| row.record));
        }
        Ok(records)
    })
}

/// Text as people write it, and as they do not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 .,?!]{0,40}", "\\PC{0,12}", "[\"'\\\\\n\r\t{}\\[\\],:\u{2028}\u{feff}é漢😀 ]{0,12}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (-1e9f64..1e9).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => vec(text().prop_map(Value::from), 0..3).prop_map(Value::from),
    ]
}

fn records() -> impl Strategy<Value = Vec<Map<String, Value>>> {
    // With a text in each: an object that holds one list alone is a table of its own.
    let record = (btree_map("[a-z]{1,5}", value(), 0..5), text());
    let record = record.prop_map(|(values, text)| {
        let mut record: Map<String, Value> = values.into_iter().collect();
        record.insert("prompt".to_owned(), text.into());
        record
    });
    vec(record, 2..8)
}

fn lines(records: &[Map<String, Value>]) -> Vec<u8> {
    records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect::<String>().into_bytes()
}

fn same(found: Records, wanted: &[Map<String, Value>]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.into_iter().zip(wanted) {
        let found = found.map_err(TestCaseError::fail)?;
        // What a line leaves out and what it calls null are the same to every later step.
        for (key, value) in wanted {
            prop_assert_eq!(found.get(key).unwrap_or(&Value::Null), value);
        }
    }
    Ok(())
}

fn official_rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (text(), vec(text(), 1..3), vec(text(), 1..4), "[A-Z][a-z]{2,8}");
    vec(row, 1..6).prop_map(|rows| {
        let row = |(at, (prompt, chosen, rejected, subset)): (usize, (String, Vec<String>, Vec<String>, String))| Row {
            id: at.to_string(),
            prompt,
            num_correct: chosen.len() as i64,
            num_incorrect: rejected.len() as i64,
            total_completions: (chosen.len() + rejected.len()) as i64,
            chosen,
            rejected,
            models: Vec::new(),
            subset,
            additional_metadata: None,
        };
        rows.into_iter().enumerate().map(row).collect()
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn json_lines_lists_and_gzip_hold_the_same_rows(records in records()) {
        let plain = lines(&records);
        same(read("rows.jsonl", plain.clone()).map_err(TestCaseError::fail)?, &records)?;
        let list = serde_json::to_vec_pretty(&records).unwrap();
        same(read("rows.json", list).map_err(TestCaseError::fail)?, &records)?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).unwrap();
        same(read("rows.jsonl.gz", packed.finish().unwrap()).map_err(TestCaseError::fail)?, &records)?;
    }

    #[test]
    fn cells_of_csv_come_back(rows in vec((text(), text()), 2..8)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["prompt", "completion"]).unwrap();
        for (prompt, completion) in &rows {
            writer.write_record([prompt, completion]).unwrap();
        }
        let found = read("rows.csv", writer.into_inner().unwrap()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(found.len(), rows.len());
        for (found, (prompt, completion)) in found.into_iter().zip(&rows) {
            let found = found.map_err(TestCaseError::fail)?;
            let cell = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            prop_assert_eq!(&cell("prompt"), prompt);
            prop_assert_eq!(&cell("completion"), completion);
        }
    }

    #[test]
    fn parquet_and_json_lines_hold_the_same_official_rows(rows in official_rows()) {
        let parquet = to_parquet(&rows).unwrap();
        let found = block_on(read_rows(&Source::memory("rows.parquet", parquet), Rows::ALL));
        prop_assert_eq!(&found.map_err(|e| TestCaseError::fail(e.to_string()))?, &rows);
        let lines: String = rows.iter().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
        let found = block_on(read_rows(&Source::memory("rows.jsonl", lines.into_bytes()), Rows::ALL));
        prop_assert_eq!(&found.map_err(|e| TestCaseError::fail(e.to_string()))?, &rows);
    }

    #[test]
    fn no_bytes_stop_the_reader(bytes in vec(any::<u8>(), 0..300), start in prop_oneof![
        Just(""), Just("PAR1"), Just("ARROW1\0\0"), Just("\u{1f}"), Just("{\"a\": ["), Just("a,b\n\""), Just("BZh9"),
    ]) {
        let _ = read("rows", [start.as_bytes(), &bytes].concat());
    }

    #[test]
    fn a_damaged_byte_is_a_row_or_a_sentence(rows in official_rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut parquet = to_parquet(&rows).unwrap();
        let place = at.index(parquet.len());
        parquet[place] = byte;
        let _ = read("rows.parquet", parquet);
    }
}
