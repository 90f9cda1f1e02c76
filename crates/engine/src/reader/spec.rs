//! What a reader is: the JSON object that `--reader FILE` takes and run files carry.

use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// How a verdict is read.
///
/// ```
/// use rewardscope_engine::ReaderSpec;
///
/// let json = r#"{ "tokens": ["yes", "no"], "combine": "difference",
///     "template": "{{ prompt }}\n{{ completion }}\nIs this an answer? Say yes or no: " }"#;
/// let reader = ReaderSpec::from_json("own.json", json).unwrap();
/// assert!(reader.steps.is_none());
/// assert!(ReaderSpec::from_json("own.json", r#"{ "tokens": ["yes"], "combine": "difference" }"#).is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct ReaderSpec {
    /// The tokens whose rows of the vocabulary's matrix are the head, by id or by text. Without them the outputs are
    /// those of the model's own head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenName>,
    /// Where the outputs are read.
    #[serde(default)]
    pub at: At,
    /// How the outputs at one token become a value.
    #[serde(default)]
    pub combine: Combine,
    /// The whole text: Jinja over `prompt`, `completion`, `system` and `instruction`. Without it, and without
    /// `pieces`, `messages` and `steps`, the text is the conversation by the model's chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The same in pieces, each tokenized by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<String>,
    /// The text as messages for the model's chat template, which then begins an answer. Each content is Jinja, as in
    /// `template`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Turn>,
    /// How the answer to `messages` begins: what is read comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What `instruction` is in the texts above: the criterion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// How the steps of a solution are put together, where each gets a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Where the text of a completion is split into steps; two line breaks unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// What the score is.
    #[serde(default, skip_serializing_if = "Gives::is_plain")]
    pub gives: Gives,
}

/// A token by its id, or by the text that it alone stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(untagged)]
pub enum TokenName {
    /// Its id.
    Id(u32),
    /// Its text.
    Text(String),
}

impl std::fmt::Display for TokenName {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(to, "{id}"),
            Self::Text(text) => write!(to, "{text:?}"),
        }
    }
}

/// Where a reader reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// At the last token: of the text, or of each step.
    #[default]
    Last,
    /// At this token, wherever it stands. With steps: at the end of each step, which must be this token.
    Each(TokenName),
    /// At the token before. With `turns` and the text `verdict`: before the content of each verdict.
    Before(TokenName),
}

/// How the outputs at one token become a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The first output as it is.
    #[default]
    Logit,
    /// The first of two outputs less the second.
    Difference,
    /// The sigmoid of the first output.
    Sigmoid,
    /// This output's share of the softmax over the outputs; counted from 0.
    Softmax(usize),
    /// The mean of these values, one for each output, under that softmax.
    Expected(Vec<f64>),
}

/// One message of a prompt of a reader's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who speaks, by the chat template's names.
    pub role: String,
    /// What is said: Jinja.
    pub content: String,
}

/// How the steps of a solution are put together. Texts are Jinja over `prompt`, `system`, `step` and `instruction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(untagged)]
pub enum Steps {
    /// One text after the other, tokenized at once, with the tokenizer's special tokens.
    Texts(StepTexts),
    /// Turns of a conversation by the chat template, for each step in this order.
    Turns(StepTurns),
    /// Pieces that are tokenized one by one.
    Pieces(StepPieces),
    /// One answer of a conversation by the chat template.
    Answer(StepAnswer),
}

/// [`Steps::Texts`]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct StepTexts {
    /// The prompt with the first step.
    pub first: String,
    /// Each further step.
    pub next: String,
}

/// [`Steps::Turns`]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct StepTurns {
    /// The turns of each step.
    pub turns: Vec<StepTurn>,
}

/// A turn that comes once for each step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct StepTurn {
    /// Who speaks.
    pub role: String,
    /// What is said with the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// What is said with each further step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// In place of both: the verdict that the model was trained to give, as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// [`Steps::Pieces`]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct StepPieces {
    /// What comes before the first step.
    pub before: String,
    /// A step.
    pub step: String,
    /// What ends each step, as plain text: its last token is read.
    pub end: String,
}

/// [`Steps::Answer`]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct StepAnswer {
    /// What stands in the answer for each step.
    pub answer: String,
}

/// What a reader's score is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Gives {
    /// Something that nobody named.
    #[default]
    Score,
    /// A reward: the model was trained on preferences or on the correctness of steps.
    Reward,
    /// How well a document fits a query.
    Relevance,
    /// How well a completion meets a criterion, by the word of a model that was not trained for it.
    Criterion,
}

