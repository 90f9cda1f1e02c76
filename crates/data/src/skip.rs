use serde::Serialize;

/// The kind of reason why a row is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The row cannot be parsed: it is no JSON object, or its number of cells is not the header's.
    Unreadable,
    /// A completion is null or missing.
    NoCompletion,
    /// There is no prompt, or none with a user turn.
    NoPrompt,
    /// A value is neither a text, nor a list of texts, nor a list of messages.
    Shape,
    /// The better and the worse completion are the same.
    Equal,
    /// Neither completion is better.
    Tie,
    /// The value that tells the better completion is missing or unknown.
    NoVerdict,
    /// A conversation ends with a user turn.
    TrailingUser,
    /// The conversations differ before their last turn.
    EarlierTurns,
    /// The prompt and the conversation contradict each other.
    OtherPrompt,
    /// The row has tools or tool calls, which the chat template does not get here.
    Tools,
    /// A message has more than text, such as a picture or reasoning.
    NotText,
    /// The prompt has only good completions, or only bad ones.
    Unpaired,
    /// The row's count columns ([`COUNTS`](crate::COUNTS)) disagree with its lists.
    Counts,
}

impl Reason {
    /// The reason in a few words, for messages.
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
            Self::Counts => "counts that disagree with the lists",
        }
    }
}

/// Why a row was skipped.
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
