//! The rows that `rewardscope score` reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::stdin;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rewardscope_data::{
    DataError, DatasetRow, How, Intake, NonFinite, Opening, RawRow, Reader, Skip, Stored, TakenRow, has_completions,
};
use rewardscope_engine::{Message, TokenSequence};
use rewardscope_eval::Reading;
use rewardscope_store::{ByteStream, Hasher, Source};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::dataset::{RowOptions, datasets};
use crate::row_journal::{half, key_of};

/// A row of token ids, which are scored as they are, and the place where the completion begins. Used to compare scores
/// with other programs.
#[derive(Deserialize)]
struct TokensIn {
    input_ids: Vec<u32>,
    first_completion_token: Option<usize>,
}

/// A row with a text that is rendered already, special tokens and all, as training loops have it.
#[derive(Deserialize)]
struct RenderedIn {
    text: String,
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
    /// A text that is rendered already.
    Rendered(String),
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

impl Work {
    /// Whether the row has several completions, or a list of one.
    pub fn is_many(&self) -> bool {
        matches!(self, Self::Texts(row) if row.is_list || !row.rejected.is_empty())
    }

    /// A hash of what all completions of the prompt share; `None` where there is nothing to score.
    fn prompt(&self) -> Option<u64> {
        let mut hash = Hasher::sha256();
        let mut text = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        let mut turns = |turns: &[Message]| {
            for turn in turns {
                text(&turn.role);
                text(&turn.content);
            }
        };
        match self {
            Self::None(_) => return None,
            Self::Texts(row) => turns(&row.prompt),
            Self::Steps(row) => turns(&row.prompt()),
            Self::Rendered(rendered) => text(rendered),
            Self::Tokens(sequence) => {
                // Where nothing says where the completion begins, all of it is hashed.
                let until =
                    if sequence.first_completion_token > 1 { sequence.first_completion_token } else { usize::MAX };
                let until = until.min(sequence.input_ids.len());
                sequence.input_ids[..until].iter().for_each(|id| hash.update(&id.to_le_bytes()));
            }
        }
        let bytes = half(hash);
        Some(u64::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        match self {
            Self::None(text) | Self::Rendered(text) => text.len(),
            Self::Tokens(sequence) => 4 * sequence.input_ids.len(),
            Self::Steps(row) => texts(&row.steps),
            Self::Texts(row) => {
                let prompt = row.prompt.iter().map(|turn| turn.content.len()).sum::<usize>();
                prompt + texts(&row.chosen) + texts(&row.rejected)
            }
        }
    }
}

/// A row that was read.
pub struct RowIn {
    /// The name of its file, where there are several.
    file: Option<Arc<str>>,
    /// Its place in the file, from 1.
    pub number: usize,
    /// Its place in the whole input, from 1.
    pub place: usize,
    pub id: Value,
    /// Its key in the journal.
    pub key: [u8; 16],
    pub work: Work,
    /// A hash of its prompt: rows with the same one are of the same shard.
    pub prompt: u64,
    /// Why it is listed among the bad rows, if it is.
    pub bad: Option<Skip>,
}

impl RowIn {
    /// Its file, where there are several, and its number, for messages.
    pub fn named(&self) -> String {
        match &self.file {
            Some(file) => format!("{file}, row {}", self.number),
            None => format!("row {}", self.number),
        }
    }
}

/// A few rows, and the same rows as their file stores them.
pub struct FewRows {
    /// The rows.
    pub rows: Vec<RowIn>,
    /// As their file stores them.
    pub stored: Stored,
    /// The name of their file.
    pub file: String,
}

/// The rows of one file.
enum Form {
    /// Prompts with completions.
    Texts(Box<Intake>),
    /// Token ids.
    Tokens(Box<Reader>),
    /// Prompts with solutions in steps.
    Steps(Box<Reader>),
    /// Texts that are rendered already.
    Rendered(Box<Reader>),
}

/// The rows of the input: a file, several, or a pipe.
pub struct Input<'a> {
    options: &'a RowOptions,
    is_strict: bool,
    with_stored: bool,
    /// The files that are not open yet.
    left: VecDeque<Source>,
    has_several: bool,
    open: Option<(Form, Arc<str>)>,
    sources: Vec<Source>,
    /// Number of rows that were read.
    rows: usize,
}

impl<'a> Input<'a> {
    /// Opens the files of rows that a name stands for, or standard input. With `with_stored`, rows are also given with
    /// every column.
    ///
    /// # Errors
    /// When the first of them cannot be read, or holds nothing to score.
    pub async fn open(name: &str, options: &'a RowOptions, is_strict: bool, with_stored: bool) -> anyhow::Result<Self> {
        let mut input = Self {
            options,
            is_strict,
            with_stored,
            left: VecDeque::new(),
            has_several: false,
            open: None,
            sources: Vec::new(),
            rows: 0,
        };
        if name == "-" {
            input.begin(ByteStream::pipe("standard input", Box::new(stdin()))).await?;
        } else if is_pipe(Path::new(name)) {
            let pipe = File::open(name).with_context(|| format!("opening {name}"))?;
            input.begin(ByteStream::pipe(name, Box::new(pipe))).await?;
        } else {
            input.sources = datasets(name, Reading::Whole, options.split.as_deref()).await?;
            input.left = input.sources.clone().into();
            input.has_several = input.sources.len() > 1;
            input.open_next().await?;
        }
        Ok(input)
    }

