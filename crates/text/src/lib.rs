//! From messages to token ids, as transformers does it.
//!
//! A [`ChatTemplate`] renders messages to text, a [`Tokenizer`] turns text into ids, and a [`TextPipeline`] does both.
//! The result, a [`Conversation`] or an encoder's [`Pair`], also says where the completion begins.
//!
//! # Example
//! ```
//! use rewardscope_text::{ChatTemplate, Clock, Encoding, Message, TextPipeline, Tokenizer};
//!
//! # fn main() -> Result<(), rewardscope_text::TextError> {
//! let json = r#"{"pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "unk_token": "?",
//!     "vocab": {"?": 0, "user": 1, "assistant": 2, ":": 3, "Hi": 4, "Hello": 5}}}"#;
//! let template = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}\
//!     {% if add_generation_prompt %}assistant:{% endif %}";
//! let clock = Clock::from_local_seconds(0);
//! let template = ChatTemplate::new("chat_template.jinja", template.to_owned(), vec![], clock)?;
//! let tokenizer = Tokenizer::from_json("tokenizer.json", json.as_bytes())?;
//! let pipeline = TextPipeline { tokenizer, template: Some(template) };
//!
//! let encoding = Encoding { bos: Default::default(), side: Default::default(), most_tokens: 512 };
//! let found = &pipeline.conversations(&[Message::new("user", "Hi")], ["Hello"], encoding)?[0];
//! assert_eq!(found.text, "user: Hi assistant: Hello ");
//! assert_eq!((found.input_ids.as_slice(), found.first_completion_token), ([1, 3, 4, 2, 3, 5].as_slice(), 5));
//! # Ok(()) }
//! ```

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

pub use formats::{FORMATS, Format};
pub use rewardscope_conversation::Message;
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
    /// The chat template refused a conversation, or failed on it.
    #[error("rendering a conversation with the chat template of {file}: {found}")]
    Template {
        /// The file the template came from.
        file: String,
        /// What the template or its engine said.
        found: String,
    },
    /// The model has no chat template to render a conversation with.
    #[error(
        "rendering a conversation: a chat_template was expected beside {file}, in tokenizer_config.json or chat_template.jinja, none was found; choose a conversation format in its place (--format raw, for the texts alone)"
    )]
    NoTemplate {
        /// The tokenizer's file.
        file: String,
    },
    /// There is no conversation format of this name.
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

/// A rendered, tokenized conversation that ends in a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The rendered text, before any cut.
    pub text: String,
    /// Its token ids, after any cut.
    pub input_ids: Vec<u32>,
    /// Index in `input_ids` of the completion's first token: the length of the common prefix with the prompt's
    /// rendering, which ends in the generation prompt. Everything from here on, closing tokens included, is completion.
    pub first_completion_token: usize,
    /// Number of tokens that were cut off; 0 with [`Bos::Template`], where whoever reads the ids cuts them.
    pub cut_tokens: usize,
}

/// Who puts the beginning-of-text token (BOS) before a conversation. Templates write one and tokenizers add one;
/// programs differ in which of them they keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Bos {
    /// The template alone, as in transformers' `apply_chat_template`.
    #[default]
    Template,
    /// The tokenizer alone, as in Skywork's evaluation: the template's token is removed first.
    Skywork,
    /// Both, as in RewardBench, which then masks the first of the two. No token sees a masked token and rotary
    /// positions are relative, so the first is left out here. It still counts where texts are cut.
    #[cfg_attr(feature = "clap", value(name = "rewardbench"))]
    RewardBench,
}

/// Which end of a text is cut off when it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum TruncationSide {
    /// The beginning.
    Left,
    /// The end.
    #[default]
    Right,
}

/// How texts are turned into ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Who puts the beginning-of-text token before a conversation.
    pub bos: Bos,
    /// Which end is cut.
    pub side: TruncationSide,
    /// Most tokens that a text or pair keeps, special tokens included.
    pub most_tokens: usize,
}

/// A prompt and a completion as an encoder reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// For each token, which of the two texts it belongs to, 0 or 1 as the tokenizer numbers them.
    pub token_type_ids: Vec<u32>,
    /// Index in `input_ids` of the completion's first token; their number where none is left.
    pub first_completion_token: usize,
    /// Number of tokens that were cut off.
    pub cut_tokens: usize,
}

/// A tokenizer with its chat template: everything that turns messages into ids.
#[derive(Debug)]
pub struct TextPipeline {
    /// Turns text into ids.
    pub tokenizer: Tokenizer,
    /// Renders messages to text; `None` for encoders, which read pairs, and for models that bring no template.
    pub template: Option<ChatTemplate>,
}

impl TextPipeline {
    /// Renders and tokenizes a prompt with each of its completions: one conversation for each, in their order.
    ///
    /// # Errors
    /// [`TextError::NoTemplate`] where there is no template, and when the template or the tokenizer fails.
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

    /// Tokenizes a prompt with each of its completions: one pair for each, in their order, as encoders read them.
    /// Special tokens are added. A pair that is longer than `encoding` allows is cut token by token, always from the
    /// longer of its two texts. A prompt of several messages is read as their contents with line breaks between.
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

    /// The text that each token of a conversation stands for. Tokens before those of `text`, such as special tokens
    /// that a protocol adds, are shown as the vocabulary spells them. So are all tokens where tokenizing `text` does
    /// not give these ids. Where two tokens share a character, the second has an empty text.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn token_texts(&self, text: &str, input_ids: &[u32]) -> Result<Vec<String>, TextError> {
        let spans = self.tokenizer.spans(text)?;
        let spelled = |id: &u32| self.tokenizer.token(*id).unwrap_or_default();
        let characters: Vec<char> = text.chars().collect();
        // A protocol may put tokens before the text or cut off its end: then the ids are shifted, or fewer.
        let ids: Vec<u32> = spans.iter().map(|(id, _)| *id).collect();
        let shift =
            (0..=input_ids.len()).find(|&shift| ids.starts_with(&input_ids[shift..]) && shift < input_ids.len());
        let Some(shift) = shift else {
            return Ok(input_ids.iter().map(spelled).collect());
        };
        let mut end = 0;
        let mut texts: Vec<String> = input_ids[..shift].iter().map(spelled).collect();
        for (_, span) in spans.into_iter().take(input_ids.len() - shift) {
            // Begins where the last token ended, so that characters without a token belong to the next one.
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
        // The template's ids are cut by whoever reads them; Skywork's need no cut here.
        if bos == Bos::Template || (bos == Bos::Skywork && whole.len() <= most_tokens) {
            return Ok(Conversation { text, input_ids: whole, first_completion_token: first, cut_tokens: 0 });
        }
        let (input_ids, cut_tokens) = self.ids(template, &text, bos, most_tokens, side)?;
        let before = if side == TruncationSide::Left { cut_tokens } else { 0 };
        Ok(Conversation { text, input_ids, first_completion_token: first.saturating_sub(before), cut_tokens })
    }

    /// The ids of a rendered text, at most `most_tokens`, and how many were cut off.
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
        // One more token in front, as a protocol may put there.
        let with_first = [&[1], ids.as_slice()].concat();
        let texts = pipeline.token_texts(text, &with_first).expect("texts");
        assert_eq!((texts.len(), texts[1..].concat()), (with_first.len(), text.to_owned()));
    }
}
