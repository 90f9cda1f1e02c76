//! Turns a record into a prompt with better and worse completions, or says why it is not one.

use std::collections::BTreeSet;

use rewardscope_conversation::Message;
use serde_json::{Map, Value};

use crate::columns::{as_text, first_of, has, lookup, texts};
use crate::reader::Column;
use crate::skip::{Reason, Skip};
use crate::turns::{Text, shown, text_of, transcript};
use crate::verdict::{correct_ones, first_is_better};
use crate::{COUNTS, Columns};

/// One item: a prompt with better (correct) and worse (incorrect) completions.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetRow {
    /// The value of [`Columns::id`]; empty where the row has none.
    pub id: String,
    /// The value of [`Columns::subset`]; empty where the row names none.
    pub subset: String,
    /// The conversation before the completion. At least one turn is the user's.
    pub prompt: Vec<Message>,
    /// The better completions; all completions where nothing tells which are better.
    pub chosen: Vec<String>,
    /// The worse completions.
    pub rejected: Vec<String>,
    /// The models that wrote the completions: those of `chosen`, then those of `rejected`. Empty where the dataset does
    /// not name one for each completion.
    pub models: Vec<String>,
    /// Whether the file holds the completions as a list, even a list of one.
    pub is_list: bool,
}

/// What the caller wants of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Correct and incorrect completions of a published benchmark; equal texts and empty prompts are kept.
    Published,
    /// Better and worse completions that differ.
    Preferences,
    /// Completions to score; nothing needs to tell which are better.
    Completions,
}

/// Turns records into items.
pub(crate) struct Builder {
    pub columns: Columns,
    pub wanted: Wanted,
    /// Columns whose texts are lists or messages as JSON.
    pub json: BTreeSet<String>,
}

/// The parts of the prompt that stand in columns of their own.
struct Before {
    system: Option<String>,
    prompt: Option<Text>,
    context: Option<String>,
}

/// A conversation, and the completion that ends it.
type Answered = (Vec<Message>, String);

/// The better and the worse completions of a row, each with the conversation before it.
struct Sides {
    chosen: Vec<Answered>,
    rejected: Vec<Answered>,
    /// Whether the columns of `chosen` held the worse side.
    is_swapped: bool,
    /// Where one list held all completions: the places of the correct ones in it, then of the others.
    order: Option<Vec<usize>>,
    /// Whether the completions came as a list.
    is_list: bool,
}

impl Builder {
    /// Remembers the columns whose first values are lists or messages as JSON.
    pub fn note_json(&mut self, columns: &[Column]) {
        self.json.extend(columns.iter().filter(|column| column.is_json).map(|column| column.name.clone()));
    }

    fn is_json(&self, name: &str) -> bool {
        self.json.contains(name)
    }

    fn text(&self, record: &Map<String, Value>, names: &[String], what: &str) -> Result<Option<Text>, Skip> {
        match first_of(record, names) {
            None => Ok(None),
            Some((name, value)) => text_of(&value, what, self.is_json(name)).map(Some),
        }
    }

