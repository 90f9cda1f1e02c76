//! Reads a dataset's files into items: which benchmark the rows belong to, which rows are read, and which are skipped.

use std::collections::{BTreeMap, HashMap};

use rewardscope_benchmarks::{Benchmark, Item, MarkError, preferences, reward_bench_2};
use rewardscope_data::{
    Columns, DataError, DatasetRow, How, IntakeReport, Opening, Reader, Reason, Rows, Skipped, each_row, is_official,
};
use rewardscope_engine::{Cancel, Message};
use rewardscope_store::{
    ByteStream, FetchProgress, Repository, RepositoryId, RepositoryKind, Source, Store, StoreError, is_address,
};

/// Why a dataset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file could not be read as rows.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The benchmark cannot mark the file's rows, whatever their scores.
    #[error("reading {file}: rows that {benchmark} marks were expected; {reason}")]
    Unmarkable {
        /// The file's name.
        file: String,
        /// The benchmark's title.
        benchmark: &'static str,
        /// What is wrong with the first such row.
        reason: MarkError,
    },
    /// Every row was skipped: none is a preference.
    #[error("reading {file}: at least one preference was expected, all {rows} rows were skipped ({reasons})")]
    NothingLeft {
        /// The dataset's name.
        file: String,
        /// Number of rows read.
        rows: usize,
        /// Why the rows were skipped.
        reasons: String,
    },
    /// The repository's rows could not be fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder or repository does not have exactly the rows of one split.
    #[error(
        "opening {repository}: files with rows of one split were expected (.parquet, .arrow, .jsonl, .json, .csv), it has {found}; a file of the Hub can be named after a colon, as in {repository}:FILE"
    )]
    NotOne {
        /// The name of the folder or repository.
        repository: String,
        /// What the folder or repository has instead.
        found: String,
    },
}

/// How to read a dataset. The default reads all rows and finds the benchmark by the columns.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The benchmark that the rows belong to; `None` to find it by the columns.
    pub benchmark: Option<&'static Benchmark>,
    /// Which columns hold an item's fields, where they differ from the layout's own.
    pub columns: Option<Columns>,
    /// Which rows of each file to read; `None` for all.
    pub rows: Option<Rows>,
    /// Which list of rows to read, where one JSON object holds several.
    pub split: Option<String>,
    /// Refuse the dataset when a row is no preference, instead of skipping the row.
    pub is_strict: bool,
}

/// A dataset's items, and what happened to the rows.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The benchmark that the rows belong to.
    pub benchmark: &'static Benchmark,
    /// The items, in the order of files and rows.
    pub items: Vec<Item>,
    /// Notes for the reader, one sentence each: how the rows were read, and what was not read.
    pub remarks: Vec<String>,
    /// The rows that were skipped, with the reason.
    pub skipped: Vec<Skipped>,
}

/// The benchmark that a file's rows belong to, by the columns: RewardBench 2 where the columns are its own, else
/// preferences. `split` chooses among several lists in one JSON object.
///
/// # Errors
/// When the file holds no rows.
pub async fn benchmark_of(source: &Source, split: Option<&str>) -> Result<&'static Benchmark, DatasetError> {
    let opening = Opening { split: split.map(str::to_owned), ..Opening::default() };
    let reader = Reader::open(ByteStream::of(source), opening).await?;
    Ok(match is_official(reader.columns()) {
        true => &reward_bench_2::BENCHMARK,
        false => &preferences::BENCHMARK,
    })
}

/// How to read a benchmark's rows. `own` overrides the benchmark's columns. `set` is the dataset's title: the subset of
/// rows that name none, for benchmarks made of several datasets.
pub fn how_of(benchmark: &Benchmark, own: Option<&Columns>, set: &str) -> How {
    if benchmark.name == preferences::NAME {
        return How::Preferences(own.cloned());
    }
    let columns = columns_of(benchmark);
    let columns = own.map_or_else(|| columns.clone(), |own| columns.overlaid(own));
    let subset_otherwise = benchmark.layout.is_dataset_a_subset.then(|| set.to_owned());
    How::Published(Columns { subset_otherwise, ..columns })
}

