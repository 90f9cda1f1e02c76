//! The messages of a conversation, in the one form that rows, benchmarks, templates and the page share.
//!
//! ```
//! use rewardscope_conversation::Message;
//!
//! let conversation = [Message::new("user", "What is 2 + 2?"), Message::new("assistant", "4")];
//! assert_eq!(conversation[1].content, "4");
//! ```

use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Message {
    /// `system`, `user` or `assistant`; a role of another name stays as it is.
    pub role: String,
    /// The message's text.
    pub content: String,
}

impl Message {
    /// A message of this role with this text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}