    /// Makes an item of a record.
    ///
    /// # Errors
    /// When the record is no item; the [`Skip`] says why.
    pub fn row(&self, record: &Map<String, Value>) -> Result<DatasetRow, Skip> {
        let columns = &self.columns;
        self.refuse_tools(record)?;
        let plain = |names: &[String]| match first_of(record, names) {
            Some((_, Value::String(text))) if !text.trim().is_empty() => Some(text),
            _ => None,
        };
        let before = Before {
            system: plain(&columns.system),
            prompt: self.text(record, &columns.prompt, "prompt").map_err(|skip| match skip.reason {
                Reason::NoCompletion => Skip { reason: Reason::NoPrompt, ..skip },
                _ => skip,
            })?,
            context: plain(&columns.context),
        };
        let sides = self.sides(record, &before)?;
        let prompt =
            sides.chosen.first().or(sides.rejected.first()).map(|(turns, _)| turns.clone()).unwrap_or_default();
        if sides.chosen.iter().chain(&sides.rejected).any(|(turns, _)| *turns != prompt) {
            let expected = "chosen and rejected that answer the same conversation";
            return Err(Skip::new(Reason::EarlierTurns, expected, "different prompts or earlier turns"));
        }
        self.check_prompt(&prompt)?;
        let models = self.models(record, &sides);
        let only = |side: Vec<Answered>| side.into_iter().map(|(_, completion)| completion).collect::<Vec<_>>();
        let is_list = sides.is_list;
        let (chosen, rejected) = (only(sides.chosen), only(sides.rejected));
        self.check_completions(record, &chosen, &rejected)?;
        Ok(DatasetRow {
            id: first_of(record, &columns.id).and_then(|(_, id)| as_text(&id)).unwrap_or_default(),
            subset: self.subset(record),
            prompt,
            chosen,
            rejected,
            models,
            is_list,
        })
    }

    /// The part of the dataset that a row belongs to.
    pub fn subset(&self, record: &Map<String, Value>) -> String {
        let columns = &self.columns;
        let named = columns
            .subset
            .iter()
            .find_map(|name| as_text(&lookup(record, name)?).filter(|name| !name.trim().is_empty()));
        named.or_else(|| columns.subset_otherwise.clone()).unwrap_or_default()
    }

    /// Refuses a row that has tools: they belong in the chat template, which does not get them here.
    fn refuse_tools(&self, record: &Map<String, Value>) -> Result<(), Skip> {
        let is_given = |value: &Value| match value {
            Value::Null => false,
            Value::String(text) => {
                !["", "[]", "{}", "null", "none"].contains(&text.trim().to_ascii_lowercase().as_str())
            }
            Value::Array(values) => !values.is_empty(),
            Value::Object(values) => !values.is_empty(),
            _ => true,
        };
        match self.columns.tools.iter().find(|name| record.get(*name).is_some_and(is_given)) {
            Some(name) => Err(Skip::new(Reason::Tools, "no tools", format!("{name} has some"))),
            None => Ok(()),
        }
    }

    fn sides(&self, record: &Map<String, Value>, before: &Before) -> Result<Sides, Skip> {
        let columns = &self.columns;
        if columns.rejected.is_empty() {
            let all = self.side(record, &columns.chosen, "completions")?;
            let is_list = matches!(all, Text::Texts(_));
            if !columns.first_wrong.is_empty() && !matches!(&all, Text::Texts(steps) if !steps.is_empty()) {
                let expected = format!("a list of steps in {}", columns.chosen.join(" or "));
                return Err(Skip::new(Reason::NoCompletion, expected, "none"));
            }
            let all = self.answered(before, self.cut(record, all))?;
            if self.wanted == Wanted::Completions || columns.label.is_some() || !columns.has_list_verdict() {
                return Ok(Sides { chosen: all, rejected: Vec::new(), is_swapped: false, order: None, is_list });
            }
            let flags = match columns.order {
                true => (0..all.len()).map(|at| at == 0).collect(),
                false => correct_ones(columns, record, all.len())?,
            };
            let places = |of: bool| (0..all.len()).filter(|&at| flags[at] == of).collect::<Vec<_>>();
            let (right, wrong) = (places(true), places(false));
            let pick = |places: &[usize]| places.iter().map(|&at| all[at].clone()).collect::<Vec<_>>();
            let (chosen, rejected) = (pick(&right), pick(&wrong));
            return Ok(Sides { chosen, rejected, is_swapped: false, order: Some([right, wrong].concat()), is_list });
        }
        // The verdict comes first: a tie is reported as a tie, whatever else is wrong with the row.
        let is_swapped = !first_is_better(columns, record)?;
        let mut both =
            [self.side(record, &columns.chosen, "chosen")?, self.side(record, &columns.rejected, "rejected")?];
        both = both.map(|text| self.cut(record, text));
        if is_swapped {
            both.reverse();
        }
        let [chosen, rejected] = both;
        let is_list = matches!((&chosen, &rejected), (Text::Texts(_), _) | (_, Text::Texts(_)));
        // Without a prompt column, the text that both begin with is the prompt: TRL's implicit prompt.
        if before.prompt.is_none()
            && let (Text::Plain(first), Text::Plain(second)) = (&chosen, &rejected)
            && (transcript(first).is_none() || transcript(second).is_none())
        {
            let (prompt, first, second) = common_prefix(first, second)?;
            let turns = self.with_system(before, vec![Message::new("user", prompt)])?;
            let one = |text: String| vec![(turns.clone(), text)];
            return Ok(Sides { chosen: one(first), rejected: one(second), is_swapped, order: None, is_list });
        }
        Ok(Sides {
            chosen: self.answered(before, chosen)?,
            rejected: self.answered(before, rejected)?,
            is_swapped,
            order: None,
            is_list,
        })
    }

