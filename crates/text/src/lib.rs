//! Messages to token ids: a [`ChatTemplate`] renders a conversation to text, a [`Tokenizer`] turns
//! text into ids, and a [`Conversation`] keeps both with the place where the completion begins.

mod classes;
mod formats;
mod gguf_vocabulary;
mod patterns;
mod python;
mod special_tokens;
mod template;
mod template_source;
mod tokenizer;
mod tokenizer_file;

use serde::{Deserialize, Serialize};

pub use formats::{FORMATS, Format};
pub use special_tokens::TokenizerSettings;
pub use template::{ChatTemplate, Clock};
pub use tokenizer::{Tokenizer, Vocabulary};

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
        "rendering a conversation: a chat_template was expected beside {file}, in tokenizer_config.json or chat_template.jinja, none was found; choose a conversation format in its place (--format raw, for the texts alone)"
    )]
    NoTemplate {
        /// The tokenizer's file.
        file: String,
    },
    /// A conversation format that is not known.
    #[error(
        "choosing a conversation format: one of {} was expected, {name} was found",
        FORMATS.map(|format| format.name).join(", ")
    )]
    NoFormat {
        /// What was asked for.
        name: String,
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
    /// Its token ids.
    pub input_ids: Vec<u32>,
    /// Where the completion begins: the length of the common prefix with the rendering that ends
    /// in the generation prompt. Everything from here on, closing tokens included, is completion.
    pub first_completion_token: usize,
    /// Tokens that were cut off: none where the template alone begins it, whose ids are whole.
    pub cut_tokens: usize,
}

/// Who puts the token that begins a text before a conversation. Templates bring one of their own,
/// and so do tokenizers; programs differ in what they make of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bos {
    /// The template alone, as transformers' `apply_chat_template` tokenizes.
    #[default]
    Template,
    /// The tokenizer alone, as in Skywork's evaluation: the template's is taken away first.
    Skywork,
    /// Both, as in RewardBench, which then masks the first of two. What is masked is seen by no
    /// token and rotary positions are relative, so here it is left out; it counts where texts are
    /// cut.
    RewardBench,
}

/// Which end of a text is cut off where it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TruncationSide {
    /// The beginning.
    Left,
    /// The end.
    #[default]
    Right,
}

