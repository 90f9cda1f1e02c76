//! Times the reading of preferences. Arguments are files and folders; prints one line of JSON for each.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use pollster::block_on;
use rewardscope_data::{DataError, How, Opening, each_row};
use rewardscope_store::{ByteStream, Source};

fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The process's peak memory in bytes, as Linux counts it.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn main() {
    for argument in std::env::args().skip(1) {
        let started = Instant::now();
        let (mut rows, mut bytes) = (0usize, 0usize);
        for file in files(Path::new(&argument)) {
            let source = Source::file(&file).unwrap();
            let how = How::Preferences(None);
            let report = block_on(each_row(ByteStream::of(&source), &how, Opening::default(), true, async |_, row| {
                // Reading is strict: a faulty row has ended it with an error.
                let row = row.unwrap();
                rows += 1;
                bytes += row.prompt[0].content.len() + row.chosen[0].len() + row.rejected[0].len();
                Ok::<(), DataError>(())
            }));
            report.unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{}",
            serde_json::json!({"rows": rows, "text_bytes": bytes, "seconds": seconds, "peak_bytes": peak_bytes()})
        );
    }
}