    fn side(&self, record: &Map<String, Value>, names: &[String], what: &str) -> Result<Text, Skip> {
        self.text(record, names, what)?.ok_or_else(|| {
            let expected = format!("{what}: a text, a list of texts or a list of messages in {}", names.join(" or "));
            Skip::new(Reason::NoCompletion, expected, "null")
        })
    }

    /// Cuts a conversation after the assistant turn that was judged ([`Columns::turn`]).
    fn cut(&self, record: &Map<String, Value>, text: Text) -> Text {
        let turn = self.columns.turn.as_ref().and_then(|name| as_text(&lookup(record, name)?)?.parse::<usize>().ok());
        match (text, turn) {
            (Text::Turns(turns), Some(turn)) if turn > 0 => {
                let mut answers = 0;
                let until = turns.iter().position(|said| {
                    answers += usize::from(said.role == "assistant");
                    answers == turn
                });
                Text::Turns(turns[..until.map_or(turns.len(), |at| at + 1)].to_vec())
            }
            (text, _) => text,
        }
    }

    /// The completions in a text, each with the conversation before it.
    fn answered(&self, before: &Before, text: Text) -> Result<Vec<Answered>, Skip> {
        let is_conversation =
            matches!(&text, Text::Texts(answers) if answers.len() == before.questions().len() && answers.len() > 1);
        let prompt = if is_conversation { Vec::new() } else { prompt_of(before)? };
        let completions = match text {
            // As many questions as answers: one conversation of several turns.
            Text::Texts(answers) if is_conversation => {
                let pairs = before.questions().iter().zip(answers);
                let turns = pairs.flat_map(|(asked, answer)| {
                    [Message::new("user", asked.as_str()), Message::new("assistant", answer)]
                });
                return Ok(vec![self.conversation(before, &[], turns.collect())?]);
            }
            Text::Texts(completions) => completions,
            Text::Plain(text) if prompt.is_empty() => {
                let expected = "a prompt, or a transcript of Human and Assistant";
                let turns = transcript(&text).ok_or_else(|| Skip::new(Reason::NoPrompt, expected, "neither"))?;
                return Ok(vec![self.conversation(before, &[], turns)?]);
            }
            // A transcript beside a prompt repeats or continues that prompt.
            Text::Plain(text) => match transcript(&text) {
                Some(turns) if turns.len() > 1 && turns[0].role == "user" && self.wanted != Wanted::Published => {
                    return Ok(vec![self.conversation(before, &prompt, turns)?]);
                }
                _ => vec![text],
            },
            Text::Turns(turns) => return Ok(vec![self.conversation(before, &prompt, turns)?]),
        };
        let turns = self.with_system(before, prompt)?;
        Ok(completions.into_iter().map(|completion| (turns.clone(), completion)).collect())
    }

