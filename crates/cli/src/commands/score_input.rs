//! The rows that `rewardscope score` reads.

use std::fs::File;
use std::io::stdin;
use std::path::Path;

use anyhow::{Context, bail};
use rewardscope_data::{DataError, DatasetRow, How, Intake, NonFinite, Opening, RawRow, Reader, Skip, TakenRow};
use rewardscope_engine::{Message, TokenSequence};
use rewardscope_store::{ByteStream, Hasher, Source};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::dataset::RowOptions;
use crate::row_journal::{half, key_of};

/// A row of token ids, which are scored as they are, and the place where the completion begins. Used to compare scores
/// with other programs.
#[derive(Deserialize)]
struct TokensIn {
    input_ids: Vec<u32>,
    first_completion_token: Option<usize>,
}

/// What there is to score in a row.
pub enum Work {
    /// A prompt with completions.
    Texts(Box<DatasetRow>),
    /// Token ids as they are.
    Tokens(TokenSequence),
    /// Nothing, for this reason.
    None(String),
    /// A solution in steps.
    Steps(StepsIn),
}

/// A row with a solution in steps.
#[derive(Deserialize)]
pub struct StepsIn {
    prompt: PromptIn,
    #[serde(default)]
    system: Option<String>,
    /// The steps, in their order.
    pub steps: Vec<String>,
}

/// The prompt of a row with steps.
#[derive(Deserialize)]
#[serde(untagged)]
enum PromptIn {
    Text(String),
    Messages(Vec<Message>),
}

impl StepsIn {
    /// The messages before the solution.
    pub fn prompt(&self) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
        match &self.prompt {
            PromptIn::Text(text) => system.chain([Message::new("user", text.as_str())]).collect(),
            PromptIn::Messages(messages) => system.chain(messages.iter().cloned()).collect(),
        }
    }
}

/// A row that was read.
pub struct RowIn {
    /// Its place in the file, from 1.
    pub number: usize,
    pub id: Value,
    /// Its key in the journal.
    pub key: [u8; 16],
    pub work: Work,
    /// Why it is listed among the bad rows, if it is.
    pub bad: Option<Skip>,
}

/// The rows of the input, as texts, as tokens or as solutions in steps.
pub enum Input {
    /// Prompts with completions.
    Texts(Box<Intake>),
    /// Token ids.
    Tokens(Box<Reader>),
    /// Prompts with solutions in steps.
    Steps(Box<Reader>),
}

impl Input {
    /// Opens a file of rows, or standard input.
    ///
    /// # Errors
    /// When it cannot be read, or holds nothing to score.
    pub async fn open(input: &Path, options: &RowOptions, is_strict: bool) -> anyhow::Result<Self> {
        let stream = match input {
            path if path == Path::new("-") => ByteStream::pipe("standard input", Box::new(stdin())),
            path if is_pipe(path) => {
                let pipe = File::open(path).with_context(|| format!("opening {}", path.display()))?;
                ByteStream::pipe(&path.display().to_string(), Box::new(pipe))
            }
            path => ByteStream::of(&Source::file(path)?),
        };
        let opening = Opening { split: options.split.clone(), non_finite: NonFinite::Null, ..Opening::default() };
        let reader = Reader::open(stream, opening).await?;
        if reader.columns().iter().any(|column| column.name == "input_ids") {
            return Ok(Self::Tokens(Box::new(reader)));
        }
        if reader.columns().iter().any(|column| column.name == "steps") {
            return Ok(Self::Steps(Box::new(reader)));
        }
        // A bad row is written with its error, so that every row of the input has one in the output.
        let how = How::Completions(options.columns.clone());
        match Intake::from_reader(reader, &how, is_strict) {
            Ok(intake) => Ok(Self::Texts(Box::new(intake))),
            Err(DataError::Columns { file, found, .. }) => bail!(
                "reading {file}: expected messages, or prompt with completion or completions, found the columns {found}; name others with --columns prompt=NAME,chosen=NAME"
            ),
            Err(error) => Err(error.into()),
        }
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// When the file is damaged.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<RowIn>>> {
        match self {
            Self::Texts(intake) => {
                let found = intake.next().await?;
                Ok(found.map(|(rows, _)| rows.into_iter().map(of_texts).collect()))
            }
            Self::Tokens(reader) => {
                let found = reader.next().await?;
                Ok(found.map(|found| found.rows.into_iter().map(of_tokens).collect()))
            }
            Self::Steps(reader) => {
                let found = reader.next().await?;
                Ok(found.map(|found| found.rows.into_iter().map(of_steps).collect()))
            }
        }
    }
}

/// Whether a path is a pipe or a device.
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn of_texts(taken: TakenRow) -> RowIn {
    let key = key_of(&taken.row);
    let (work, bad) = match taken.row {
        Ok(row) => (Work::Texts(Box::new(row)), None),
        Err(skip) => (Work::None(skip.to_string()), Some(skip)),
    };
    RowIn { number: taken.number, id: taken.id, key, work, bad }
}

fn of_tokens(raw: RawRow) -> RowIn {
    of_record(raw, |row: TokensIn| {
        Work::Tokens(TokenSequence::new(row.input_ids, row.first_completion_token.unwrap_or(1)))
    })
}

fn of_steps(raw: RawRow) -> RowIn {
    of_record(raw, |row: StepsIn| match row.steps.is_empty() {
        true => Work::None("steps: a list of texts was expected, an empty one was found".to_owned()),
        false => Work::Steps(row),
    })
}

/// A row that is read as its own form says.
fn of_record<T: DeserializeOwned>(raw: RawRow, work: impl FnOnce(T) -> Work) -> RowIn {
    let mut hash = Hasher::sha256();
    hash.update(format!("{:?}", raw.record).as_bytes());
    let record: Map<String, Value> = raw.record.clone().unwrap_or_default();
    let id = record.get("id").cloned().unwrap_or_default();
    let read = raw.record.and_then(|record| serde_json::from_value(Value::Object(record)).map_err(|e| e.to_string()));
    let work = read.map_or_else(Work::None, work);
    RowIn { number: raw.number, id, key: half(hash), work, bad: None }
}