impl Gives {
    fn is_plain(&self) -> bool {
        *self == Self::Score
    }

    /// What scores are, in words: `rewards`, `relevance scores` and so on.
    pub fn scores(self) -> &'static str {
        match self {
            Self::Score => "a reader's scores, not rewards",
            Self::Reward => "rewards",
            Self::Relevance => "relevance scores, not rewards",
            Self::Criterion => "a criterion's scores, not rewards",
        }
    }
}

/// A reader with its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Reader {
    /// The name of a known reader, or of the file that it came from.
    pub name: String,
    /// What it does.
    pub spec: ReaderSpec,
}

/// Which reader a model is read by.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ReaderChoice {
    /// The one that is known for the model, if any.
    #[default]
    Found,
    /// None: the model's own head, or a language model's likelihood.
    None,
    /// This one.
    Given(Box<Reader>),
}

impl Reader {
    /// Whether its scores are rewards.
    pub fn gives_rewards(&self) -> bool {
        self.spec.gives == Gives::Reward
    }
}

/// Most bytes of a reader's JSON; none is nearly as long.
const MOST_BYTES: usize = 1 << 20;

/// Most tokens of a reader.
const MOST_TOKENS: usize = 1024;

impl ReaderSpec {
    /// Reads a reader's JSON. `file` is its name, for messages.
    ///
    /// # Errors
    /// When it is no reader, or what it says does not fit together.
    pub fn from_json(file: &str, json: &str) -> Result<Self, EngineError> {
        let refuse = |found: String| EngineError::Reader { reader: file.to_owned(), found };
        if json.len() > MOST_BYTES {
            return Err(refuse(format!("a file of {} bytes", json.len())));
        }
        // serde takes a list for an object.
        if !json.trim_start().starts_with('{') {
            return Err(refuse("no JSON object".to_owned()));
        }
        let spec: Self = serde_json::from_str(json).map_err(|error| match error.to_string() {
            // What serde says of a value that is none of several.
            text if text.contains("untagged enum Steps") => {
                refuse("steps in another form than first and next, turns, before, step and end, or answer".to_owned())
            }
            text if text.contains("untagged enum TokenName") => {
                refuse("a token that is neither a number nor a text".to_owned())
            }
            text => refuse(text),
        })?;
        spec.check().map_err(refuse)?;
        Ok(spec)
    }

