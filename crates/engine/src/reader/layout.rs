//! From a prompt and a completion, or the steps of a solution, to token ids and the tokens at which a reader reads.

use rewardscope_text::{ChatTemplate, Clock, Encoding, Message, TextPipeline, TruncationSide};
use serde::Serialize;

use crate::TokenSequence;
use crate::error::EngineError;
use crate::reader::spec::{At, Reader, StepAnswer, StepPieces, StepTexts, Steps, TokenName};

/// Where a completion's text is split into steps, unless the reader says otherwise.
const SPLIT: &str = "\n\n";

/// What is read: a completion, or a solution in steps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer<'a> {
    Whole(&'a str),
    Steps(&'a [String]),
}

/// A text that was put together, with its tokens and the tokens that are read.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub sequence: TokenSequence,
    pub text: String,
}

/// The compiled texts of a reader.
#[derive(Debug)]
pub(crate) struct Layout {
    name: String,
    at: Place,
    instruction: Option<String>,
    split: String,
    shape: Shape,
}

/// Where it is read, by token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Last,
    Each(u32),
    Before(u32),
    /// Before the content of each verdict turn.
    BeforeVerdict,
}

#[derive(Debug)]
enum Shape {
    /// The conversation, by the model's own chat template.
    Conversation,
    /// One text, in pieces that are tokenized one by one.
    Text(Vec<ChatTemplate>),
    /// Messages for the chat template, and how the answer begins.
    Messages(Vec<(String, ChatTemplate)>, String),
    Texts([ChatTemplate; 2]),
    Turns(Vec<CompiledTurn>),
    Pieces([ChatTemplate; 2], String),
    Answer(ChatTemplate),
}

#[derive(Debug)]
enum CompiledTurn {
    Said(String, Box<[ChatTemplate; 2]>),
    Verdict(String, String),
}

/// What a reader's texts may name.
#[derive(Serialize)]
struct Told<'a> {
    /// The contents of the prompt's messages but the system's, with line breaks between.
    prompt: &'a str,
    system: &'a str,
    completion: &'a str,
    step: &'a str,
    instruction: &'a str,
}

/// A text before it is cut: its ids, and the tokens that are read.
struct Whole {
    text: String,
    ids: Vec<u32>,
    read_at: Vec<usize>,
}

