//! A dataset's files as items: whose they are, what of them is read, and what is passed over.

use std::collections::{BTreeMap, HashMap};

use rewardscope_benchmarks::{Benchmark, Item, MarkError, Turn, preferences, reward_bench_2};
use rewardscope_data::{
    Columns, DataError, DatasetRow, How, IntakeReport, Opening, Reader, Reason, Rows, Skipped, each_row, is_official,
};
use rewardscope_engine::{Cancel, Message};
use rewardscope_store::{
    ByteStream, FetchProgress, Repository, RepositoryId, RepositoryKind, Source, Store, StoreError, is_address,
};

/// Why a dataset cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file gave no rows.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its rows cannot be marked, whatever their scores.
    #[error("reading {file}: rows that {benchmark} marks were expected; {reason}")]
    Unmarkable {
        /// The file's name.
        file: String,
        /// The benchmark.
        benchmark: &'static str,
        /// What is wrong with the first such row.
        reason: MarkError,
    },
    /// None of the rows is a preference.
    #[error("reading {file}: at least one preference was expected, all {rows} rows were skipped ({reasons})")]
    NothingLeft {
        /// The dataset's name.
        file: String,
        /// Rows read.
        rows: usize,
        /// Why they were skipped.
        reasons: String,
    },
    /// The repository's rows could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder or a repository has not the rows of one split.
    #[error(
        "opening {repository}: files with rows of one split were expected (.parquet, .arrow, .jsonl, .json, .csv), it has {found}; a file of the Hub can be named after a colon, as in {repository}:FILE"
    )]
    NotOne {
        /// The repository's name.
        repository: String,
        /// What it has.
        found: String,
    },
}

/// What is asked of a dataset.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Whose rows they are; told by their columns without it.
    pub benchmark: Option<&'static Benchmark>,
    /// Where rows have what, where that is not as their layout has it.
    pub columns: Option<Columns>,
    /// Which rows of each file; all without it.
    pub rows: Option<Rows>,
    /// Which of several lists of rows in one JSON object.
    pub split: Option<String>,
    /// Whether a row that is no preference refuses the dataset.
    pub is_strict: bool,
}

/// A dataset's items, with what became of its rows.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Whose rows they are.
    pub benchmark: &'static Benchmark,
    /// The items.
    pub items: Vec<Item>,
    /// What the reader should know, a sentence each: how the rows were read, what of them was not.
    pub remarks: Vec<String>,
    /// The rows that were passed over.
    pub skipped: Vec<Skipped>,
}

/// Whose rows a file has, told by its columns: RewardBench 2's own, or preferences.
///
/// # Errors
/// When it holds no rows.
pub async fn benchmark_of(source: &Source, split: Option<&str>) -> Result<&'static Benchmark, DatasetError> {
    let opening = Opening { split: split.map(str::to_owned), ..Opening::default() };
    let reader = Reader::open(ByteStream::of(source), opening).await?;
    Ok(match is_official(reader.columns()) {
        true => &reward_bench_2::BENCHMARK,
        false => &preferences::BENCHMARK,
    })
}

/// How a benchmark's rows are read. `set` is what the dataset is called, for benchmarks of several.
pub fn how_of(benchmark: &Benchmark, own: Option<&Columns>, set: &str) -> How {
    if benchmark.name == preferences::NAME {
        return How::Preferences(own.cloned());
    }
    let columns = columns_of(benchmark);
    let columns = own.map_or_else(|| columns.clone(), |own| columns.overlaid(own));
    let subset_otherwise = benchmark.layout.is_dataset_a_subset.then(|| set.to_owned());
    How::Published(Columns { subset_otherwise, ..columns })
}

/// The items in some rows of each of a dataset's files.
///
/// # Errors
/// When a file holds no rows, is damaged or lacks columns; when a row of a published benchmark is none, or cannot be
/// marked; when nothing is left.
pub async fn read_items(sources: &[Source], asked: &Asked) -> Result<Dataset, DatasetError> {
    let mut remarks = Vec::new();
    let benchmark = match (asked.benchmark, sources.first()) {
        (Some(benchmark), _) => benchmark,
        (None, None) => &reward_bench_2::BENCHMARK,
        (None, Some(first)) => {
            let found = benchmark_of(first, asked.split.as_deref()).await?;
            if found.name == preferences::NAME {
                remarks.push(format!(
                    "{}: marked as preferences, as no benchmark is named and the columns are not RewardBench 2's",
                    source_name(first)
                ));
            }
            found
        }
    };
    let rows = asked.rows.unwrap_or(Rows::ALL);
    let mut dataset = Dataset { benchmark, items: Vec::new(), remarks, skipped: Vec::new() };
    let (mut reports, mut names) = (Vec::new(), Names::default());
    for source in sources {
        let opening = Opening { rows, split: asked.split.clone(), ..Opening::default() };
        let report = read_file(source, opening, asked, sources.len() > 1, &mut dataset, &mut names).await?;
        reports.push(report);
    }
    dataset.remarks.extend(said(&reports));
    if names.repeated > 0 {
        let (count, example) = (names.repeated, &names.example);
        dataset.remarks.push(format!(
            "{}: {count} ids came before in their subset; they are told apart by a number behind them, as in {example}",
            dataset_name(sources)
        ));
    }
    let all = reports.iter().map(|report| report.rows).sum::<usize>();
    match (dataset.items.is_empty(), sources, all) {
        (false, ..) | (true, [], _) => Ok(dataset),
        (true, [first, ..], 0) => {
            Err(DataError::NoRows { file: first.name().to_owned(), rows: rows.to_string() }.into())
        }
        (true, _, rows) => {
            let reasons = reasons(&reports);
            let example = dataset.skipped.first().map(|skipped| format!("; row {}: {}", skipped.row, skipped.detail));
            let reasons = reasons + &example.unwrap_or_default();
            Err(DatasetError::NothingLeft { file: dataset_name(sources), rows, reasons })
        }
    }
}

