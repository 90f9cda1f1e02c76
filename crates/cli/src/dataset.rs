//! Opens the rows that a command names, and reports the rows that were skipped.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_benchmarks::reward_bench_2;
use rewardscope_engine::Cancel;
use rewardscope_eval::{
    Asked, Dataset, DatasetColumns, Reading, Rows, Skipped, open_remote_dataset, read_items, rows_of_folder,
};
use rewardscope_store::{FetchProgress, Source, Store, is_address};

use crate::model::Named;
use crate::{marking, model, progress};

/// The sample dataset that the page bundles, as parquet.
pub const SAMPLE: &[u8] = include_bytes!("../../../sample/sample.parquet");

/// Options for reading rows, shared by every command that takes rows.
#[derive(Args, Default)]
pub struct RowOptions {
    /// Columns that hold an item's fields, such as prompt=question,chosen=better,rejected=worse
    ///
    /// Pairs of FIELD=COLUMN separated by commas or spaces, or a JSON object. The fields are prompt, chosen, rejected,
    /// id, subset, system, context and models. Further fields say which completion is the better one:
    /// `chosen_if=COLUMN:VALUE:OTHER[:TIE]`, signed, index, ranks, scores, correct and label. A column name may lead into
    /// objects (`chosen.answer`) or stand for numbered columns (`response_*`).
    #[arg(long, value_name = "COLUMNS")]
    pub columns: Option<DatasetColumns>,
    /// Split to read, where a folder, a Hub repository or a JSON object has several
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Write the skipped rows to this file
    ///
    /// The file is JSON Lines with the fields file, row, reason and detail.
    #[arg(long, value_name = "FILE")]
    pub bad_rows: Option<PathBuf>,
}

/// Most skipped rows that are printed; the others are only counted.
const SENTENCES: usize = 5;

impl RowOptions {
    /// Prints the first skipped rows with their reasons, and writes all of them to the file of `--bad-rows`.
    pub fn tell(&self, skipped: &[Skipped]) -> anyhow::Result<()> {
        for row in skipped.iter().take(SENTENCES) {
            eprintln!("{}, row {}: {}", row.file, row.row, row.detail);
        }
        if skipped.len() > SENTENCES && self.bad_rows.is_none() {
            eprintln!("… and {} more; --bad-rows FILE lists them", skipped.len() - SENTENCES);
        }
        let mut list = BadRows::create(self.bad_rows.as_deref());
        skipped.iter().for_each(|row| list.push(row));
        list.finish()
    }
}

/// The file of `--bad-rows`: one JSON line for each skipped row. Without a path nothing is written. A failed write is
/// reported by [`Self::finish`].
pub struct BadRows<'a> {
    place: Option<&'a Path>,
    lines: Vec<u8>,
    file: Option<std::fs::File>,
    failed: Option<std::io::Error>,
}

impl<'a> BadRows<'a> {
    /// Creates the file, if a path is given.
    pub fn create(place: Option<&'a Path>) -> Self {
        let (mut file, mut failed) = (None, None);
        if let Some(place) = place {
            match std::fs::File::create(place) {
                Ok(created) => file = Some(created),
                Err(error) => failed = Some(error),
            }
        }
        Self { place, lines: Vec::new(), file, failed }
    }

