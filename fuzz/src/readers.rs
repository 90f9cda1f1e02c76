//! Fuzzes the readers of files of rows. The first byte chooses the file's name and the options; the rest is the file.

use rewardscope_data::{DataError, How, NonFinite, Opening, Reader, each_row};
use rewardscope_store::{ByteStream, Source};

const NAMES: [&str; 8] =
    ["rows", "rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.arrow", "rows.jsonl.gz"];

/// Most rows that are read from a file: a few compressed bytes may hold millions.
const MOST: usize = 10_000;

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let source = Source::memory(NAMES[usize::from(first) % NAMES.len()], rest.to_vec());
    let is_named = first & 64 == 0;
    let opening = Opening {
        rows: if first & 32 == 0 { rewardscope_data::Rows::ALL } else { "2-3".parse().expect("rows") },
        non_finite: if is_named { NonFinite::Named } else { NonFinite::Null },
        split: (first & 16 != 0).then(|| "train".to_owned()),
        is_whole: first & 128 != 0,
        with_stored: first & 8 != 0,
    };
    pollster::block_on(async {
        if let Ok(mut reader) = Reader::open(ByteStream::of(&source), opening.clone()).await {
            let mut rows = 0;
            while let Ok(Some(few)) = reader.next().await {
                assert!(!few.rows.is_empty());
                rows += few.rows.len();
                if rows > MOST {
                    return;
                }
            }
        }
        let _ = each_row(ByteStream::of(&source), &How::Preferences(None), opening, false, async |_, _| {
            Ok::<(), DataError>(())
        })
        .await;
    });
}