    /// Its files; none where it is a pipe.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    async fn open_next(&mut self) -> anyhow::Result<bool> {
        match self.left.pop_front() {
            Some(source) => {
                self.begin(ByteStream::of(&source)).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn begin(&mut self, stream: ByteStream) -> anyhow::Result<()> {
        let name: Arc<str> = stream.name().into();
        let opening = Opening {
            split: self.options.split.clone(),
            non_finite: NonFinite::Null,
            with_stored: self.with_stored,
            ..Opening::default()
        };
        let reader = Reader::open(stream, opening).await?;
        let columns = reader.columns().to_vec();
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let form = if has("input_ids") {
            Form::Tokens(Box::new(reader))
        } else if has("steps") {
            Form::Steps(Box::new(reader))
        } else if has("text") && self.options.columns.is_none() && !has_completions(&columns) {
            Form::Rendered(Box::new(reader))
        } else {
            // A bad row is written with its error, so that every row of the input has one in the output.
            let how = How::Completions(self.options.columns.clone());
            match Intake::from_reader(reader, &how, self.is_strict) {
                Ok(intake) => Form::Texts(Box::new(intake)),
                Err(DataError::Columns { file, found, .. }) => bail!(
                    "reading {file}: expected messages, prompt with completion or completions, or text, found the columns {found}; name others with --columns prompt=NAME,chosen=NAME"
                ),
                Err(error) => return Err(error.into()),
            }
        };
        self.open = Some((form, name));
        Ok(())
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// When a file is damaged.
    pub async fn next(&mut self) -> anyhow::Result<Option<FewRows>> {
        loop {
            let Some((form, name)) = &mut self.open else {
                return Ok(None);
            };
            let found = match form {
                Form::Texts(intake) => {
                    let found = intake.next().await?;
                    found.map(|(rows, stored)| (rows.into_iter().map(of_texts).collect::<Vec<_>>(), stored))
                }
                Form::Tokens(reader) => {
                    let found = reader.next().await?;
                    found.map(|found| (found.rows.into_iter().map(of_tokens).collect(), found.stored))
                }
                Form::Steps(reader) => {
                    let found = reader.next().await?;
                    found.map(|found| (found.rows.into_iter().map(of_steps).collect(), found.stored))
                }
                Form::Rendered(reader) => {
                    let found = reader.next().await?;
                    found.map(|found| (found.rows.into_iter().map(of_rendered).collect(), found.stored))
                }
            };
            let name = name.clone();
            let Some((mut rows, stored)) = found else {
                self.open = None;
                if !self.open_next().await? {
                    return Ok(None);
                }
                continue;
            };
            for row in &mut rows {
                self.rows += 1;
                row.place = self.rows;
                row.file = self.has_several.then(|| name.clone());
                row.prompt = row.work.prompt().unwrap_or(row.place as u64);
            }
            return Ok(Some(FewRows { rows, stored, file: name.to_string() }));
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
    RowIn { file: None, number: taken.number, place: 0, id: taken.id, key, work, prompt: 0, bad }
}

fn of_tokens(raw: RawRow) -> RowIn {
    of_record(raw, |row: TokensIn| {
        Work::Tokens(TokenSequence::new(row.input_ids, row.first_completion_token.unwrap_or(1)))
    })
}

fn of_rendered(raw: RawRow) -> RowIn {
    of_record(raw, |row: RenderedIn| Work::Rendered(row.text))
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
    RowIn { file: None, number: raw.number, place: 0, id, key: half(hash), work, prompt: 0, bad: None }
}