    /// Adds a skipped row.
    pub fn push(&mut self, row: &Skipped) {
        if self.file.is_some() && serde_json::to_writer(&mut self.lines, row).is_ok() {
            self.lines.push(b'\n');
            if self.lines.len() > 1 << 16 {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&self.lines)
        {
            self.failed = Some(error);
        }
        self.lines.clear();
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// When the file could not be created or written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.flush();
        match (self.failed, self.place) {
            (Some(error), Some(place)) => Err(error).with_context(|| format!("writing {}", place.display())),
            _ => Ok(()),
        }
    }
}

/// Options for a benchmark and its rows.
#[derive(Args)]
pub struct Data {
    #[command(flatten)]
    pub which: marking::Which,
    /// Rows to read: a file, a folder, an address, a Hub id or `-` [default: the bundled sample]
    ///
    /// A file is parquet, Arrow, JSON Lines, JSON, CSV or TSV, also compressed as .gz, .zst or .bz2. An address begins
    /// with https://, a Hub id is `OWNER/NAME[@REVISION][:FILE]`, and `-` is standard input. Repeat the option to read
    /// several inputs as one dataset.
    #[arg(long)]
    data: Vec<String>,
    #[command(flatten)]
    pub rows: RowOptions,
}

impl Data {
    /// Reads the items in `rows` of each file, and gives them with their sources. Prints remarks and skipped rows on
    /// standard error.
    ///
    /// # Errors
    /// When rows cannot be opened or read, or a benchmark without a bundled sample is asked for without `--data`.
    pub async fn items(&self, reading: Reading, rows: Rows, is_strict: bool) -> anyhow::Result<(Vec<Source>, Dataset)> {
        let mut sources = Vec::new();
        for name in &self.data {
            sources.extend(datasets(name, reading, self.rows.split.as_deref()).await?);
        }
        let mut benchmark = self.which.asked()?;
        if sources.is_empty() {
            let asked = benchmark.unwrap_or(&reward_bench_2::BENCHMARK);
            if asked.name != reward_bench_2::NAME {
                bail!(
                    "opening rows of {}: no sample of it is bundled; name its rows with --data FILE, an address or OWNER/NAME:FILE{}",
                    asked.title,
                    if asked.rows_at.is_empty() { String::new() } else { format!(" (they are at {})", asked.rows_at) }
                )
            }
            eprintln!(
                "Using the bundled sample, which is not RewardBench 2; --data allenai/reward-bench-2 takes the official rows."
            );
            sources.push(Source::memory("the bundled sample", SAMPLE));
            benchmark = Some(asked);
        }
        let asked = Asked {
            benchmark,
            columns: self.rows.columns.clone(),
            rows: Some(rows),
            split: self.rows.split.clone(),
            is_strict,
        };
        let dataset = read_items(&sources, &asked).await?;
        for remark in &dataset.remarks {
            eprintln!("{remark}");
        }
        self.rows.tell(&dataset.skipped)?;
        Ok((sources, dataset))
    }
}

/// The files of rows that a name stands for: a file on disk, standard input (`-`), the files that a pattern matches
/// (`rows/*.parquet`) or a folder's, in the order of their paths, an address, or a Hub dataset's files. `split` chooses
/// among several splits.
pub async fn datasets(name: &str, reading: Reading, split: Option<&str>) -> anyhow::Result<Vec<Source>> {
    if name == "-" {
        return Ok(vec![Source::file_or_pipe(Path::new("-"))?]);
    }
    if is_pattern(name) {
        return matching(name)?.iter().map(|path| Ok(Source::file(path)?)).collect();
    }
    if !is_address(name) {
        match model::named(name)? {
            Named::File(path) => return Ok(vec![Source::file_or_pipe(&path)?]),
            Named::Folder(folder) => return in_folder(&folder, split),
            Named::Hub(_) => {}
        }
    }
    let store = Store::from_environment()?;
    let bar = ProgressBar::new(0).with_style(progress::bytes_style()?);
    let cancel = Cancel::default();
    let mut tell = |now: FetchProgress| progress::bytes_bar(&bar, &now);
    let sources = open_remote_dataset(&store, name, reading, split, &cancel, &mut tell).await;
    bar.finish_and_clear();
    Ok(sources?)
}

/// Whether a name is a pattern of paths, and no path itself.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[']) && !is_address(name) && !Path::new(name).exists()
}

/// The files that a pattern matches, in the order of their paths.
///
/// # Errors
/// When it is no pattern, there are none, or a folder cannot be read.
pub fn matching(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let opening = || format!("opening {pattern}");
    let mut paths = Vec::new();
    for path in glob::glob(pattern).with_context(opening)? {
        let path = path.with_context(opening)?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    match paths.is_empty() {
        true => bail!("{}: no file has a name of this pattern", opening()),
        false => Ok(paths),
    }
}

fn in_folder(folder: &Path, split: Option<&str>) -> anyhow::Result<Vec<Source>> {
    let mut paths = Vec::new();
    files_in(folder, folder, &mut paths).with_context(|| format!("listing {}", folder.display()))?;
    paths.sort();
    let (rows, passed) = rows_of_folder(&folder.display().to_string(), &paths, split)?;
    if !passed.is_empty() {
        let names = passed.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        eprintln!("{}: {} files skipped ({names})", folder.display(), passed.len());
    }
    rows.iter().map(|path| Ok(Source::file(&folder.join(path))?)).collect()
}

/// Lists the files below a folder by their paths in it. Links to folders are not followed, because they may form a
/// loop.
fn files_in(root: &Path, folder: &Path, paths: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            files_in(root, &path, paths)?;
        } else if let Ok(inner) = path.strip_prefix(root) {
            paths.push(inner.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
