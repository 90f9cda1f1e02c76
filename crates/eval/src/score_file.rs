//! Files of scores: run files, the reference evaluators' files, and any list of rows. Marks are computed again from the
//! scores; marks in the file are ignored.

use rewardscope_benchmarks::published::{Placement, placement};
use rewardscope_benchmarks::{
    Assessment, Benchmark, Effort, Marks, ScoredItem, Variant, assess, benchmark, marks, preferences, reward_bench_2,
};
use rewardscope_data::{DataError, NonFinite, Opening, Reader};
use rewardscope_store::{ByteStream, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ScoredRow;
use crate::dataset::Names;
use crate::reference_file::SummaryFile;
use crate::run::Shortfall;
use crate::run_file::RunFile;
use crate::score_file_error::ScoreFileError;
use crate::score_row::{RawScores, raw_scores, text_lengths};

/// Unit of completion lengths. A length may include the prompt, which adds the same to every completion of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Tokens of the whole conversation, by the model's tokenizer.
    Tokens,
    /// Characters of the text in the file of scores.
    Characters,
}

/// A file of scores that was read.
#[derive(Debug, Clone)]
pub struct ScoreFile {
    /// The file's name.
    pub name: String,
    /// The model that scored, or its fitted head; `None` where the file does not say.
    pub model: Option<String>,
    /// The scored items.
    pub rows: Vec<ScoredRow>,
    /// Length of each completion: `[row][completion]`. `None` unless every row of the file has lengths or texts.
    pub lengths: Option<Vec<Vec<f64>>>,
    /// Unit of `lengths`.
    pub length_unit: LengthUnit,
    /// The model that wrote each completion: `[row][completion]`; empty unless the file is a run file.
    pub models: Vec<Vec<String>>,
    /// The run, where the file is a run file.
    pub run: Option<Box<RunFile>>,
    /// The benchmark that marks the scores: the run's own, else the one asked for, else what the rows look like.
    pub benchmark: &'static Benchmark,
    /// Notes on how the file was read, one sentence each.
    pub remarks: Vec<String>,
}

/// A file that was opened: scores, or only marks.
#[derive(Debug, Clone)]
pub enum OpenedScores {
    /// A file of scores.
    Scores(Box<ScoreFile>),
    /// A summary: marks without scores.
    Summary(SummaryFile),
}

/// Most rows of a file of scores; a file with more is refused.
const MOST_ROWS: usize = 2_000_000;

impl ScoreFile {
    /// Reads a file of scores in any known form. `asked` is the benchmark of the rows; `None` to find it by the rows. A
    /// run file keeps its own benchmark.
    ///
    /// # Errors
    /// When the file has no known form, when a row is wrong, or when the file has marks and no scores.
    pub async fn open(source: &Source, asked: Option<&'static Benchmark>) -> Result<Self, ScoreFileError> {
        match Self::open_any(source, asked).await? {
            OpenedScores::Scores(file) => Ok(*file),
            OpenedScores::Summary(_) => Err(ScoreFileError::Format {
                file: source.name().to_owned(),
                found: "a summary, which has marks and no scores".to_owned(),
            }),
        }
    }

    /// As [`Self::open`], but also reads a summary, which has marks and no scores.
    ///
    /// # Errors
    /// When the file has no known form, or when a row is wrong.
    pub async fn open_any(source: &Source, asked: Option<&'static Benchmark>) -> Result<OpenedScores, ScoreFileError> {
        let name = source.name();
        let unknown = |found: String| ScoreFileError::Format { file: name.to_owned(), found };
        let opening = Opening { non_finite: NonFinite::Named, is_whole: true, ..Opening::default() };
        let mut reader = Reader::open(ByteStream::of(source), opening).await.map_err(|error| match error {
            DataError::Format { expected, found, .. } => unknown(format!("{found} (expected {expected})")),
            DataError::NotRows { found, .. } => unknown(found),
            error => error.into(),
        })?;
        let mut records: Vec<Map<String, Value>> = Vec::new();
        while let Some(few) = reader.next().await? {
            for row in few.rows {
                let number = row.number;
                let wrong = |found: String| ScoreFileError::Row {
                    file: name.to_owned(),
                    row: number,
                    expected: "an object with scores".to_owned(),
                    found,
                };
                match row.record {
                    // A first row that is no object means that the file does not hold rows at all.
                    Err(found) if number == 1 => return Err(unknown(format!("row 1: {found}"))),
                    record => records.push(record.map_err(wrong)?),
                }
            }
            if records.len() > MOST_ROWS {
                return Err(unknown(format!("more than {MOST_ROWS} rows")));
            }
        }
        let mut model = None;
        // A single object, also in a list of one, may be a run, a summary, or all rows at once.
        if let [only] = records.as_slice() {
            if RunFile::is(only) {
                let run = RunFile::read(only.clone()).map_err(unknown)?;
                return Self::of_run(name, run).map(|file| OpenedScores::Scores(Box::new(file)));
            }
            if let Some(summary) = SummaryFile::of(name, only, asked)? {
                return Ok(OpenedScores::Summary(summary));
            }
            model = only.get("model").and_then(Value::as_str).map(str::to_owned);
            if !is_one_row(only) {
                records = inside(name, only)?;
            }
        }
        let is_packed = reader.is_csv();
        Self::of_records(name, model, records, is_packed, asked).map(|file| OpenedScores::Scores(Box::new(file)))
    }