async fn read_file(
    source: &Source,
    opening: Opening,
    asked: &Asked,
    is_one_of_many: bool,
    dataset: &mut Dataset,
    names: &mut Names,
) -> Result<IntakeReport, DatasetError> {
    let title = dataset_title(source);
    let how = how_of(dataset.benchmark, asked.columns.as_ref(), &title);
    let is_strict = asked.is_strict || matches!(how, How::Published(_));
    let first = dataset.items.len();
    let report = each_row(ByteStream::of(source), &how, opening, is_strict, async |number, row| {
        match row {
            Ok(mut row) => {
                if row.id.trim().is_empty() {
                    // Files of one dataset each count their rows from 1.
                    row.id = if is_one_of_many { format!("{title}:{number}") } else { number.to_string() };
                }
                if row.subset.is_empty() {
                    row.subset = "all".to_owned();
                }
                row.id = names.once(&row.subset, row.id);
                dataset.items.push(item_of_dataset(row));
            }
            Err(skip) => dataset.skipped.push(Skipped::of(source.name(), number, &skip)),
        }
        Ok::<(), DataError>(())
    })
    .await?;
    dataset.benchmark.check(&dataset.items[first..]).map_err(|reason| DatasetError::Unmarkable {
        file: source.name().to_owned(),
        benchmark: dataset.benchmark.title,
        reason,
    })?;
    Ok(report)
}

/// What several files' reports say: of many that say the same, the first and how many.
fn said(reports: &[IntakeReport]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    for report in reports {
        for remark in report.remarks() {
            let what = remark.split_once(": ").map_or(remark.as_str(), |(_, what)| what).to_owned();
            match places.get_mut(&what) {
                Some((_, count)) => *count += 1,
                None => {
                    places.insert(what, (all.len(), 1));
                    all.push(remark);
                }
            }
        }
    }
    for (place, count) in places.into_values().filter(|(_, count)| *count > 1) {
        all[place] += &format!(" (and {} other files alike)", count - 1);
    }
    all
}

/// How many rows were passed over for what.
fn reasons(reports: &[IntakeReport]) -> String {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for (reason, count) in reports.iter().flat_map(|report| &report.skipped) {
        *counts.entry(*reason).or_default() += count;
    }
    let named: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
    named.join("; ")
}

/// Names of items, each once in its subset.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seen: HashMap<(String, String), usize>,
    /// Ids that came before.
    pub repeated: usize,
    /// One of the names that were made.
    pub example: String,
}

impl Names {
    /// The id, or where it came before in its subset, one with a number behind it: `7#2`.
    pub fn once(&mut self, subset: &str, id: String) -> String {
        let key = (subset.to_owned(), id);
        let Some(count) = self.seen.get(&key).copied() else {
            let id = key.1.clone();
            self.seen.insert(key, 1);
            return id;
        };
        let mut number = count + 1;
        let mut made = (key.0.clone(), format!("{}#{number}", key.1));
        while self.seen.contains_key(&made) {
            number += 1;
            made.1 = format!("{}#{number}", key.1);
        }
        self.seen.insert(key, number);
        let id = made.1.clone();
        self.seen.insert(made, 1);
        self.repeated += 1;
        if self.example.is_empty() {
            self.example = format!("{subset}/{id}");
        }
        id
    }
}

/// Endings of files with rows.
const ENDINGS: [&str; 9] = ["parquet", "jsonl", "ndjson", "json", "csv", "tsv", "arrow", "feather", "txt"];

