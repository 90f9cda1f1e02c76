//! Files of scores: ours, the reference evaluators', and any list of rows. Marks are made anew from
//! the scores; what a file says of marks is not read.

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

/// What lengths of completions are counted in. The prompt is the same in all of an item's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// The model's tokens of the conversation.
    Tokens,
    /// Characters of the text that a file of scores has.
    Characters,
}

/// The scores of a file, with what it says beside them.
#[derive(Debug, Clone)]
pub struct ScoreFile {
    /// Its name.
    pub name: String,
    /// The model that it says scored, where it does.
    pub model: Option<String>,
    /// Scored items.
    pub rows: Vec<ScoredRow>,
    /// A length of each completion, where the file has them or its texts.
    pub lengths: Option<Vec<Vec<f64>>>,
    /// What those are counted in.
    pub length_unit: LengthUnit,
    /// Who wrote the completions of each item, where the file says.
    pub models: Vec<Vec<String>>,
    /// The run, where it is a run file.
    pub run: Option<Box<RunFile>>,
    /// Whose marks its scores make: what was asked for, what a run says, or what the rows look like.
    pub benchmark: &'static Benchmark,
    /// What the reader should know of how it was read, a sentence each.
    pub remarks: Vec<String>,
}

/// What a file of scores, or of marks, turned out to be.
#[derive(Debug, Clone)]
pub enum OpenedScores {
    /// Scores.
    Scores(Box<ScoreFile>),
    /// Marks alone.
    Summary(SummaryFile),
}

/// A larger file of scores is none.
const MOST_ROWS: usize = 2_000_000;

impl ScoreFile {
    /// Reads a file, whichever its form. `asked` is the benchmark that it is asked to be of.
    ///
    /// # Errors
    /// With the row and what is wrong with it; when it has marks and no scores.
    pub async fn open(source: &Source, asked: Option<&'static Benchmark>) -> Result<Self, ScoreFileError> {
        match Self::open_any(source, asked).await? {
            OpenedScores::Scores(file) => Ok(*file),
            OpenedScores::Summary(_) => Err(ScoreFileError::Format {
                file: source.name().to_owned(),
                found: "a summary, which has marks and no scores".to_owned(),
            }),
        }
    }

    /// Reads a file of scores or of marks.
    ///
    /// # Errors
    /// With the row and what is wrong with it.
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
                    // Whatever it is, it is no file of rows.
                    Err(found) if number == 1 => return Err(unknown(format!("row 1: {found}"))),
                    record => records.push(record.map_err(wrong)?),
                }
            }
            if records.len() > MOST_ROWS {
                return Err(unknown(format!("more than {MOST_ROWS} rows")));
            }
        }
        let mut model = None;
        // One object may be a run, marks, or all rows at once; a list of one such, the same.
        if let [only] = records.as_slice() {
            if RunFile::is(only) {
                let run: RunFile =
                    serde_json::from_value(Value::Object(only.clone())).map_err(|e| unknown(e.to_string()))?;
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

    /// The scores of a run.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_run(name: &str, run: RunFile) -> Result<Self, ScoreFileError> {
        let benchmark = benchmark(&run.benchmark)
            .map_err(|error| ScoreFileError::Format { file: name.to_owned(), found: format!("a run: {error}") })?;
        let scored = || run.items.iter().filter(|item| item.error.is_none());
        Self {
            name: name.to_owned(),
            model: Some(run.protocol.head.clone().unwrap_or_else(|| run.protocol.model.clone())),
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

    /// Where the overall mark stands among published ones; under what it came about is unknown where
    /// the file is no run.
    pub fn placement(&self, assessment: &Assessment) -> Option<Placement> {
        let under = self.run.as_ref().map(|run| run.protocol.made_under()).unwrap_or_default();
        placement(&assessment.benchmark, assessment.items, assessment.overall.as_ref()?.score, &under)
    }

    /// Whether the sigmoid of a score difference is known to be a Bradley-Terry probability.
    pub(crate) fn is_bradley_terry(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.protocol.is_bradley_terry)
    }

    /// The rows as the benchmarks take them.
    pub fn items(&self) -> Vec<ScoredItem<'_>> {
        self.rows.iter().map(ScoredRow::as_item).collect()
    }

    /// Marks with what they are worth.
    ///
    /// # Errors
    /// When a row cannot be marked.
    pub fn assess(
        &self,
        benchmark: &'static Benchmark,
        variant: &'static Variant,
        seed: u64,
        strict: bool,
    ) -> Result<Assessment, ScoreFileError> {
        let shortfall = self.run.as_ref().map(|run| run.shortfall());
        if let Some(Shortfall { items, missing, cut }) = shortfall.filter(|of| strict && (of.missing > 0 || of.cut > 0))
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

    /// Marks alone, with those of the items and the parts of Ties.
    ///
    /// # Errors
    /// When a row cannot be marked.
    pub fn marks(&self, benchmark: &'static Benchmark, variant: &'static Variant) -> Result<Marks, ScoreFileError> {
        marks(benchmark, variant, &self.items())
            .map_err(|reason| ScoreFileError::Mark { file: self.name.clone(), reason })
    }
}

/// Whose scores rows without a name are: RewardBench 2's where they say how many completions are correct, or name its
/// subsets; otherwise pairs of one's own.
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

/// Rows as the benchmark marks them, with what they leave out filled in where it is known. Gives which were kept.
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
            // All but the tied rows have one.
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
        // What they stand beside says nothing alone.
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

/// Scores of one correct completion and others that give a result: 1 alone in the first place, `1 / n` among `n`
/// there, 0 behind another.
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

/// Cells of text as what they hold: numbers, and lists as JSON.
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

/// A single row has its own numbers where parallel arrays have lists of them.
fn is_one_row(object: &Map<String, Value>) -> bool {
    ["num_correct", "label", "score_chosen", "scores_chosen", "chosen", "results"]
        .iter()
        .any(|name| object.get(*name).is_some_and(|value| !value.is_array() && !value.is_null()))
        || object.get("id").is_some_and(|id| !id.is_array())
}

/// The rows in one object, which are a list under a name, or the reference evaluator's parallel arrays.
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

/// The reference evaluator's object of parallel arrays, as rows.
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
    // Its texts are as large as the dataset, and only their lengths are needed.
    let value = |name: &str, value: &Value| match name.starts_with("text") {
        true => crate::score_row::characters(value),
        false => value.clone(),
    };
    // One subset may be said once for all.
    let one =
        object.get("subset").filter(|subset| subset.is_string()).map(|subset| ("subset".to_owned(), subset.clone()));
    let row = |at: usize| {
        let of_row = arrays.iter().map(|(name, values)| ((*name).clone(), value(name, &values[at])));
        one.clone().into_iter().chain(of_row).collect()
    };
    Ok((0..rows).map(row).collect())
}