    /// Splits a conversation into its last turn, the completion, and the turns before it, which are joined with the
    /// prompt's own.
    fn conversation(&self, before: &Before, prompt: &[Message], mut turns: Vec<Message>) -> Result<Answered, Skip> {
        let whole = turns.clone();
        let completion = match turns.pop() {
            Some(last) if last.role == "assistant" => last.content,
            Some(last) => {
                let reason = if last.role == "user" { Reason::TrailingUser } else { Reason::Shape };
                let found = format!("{} messages, the last of {}", whole.len(), last.role);
                return Err(Skip::new(reason, "a conversation that ends with the assistant", found));
            }
            None => return Err(Skip::new(Reason::NoCompletion, "a conversation", "an empty list")),
        };
        let joined = join(prompt, &turns, &whole, matches!(before.prompt, Some(Text::Plain(_))))?;
        Ok((self.with_system(before, joined)?, completion))
    }

    fn with_system(&self, before: &Before, turns: Vec<Message>) -> Result<Vec<Message>, Skip> {
        match (&before.system, turns.first()) {
            (None, _) => Ok(turns),
            (Some(system), Some(first)) if first.role == "system" => match first.content.trim() == system.trim() {
                true => Ok(turns),
                false => Err(Skip::new(Reason::OtherPrompt, "one system prompt", "another in the conversation")),
            },
            (Some(system), _) => Ok([vec![Message::new("system", system.as_str())], turns].concat()),
        }
    }

    fn check_prompt(&self, prompt: &[Message]) -> Result<(), Skip> {
        let wanted = "a prompt with a turn of the user";
        if !prompt.iter().any(|turn| turn.role == "user") {
            let roles: Vec<&str> = prompt.iter().map(|turn| turn.role.as_str()).take(5).collect();
            let found = if roles.is_empty() { "none".to_owned() } else { format!("turns of {}", roles.join(", ")) };
            return Err(Skip::new(Reason::NoPrompt, wanted, found));
        }
        let is_empty = prompt.iter().all(|turn| turn.role != "user" || turn.content.trim().is_empty());
        match self.wanted == Wanted::Preferences && is_empty {
            true => Err(Skip::new(Reason::NoPrompt, wanted, "an empty text")),
            false => Ok(()),
        }
    }

    fn check_completions(
        &self,
        record: &Map<String, Value>,
        chosen: &[String],
        rejected: &[String],
    ) -> Result<(), Skip> {
        // The first step may be wrong, and none may be.
        let are_steps = !self.columns.first_wrong.is_empty() && chosen.len() + rejected.len() > 0;
        let is_one_sided = self.wanted == Wanted::Completions || !self.is_two_sided() || are_steps;
        if (chosen.is_empty() && !are_steps) || (rejected.is_empty() && !is_one_sided) {
            let found = format!("{} and {}", chosen.len(), rejected.len());
            let reason = if chosen.len() + rejected.len() == 0 { Reason::NoCompletion } else { Reason::Unpaired };
            return Err(Skip::new(reason, "at least one chosen and one rejected completion", found));
        }
        if self.wanted == Wanted::Preferences && chosen.iter().any(|text| rejected.contains(text)) {
            return Err(Skip::new(Reason::Equal, "chosen and rejected that differ", "equal texts"));
        }
        if self.columns.has_counts {
            counts_agree(record, chosen.len(), rejected.len())?;
        }
        Ok(())
    }

    fn is_two_sided(&self) -> bool {
        !self.columns.rejected.is_empty() || (self.columns.has_list_verdict() && self.columns.label.is_none())
    }