    /// Whether what it says fits together; otherwise what does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let count = self.tokens.len();
        if count > MOST_TOKENS {
            return Err(format!("{count} tokens; at most {MOST_TOKENS} are read"));
        }
        if count > 0 {
            self.combine.check(count)?;
        }
        let ways = [self.template.is_some(), !self.pieces.is_empty(), !self.messages.is_empty(), self.steps.is_some()];
        if ways.iter().filter(|&&given| given).count() > 1 {
            return Err("more than one of template, pieces, messages and steps".to_owned());
        }
        if self.answer.is_some() && self.messages.is_empty() {
            return Err("an answer without messages".to_owned());
        }
        match &self.steps {
            Some(Steps::Turns(StepTurns { turns })) => {
                let is_whole = |turn: &StepTurn| {
                    let is_said = turn.first.is_some() && turn.next.is_some();
                    is_said != turn.verdict.is_some() && (turn.verdict.is_none() || turn.first.is_none())
                };
                if !turns.iter().all(is_whole) || turns.iter().filter(|turn| turn.verdict.is_some()).count() != 1 {
                    return Err("turns that are not first and next each, and one verdict".to_owned());
                }
                match &self.at {
                    At::Before(TokenName::Text(name)) if name == "verdict" => Ok(()),
                    _ => Err("turns that are not read at { \"before\": \"verdict\" }".to_owned()),
                }
            }
            Some(_) if matches!(self.at, At::Before(_)) => {
                Err("steps that are read before a token; they are read at last, or at each".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Its JSON, to be read and changed by people.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Where it reads, in words.
    pub fn place(&self) -> String {
        match (&self.at, &self.steps) {
            (At::Last, None) => "the last token".to_owned(),
            (At::Last, Some(_)) => "the last token of each step".to_owned(),
            (At::Each(token), None) => format!("each token {token}"),
            (At::Each(token), Some(_)) => format!("the token {token} that ends each step"),
            (At::Before(_), Some(_)) => "the token before each verdict".to_owned(),
            (At::Before(token), None) => format!("the token before each token {token}"),
        }
    }

    /// What becomes of the outputs there, in words.
    pub fn described(&self) -> String {
        let name = |at: usize| match self.tokens.get(at) {
            Some(token) => format!("logit of {token}"),
            None => format!("output {at}"),
        };
        let all = || match self.tokens.as_slice() {
            [] => "all outputs".to_owned(),
            tokens => tokens.iter().map(TokenName::to_string).collect::<Vec<_>>().join(", "),
        };
        match &self.combine {
            Combine::Logit => name(0),
            Combine::Sigmoid => format!("sigmoid of the {}", name(0)),
            Combine::Difference => format!("{} less {}", name(0), name(1)),
            Combine::Softmax(at) => format!("share of the {} among {}", name(*at), all()),
            Combine::Expected(_) => format!("mean value under the softmax over {}", all()),
        }
    }

    /// Whether the texts need an instruction.
    pub(crate) fn uses_instruction(&self) -> bool {
        let of_steps: Vec<&str> = match &self.steps {
            Some(Steps::Texts(texts)) => vec![&texts.first, &texts.next],
            Some(Steps::Turns(turns)) => {
                turns.turns.iter().flat_map(|turn| [&turn.first, &turn.next]).flatten().map(String::as_str).collect()
            }
            Some(Steps::Pieces(pieces)) => vec![&pieces.before, &pieces.step],
            Some(Steps::Answer(answer)) => vec![&answer.answer],
            None => Vec::new(),
        };
        let messages = self.messages.iter().map(|turn| turn.content.as_str());
        let pieces = self.template.iter().chain(&self.pieces).map(String::as_str);
        let mut texts = pieces.chain(messages).chain(of_steps);
        texts.any(|text| text.contains("instruction"))
    }
}

impl Combine {
    /// Whether it can combine so many outputs; otherwise why not.
    pub(crate) fn check(&self, outputs: usize) -> Result<(), String> {
        let plural = if outputs == 1 { "output" } else { "outputs" };
        let is_right = match self {
            Self::Logit | Self::Sigmoid => outputs == 1,
            Self::Difference => outputs == 2,
            Self::Softmax(of) => *of < outputs && outputs > 1,
            Self::Expected(values) => values.len() == outputs && values.iter().all(|value| value.is_finite()),
        };
        let wanted = match self {
            Self::Logit => "a logit of one".to_owned(),
            Self::Sigmoid => "a sigmoid of one".to_owned(),
            Self::Difference => "a difference of two".to_owned(),
            Self::Softmax(of) => format!("the share of number {of}, counted from 0, of two or more"),
            Self::Expected(values) => format!("the mean of {} finite values", values.len()),
        };
        if is_right { Ok(()) } else { Err(format!("{wanted}, of {outputs} {plural}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        ReaderSpec::from_json("own.json", json).expect_err("refused").to_string()
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        for (json, part) in [
            (r#"{"tokens": [1, 2]}"#, "a logit of one, of 2 outputs"),
            (r#"{"tokens": [1], "combine": "difference"}"#, "a difference of two, of 1 output"),
            (r#"{"tokens": [1, 2], "combine": {"softmax": 2}}"#, "number 2"),
            (r#"{"tokens": [1, 2], "combine": {"expected": [0]}}"#, "the mean of 1 finite values"),
            (r#"{"tokens": [true]}"#, "neither a number nor a text"),
            (r#"{"token": [1]}"#, "unknown field `token`"),
            (r#"{"tokens": [1], "template": "x", "steps": {"first": "a", "next": "b"}}"#, "more than one"),
            (r#"{"tokens": [1], "answer": "x"}"#, "an answer without messages"),
            (r#"{"steps": {"first": "a"}}"#, "steps in another form"),
            (r#"{"steps": {"turns": [{"role": "user", "first": "a", "next": "b"}]}}"#, "one verdict"),
            (r#"{"steps": {"turns": [{"role": "assistant", "verdict": "+"}]}}"#, "before"),
            (r#"{"at": {"before": 3}, "steps": {"first": "a", "next": "b"}}"#, "read before a token"),
            ("[]", "no JSON object"),
        ] {
            let found = refused(json);
            assert!(found.contains("own.json") && found.contains(part), "{json}: {found}");
        }
    }

    #[test]
    fn a_reader_is_written_as_it_is_read() {
        let json = r#"{"tokens":[10,"-"],"at":{"before":"verdict"},"combine":{"softmax":0},"steps":{"turns":[{"role":"user","first":"{{ prompt }} {{ step }}","next":"{{ step }}"},{"role":"assistant","verdict":"+"}]}}"#;
        let reader = ReaderSpec::from_json("own.json", json).expect("a reader");
        assert_eq!(serde_json::to_string(&reader).expect("JSON"), json);
        assert!(!reader.uses_instruction());
    }
}