/// The number of elements that two lists begin with.
fn common<T: PartialEq>(a: impl IntoIterator<Item = T>, b: impl IntoIterator<Item = T>) -> usize {
    a.into_iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The id of a token that is named by its id or by its text.
///
/// # Errors
/// When the vocabulary lacks it, or its text is several tokens.
pub(crate) fn token_id(text: &TextPipeline, reader: &str, token: &TokenName) -> Result<u32, EngineError> {
    let refuse = |found: String| EngineError::Reader { reader: reader.to_owned(), found };
    match token {
        TokenName::Id(id) => match text.tokenizer.token(*id) {
            Some(_) => Ok(*id),
            None => Err(refuse(format!("the token {id}, which the vocabulary does not have"))),
        },
        TokenName::Text(name) => match text.tokenizer.encode(name)?.as_slice() {
            [id] => Ok(*id),
            [] => Err(refuse(format!("the token {name:?}, which is no text to the tokenizer"))),
            several => {
                let ids = several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                Err(refuse(format!("the token {name:?}, which is several to the tokenizer ({ids}); name one of them")))
            }
        },
    }
}

impl Layout {
    /// Compiles a reader's texts. `clock` is the time that they are told.
    ///
    /// # Errors
    /// When a text is no Jinja, an instruction is missing, or a token that is read at is not one token.
    pub fn new(reader: &Reader, text: &TextPipeline, clock: Clock) -> Result<Self, EngineError> {
        let Reader { name, spec } = reader;
        if spec.uses_instruction() && spec.instruction.is_none() {
            let found = "a reader that asks by an instruction, and none was given; state it (--instruction TEXT)";
            return Err(EngineError::Reader { reader: name.clone(), found: found.to_owned() });
        }
        let file = format!("the reader {name}");
        let own = text.template.as_ref().map(ChatTemplate::special_tokens);
        let special = own.unwrap_or(text.tokenizer.special_tokens());
        let of = |source: &str| ChatTemplate::new(&file, source.to_owned(), special.to_vec(), clock);
        let two = |a: &str, b: &str| -> Result<[ChatTemplate; 2], EngineError> { Ok([of(a)?, of(b)?]) };
        let shape = match (&spec.template, &spec.steps) {
            (Some(template), _) => Shape::Text(vec![of(template)?]),
            (None, None) if !spec.pieces.is_empty() => {
                Shape::Text(spec.pieces.iter().map(|piece| of(piece)).collect::<Result<_, _>>()?)
            }
            (None, None) if spec.messages.is_empty() => Shape::Conversation,
            (None, None) => {
                let turn = |turn: &crate::reader::spec::Turn| Ok((turn.role.clone(), of(&turn.content)?));
                let turns = spec.messages.iter().map(turn).collect::<Result<_, EngineError>>()?;
                Shape::Messages(turns, spec.answer.clone().unwrap_or_default())
            }
            (None, Some(Steps::Texts(StepTexts { first, next }))) => Shape::Texts(two(first, next)?),
            (None, Some(Steps::Pieces(StepPieces { before, step, end }))) => {
                Shape::Pieces(two(before, step)?, end.clone())
            }
            (None, Some(Steps::Answer(StepAnswer { answer }))) => Shape::Answer(of(answer)?),
            (None, Some(Steps::Turns(turns))) => {
                let mut compiled = Vec::with_capacity(turns.turns.len());
                for turn in &turns.turns {
                    compiled.push(match (&turn.verdict, &turn.first, &turn.next) {
                        (Some(verdict), ..) => CompiledTurn::Verdict(turn.role.clone(), verdict.clone()),
                        (None, first, next) => {
                            let text = |text: &Option<String>| text.clone().unwrap_or_default();
                            CompiledTurn::Said(turn.role.clone(), Box::new(two(&text(first), &text(next))?))
                        }
                    });
                }
                Shape::Turns(compiled)
            }
        };
        let at = match &spec.at {
            At::Last => Place::Last,
            At::Each(token) => Place::Each(token_id(text, name, token)?),
            At::Before(_) if matches!(shape, Shape::Turns(_)) => Place::BeforeVerdict,
            At::Before(token) => Place::Before(token_id(text, name, token)?),
        };
        let split = spec.split.clone().unwrap_or_else(|| SPLIT.to_owned());
        Ok(Self { name: name.clone(), at, instruction: spec.instruction.clone(), split, shape })
    }

    /// Whether it reads steps.
    pub fn has_steps(&self) -> bool {
        matches!(self.shape, Shape::Texts(_) | Shape::Turns(_) | Shape::Pieces(..) | Shape::Answer(_))
    }

    fn refuse(&self, found: String) -> EngineError {
        EngineError::Reader { reader: self.name.clone(), found }
    }

    /// Puts answers to a prompt together, tokenizes them, and finds the tokens that are read. Where one is longer than
    /// the encoding allows, a completion is cut, but nothing around it.
    ///
    /// # Errors
    /// When a template or the tokenizer fails, a separator is missing, or steps do not fit.
    pub fn place<'a>(
        &self,
        text: &TextPipeline,
        prompt: &[Message],
        answers: impl IntoIterator<Item = Answer<'a>>,
        encoding: Encoding,
    ) -> Result<Vec<Placed>, EngineError> {
        let nothing = [String::new()];
        let empty = if self.has_steps() { Answer::Steps(&nothing) } else { Answer::Whole("") };
        // Some templates refuse an answer without a text.
        let empty = self.whole(text, prompt, empty, encoding).map(|empty| empty.ids).unwrap_or_default();
        answers.into_iter().map(|answer| self.placed(text, prompt, answer, &empty, encoding)).collect()
    }

    /// One answer. `empty` are the ids of an answer without a text.
    fn placed(
        &self,
        text: &TextPipeline,
        prompt: &[Message],
        answer: Answer<'_>,
        empty: &[u32],
        encoding: Encoding,
    ) -> Result<Placed, EngineError> {
        let own: Vec<String>;
        let answer = match (answer, self.has_steps()) {
            (Answer::Steps(_), false) => {
                let found = "steps, which it does not read; choose a reader of steps (--reader NAME)";
                return Err(self.refuse(found.to_owned()));
            }
            (Answer::Whole(completion), true) => {
                own = self.steps_of(completion);
                Answer::Steps(&own)
            }
            (answer, _) => answer,
        };
        let whole = self.whole(text, prompt, answer, encoding)?;
        let first = common(&whole.ids, empty);
        let mut placed = Placed {
            sequence: TokenSequence { read_at: whole.read_at, ..TokenSequence::new(whole.ids, first) },
            text: whole.text,
        };
        let over = placed.sequence.input_ids.len().saturating_sub(encoding.most_tokens);
        if over > 0 && matches!(self.shape, Shape::Text(_) | Shape::Messages(..)) {
            let last = common(placed.sequence.input_ids.iter().rev(), empty.iter().rev()).min(empty.len() - first);
            self.cut(&mut placed.sequence, last, over, encoding.side)?;
        } else if over > 0 && !placed.sequence.read_at.is_empty() {
            let all = placed.sequence.input_ids.len();
            let found = format!(
                "a text of {all} tokens, of which {} are seen: steps would be lost; shorten it, or raise the limit",
                encoding.most_tokens
            );
            return Err(self.refuse(found));
        }
        Ok(placed)
    }

    /// Cuts `over` tokens of the completion, which `last` tokens follow.
    fn cut(
        &self,
        sequence: &mut TokenSequence,
        last: usize,
        over: usize,
        side: TruncationSide,
    ) -> Result<(), EngineError> {
        let (start, end) = (sequence.first_completion_token, sequence.input_ids.len() - last);
        if start + over >= end {
            let all = sequence.input_ids.len();
            let found = format!(
                "a text of {all} tokens, {over} too many, and a completion of {} tokens to cut; shorten the prompt",
                end.saturating_sub(start)
            );
            return Err(self.refuse(found));
        }
        let cut = match side {
            TruncationSide::Left => start..start + over,
            TruncationSide::Right => end - over..end,
        };
        sequence.read_at.retain(|position| !cut.contains(position));
        sequence.read_at.iter_mut().filter(|position| **position >= cut.end).for_each(|position| *position -= over);
        sequence.input_ids.drain(cut);
        sequence.cut_tokens += over;
        if sequence.read_at.is_empty() {
            return Err(self.refuse("a text of which every token that is read was cut; shorten it".to_owned()));
        }
        Ok(())
    }

    /// The steps in a completion's text: what its separators leave, without empty ones.
    fn steps_of(&self, completion: &str) -> Vec<String> {
        let steps: Vec<String> =
            completion.split(&self.split).filter(|step| !step.trim().is_empty()).map(str::to_owned).collect();
        if steps.is_empty() { vec![completion.to_owned()] } else { steps }
    }

    /// Renders one of the reader's own texts.
    fn render(
        &self,
        template: &ChatTemplate,
        prompt: &[Message],
        completion: &str,
        step: &str,
    ) -> Result<String, EngineError> {
        let is_system = |message: &&Message| message.role == "system";
        let contents = |of: bool| -> Vec<&str> {
            prompt.iter().filter(|message| is_system(message) == of).map(|message| message.content.as_str()).collect()
        };
        let (system, asked) = (contents(true).join("\n"), contents(false).join("\n"));
        let instruction = self.instruction.as_deref().unwrap_or_default();
        Ok(template.render_with(prompt, Told { prompt: &asked, system: &system, completion, step, instruction })?)
    }

    /// Puts a text together and tokenizes it, without any cut.
    fn whole(
        &self,
        text: &TextPipeline,
        prompt: &[Message],
        answer: Answer<'_>,
        encoding: Encoding,
    ) -> Result<Whole, EngineError> {
        let completion = match answer {
            Answer::Whole(completion) => completion,
            Answer::Steps(_) => "",
        };
        match (&self.shape, answer) {
            (Shape::Conversation, _) => {
                let every = Encoding { most_tokens: usize::MAX, ..encoding };
                let conversation = text.conversations(prompt, [completion], every)?.pop();
                let conversation = conversation.ok_or(EngineError::Cancelled)?;
                // The last token is the pooled one, which knows of pad tokens; it is found later.
                let read_at = if self.at == Place::Last { Vec::new() } else { self.read_at(&conversation.input_ids)? };
                Ok(Whole { text: conversation.text, ids: conversation.input_ids, read_at })
            }
            (Shape::Text(pieces), _) => {
                let (mut rendered, mut ids) = (String::new(), Vec::new());
                for piece in pieces {
                    let piece = self.render(piece, prompt, completion, "")?;
                    ids.extend(text.tokenizer.encode(&piece)?);
                    rendered += &piece;
                }
                let read_at = self.read_at(&ids)?;
                Ok(Whole { text: rendered, ids, read_at })
            }
            (Shape::Messages(turns, begun), _) => {
                let turn = |(role, content): &(String, ChatTemplate)| {
                    Ok(Message::new(role.as_str(), self.render(content, prompt, completion, "")?))
                };
                let messages = turns.iter().map(turn).collect::<Result<Vec<_>, EngineError>>()?;
                let rendered = opened(chat(text)?, messages)? + begun;
                let ids = text.tokenizer.encode(&rendered)?;
                let read_at = self.read_at(&ids)?;
                Ok(Whole { text: rendered, ids, read_at })
            }
            (Shape::Texts(texts), Answer::Steps(steps)) => self.texts(text, texts, prompt, steps),
            (Shape::Turns(turns), Answer::Steps(steps)) => self.turns(text, turns, prompt, steps),
            (Shape::Pieces(texts, end), Answer::Steps(steps)) => self.pieces(text, texts, end, prompt, steps),
            (Shape::Answer(content), Answer::Steps(steps)) => self.answer(text, content, prompt, steps),
            (_, Answer::Whole(_)) => Err(self.refuse("a completion in place of steps".to_owned())),
        }
    }

    /// The tokens that are read of a text without steps.
    fn read_at(&self, ids: &[u32]) -> Result<Vec<usize>, EngineError> {
        let of = |token: u32| ids.iter().enumerate().filter(move |(_, id)| **id == token).map(|(at, _)| at);
        let found: Vec<usize> = match self.at {
            Place::Last | Place::BeforeVerdict => ids.len().checked_sub(1).into_iter().collect(),
            Place::Each(token) => of(token).collect(),
            Place::Before(token) => of(token).filter_map(|at| at.checked_sub(1)).collect(),
        };
        match (found.is_empty(), self.at) {
            (true, Place::Each(token) | Place::Before(token)) => {
                Err(self.refuse(format!("a text without the token {token}, at which it reads; put it where steps end")))
            }
            (true, _) => Err(self.refuse("a text without tokens".to_owned())),
            (false, _) => Ok(found),
        }
    }

    /// The token that a step ends with, which must be the separator where there is one.
    fn checked(&self, ids: &[u32], at: usize, step: usize) -> Result<usize, EngineError> {
        match (self.at, ids.get(at)) {
            (Place::Each(token), Some(&found)) if found != token => {
                let found = format!("step {} ends with the token {found} in place of its separator {token}", step + 1);
                Err(self.refuse(found))
            }
            (_, Some(_)) => Ok(at),
            (_, None) => Err(self.refuse(format!("step {} is no text to the tokenizer", step + 1))),
        }
    }

    /// One text after the other.
    fn texts(
        &self,
        text: &TextPipeline,
        [first, next]: &[ChatTemplate; 2],
        prompt: &[Message],
        steps: &[String],
    ) -> Result<Whole, EngineError> {
        let (mut rendered, mut ends, mut characters) = (String::new(), Vec::new(), 0);
        for (at, step) in steps.iter().enumerate() {
            let piece = self.render(if at == 0 { first } else { next }, prompt, "", step)?;
            characters += piece.chars().count();
            rendered += &piece;
            ends.push(characters);
        }
        let spans = text.tokenizer.spans(&rendered)?;
        let plain: Vec<u32> = spans.iter().map(|(id, _)| *id).collect();
        let (ids, _) = text.tokenizer.encode_cut(&rendered, true, usize::MAX, TruncationSide::Right)?;
        // The tokenizer's special tokens shift the others.
        let shift = (0..=ids.len().saturating_sub(plain.len())).find(|&shift| ids[shift..].starts_with(&plain));
        let shift = shift.ok_or_else(|| self.refuse("a tokenizer that changes a text's tokens".to_owned()))?;
        let place = |(step, end): (usize, &usize)| {
            let at = spans.iter().rposition(|(_, span)| span.start < *end).unwrap_or(usize::MAX);
            self.checked(&ids, at.saturating_add(shift), step)
        };
        let read_at = ends.iter().enumerate().map(place).collect::<Result<_, _>>()?;
        Ok(Whole { text: rendered, ids, read_at })
    }

    /// Turns of a conversation. Each verdict is found by what changes when its content does, so that the same text in
    /// a step is none.
    fn turns(
        &self,
        text: &TextPipeline,
        turns: &[CompiledTurn],
        prompt: &[Message],
        steps: &[String],
    ) -> Result<Whole, EngineError> {
        let template = chat(text)?;
        let (mut messages, mut verdicts) = (Vec::new(), Vec::new());
        messages.extend(prompt.iter().filter(|message| message.role == "system").cloned());
        for (at, step) in steps.iter().enumerate() {
            for turn in turns {
                messages.push(match turn {
                    CompiledTurn::Said(role, texts) => {
                        let content = self.render(&texts[usize::from(at > 0)], prompt, "", step)?;
                        Message::new(role.as_str(), content)
                    }
                    CompiledTurn::Verdict(role, verdict) => {
                        verdicts.push(messages.len());
                        Message::new(role.as_str(), verdict.as_str())
                    }
                });
            }
        }
        let rendered = template.render(&messages, false)?;
        let spans = text.tokenizer.spans(&rendered)?;
        let mut read_at = Vec::with_capacity(verdicts.len());
        for (step, place) in verdicts.into_iter().enumerate() {
            let other = if messages[place].content.starts_with('x') { "y" } else { "x" };
            let own = std::mem::replace(&mut messages[place].content, other.to_owned());
            let changed = template.render(&messages, false)?;
            messages[place].content = own;
            let offset = common(rendered.chars(), changed.chars());
            let verdict = spans.iter().position(|(_, span)| span.end > offset);
            let before = verdict.and_then(|at| at.checked_sub(1));
            let lost = || self.refuse(format!("the verdict of step {}, which the template leaves out", step + 1));
            read_at.push(before.ok_or_else(lost)?);
        }
        Ok(Whole { text: rendered, ids: spans.into_iter().map(|(id, _)| id).collect(), read_at })
    }

    /// Pieces, each tokenized by itself.
    fn pieces(
        &self,
        text: &TextPipeline,
        [before, step]: &[ChatTemplate; 2],
        end: &str,
        prompt: &[Message],
        steps: &[String],
    ) -> Result<Whole, EngineError> {
        let mut rendered = self.render(before, prompt, "", "")?;
        let mut ids = text.tokenizer.encode(&rendered)?;
        let ended = text.tokenizer.encode(end)?;
        let mut read_at = Vec::with_capacity(steps.len());
        for (at, own) in steps.iter().enumerate() {
            let piece = self.render(step, prompt, "", own)?;
            ids.extend(text.tokenizer.encode(&piece)?);
            ids.extend(&ended);
            rendered += &piece;
            rendered += end;
            read_at.push(self.checked(&ids, ids.len().wrapping_sub(1), at)?);
        }
        Ok(Whole { text: rendered, ids, read_at })
    }

    /// One answer. The separators of its steps are found by what a shorter answer begins with, so that the same text
    /// in a step is none.
    fn answer(
        &self,
        text: &TextPipeline,
        content: &ChatTemplate,
        prompt: &[Message],
        steps: &[String],
    ) -> Result<Whole, EngineError> {
        let template = chat(text)?;
        let (mut all, mut begun) = (String::new(), Vec::with_capacity(steps.len()));
        for step in steps {
            all += &self.render(content, prompt, "", step)?;
            begun.push(all.clone());
        }
        let render = |answer: &str| {
            let messages = [prompt, &[Message::new("assistant", answer)]].concat();
            template.render(&messages, false)
        };
        let rendered = render(&all)?;
        let spans = text.tokenizer.spans(&rendered)?;
        let ids: Vec<u32> = spans.iter().map(|(id, _)| *id).collect();
        let mut read_at: Vec<usize> = Vec::with_capacity(steps.len());
        for (step, answer) in begun.iter().enumerate() {
            let end = common(rendered.chars(), render(answer)?.chars());
            let found = match self.at {
                Place::Each(token) => spans.iter().rposition(|(id, span)| *id == token && span.end <= end),
                _ => spans.iter().rposition(|(_, span)| span.start < end),
            };
            let found = found.filter(|found| read_at.last().is_none_or(|last| last < found));
            let lost = || self.refuse(format!("step {}, whose separator the text does not have", step + 1));
            read_at.push(found.ok_or_else(lost)?);
        }
        Ok(Whole { text: rendered, ids, read_at })
    }
}

/// The text of messages up to where the answer begins. Some templates write no beginning of an answer but with the
/// answer.
fn opened(template: &ChatTemplate, mut messages: Vec<Message>) -> Result<String, EngineError> {
    /// A character that no text has.
    const ANSWER: &str = "\u{1}";
    let asked = template.render(&messages, true)?;
    if asked != template.render(&messages, false)? {
        return Ok(asked);
    }
    messages.push(Message::new("assistant", ANSWER));
    let answered = template.render(&messages, false)?;
    // A blank before the answer belongs to the answer's first token.
    let before = answered.split(ANSWER).next().filter(|before| before.len() >= asked.len());
    Ok(before.map_or(asked, |before| before.trim_end_matches(' ').to_owned()))
}

/// The model's chat template.
fn chat(text: &TextPipeline) -> Result<&ChatTemplate, EngineError> {
    let lacks = || rewardscope_text::TextError::NoTemplate { file: text.tokenizer.file().to_owned() };
    Ok(text.template.as_ref().ok_or_else(lacks)?)
}
