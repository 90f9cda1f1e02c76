//! Where a command's rows come from, how they are read, and what is said of those that are not.

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

/// The sample that the page bundles.
pub const SAMPLE: &[u8] = include_bytes!("../../../sample/sample.parquet");

/// How rows are read, in every command that takes rows.
#[derive(Args, Default)]
pub struct RowOptions {
    /// Where rows have what: prompt=question,chosen=better,rejected=worse, or the same as JSON. Also id, subset,
    /// system, context, models; and what tells the better one: chosen_if=COLUMN:VALUE:OTHER[:TIE], signed, index, ranks,
    /// scores, correct, label. Names may lead into objects (`chosen.answer`) or stand for numbered columns
    /// (`response_*`).
    #[arg(long, value_name = "COLUMNS")]
    pub columns: Option<DatasetColumns>,
    /// Which split of a folder, a repository or a JSON object with several.
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// List the rows that were skipped, as JSON Lines of file, row, reason and detail.
    #[arg(long, value_name = "FILE")]
    pub bad_rows: Option<PathBuf>,
}

/// Sentences about rows that are written; the others are counted.
const SENTENCES: usize = 5;

impl RowOptions {
    /// Says of the rows that were skipped which and why, and lists them where that was asked for.
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

/// A list of the rows that were skipped.
pub struct BadRows<'a> {
    place: Option<&'a Path>,
    lines: Vec<u8>,
    file: Option<std::fs::File>,
    failed: Option<std::io::Error>,
}

impl<'a> BadRows<'a> {
    /// An empty list, in a file where one is named.
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

    /// Adds a row.
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

    /// Ends the list.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.flush();
        match (self.failed, self.place) {
            (Some(error), Some(place)) => Err(error).with_context(|| format!("writing {}", place.display())),
            _ => Ok(()),
        }
    }
}

/// Which rows of which benchmark.
#[derive(Args)]
pub struct Data {
    #[command(flatten)]
    pub which: marking::Which,
    /// Its rows: a file (parquet, Arrow, JSON Lines, JSON, CSV, TSV; also .gz, .zst or .bz2), a folder of them, an
    /// address (https://...), a Hub id OWNER/NAME[@REVISION][:FILE], or `-` for standard input; may be given several
    /// times; the bundled sample without it.
    #[arg(long)]
    data: Vec<String>,
    #[command(flatten)]
    pub rows: RowOptions,
}

impl Data {
    /// Where the rows come from, and the items in some rows of each file. What is to be said of them is said.
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

/// The files of rows that a name stands for: one on disk or standard input, those of a folder in the order of their
/// paths, an address, or those of a Hub dataset.
pub async fn datasets(name: &str, reading: Reading, split: Option<&str>) -> anyhow::Result<Vec<Source>> {
    if name == "-" {
        return Ok(vec![Source::file_or_pipe(Path::new("-"))?]);
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

fn in_folder(folder: &Path, split: Option<&str>) -> anyhow::Result<Vec<Source>> {
    let mut paths = Vec::new();
    files_in(folder, folder, &mut paths).with_context(|| format!("listing {}", folder.display()))?;
    paths.sort();
    let (rows, passed) = rows_of_folder(&folder.display().to_string(), &paths, split)?;
    if !passed.is_empty() {
        let names = passed.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        eprintln!("{}: {} files passed by ({names})", folder.display(), passed.len());
    }
    rows.iter().map(|path| Ok(Source::file(&folder.join(path))?)).collect()
}

/// The files below a folder, by their paths in it. Links to folders are not followed: they may lead in circles.
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
