//! Text to token ids: `tokenizer.json` as the file says, and GGUF's tokenizers (byte-level BPE,
//! SentencePiece, WordPiece) rebuilt from its metadata.

use rewardscope_weights::gguf;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};

use crate::classes::Class;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::special_tokens::{SpecialTokens, TokenizerSettings};
use crate::tokenizer_file::{of_merges, refuse_panics};
use crate::{Encoding, Pair, TextError, TruncationSide};

/// A text longer than this is refused before it is tokenized: no context holds it.
const MAX_TEXT_BYTES: usize = 1 << 24;

/// Text to token ids, without adding special tokens: chat templates bring their own.
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    /// Whether a pair's tokens are told which text they belong to; those of one that is not are all of the first.
    gives_types: bool,
    /// Which end its own settings cut.
    side: TruncationSide,
    /// Most tokens that its own settings leave.
    most_tokens: Option<usize>,
    special_tokens: Vec<(String, String)>,
}

/// What a folder has for a tokenizer.
#[derive(Debug, Clone, Copy)]
pub enum Vocabulary<'a> {
    /// `tokenizer.json`
    Whole(&'a [u8]),
    /// `vocab.json` and `merges.txt`
    Merges(&'a [u8], &'a [u8]),
}

impl Tokenizer {
    /// A `tokenizer.json`. Its truncation and padding are ignored, as transformers does.
    ///
    /// # Errors
    /// When the bytes are not a tokenizer.
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Self, TextError> {
        let refuse =
            |found: String| TextError::Format { file: file.to_owned(), expected: "a tokenizer.json".to_owned(), found };
        refuse_panics(bytes).map_err(refuse)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| refuse(e.to_string()))?;
        inner.with_padding(None);
        // Removing truncation cannot fail: only adding one is checked.
        let _ = inner.with_truncation(None);
        Ok(Self::plain(file, inner))
    }

    fn plain(file: &str, inner: tokenizers::Tokenizer) -> Self {
        let (side, most_tokens) = (TruncationSide::default(), None);
        Self { file: file.to_owned(), inner, gives_types: true, side, most_tokens, special_tokens: Vec::new() }
    }

    /// A tokenizer as transformers builds it for a kind of model (`model_type`) from what its folder has. `named` is
    /// the class that `config.json` names.
    ///
    /// # Errors
    /// When the files are damaged, or contradict each other so that transformers has no tokenizer of them either.
    pub fn assemble(
        file: &str,
        vocabulary: Vocabulary<'_>,
        model_type: &str,
        named: Option<&str>,
        settings: &TokenizerSettings,
    ) -> Result<Self, TextError> {
        let refuse = |found: String| TextError::Format {
            file: file.to_owned(),
            expected: "a tokenizer that transformers builds".to_owned(),
            found,
        };
        let mut built = match vocabulary {
            Vocabulary::Whole(json) => Self::from_json(file, json)?,
            Vocabulary::Merges(vocabulary, merges) => Self::plain(file, of_merges(vocabulary, merges).map_err(refuse)?),
        };
        let config = &settings.config;
        let named = config.get("tokenizer_class").and_then(serde_json::Value::as_str).or(named);
        let class = Class::of(model_type, named, built.is_byte_level());
        if matches!(vocabulary, Vocabulary::Merges(..)) && !class.is_rebuilt() {
            return Err(refuse("vocab.json and merges.txt, which do not say how a text is split before".to_owned()));
        }
        let stored =
            built.inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (u64::from(id), token)).collect();
        let special = SpecialTokens::gather(settings, class.tokens, &stored).map_err(refuse)?;
        class.assemble(&mut built.inner, config, &special, &refuse)?;
        built.gives_types = class.gives_types(config);
        built.special_tokens = special.names();
        built.side = match config.get("truncation_side").and_then(serde_json::Value::as_str) {
            Some("left") => TruncationSide::Left,
            None | Some("right") => TruncationSide::Right,
            Some(other) => return Err(refuse(format!("truncation_side: {other:?}, where left or right was expected"))),
        };
        let most = config.get("model_max_length").and_then(serde_json::Value::as_f64);
        built.most_tokens = most.filter(|most| *most > 0.0 && *most < 1e9).map(|most| most as usize);
        Ok(built)
    }

    fn is_byte_level(&self) -> bool {
        fn has(value: &serde_json::Value) -> bool {
            match value {
                serde_json::Value::Object(fields) => {
                    fields.get("type").is_some_and(|kind| kind == "ByteLevel") || fields.values().any(has)
                }
                serde_json::Value::Array(values) => values.iter().any(has),
                _ => false,
            }
        }
        let steps = serde_json::to_value(self.inner.get_pre_tokenizer()).unwrap_or_default();
        has(&steps) || has(&serde_json::to_value(self.inner.get_decoder()).unwrap_or_default())
    }

    /// Which end its own settings cut.
    pub fn side(&self) -> TruncationSide {
        self.side
    }

    /// Most tokens that its own settings leave; transformers cuts pairs there.
    pub fn most_tokens(&self) -> Option<usize> {
        self.most_tokens
    }

    /// Its special tokens by name, which templates may use.
    pub fn special_tokens(&self) -> &[(String, String)] {
        &self.special_tokens
    }

    /// The tokenizer in a GGUF's metadata.
    ///
    /// # Errors
    /// When it is incomplete or of a kind that is not rebuilt here, which is named.
    pub fn from_gguf(metadata: &gguf::Metadata) -> Result<Self, TextError> {
        let file = metadata.file();
        let vocabulary = GgufVocabulary::read(metadata)?;
        let inner = match metadata.text("tokenizer.ggml.model").map_err(|e| vocabulary.incomplete(e))? {
            "gpt2" => vocabulary.byte_level()?,
            "llama" => vocabulary.sentencepiece()?,
            "bert" => vocabulary.wordpiece()?,
            other => {
                return Err(vocabulary.refuse(
                    "a tokenizer of the kind gpt2 (byte-level BPE), llama (SentencePiece) or bert (WordPiece)",
                    format!("the kind {other}"),
                ));
            }
        };
        Ok(Self::plain(file, inner))
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
    /// most as long as `encoding` says: the longer text loses tokens first, as transformers'
    /// `longest_first` has it.
    ///
    /// # Errors
    /// When a text is beyond any context, nothing fits, or the tokenizer fails.
    pub fn encode_pair(&self, first: &str, second: &str, encoding: Encoding) -> Result<Pair, TextError> {
        let most_tokens = encoding.most_tokens;
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
        let truncation =
            TruncationParams { max_length: room, direction: direction(encoding.side), ..TruncationParams::default() };
        let (first, second) =
            truncate_encodings(first, Some(second), &truncation).map_err(|e| failed(e.to_string()))?;
        let left = first.len() + second.as_ref().map_or(0, tokenizers::Encoding::len);
        let pair = self.inner.post_process(first, second, true).map_err(|e| failed(e.to_string()))?;
        let of_second = pair.get_sequence_ids().iter().position(|&sequence| sequence == Some(1));
        Ok(Pair {
            input_ids: pair.get_ids().to_vec(),
            token_type_ids: if self.gives_types { pair.get_type_ids().to_vec() } else { vec![0; pair.len()] },
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

    /// The ids of a text, at most so many, and how many were cut off; with the special tokens that
    /// the tokenizer puts around it, or without.
    ///
    /// # Errors
    /// As [`Self::encode`], and when no room is left beside the special tokens.
    pub fn encode_cut(
        &self,
        text: &str,
        special: bool,
        most_tokens: usize,
        side: TruncationSide,
    ) -> Result<(Vec<u32>, usize), TextError> {
        let failed = |found: String| TextError::Tokenize { file: self.file.clone(), found };
        self.refuse_longer(text)?;
        let plain = self.inner.encode_fast(text, false).map_err(|e| failed(e.to_string()))?;
        let processor = self.inner.get_post_processor().filter(|_| special);
        let added = processor.map_or(0, |processor| processor.added_tokens(false));
        let room = most_tokens.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            failed(format!("at most {most_tokens} tokens leave no room beside the {added} special ones"))
        })?;
        let before = plain.len();
        let truncation =
            TruncationParams { max_length: room, direction: direction(side), ..TruncationParams::default() };
        let (cut, _) = truncate_encodings(plain, None, &truncation).map_err(|e| failed(e.to_string()))?;
        let left = cut.len();
        let ids = self.inner.post_process(cut, None, special).map_err(|e| failed(e.to_string()))?.get_ids().to_vec();
        Ok((ids, before - left))
    }

    /// The id of a token, where the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens of a text with the characters that each stands for, `start..end` in it, no special
    /// tokens added. Tokens that share a character say so by the same span.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn spans(&self, text: &str) -> Result<Vec<(u32, std::ops::Range<usize>)>, TextError> {
        let failed = |found: String| TextError::Tokenize { file: self.file.clone(), found };
        self.refuse_longer(text)?;
        let encoding = self.inner.encode_char_offsets(text, false).map_err(|e| failed(e.to_string()))?;
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(|(&id, &(start, end))| (id, start..end)).collect())
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

fn direction(side: TruncationSide) -> TruncationDirection {
    match side {
        TruncationSide::Left => TruncationDirection::Left,
        TruncationSide::Right => TruncationDirection::Right,
    }
}
