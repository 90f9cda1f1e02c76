//! Text to token ids: `tokenizer.json` as the file says, and GGUF's byte-level BPE rebuilt from
//! its metadata.

use rewardscope_weights::{WeightsError, gguf};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{AddedToken, PostProcessor, PreTokenizerWrapper};

use crate::{Pair, TextError};

/// A text longer than this is refused before it is tokenized: no context holds it.
const MAX_TEXT_BYTES: usize = 1 << 24;

/// GGML's token types that become added tokens.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Text to token ids, without adding special tokens: chat templates bring their own.
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// A `tokenizer.json`. Its truncation and padding are ignored, as transformers does.
    ///
    /// # Errors
    /// When the bytes are not a tokenizer.
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Self, TextError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| TextError::Format {
            file: file.to_owned(),
            expected: "a tokenizer.json".to_owned(),
            found: e.to_string(),
        })?;
        inner.with_padding(None);
        // Removing truncation cannot fail: only adding one is checked.
        let _ = inner.with_truncation(None);
        Ok(Self { file: file.to_owned(), inner })
    }

    /// The tokenizer in a GGUF's metadata.
    ///
    /// # Errors
    /// When it is incomplete or of a kind that is not rebuilt here, which is named.
    pub fn from_gguf(metadata: &gguf::Metadata) -> Result<Self, TextError> {
        let file = metadata.file();
        let format = |expected: &str, found: String| TextError::Format {
            file: file.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let incomplete = |e: WeightsError| format("a tokenizer in the metadata", e.to_string());
        let model = metadata.text("tokenizer.ggml.model").map_err(incomplete)?;
        if model != "gpt2" {
            return Err(format("a tokenizer of the kind gpt2 (byte-level BPE)", format!("the kind {model}")));
        }
        let pre_tokenizer = match metadata.text("tokenizer.ggml.pre").map_err(incomplete)? {
            // Single digits, then GPT-2's own pattern.
            "smollm" => Sequence::new(vec![
                PreTokenizerWrapper::Digits(Digits::new(true)),
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
            ]),
            other => {
                return Err(format("the pre-tokenizer smollm", format!("the pre-tokenizer {other}")));
            }
        };
        let tokens = metadata.texts("tokenizer.ggml.tokens").map_err(incomplete)?;
        let types = metadata.integers("tokenizer.ggml.token_type").map_err(incomplete)?;
        if types.len() != tokens.len() {
            return Err(format("a type for each token", format!("{} types for {} tokens", types.len(), tokens.len())));
        }
        let merges = metadata
            .texts("tokenizer.ggml.merges")
            .map_err(incomplete)?
            .iter()
            .map(|merge| {
                let (left, right) =
                    merge.split_once(' ').ok_or_else(|| format("merges of two tokens", format!("{merge:?}")))?;
                Ok((left.to_owned(), right.to_owned()))
            })
            .collect::<Result<Vec<_>, TextError>>()?;
        let vocab: ahash::AHashMap<String, u32> =
            tokens.iter().zip(0u32..).map(|(token, id)| (token.clone(), id)).collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .build()
            .map_err(|e| format("merges of tokens in the vocabulary", e.to_string()))?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        inner.with_pre_tokenizer(Some(pre_tokenizer));
        inner.with_decoder(Some(ByteLevel::default()));
        let of_type = |kind: i64, special: bool| -> Vec<AddedToken> {
            let chosen = tokens.iter().zip(types).filter(|(_, t)| **t == kind);
            chosen.map(|(token, _)| AddedToken::from(token.clone(), special).normalized(false)).collect()
        };
        inner.add_special_tokens(&of_type(CONTROL, true));
        inner.add_tokens(&of_type(USER_DEFINED, false));
        Ok(Self { file: file.to_owned(), inner })
    }

    /// As a `tokenizer.json`.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.inner.to_string(true).map_err(|e| TextError::Tokenize { file: self.file.clone(), found: e.to_string() })
    }

    /// The token of an id, as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The file's name for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A pair of texts with the special tokens that the tokenizer puts around them, together at
    /// most `most_tokens` long: the longer text loses tokens on its right first, as transformers'
    /// `longest_first` has it.
    ///
    /// # Errors
    /// When a text is beyond any context, nothing fits, or the tokenizer fails.
    pub fn encode_pair(&self, first: &str, second: &str, most_tokens: usize) -> Result<Pair, TextError> {
        let failed = |found: String| TextError::Tokenize { file: self.file.clone(), found };
        let plain = |text: &str| {
            self.refuse_longer(text)?;
            self.inner.encode_fast(text, false).map_err(|e| failed(e.to_string()))
        };
        let (first, second) = (plain(first)?, plain(second)?);
        let added = self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        let room = most_tokens.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            failed(format!("at most {most_tokens} tokens leave no room beside the {added} special ones"))
        })?;
        let before = first.len() + second.len();
        let truncation = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (first, second) =
            truncate_encodings(first, Some(second), &truncation).map_err(|e| failed(e.to_string()))?;
        let left = first.len() + second.as_ref().map_or(0, tokenizers::Encoding::len);
        let pair = self.inner.post_process(first, second, true).map_err(|e| failed(e.to_string()))?;
        let of_second = pair.get_sequence_ids().iter().position(|&sequence| sequence == Some(1));
        Ok(Pair {
            input_ids: pair.get_ids().to_vec(),
            token_type_ids: pair.get_type_ids().to_vec(),
            first_completion_token: of_second.unwrap_or(pair.len()),
            cut_tokens: before - left,
        })
    }

    fn refuse_longer(&self, text: &str) -> Result<(), TextError> {
        if text.len() > MAX_TEXT_BYTES {
            let found = format!("the text has {} bytes, more than any context holds", text.len());
            return Err(TextError::Tokenize { file: self.file.clone(), found });
        }
        Ok(())
    }

    /// The ids of a text, no special tokens added.
    ///
    /// # Errors
    /// When the text is beyond any context, or the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let failed = |found: String| TextError::Tokenize { file: self.file.clone(), found };
        self.refuse_longer(text)?;
        let encoding = self.inner.encode_fast(text, false).map_err(|e| failed(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}
