use serde::Serialize;

/// Why a row is no preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is no row: no JSON, or another number of cells than the header.
    Unreadable,
    /// A completion is null or not there.
    NoCompletion,
    /// There is nothing that the completions answer.
    NoPrompt,
    /// A value has another shape than a text, a list of texts or messages.
    Shape,
    /// The better and the worse completion are the same.
    Equal,
    /// Neither is better.
    Tie,
    /// What tells the better one is missing or unknown.
    NoVerdict,
    /// A conversation ends with a user turn.
    TrailingUser,
    /// The conversations differ before their last turn.
    EarlierTurns,
    /// The prompt is not what the conversation answers.
    OtherPrompt,
    /// It has tools or calls of tools, which do not reach the chat template here.
    Tools,
    /// Messages have more than text: pictures, thoughts.
    NotText,
    /// Of its prompt there are only good completions, or only bad ones.
    Unpaired,
    /// It says of itself other counts than it has.
    Counts,
}

impl Reason {
    /// The reason in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "not readable",
            Self::NoCompletion => "no completion (null or missing)",
            Self::NoPrompt => "no prompt",
            Self::Shape => "neither texts nor messages",
            Self::Equal => "chosen and rejected are equal",
            Self::Tie => "tie",
            Self::NoVerdict => "no known verdict",
            Self::TrailingUser => "ends with a user turn",
            Self::EarlierTurns => "earlier turns differ",
            Self::OtherPrompt => "prompt and conversation contradict each other",
            Self::Tools => "tool calls or tools, which are not supported",
            Self::NotText => "messages with more than text, which are not supported",
            Self::Unpaired => "no counterpart for its prompt",
            Self::Counts => "other counts than it says",
        }
    }
}

/// A row that is no preference, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The kind of reason.
    pub reason: Reason,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Skip {
    pub(crate) fn new(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, expected: expected.into(), found: found.into() }
    }
}

impl std::fmt::Display for Skip {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}: expected {}, found {}", self.reason.name(), self.expected, self.found)
    }
}