    /// The models that wrote the completions, in the item's order: chosen, then rejected.
    fn models(&self, record: &Map<String, Value>, sides: &Sides) -> Vec<String> {
        let columns = &self.columns;
        let (first, second) = match sides.is_swapped {
            true => (sides.rejected.len(), sides.chosen.len()),
            false => (sides.chosen.len(), sides.rejected.len()),
        };
        let count = first + second;
        // One column with one name: that model wrote every completion.
        if let [column] = columns.models.as_slice()
            && let Some(Value::String(only)) = lookup(record, column)
        {
            return vec![only; count];
        }
        let models: Vec<String> =
            columns.models.iter().filter_map(|name| lookup(record, name)).flat_map(texts).collect();
        if models.len() != count {
            return Vec::new();
        }
        match (&sides.order, sides.is_swapped) {
            (Some(order), _) => order.iter().map(|&at| models[at].clone()).collect(),
            (None, true) => [&models[first..], &models[..first]].concat(),
            (None, false) => models,
        }
    }
}

impl Before {
    /// The prompt's questions, where it is a list of them; asked one after another.
    fn questions(&self) -> &[String] {
        match &self.prompt {
            Some(Text::Texts(asked)) => asked,
            _ => &[],
        }
    }
}

/// A row's prompt as a conversation.
fn prompt_of(before: &Before) -> Result<Vec<Message>, Skip> {
    let below = |text: &str| match &before.context {
        Some(context) => format!("{text}\n{context}"),
        None => text.to_owned(),
    };
    match &before.prompt {
        None => Ok(Vec::new()),
        Some(Text::Plain(text)) => Ok(transcript(text).unwrap_or_else(|| vec![Message::new("user", below(text))])),
        Some(Text::Turns(turns)) => Ok(turns.clone()),
        Some(Text::Texts(texts)) => match texts.as_slice() {
            // An empty list of messages looks like an empty list of texts.
            [] => Ok(Vec::new()),
            [only] => Ok(vec![Message::new("user", below(only))]),
            several => {
                let found = format!("a list of {} texts", several.len());
                Err(Skip::new(Reason::OtherPrompt, "a prompt with an answer to each of its questions", found))
            }
        },
    }
}

/// Joins the prompt with a conversation into the turns before the completion. The prompt may be the conversation's
/// beginning, an earlier part, or the same conversation. `turns` is the conversation without its last answer, `whole`
/// is with it; `is_text` says that the prompt was a plain text.
fn join(prompt: &[Message], turns: &[Message], whole: &[Message], is_text: bool) -> Result<Vec<Message>, Skip> {
    // The conversation already has the prompt's turns, or the prompt is the whole conversation.
    if prompt.is_empty() || prompt == whole || turns.ends_with(prompt) || turns.starts_with(prompt) && !turns.is_empty()
    {
        return Ok(turns.to_vec());
    }
    // At most a system prompt stands before the answer: the prompt goes between.
    if turns.iter().all(|turn| turn.role == "system") && prompt[0].role != "system" {
        return Ok([turns, prompt].concat());
    }
    if turns.is_empty() {
        return Ok(prompt.to_vec());
    }
    // A prompt that is a plain text must be one of the user's turns.
    if is_text && let [only] = prompt {
        let is_said = |turn: &Message| turn.role == "user" && turn.content.trim() == only.content.trim();
        if turns.iter().any(is_said) {
            return Ok(turns.to_vec());
        }
        let asked = turns.iter().rfind(|turn| turn.role == "user").map_or("nothing", |turn| turn.content.as_str());
        let short = |text: &str| text.chars().take(40).collect::<String>();
        let found = format!("the prompt {:?} beside a conversation that asks {:?}", short(&only.content), short(asked));
        return Err(Skip::new(Reason::OtherPrompt, "a prompt that the conversation answers", found));
    }
    // The prompt's end may repeat the conversation's beginning: the longest such overlap is kept once.
    let shared = (1..=prompt.len().min(turns.len())).rev().find(|&k| prompt[prompt.len() - k..] == turns[..k]);
    if let Some(shared) = shared {
        return Ok([&prompt[..prompt.len() - shared], turns].concat());
    }
    let last = prompt.last().map(|turn| turn.role.as_str());
    let first = turns.first().map(|turn| turn.role.as_str());
    match (last, first) {
        // The prompt has the earlier turns, and the conversation goes on from them.
        (Some("assistant" | "system"), Some("user")) | (Some("user"), Some("assistant")) => {
            Ok([prompt, turns].concat())
        }
        _ => {
            let found = format!(
                "a prompt that ends with {} beside one that begins with {}",
                last.unwrap_or("nothing"),
                first.unwrap_or("nothing")
            );
            Err(Skip::new(Reason::OtherPrompt, "a prompt that the conversation goes on from, or repeats", found))
        }
    }
}

