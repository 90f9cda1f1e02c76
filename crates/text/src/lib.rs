//! Messages to token ids: a [`ChatTemplate`] renders a conversation to text, a [`Tokenizer`] turns
//! text into ids, and a [`Conversation`] keeps both with the place where the completion begins.

mod formats;
mod template;
mod tokenizer;

use serde::{Deserialize, Serialize};

pub use formats::{FORMATS, Format};
pub use template::{ChatTemplate, Clock};
pub use tokenizer::Tokenizer;

/// Why text could not be made into token ids. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TextError {
    /// A tokenizer or its configuration is not what its name says.
    #[error("reading {file}: {expected} was expected, {found} was found")]
    Format {
        /// The file's name.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The chat template refused or failed on a conversation.
    #[error("rendering a conversation with the chat template of {file}: {found}")]
    Template {
        /// The file the template came from.
        file: String,
        /// What the template or its engine said.
        found: String,
    },
    /// A conversation for a model that does not say how it is written.
    #[error(
        "rendering a conversation: a chat_template was expected beside {file}, in tokenizer_config.json or chat_template.jinja, none was found"
    )]
    NoTemplate {
        /// The tokenizer's file.
        file: String,
    },
    /// The tokenizer failed on a text.
    #[error("tokenizing with {file}: {found}")]
    Tokenize {
        /// The tokenizer's file.
        file: String,
        /// What the tokenizer said.
        found: String,
    },
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A rendered, tokenized conversation that ends in a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The text that the model sees.
    pub text: String,
    /// Its token ids. The template brings its own special tokens; none are added.
    pub input_ids: Vec<u32>,
    /// Where the completion begins: the length of the common prefix with the rendering that ends
    /// in the generation prompt. Everything from here on, closing tokens included, is completion.
    pub first_completion_token: usize,
}

/// A prompt and a completion as an encoder reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// Which of the two texts each token belongs to, as the tokenizer numbers them.
    pub token_type_ids: Vec<u32>,
    /// The first token of the completion.
    pub first_completion_token: usize,
    /// Tokens that were cut off.
    pub cut_tokens: usize,
}

/// A tokenizer with its chat template: all that turns messages into ids.
#[derive(Debug)]
pub struct TextPipeline {
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Messages to text; encoders read pairs and have none.
    pub template: Option<ChatTemplate>,
}

impl TextPipeline {
    /// Renders and tokenizes a prompt with each of the completions that answer it.
    ///
    /// # Errors
    /// When the template or the tokenizer fails.
    pub fn conversations<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Conversation>, TextError> {
        let template =
            self.template.as_ref().ok_or_else(|| TextError::NoTemplate { file: self.tokenizer.file().to_owned() })?;
        let start = self.tokenizer.encode(&template.render(prompt, true)?)?;
        completions.into_iter().map(|completion| self.continued(template, prompt, completion, &start)).collect()
    }

    /// Tokenizes a prompt with each of the completions that answer it, as the pairs that encoders
    /// read: special tokens added, the longer of the two cut on the right, token by token, where
    /// together they are longer than `most_tokens`. Of a prompt of several messages the contents
    /// are read, a line break between.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn pairs<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
        most_tokens: usize,
    ) -> Result<Vec<Pair>, TextError> {
        let contents: Vec<&str> = prompt.iter().map(|message| message.content.as_str()).collect();
        let prompt = contents.join("\n");
        completions.into_iter().map(|completion| self.tokenizer.encode_pair(&prompt, completion, most_tokens)).collect()
    }

    fn continued(
        &self,
        template: &ChatTemplate,
        prompt: &[Message],
        completion: &str,
        start: &[u32],
    ) -> Result<Conversation, TextError> {
        let mut messages = prompt.to_vec();
        messages.push(Message::new("assistant", completion));
        let text = template.render(&messages, false)?;
        let input_ids = self.tokenizer.encode(&text)?;
        let first_completion_token = start.iter().zip(&input_ids).take_while(|(a, b)| a == b).count();
        Ok(Conversation { text, input_ids, first_completion_token })
    }
}