/// How texts become ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// What begins a conversation.
    pub bos: Bos,
    /// Where it is cut.
    pub side: TruncationSide,
    /// Tokens that are left at most.
    pub most_tokens: usize,
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
        encoding: Encoding,
    ) -> Result<Vec<Conversation>, TextError> {
        let template =
            self.template.as_ref().ok_or_else(|| TextError::NoTemplate { file: self.tokenizer.file().to_owned() })?;
        let (start, _) =
            self.ids(template, &template.render(prompt, true)?, encoding.bos, usize::MAX, encoding.side)?;
        completions
            .into_iter()
            .map(|completion| self.continued(template, prompt, completion, &start, encoding))
            .collect()
    }

    /// Tokenizes a prompt with each of the completions that answer it, as the pairs that encoders
    /// read: special tokens added, the longer of the two cut, token by token, where together they
    /// are longer than `encoding` allows. Of a prompt of several messages the contents
    /// are read, a line break between.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn pairs<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
        encoding: Encoding,
    ) -> Result<Vec<Pair>, TextError> {
        let contents: Vec<&str> = prompt.iter().map(|message| message.content.as_str()).collect();
        let prompt = contents.join("\n");
        completions.into_iter().map(|completion| self.tokenizer.encode_pair(&prompt, completion, encoding)).collect()
    }

    /// The text of each of a conversation's tokens. A special token that stands in no text, or a token
    /// of a text that is written otherwise, is shown as the vocabulary spells it; the second of two
    /// tokens that share a character has none.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn token_texts(&self, text: &str, input_ids: &[u32]) -> Result<Vec<String>, TextError> {
        let spans = self.tokenizer.spans(text)?;
        let spelled = |id: &u32| self.tokenizer.token(*id).unwrap_or_default();
        let characters: Vec<char> = text.chars().collect();
        // What a protocol puts around a text or cuts off it shifts the one against the other.
        let ids: Vec<u32> = spans.iter().map(|(id, _)| *id).collect();
        let shift =
            (0..=input_ids.len()).find(|&shift| ids.starts_with(&input_ids[shift..]) && shift < input_ids.len());
        let Some(shift) = shift else {
            return Ok(input_ids.iter().map(spelled).collect());
        };
        let mut end = 0;
        let mut texts: Vec<String> = input_ids[..shift].iter().map(spelled).collect();
        for (_, span) in spans.into_iter().take(input_ids.len() - shift) {
            // From where the last token ended: what no token stands for belongs to the next one.
            let last = span.end.clamp(end, characters.len());
            texts.push(characters[end..last].iter().collect());
            end = last;
        }
        Ok(texts)
    }

    fn continued(
        &self,
        template: &ChatTemplate,
        prompt: &[Message],
        completion: &str,
        start: &[u32],
        encoding: Encoding,
    ) -> Result<Conversation, TextError> {
        let mut messages = prompt.to_vec();
        messages.push(Message::new("assistant", completion));
        let text = template.render(&messages, false)?;
        let Encoding { bos, side, most_tokens } = encoding;
        let (whole, _) = self.ids(template, &text, bos, usize::MAX, side)?;
        let first = start.iter().zip(&whole).take_while(|(a, b)| a == b).count();
        // Where nothing is put around a text, whoever reads the ids cuts them.
        if bos == Bos::Template || (bos == Bos::Skywork && whole.len() <= most_tokens) {
            return Ok(Conversation { text, input_ids: whole, first_completion_token: first, cut_tokens: 0 });
        }
        let (input_ids, cut_tokens) = self.ids(template, &text, bos, most_tokens, side)?;
        let before = if side == TruncationSide::Left { cut_tokens } else { 0 };
        Ok(Conversation { text, input_ids, first_completion_token: first.saturating_sub(before), cut_tokens })
    }

    /// A rendered text's ids, at most so many, and how many were cut off.
    fn ids(
        &self,
        template: &ChatTemplate,
        text: &str,
        bos: Bos,
        most_tokens: usize,
        side: TruncationSide,
    ) -> Result<(Vec<u32>, usize), TextError> {
        match bos {
            Bos::Template => self.tokenizer.encode_cut(text, false, most_tokens, side),
            Bos::Skywork => {
                let own = template.special_tokens().iter().find(|(name, _)| name == "bos_token");
                let text = own.and_then(|(_, token)| text.strip_prefix(token.as_str())).unwrap_or(text);
                self.tokenizer.encode_cut(text, true, most_tokens, side)
            }
            Bos::RewardBench => {
                let (mut ids, cut) = self.tokenizer.encode_cut(text, true, most_tokens, side)?;
                let own = template.special_tokens().iter().find(|(name, _)| name == "bos_token");
                let own = own.and_then(|(_, token)| self.tokenizer.id(token));
                if own.is_some() && ids.first().copied() == own && ids.get(1).copied() == own {
                    ids.remove(0);
                }
                Ok((ids, cut))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_texts_put_the_text_together_again() {
        let file = include_bytes!("../../../tests/fixtures/parity/llama_plain/tokenizer.json");
        let tokenizer = Tokenizer::from_json("tokenizer.json", file).expect("a tokenizer");
        let text = "Grüße, 世界! Two  spaces\nand 🦀.";
        let ids = tokenizer.encode(text).expect("ids");
        let pipeline = TextPipeline { tokenizer, template: None };
        let texts = pipeline.token_texts(text, &ids).expect("texts");
        assert_eq!((texts.len(), texts.concat()), (ids.len(), text.to_owned()));
        // One more in front, as a protocol may put it there.
        let with_first = [&[1], ids.as_slice()].concat();
        let texts = pipeline.token_texts(text, &with_first).expect("texts");
        assert_eq!((texts.len(), texts[1..].concat()), (with_first.len(), text.to_owned()));
    }
}