/// Those of a folder's files that have rows, by their paths in the folder, and those that are passed by: what stands
/// beside the rows of a split is none of them. Of several splits the one that is asked for is taken.
///
/// # Errors
/// When none has rows, or several splits are there and none is asked for; with what the folder has.
pub fn rows_of_folder(
    folder: &str,
    paths: &[String],
    split: Option<&str>,
) -> Result<(Vec<String>, Vec<String>), DatasetError> {
    let refuse = |found: String| DatasetError::NotOne { repository: folder.to_owned(), found };
    let mut rows: Vec<&String> = paths.iter().filter(|path| has_rows(path)).collect();
    // Shards by their numbers; other files stay as they came.
    if are_shards(rows.iter().copied()) {
        rows.sort_by_key(|path| natural(path));
    }
    if rows.is_empty() {
        let names = paths.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
        return Err(refuse(if names.is_empty() { "no files".to_owned() } else { format!("no rows in {names}") }));
    }
    let splits: Vec<Option<String>> = rows.iter().map(|path| split_of(path)).collect();
    let mut known: Vec<&str> = splits.iter().flatten().map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    let wanted = match (split, known.as_slice()) {
        (Some(wanted), [_, ..]) if !known.contains(&wanted) => {
            return Err(refuse(format!("no split {wanted} ({})", known.join(", "))));
        }
        (None, [_, _, ..]) => {
            return Err(refuse(format!("several splits ({}); choose one with --split", known.join(", "))));
        }
        (Some(wanted), [_, ..]) => Some(wanted),
        (None, [only]) => Some(*only),
        // None of the files says; a split may be inside of them.
        (_, []) => None,
    };
    let (mut taken, mut passed) = (Vec::new(), Vec::new());
    for (path, split) in rows.into_iter().zip(&splits) {
        match wanted.is_none() || split.as_deref() == wanted {
            true => taken.push(path.clone()),
            false => passed.push(path.clone()),
        }
    }
    Ok((taken, passed))
}

/// Whether a file's name is one of rows.
fn has_rows(path: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "config.json",
        "metadata.json",
        "schema.json",
        "package.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "readme.txt",
        "license.txt",
    ];
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit(['/', '\\']).next().unwrap_or(&lower);
    let is_hidden = lower.split(['/', '\\']).any(|part| part.starts_with('.') || part == "__macosx");
    // What `datasets` computed from the rows beside it.
    let is_cache = name.starts_with("cache-") && name.ends_with(".arrow");
    if is_hidden || is_cache || OTHERS.contains(&name) {
        return false;
    }
    let stem = ["gz", "zst", "bz2"].iter().find_map(|packed| name.strip_suffix(packed)?.strip_suffix('.'));
    let ending = stem.unwrap_or(name).rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) && (ending != "txt" || stem.is_some())
}

/// The split that a file's name or its folder says it is of.
fn split_of(path: &str) -> Option<String> {
    const SPLITS: [&str; 8] = ["train", "test", "validation", "val", "valid", "dev", "eval", "filtered"];
    let lower = path.to_ascii_lowercase();
    let mut parts = lower.rsplit(['/', '\\']);
    let name = parts.next()?;
    let stem = name.split('.').next().unwrap_or(name);
    // train-00000-of-00002, train_prefs-00000-of-00001, train_0: what stands before the number.
    let stem =
        stem.split("-0").next().unwrap_or(stem).trim_end_matches(|c: char| c.is_ascii_digit() || c == '_' || c == '-');
    let is_split = |name: &str| {
        SPLITS.iter().any(|split| {
            name == *split || name.starts_with(&format!("{split}_")) || name.starts_with(&format!("{split}-"))
        })
    };
    if is_split(stem) {
        return Some(stem.to_owned());
    }
    parts.find(|folder| is_split(folder)).map(str::to_owned)
}

/// Whether names differ in their numbers alone.
fn are_shards<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let mut skeletons = names.map(|name| natural(name).into_iter().map(|(text, _)| text).collect::<Vec<_>>());
    let first = skeletons.next();
    skeletons.all(|skeleton| Some(skeleton) == first)
}

/// A path with its numbers as numbers, so that part 10 comes after part 2.
fn natural(path: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let text_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(text_end);
        let number_end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        parts.push((text.to_owned(), tail[..number_end].parse().unwrap_or(u64::MAX)));
        rest = &tail[number_end..];
    }
    parts
}

/// Where a benchmark's rows have what.
pub fn columns_of(benchmark: &Benchmark) -> Columns {
    let layout = &benchmark.layout;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Columns {
        id: names(layout.id),
        subset: names(layout.subset),
        needs_subset: layout.needs_subset,
        prompt: names(layout.prompt),
        chosen: names(layout.chosen),
        rejected: names(layout.rejected),
        models: names(layout.models),
        subset_otherwise: None,
        has_counts: layout.has_counts,
        must_have: if layout.needs_prompt { vec![names(layout.prompt)] } else { Vec::new() },
        chosen_if: layout.chosen_if.map(|pair| pair.map(str::to_owned).to_vec()),
        correct: layout.correct.map(str::to_owned),
        ..Columns::default()
    }
}

