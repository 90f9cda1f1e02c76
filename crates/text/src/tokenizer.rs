//! Text to token ids, with tokenizers from `tokenizer.json`, as the file says or as transformers rebuilds it, and from
//! a GGUF's metadata (byte-level BPE, SentencePiece, WordPiece).

use rewardscope_weights::gguf;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};

use crate::classes::Class;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::special_tokens::{SpecialTokens, TokenizerSettings};
use crate::tokenizer_file::{of_merges, refuse_panics};
use crate::{Encoding, Pair, TextError, TruncationSide};

/// Most bytes of a text. A longer one is refused before it is tokenized: no context holds it.
const MAX_TEXT_BYTES: usize = 1 << 24;

/// Turns text into token ids. [`Self::encode`] adds no special tokens, because chat templates bring their own;
/// [`Self::encode_pair`] adds them, because encoders have no template.
///
/// ```
/// use rewardscope_text::{Encoding, Tokenizer, TokenizerSettings, Vocabulary};
///
/// # fn main() -> Result<(), rewardscope_text::TextError> {
/// let json = br###"{"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
///     "max_input_chars_per_word": 100, "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4,
///     "hello": 5, "good": 6, "##bye": 7}}}"###;
/// let settings = TokenizerSettings::default();
/// let tokenizer = Tokenizer::assemble("tokenizer.json", Vocabulary::Whole(json), "bert", None, &settings)?;
/// assert_eq!(tokenizer.encode("Goodbye")?, [6, 7]);
///
/// let encoding = Encoding { bos: Default::default(), side: Default::default(), most_tokens: 512 };
/// let pair = tokenizer.encode_pair("Hello", "Goodbye", encoding)?;
/// assert_eq!(pair.input_ids, [2, 5, 3, 6, 7, 3]); // [CLS] hello [SEP] good ##bye [SEP]
/// assert_eq!(pair.token_type_ids, [0, 0, 0, 1, 1, 1]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    /// Whether a pair's tokens get token types, which say which text they belong to; without, all types are 0.
    gives_types: bool,
    /// Which end its own settings cut (`truncation_side`).
    side: TruncationSide,
    /// Most tokens that its own settings leave (`model_max_length`).
    most_tokens: Option<usize>,
    special_tokens: Vec<(String, String)>,
}

/// The bytes of a folder's tokenizer files.
#[derive(Debug, Clone, Copy)]
pub enum Vocabulary<'a> {
    /// `tokenizer.json`
    Whole(&'a [u8]),
    /// `vocab.json` and `merges.txt`
    Merges(&'a [u8], &'a [u8]),
}

impl Tokenizer {
    /// Reads a `tokenizer.json` as the file says. Its truncation and padding are ignored, as in transformers. `file` is
    /// the file's name, for messages.
    ///
    /// # Errors
    /// When the bytes are not a tokenizer, or one that the tokenizers library would panic at.
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

    /// Builds a tokenizer from a folder's files as transformers does. `model_type` is that of `config.json`, and
    /// `named` is the tokenizer class that `config.json` names; a class in `tokenizer_config.json` goes before it.
    ///
    /// # Errors
    /// When the files are damaged, or contradict each other so that transformers cannot build a tokenizer either.
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
            return Err(refuse("vocab.json and merges.txt alone, which do not say how a text is split".to_owned()));
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

    /// Which end its own settings cut (`truncation_side`).
    pub fn side(&self) -> TruncationSide {
        self.side
    }

    /// Most tokens that its own settings leave (`model_max_length`), where they say; transformers cuts pairs there.
    pub fn most_tokens(&self) -> Option<usize> {
        self.most_tokens
    }

    /// Its special tokens as pairs of name and token; templates may use them.
    pub fn special_tokens(&self) -> &[(String, String)] {
        &self.special_tokens
    }

    /// Rebuilds the tokenizer in a GGUF's metadata.
    ///
    /// # Errors
    /// When the metadata is incomplete, or the tokenizer is of a kind that is not rebuilt here; the message names it.
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

    /// The text of a `tokenizer.json` with this tokenizer.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.inner.to_string(true).map_err(|e| TextError::Tokenize { file: self.file.clone(), found: e.to_string() })
    }

    /// The token of an id, as the vocabulary spells it; `None` for an unknown id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Encodes a pair of texts, with the special tokens that the tokenizer puts around them. The pair has at most
    /// `encoding.most_tokens` tokens: the longer text loses tokens first, as in transformers' `longest_first`.
    ///
    /// # Errors
    /// When a text is longer than any context, the special tokens leave no room, or the tokenizer fails.
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

    /// The ids of a text, at most `most_tokens`, and how many were cut off at `side`. With `special`, the tokenizer's
    /// special tokens are put around the text and count too.
    ///
    /// # Errors
    /// As [`Self::encode`], and when the special tokens leave no room.
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

    /// The id of a token; `None` where the vocabulary lacks it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens of a text, each with the range of characters (not bytes) that it stands for. No special tokens are
    /// added. Tokens that share a character have the same range.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn spans(&self, text: &str) -> Result<Vec<(u32, std::ops::Range<usize>)>, TextError> {
        let failed = |found: String| TextError::Tokenize { file: self.file.clone(), found };
        self.refuse_longer(text)?;
        let encoding = self.inner.encode_char_offsets(text, false).map_err(|e| failed(e.to_string()))?;
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(|(&id, &(start, end))| (id, start..end)).collect())
    }

    /// The ids of a text. No special tokens are added.
    ///
    /// # Errors
    /// When the text is longer than any context, or the tokenizer fails.
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
