//! Fuzzes the layouts of rows. The first line names columns as `--columns` does, or none; the rest is JSON Lines.

use rewardscope_data::{Columns, DataError, How, Opening, each_row};
use rewardscope_store::{ByteStream, Source};

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let columns: Option<Columns> = std::str::from_utf8(&bytes[..end]).ok().and_then(|text| text.parse().ok());
    let source = Source::memory("rows.jsonl", bytes[end + 1..].to_vec());
    for how in [
        How::Preferences(columns.clone()),
        How::Completions(columns.clone()),
        How::Published(columns.unwrap_or_default()),
    ] {
        let is_preference = matches!(how, How::Preferences(_));
        let _ =
            pollster::block_on(each_row(ByteStream::of(&source), &how, Opening::default(), false, async |_, row| {
                if let Ok(row) = row
                    && is_preference
                {
                    assert!(!row.chosen.is_empty() && !row.rejected.is_empty());
                    assert!(row.prompt.iter().any(|turn| turn.role == "user"));
                    assert!(!row.chosen.iter().any(|text| row.rejected.contains(text)));
                }
                Ok::<(), DataError>(())
            }));
    }
}