    fn of_records(
        name: &str,
        model: Option<String>,
        records: Vec<Map<String, Value>>,
        is_packed: bool,
        asked: Option<&'static Benchmark>,
    ) -> Result<Self, ScoreFileError> {
        let mut raw = Vec::with_capacity(records.len());
        for (at, record) in records.iter().enumerate() {
            let record = if is_packed { &unpacked(record) } else { record };
            let wrong = |(expected, found): (String, String)| ScoreFileError::Row {
                file: name.to_owned(),
                row: at + 1,
                expected,
                found,
            };
            let scores = raw_scores(record, at + 1).map_err(wrong)?;
            let lengths = text_lengths(record, scores.scores.len());
            raw.push((scores, lengths));
        }
        let (rows, lengths): (Vec<RawScores>, Vec<Option<Vec<f64>>>) = raw.into_iter().unzip();
        let benchmark = asked.unwrap_or_else(|| benchmark_of(&rows));
        let mut remarks = Vec::new();
        if asked.is_none() && benchmark.name == preferences::NAME {
            remarks.push(
                "Marked as preferences: the rows name no number of correct completions and no subset of RewardBench 2."
                    .to_owned(),
            );
        }
        let (rows, kept) = settled(name, rows, benchmark, &mut remarks)?;
        let lengths = lengths.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(lengths, _)| lengths).collect();
        Self {
            name: name.to_owned(),
            model,
            rows,
            lengths,
            length_unit: LengthUnit::Characters,
            models: Vec::new(),
            run: None,
            benchmark,
            remarks,
        }
        .checked()
    }

    /// The scores of a run. `name` is the file's name.
    ///
    /// # Errors
    /// When the benchmark is unknown, when no item has scores, or when an item lacks correct or incorrect completions.
    pub fn of_run(name: &str, run: RunFile) -> Result<Self, ScoreFileError> {
        let benchmark = benchmark(&run.benchmark)
            .map_err(|error| ScoreFileError::Format { file: name.to_owned(), found: format!("a run: {error}") })?;
        let scored = || run.items.iter().filter(|item| item.error.is_none());
        Self {
            name: name.to_owned(),
            model: Some(run.protocol.scorer.head().unwrap_or(&run.protocol.model).to_owned()),
            rows: scored().map(|item| item.row.clone()).collect(),
            lengths: Some(scored().map(|item| item.lengths()).collect()),
            length_unit: LengthUnit::Tokens,
            models: scored().map(|item| item.models.clone()).collect(),
            run: Some(Box::new(run.clone())),
            benchmark,
            remarks: Vec::new(),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ScoreFileError> {
        let refuse = |at: usize, expected: &str, found: String| ScoreFileError::Row {
            file: self.name.clone(),
            row: at + 1,
            expected: expected.to_owned(),
            found,
        };
        if self.rows.is_empty() {
            return Err(ScoreFileError::Format { file: self.name, found: "no rows".to_owned() });
        }
        for (at, row) in self.rows.iter().enumerate() {
            if row.num_correct == 0 || row.num_correct >= row.scores.len() {
                return Err(refuse(
                    at,
                    "num_correct of at least 1 and less than the number of scores",
                    format!(
                        "num_correct {} with {} scores ({}/{})",
                        row.num_correct,
                        row.scores.len(),
                        row.subset,
                        row.id
                    ),
                ));
            }
        }
        Ok(self)
    }

    /// The place of the overall mark among published marks. `None` unless the scores cover the whole benchmark and
    /// marks of the benchmark are published. The conditions of the scores are unknown unless the file is a run file.
    pub fn placement(&self, assessment: &Assessment) -> Option<Placement> {
        let under = self.run.as_ref().map(|run| run.protocol.made_under()).unwrap_or_default();
        placement(&assessment.benchmark, assessment.items, assessment.overall.as_ref()?.score, &under)
    }

    /// Whether the sigmoid of a score difference is known to be a Bradley-Terry probability.
    pub(crate) fn is_bradley_terry(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.protocol.scorer.is_bradley_terry())
    }

    /// The rows in the form that benchmarks take.
    pub fn items(&self) -> Vec<ScoredItem<'_>> {
        self.rows.iter().map(ScoredRow::as_item).collect()
    }

    /// The marks with confidence intervals, chance levels, and what picking by length gets. `seed` is that of the
    /// intervals and simulations. With `strict`, a NaN, an infinity, a missing item, a cut text and an item without its
    /// counterpart are errors.
    ///
    /// # Errors
    /// When a row cannot be marked, or when strict marking refuses the scores.
    pub fn assess(
        &self,
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        seed: u64,
        strict: bool,
    ) -> Result<Assessment, ScoreFileError> {
        let shortfall = self.run.as_ref().map(|run| run.shortfall());
        if let Some(Shortfall { items, missing, cut, .. }) =
            shortfall.filter(|of| strict && (of.missing > 0 || of.cut > 0))
        {
            let found = match (missing, cut) {
                (0, cut) => format!("{cut} of {items} items have a completion that was cut at the context's end"),
                (missing, _) => format!("{missing} of {items} items have none"),
            };
            return Err(ScoreFileError::Incomplete { file: self.name.clone(), found });
        }
        let mut assessment =
            assess(benchmark, variant, &self.items(), self.lengths.as_deref(), seed, strict, Effort::FULL)
                .map_err(|reason| ScoreFileError::Mark { file: self.name.clone(), reason })?;
        if let Some(shortfall) = shortfall {
            shortfall.qualify(&mut assessment);
        }
        assessment.remarks.extend(self.remarks.iter().cloned());
        Ok(assessment)
    }

    /// The marks without confidence intervals, with the mark of each item and the components of the Ties score.
    ///
    /// # Errors
    /// When a row cannot be marked.
    pub fn marks(&self, benchmark: &'static Benchmark, variant: &'static Variant) -> Result<Marks, ScoreFileError> {
        marks(benchmark, variant, &self.items())
            .map_err(|reason| ScoreFileError::Mark { file: self.name.clone(), reason })
    }
}