/// Splits two texts into their common beginning and the rest of each. A space just before the split goes to the rests,
/// as in TRL's `extract_prompt`.
fn common_prefix(first: &str, second: &str) -> Result<(String, String, String), Skip> {
    if first == second {
        return Err(Skip::new(Reason::Equal, "chosen and rejected that differ", "equal texts"));
    }
    let parting = first.char_indices().zip(second.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
    let at = match parting {
        Some(at) => at - usize::from(first[..at].ends_with(' ')),
        // One text begins with the other: the split lies before the shorter one's last character, which is its rest.
        None => {
            let shorter = if first.len() < second.len() { first } else { second };
            shorter.char_indices().next_back().map_or(0, |(at, _)| at)
        }
    };
    if first[..at].trim().is_empty() {
        return Err(Skip::new(Reason::NoPrompt, "a prompt, or texts that begin alike", "neither"));
    }
    Ok((first[..at].to_owned(), first[at..].to_owned(), second[at..].to_owned()))
}

/// Refuses a row whose count columns ([`COUNTS`]) disagree with its lists.
fn counts_agree(record: &Map<String, Value>, chosen: usize, rejected: usize) -> Result<(), Skip> {
    for (name, count) in COUNTS.into_iter().zip([chosen, rejected, chosen + rejected]) {
        let found = record.get(name).filter(|found| !found.is_null() && **found != "");
        // In CSV every cell is a text.
        let number = |found: &Value| found.as_u64().or_else(|| as_text(found)?.trim().parse().ok());
        if let Some(found) = found.filter(|found| number(found) != Some(count as u64)) {
            return Err(Skip::new(Reason::Counts, format!("{name} of {count}"), shown(Some(found))));
        }
    }
    Ok(())
}

/// Columns that look like text and that no field reads, without the usual columns beside the texts.
pub(crate) fn unused(columns: &Columns, found: &[Column]) -> Vec<String> {
    // Usual names of columns that describe a row and are not scored.
    const OTHERS: [&str; 43] = [
        "id",
        "_id",
        "ids",
        "uuid",
        "uid",
        "hash",
        "prompt_id",
        "source",
        "dataset",
        "split",
        "subset",
        "category",
        "domain",
        "language",
        "lang",
        "topic",
        "model",
        "models",
        "model_name",
        "model_a",
        "model_b",
        "generator",
        "annotator",
        "judge",
        "winner",
        "label",
        "labels",
        "url",
        "timestamp",
        "date",
        "license",
        "metadata",
        "additional_metadata",
        "extra_info",
        "conversation_hash",
        "question_id",
        "openai_moderation",
        "toxic_chat_tag",
        "task",
        "style",
        "type",
        "worker",
        "batch",
    ];
    let used = columns.used(found);
    let is_family =
        |name: &str| used.iter().any(|used| used.ends_with('*') && has(std::slice::from_ref(&column(name)), used));
    let is_other = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let ends = ["_id", "_model", "_type", "_hash", "_url", "_date", "_score", "_rating", "_source", "_ids"];
        OTHERS.contains(&lower.as_str()) || ends.iter().any(|end| lower.ends_with(end)) || lower.starts_with("model_")
    };
    let text = found.iter().filter(|column| column.is_text && !used.contains(column.name.as_str()));
    text.map(|column| column.name.clone()).filter(|name| !is_family(name) && !is_other(name)).collect()
}

fn column(name: &str) -> Column {
    Column { name: name.to_owned(), is_text: true, is_json: false, is_pair: false }
}