/// Reads a dataset's files into items. A row without an id gets its number, from 1, behind the file's title where there
/// are several files. A row without a subset belongs to `all`. An id that occurs again in its subset gets a number at
/// its end, such as `7#2`.
///
/// ```
/// use rewardscope_eval::{Asked, read_items};
/// use rewardscope_store::Source;
///
/// # pollster::block_on(async {
/// let csv = "prompt,chosen,rejected\nIs the sky blue?,\"Yes, by day.\",No.\n";
/// let dataset = read_items(&[Source::memory("pairs.csv", csv.as_bytes())], &Asked::default()).await?;
/// assert_eq!(dataset.benchmark.name, "preferences");
/// assert_eq!(dataset.items[0].completions, ["Yes, by day.", "No."]);
/// assert_eq!(dataset.items[0].num_correct, 1);
/// # Ok::<(), rewardscope_eval::DatasetError>(())
/// # }).expect("items");
/// ```
///
/// # Errors
/// When a file holds no rows, is damaged or lacks columns; when a row of a published benchmark is not a row of it, or
/// cannot be marked; when no row gives an item.
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
    let (first, are_steps) = (dataset.items.len(), dataset.benchmark.reads_steps());
    let report = each_row(ByteStream::of(source), &how, opening, is_strict, async |number, row| {
        match row {
            Ok(mut row) => {
                if row.id.trim().is_empty() {
                    // Each file counts its rows from 1, so the number alone would repeat.
                    row.id = if is_one_of_many { format!("{title}:{number}") } else { number.to_string() };
                }
                if row.subset.is_empty() {
                    row.subset = dataset.benchmark.subset_in_id(&row.id).unwrap_or("all").to_owned();
                }
                row.id = names.once(&row.subset, row.id);
                dataset.items.push(item_of_dataset(row, are_steps));
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

/// The remarks of several files' reports. Of equal remarks only the first is kept, with the number of other files.
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

/// The number of skipped rows by reason, as text.
fn reasons(reports: &[IntakeReport]) -> String {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for (reason, count) in reports.iter().flat_map(|report| &report.skipped) {
        *counts.entry(*reason).or_default() += count;
    }
    let named: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
    named.join("; ")
}

/// Makes the ids of items unique within their subset.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seen: HashMap<(String, String), usize>,
    /// Number of ids that had occurred before.
    pub repeated: usize,
    /// The first name that was made for such an id, as `subset/id`; empty without one.
    pub example: String,
}

impl Names {
    /// The id itself; where it has occurred in its subset, the id with a number at its end, such as `7#2`.
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

/// File name endings of files with rows.
const ENDINGS: [&str; 9] = ["parquet", "jsonl", "ndjson", "json", "csv", "tsv", "arrow", "feather", "txt"];

/// The files of a folder that hold the dataset's rows, and the files with rows that are skipped because they are not of
/// the split. `paths` are all paths in the folder; files without rows, such as `README.md`, are ignored. `split` names
/// the split to take, where the folder has several.
///
/// # Errors
/// When no file has rows, when `split` is not there, or when there are several splits and none is named. The error
/// lists what the folder has.
pub fn rows_of_folder(
    folder: &str,
    paths: &[String],
    split: Option<&str>,
) -> Result<(Vec<String>, Vec<String>), DatasetError> {
    let refuse = |found: String| DatasetError::NotOne { repository: folder.to_owned(), found };
    let mut rows: Vec<&String> = paths.iter().filter(|path| has_rows(path)).collect();
    // Shards go in the order of their numbers; other files keep the given order.
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
        // No file name tells a split; the split may be inside the files.
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

/// Whether a file holds rows, by its name.
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
    // The `datasets` library computed these from the rows beside them.
    let is_cache = name.starts_with("cache-") && name.ends_with(".arrow");
    if is_hidden || is_cache || OTHERS.contains(&name) {
        return false;
    }
    let stem = ["gz", "zst", "bz2"].iter().find_map(|packed| name.strip_suffix(packed)?.strip_suffix('.'));
    let ending = stem.unwrap_or(name).rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) && (ending != "txt" || stem.is_some())
}

/// The split of a file, by its name, else by a folder in its path; `None` where neither tells one.
fn split_of(path: &str) -> Option<String> {
    const SPLITS: [&str; 8] = ["train", "test", "validation", "val", "valid", "dev", "eval", "filtered"];
    let lower = path.to_ascii_lowercase();
    let mut parts = lower.rsplit(['/', '\\']);
    let name = parts.next()?;
    let stem = name.split('.').next().unwrap_or(name);
    // The part before the number: train-00000-of-00002, train_prefs-00000-of-00001, train_0.
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

/// Whether the names are equal except for their numbers.
fn are_shards<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let mut skeletons = names.map(|name| natural(name).into_iter().map(|(text, _)| text).collect::<Vec<_>>());
    let first = skeletons.next();
    skeletons.all(|skeleton| Some(skeleton) == first)
}

/// A sort key for paths: text and numbers in turn, so that part 10 comes after part 2.
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

/// Which columns of a benchmark's rows hold an item's fields.
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
        first_wrong: names(layout.first_wrong),
        chosen_if: layout.chosen_if.map(|pair| pair.map(str::to_owned).to_vec()),
        correct: layout.correct.map(str::to_owned),
        ..Columns::default()
    }
}

fn item_of_dataset(row: DatasetRow, are_steps: bool) -> Item {
    let prompt =
        row.prompt.iter().rfind(|turn| turn.role == "user").map(|turn| turn.content.clone()).unwrap_or_default();
    let is_one = matches!(row.prompt.as_slice(), [only] if only.role == "user");
    Item {
        id: row.id,
        subset: row.subset,
        prompt,
        turns: if is_one { Vec::new() } else { row.prompt },
        num_correct: row.chosen.len(),
        completions: row.chosen.into_iter().chain(row.rejected).collect(),
        are_steps,
        models: row.models,
    }
}

/// The conversation that an item's completions answer: its turns, or its prompt as one user turn.
pub fn conversation(item: &Item) -> Vec<Message> {
    match item.turns.as_slice() {
        [] => vec![Message::new("user", item.prompt.as_str())],
        turns => turns.to_vec(),
    }
}

/// The name of a dataset's file in a run: its Hub id with commit and file, its address, or a local file's name without
/// its folders, which are private.
fn source_name(source: &Source) -> &str {
    let name = source.name();
    source.origin().unwrap_or_else(|| match is_address(name) {
        true => name,
        false => name.rsplit(['/', '\\']).next().unwrap_or(name),
    })
}

/// The name of a dataset in a run: the names of its files. Of many files, the first 8 and the number of others.
pub fn dataset_name(sources: &[Source]) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = sources.iter().take(MOST).map(source_name).collect();
    let more = sources.len().saturating_sub(MOST);
    let rest = if more == 0 { String::new() } else { format!(" and {more} others") };
    names.join(", ") + &rest
}

/// The short title of a dataset: the last part of its Hub id, or its file's name without the ending.
pub(crate) fn dataset_title(source: &Source) -> String {
    let name = source_name(source);
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    match source.origin().and_then(|origin| origin.split('@').next()) {
        Some(repository) => last(repository),
        None => last(name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
    }
}

/// How to read a remote dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Fetch the whole dataset into the cache, check it, and read it there.
    Whole,
    /// Fetch only the parts that are read, and keep nothing.
    ByRange,
}

/// Opens the files of a remote dataset. `name` is a Hub id, `owner/name[@revision][:file]`, or an address. An address
/// is always read by range. `split` names the split to take, where the repository has several.
///
/// # Errors
/// When the name is neither, or the rows cannot be fetched.
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

/// Fetches the dataset file of a repository: `file` where given, else the only file with rows.
///
/// # Errors
/// When the repository has no such file or several, or when the file cannot be fetched.
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

/// `file` where given, else the repository's files with rows.
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
            // A repository may hold the same rows in several forms. Files that are neither of a split nor shards must
            // be named.
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