/// The benchmark of rows that name none: RewardBench 2 where a row says how many completions are correct or names one
/// of its subsets; otherwise preferences, the user's own pairs.
fn benchmark_of(rows: &[RawScores]) -> &'static Benchmark {
    let is_known = |row: &RawScores| {
        row.num_correct.is_some() && !row.is_pair
            || reward_bench_2::SUBSETS.iter().any(|subset| subset.eq_ignore_ascii_case(&row.subset))
    };
    match rows.iter().any(is_known) {
        true => &reward_bench_2::BENCHMARK,
        false => &preferences::BENCHMARK,
    }
}

/// The rows in the form that the benchmark marks; what a row omits is filled in where it is known. The second result
/// says for each raw row whether it was kept.
fn settled(
    file: &str,
    raw: Vec<RawScores>,
    benchmark: &Benchmark,
    remarks: &mut Vec<String>,
) -> Result<(Vec<ScoredRow>, Vec<bool>), ScoreFileError> {
    let is_official = benchmark.name == reward_bench_2::NAME;
    let (mut names, mut rows, mut kept) = (Names::default(), Vec::new(), Vec::new());
    let (mut uncounted, mut placed) = (0, 0);
    for (at, row) in raw.into_iter().enumerate() {
        let wrong = |expected: &str, found: String| ScoreFileError::Row {
            file: file.to_owned(),
            row: at + 1,
            expected: expected.to_owned(),
            found,
        };
        let known = reward_bench_2::SUBSETS.iter().find(|subset| subset.eq_ignore_ascii_case(&row.subset));
        let subset = match known.filter(|_| is_official) {
            Some(subset) => (*subset).to_owned(),
            None => row.subset,
        };
        let is_ties = is_official && subset == reward_bench_2::TIES;
        let num_correct = match row.num_correct {
            Some(count) => count,
            // In RewardBench 2, all items but the tied ones of Ties have one correct completion.
            None if is_official && !(is_ties && row.id.starts_with("tied")) => 1,
            None if is_ties => {
                uncounted += 1;
                kept.push(false);
                continue;
            }
            None => {
                return Err(wrong("num_correct, how many of the scores are correct completions'", "none".to_owned()));
            }
        };
        let scores = match (row.scores.is_empty(), row.result) {
            (false, _) => row.scores,
            (true, Some(result)) => {
                placed += 1;
                by_places(result)
                    .ok_or_else(|| wrong("a result that is the share of a first place", result.to_string()))?
            }
            (true, None) => return Err(wrong("scores, or a result", "neither".to_owned())),
        };
        let id = names.once(&subset, row.id);
        rows.push(ScoredRow { id, subset, num_correct, scores });
        kept.push(true);
    }
    if uncounted > 0 {
        remarks.push(format!(
            "{uncounted} tied rows of Ties do not say how many of their completions are correct (num_correct): they are left out"
        ));
        // Ties items are marked in ref and tied pairs, so the other rows of Ties cannot be marked alone.
        let is_left: Vec<bool> = rows.iter().map(|row| row.subset != reward_bench_2::TIES).collect();
        let mut left = is_left.iter();
        kept.iter_mut().filter(|kept| **kept).for_each(|kept| *kept = left.next().copied().unwrap_or_default());
        rows.retain(|row| row.subset != reward_bench_2::TIES);
    }
    if placed > 0 {
        remarks.push(format!(
            "{placed} rows have results and no scores: they stand for places, 1 for the first and 0 for others"
        ));
    }
    if names.repeated > 0 {
        remarks.push(format!(
            "{} ids came before in their subset; they are told apart by a number behind them, as in {}",
            names.repeated, names.example
        ));
    }
    Ok((rows, kept))
}