fn item_of_dataset(row: DatasetRow) -> Item {
    let prompt =
        row.prompt.iter().rfind(|turn| turn.role == "user").map(|turn| turn.content.clone()).unwrap_or_default();
    let is_one = matches!(row.prompt.as_slice(), [only] if only.role == "user");
    let turns = row.prompt.into_iter().map(|turn| Turn { role: turn.role, content: turn.content });
    Item {
        id: row.id,
        subset: row.subset,
        prompt,
        turns: if is_one { Vec::new() } else { turns.collect() },
        num_correct: row.chosen.len(),
        completions: row.chosen.into_iter().chain(row.rejected).collect(),
        models: row.models,
    }
}

/// The conversation that an item's completions answer.
pub fn conversation(item: &Item) -> Vec<Message> {
    match item.turns.as_slice() {
        [] => vec![Message::new("user", item.prompt.as_str())],
        turns => turns.iter().map(|turn| Message::new(turn.role.as_str(), turn.content.as_str())).collect(),
    }
}

/// What a run calls a dataset's file: its Hub id with commit and file, its address, or the name of a
/// file of this machine, whose folders are nobody else's business.
fn source_name(source: &Source) -> &str {
    let name = source.name();
    source.origin().unwrap_or_else(|| match is_address(name) {
        true => name,
        false => name.rsplit(['/', '\\']).next().unwrap_or(name),
    })
}

/// What a run calls its dataset: the names of its files, the first few of many.
pub fn dataset_name(sources: &[Source]) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = sources.iter().take(MOST).map(source_name).collect();
    let more = sources.len().saturating_sub(MOST);
    let rest = if more == 0 { String::new() } else { format!(" and {more} others") };
    names.join(", ") + &rest
}

/// What people call a dataset: the last part of its Hub id, or its file's name without the ending.
pub(crate) fn dataset_title(source: &Source) -> String {
    let name = source_name(source);
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    match source.origin().and_then(|origin| origin.split('@').next()) {
        Some(repository) => last(repository),
        None => last(name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
    }
}

/// How a remote dataset is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From the cache, where it is brought and checked first.
    Whole,
    /// As much of it as is looked at, and nothing kept.
    ByRange,
}

/// The files of a dataset by its Hub id, `owner/name[@revision][:file]`, or its address, which is always read by
/// range.
///
/// # Errors
/// When the name is neither, or the rows cannot be had.
pub async fn open_remote_dataset(
    store: &Store,
    name: &str,
    reading: Reading,
    split: Option<&str>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<Vec<Source>, DatasetError> {
    if is_address(name) {
        return Ok(vec![store.address(name, cancel, progress).await?]);
    }
    let id: RepositoryId = name.parse()?;
    let repository = store.repository(RepositoryKind::Dataset, &id, cancel, progress).await?;
    let files = dataset_files(&repository, id.file.as_deref(), split)?;
    match reading {
        Reading::Whole => Ok(store.fetch(&repository, &files, cancel, progress).await?),
        Reading::ByRange => {
            let mut sources = Vec::with_capacity(files.len());
            for file in &files {
                sources.push(store.by_range(&repository, file).await?);
            }
            Ok(sources)
        }
    }
}

/// The dataset file of a repository: `file` where one is named, else its only one.
///
/// # Errors
/// When there is none or there are several, or it cannot be had.
pub async fn fetch_dataset(
    store: &Store,
    repository: &Repository,
    file: Option<&str>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<Source, DatasetError> {
    let files = dataset_files(repository, file, None)?;
    let refuse = |found: String| DatasetError::NotOne { repository: repository.name.clone(), found };
    if let [_, _, ..] = files.as_slice() {
        return Err(refuse(files.join(", ")));
    }
    let sources = store.fetch(repository, &files, cancel, progress).await?;
    sources.into_iter().next().ok_or_else(|| refuse("none".to_owned()))
}

/// `file` where one is named, else a repository's files of rows.
fn dataset_files(
    repository: &Repository,
    file: Option<&str>,
    split: Option<&str>,
) -> Result<Vec<String>, DatasetError> {
    match file {
        Some(file) => Ok(vec![file.to_owned()]),
        None => {
            let names: Vec<String> = repository.files.iter().map(|file| file.name.clone()).collect();
            let (rows, _) = rows_of_folder(&repository.name, &names, split)?;
            // Repositories have the same rows in several forms; what is no split and no shards is named.
            let is_one = rows.iter().all(|name| split_of(name).is_some()) || are_shards(rows.iter());
            match is_one {
                true => Ok(rows),
                false => {
                    let found = rows.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
                    Err(DatasetError::NotOne { repository: repository.name.clone(), found })
                }
            }
        }
    }
}