/// Scores that lead to a given result, for one correct completion and others. The result is 1 when the correct
/// completion is alone in first place, `1 / n` when `n` completions share first place, and 0 when another completion is
/// ahead. `None` where no `n` up to 64 fits.
fn by_places(result: f64) -> Option<Vec<f64>> {
    if result == 0.0 {
        return Some(vec![0.0, 1.0]);
    }
    let sharing = (1.0 / result).round();
    let is_share = (1.0..=64.0).contains(&sharing) && (result * sharing - 1.0).abs() < 1e-3;
    is_share.then(|| {
        let mut scores = vec![1.0; sharing as usize];
        scores.push(0.0);
        scores
    })
}

/// A CSV record with its text cells read: a list as JSON, an empty cell as null. Other cells stay texts.
fn unpacked(record: &Map<String, Value>) -> Map<String, Value> {
    let cell = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) if text.trim_start().starts_with('[') && !name.starts_with("text") => {
                serde_json::from_str(text).unwrap_or_else(|_| value.clone())
            }
            Value::String(text) if text.is_empty() => Value::Null,
            other => other.clone(),
        };
        (name.clone(), value)
    };
    record.iter().map(cell).collect()
}

/// Whether an object is a single row: it has plain values where an object of parallel arrays has lists.
fn is_one_row(object: &Map<String, Value>) -> bool {
    ["num_correct", "label", "score_chosen", "scores_chosen", "chosen", "results"]
        .iter()
        .any(|name| object.get(*name).is_some_and(|value| !value.is_array() && !value.is_null()))
        || object.get("id").is_some_and(|id| !id.is_array())
}

/// The rows in one object: a list under a known name, or the reference evaluator's parallel arrays.
fn inside(file: &str, object: &Map<String, Value>) -> Result<Vec<Map<String, Value>>, ScoreFileError> {
    let rows = ["results", "data", "rows", "scores", "items"].iter().find_map(|name| {
        let rows = object.get(*name)?.as_array()?;
        let objects: Vec<_> = rows.iter().filter_map(|row| row.as_object().cloned()).collect();
        (!rows.is_empty() && objects.len() == rows.len()).then_some(objects)
    });
    match rows {
        Some(rows) => Ok(rows),
        None => parallel(file, object),
    }
}

/// The rows of the reference evaluator's object of parallel arrays.
fn parallel(file: &str, object: &Map<String, Value>) -> Result<Vec<Map<String, Value>>, ScoreFileError> {
    let arrays: Vec<(&String, &Vec<Value>)> =
        object.iter().filter_map(|(name, value)| Some((name, value.as_array()?))).collect();
    let rows = arrays.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
    if arrays.is_empty() {
        let found = format!("an object of {}", object.keys().take(20).cloned().collect::<Vec<_>>().join(", "));
        return Err(ScoreFileError::Format { file: file.to_owned(), found });
    }
    if let Some((name, values)) = arrays.iter().find(|(_, values)| values.len() != rows) {
        return Err(ScoreFileError::Format {
            file: file.to_owned(),
            found: format!("arrays of {rows} values and {} in {name}", values.len()),
        });
    }
    // The texts are as large as the dataset, and only their lengths are needed.
    let value = |name: &str, value: &Value| match name.starts_with("text") {
        true => crate::score_row::characters(value),
        false => value.clone(),
    };
    // The object may name one subset for all rows.
    let one =
        object.get("subset").filter(|subset| subset.is_string()).map(|subset| ("subset".to_owned(), subset.clone()));
    let row = |at: usize| {
        let of_row = arrays.iter().map(|(name, values)| ((*name).clone(), value(name, &values[at])));
        one.clone().into_iter().chain(of_row).collect()
    };
    Ok((0..rows).map(row).collect())
}
