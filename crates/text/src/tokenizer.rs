//! Text to token ids: `tokenizer.json` as the file says, and GGUF's tokenizers (byte-level BPE,
//! SentencePiece, WordPiece) rebuilt from its metadata.

use rewardscope_weights::{WeightsError, gguf};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFC, Prepend, Replace};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::utils::SysRegex;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PostProcessor, PreTokenizerWrapper, SplitDelimiterBehavior, decoders,
    normalizers,
};

use crate::classes::Class;
use crate::special_tokens::{SpecialTokens, TokenizerSettings};
use crate::{Encoding, Pair, TextError, TruncationSide};

/// A text longer than this is refused before it is tokenized: no context holds it.
const MAX_TEXT_BYTES: usize = 1 << 24;

/// GGML's type of tokens that merges make.
const NORMAL: i64 = 1;

/// GGML's token types that become added tokens.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// How a text is split before its bytes are merged: Llama 3's pattern, and Qwen2's, which differs in
/// that each digit stands alone.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(crate) const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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

/// Refuses what the library would panic at later: a post-processor's template with a special token
/// that the file does not explain, or with a second text where there is one; a normalizer that
/// replaces nothing by something or prepends nothing; a merge with a half that is shorter than the
/// prefix of a word's continuation; a pattern whose counts multiply to more than any text is long.
fn refuse_panics(bytes: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct File {
        normalizer: Option<serde_json::Value>,
        pre_tokenizer: Option<serde_json::Value>,
        model: Option<Model>,
        post_processor: Option<serde_json::Value>,
        /// The library panics where its text is no Unicode.
        decoder: Option<serde_json::Value>,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<serde_json::Value>,
    }
    #[derive(serde::Deserialize)]
    struct FileWithMerges {
        model: ModelWithMerges,
    }
    #[derive(serde::Deserialize)]
    struct ModelWithMerges {
        #[serde(default)]
        merges: Vec<serde_json::Value>,
    }
    fn check_merges(prefix: &str, merges: &[serde_json::Value]) -> Result<(), String> {
        for merge in merges {
            // As a text, or as two.
            let second = match merge.as_str() {
                Some(text) => text.split_once(' ').map(|(_, second)| second),
                None => merge.get(1).and_then(serde_json::Value::as_str),
            };
            if second.is_some_and(|second| second.get(prefix.len()..).is_none()) {
                return Err(format!("a merge {merge} where words go on with {prefix:?}"));
            }
        }
        Ok(())
    }
    /// The regex library multiplies the counts of what is repeated, and panics past 64 bits.
    fn check_counts(value: &serde_json::Value) -> Result<(), String> {
        const MOST: u64 = 1_000_000;
        match value {
            serde_json::Value::Array(values) => values.iter().try_for_each(check_counts),
            serde_json::Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
                let Some(regex) = value.as_str().filter(|_| name == "Regex") else {
                    return check_counts(value);
                };
                let mut product = 1u64;
                for counts in regex.split('{').skip(1) {
                    let counts = counts.split('}').next().unwrap_or_default();
                    for digits in counts.split(',').map(str::trim).filter(|count| !count.is_empty()) {
                        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                            product = product.saturating_mul(digits.parse().unwrap_or(u64::MAX).max(1));
                        }
                    }
                }
                if product > MOST {
                    return Err(format!("a pattern that repeats more than {MOST} times"));
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    }
    fn check_normalizer(normalizer: &serde_json::Value) -> Result<(), String> {
        for inner in normalizer.get("normalizers").and_then(serde_json::Value::as_array).into_iter().flatten() {
            check_normalizer(inner)?;
        }
        if normalizer.get("prepend").is_some_and(|prepend| prepend == "") {
            return Err("a normalizer that prepends nothing".to_owned());
        }
        let Some(pattern) = normalizer.get("pattern") else {
            return Ok(());
        };
        let is_empty = match (pattern.get("String"), pattern.get("Regex").and_then(serde_json::Value::as_str)) {
            (Some(text), _) => text == "",
            (None, Some(regex)) => {
                let regex = SysRegex::new(regex).map_err(|e| e.to_string())?;
                ["", "a", " ", "Ab 1.\n"].iter().any(|text| regex.find_iter(text).any(|(start, end)| start == end))
            }
            (None, None) => false,
        };
        if is_empty {
            return Err(format!("a normalizer whose pattern {pattern} finds the empty text"));
        }
        Ok(())
    }
    fn check(processor: &serde_json::Value) -> Result<(), String> {
        for inner in processor.get("processors").and_then(serde_json::Value::as_array).into_iter().flatten() {
            check(inner)?;
        }
        let of_one_text = processor.get("single").and_then(serde_json::Value::as_array).into_iter().flatten();
        if of_one_text.filter_map(|piece| piece.get("Sequence")).any(|sequence| sequence["id"] != "A") {
            return Err("a post-processor that puts a second text where there is one".to_owned());
        }
        let pieces = ["single", "pair"].into_iter().filter_map(|key| processor.get(key)?.as_array()).flatten();
        for piece in pieces {
            let Some(id) = piece.get("SpecialToken").and_then(|token| token.get("id")?.as_str()) else {
                continue;
            };
            let named = processor.get("special_tokens").and_then(|tokens| tokens.get(id));
            if named.is_none() {
                return Err(format!("a post-processor that puts in {id:?} without saying what it is"));
            }
        }
        Ok(())
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    [&file.normalizer, &file.pre_tokenizer, &file.decoder].into_iter().flatten().try_for_each(check_counts)?;
    file.normalizer.as_ref().map_or(Ok(()), check_normalizer)?;
    let prefix = file.model.and_then(|model| model.continuing_subword_prefix);
    if let Some(prefix) = prefix.as_ref().and_then(serde_json::Value::as_str).filter(|prefix| !prefix.is_empty()) {
        // Few files have one: only theirs are read for it.
        let file: FileWithMerges = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        check_merges(prefix, &file.model.merges)?;
    }
    file.post_processor.as_ref().map_or(Ok(()), check)
}

/// A byte-level BPE without what is around it, from `vocab.json` and `merges.txt`.
fn of_merges(vocabulary: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let ids: std::collections::HashMap<String, u32> =
        serde_json::from_slice(vocabulary).map_err(|e| format!("in vocab.json: {e}"))?;
    let merges = std::str::from_utf8(merges).map_err(|e| format!("in merges.txt: {e}"))?;
    let lines = merges.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let merges: Result<Vec<_>, String> = lines
        .map(|line| {
            let both = line.split_once(' ').ok_or_else(|| format!("the line {line:?} in merges.txt"))?;
            Ok((both.0.to_owned(), both.1.trim().to_owned()))
        })
        .collect();
    let bpe = BPE::builder().vocab_and_merges(ids.into_iter().collect::<ahash::AHashMap<_, _>>(), merges?);
    Ok(tokenizers::Tokenizer::new(bpe.build().map_err(|e| e.to_string())?))
}

fn direction(side: TruncationSide) -> TruncationDirection {
    match side {
        TruncationSide::Left => TruncationDirection::Left,
        TruncationSide::Right => TruncationDirection::Right,
    }
}

/// What a GGUF's metadata says of its tokenizer.
struct GgufVocabulary<'a> {
    metadata: &'a gguf::Metadata,
    tokens: &'a [String],
    types: &'a [i64],
}

impl<'a> GgufVocabulary<'a> {
    fn read(metadata: &'a gguf::Metadata) -> Result<Self, TextError> {
        let mut all = Self { metadata, tokens: &[], types: &[] };
        all.tokens = metadata.texts("tokenizer.ggml.tokens").map_err(|e| all.incomplete(e))?;
        all.types = metadata.integers("tokenizer.ggml.token_type").map_err(|e| all.incomplete(e))?;
        if all.types.len() != all.tokens.len() {
            let found = format!("{} types for {} tokens", all.types.len(), all.tokens.len());
            return Err(all.refuse("a type for each token", found));
        }
        Ok(all)
    }

    fn refuse(&self, expected: &str, found: String) -> TextError {
        TextError::Format { file: self.metadata.file().to_owned(), expected: expected.to_owned(), found }
    }

    fn incomplete(&self, error: WeightsError) -> TextError {
        self.refuse("a tokenizer in the metadata", error.to_string())
    }

    fn ids(&self) -> ahash::AHashMap<String, u32> {
        self.tokens.iter().zip(0u32..).map(|(token, id)| (token.clone(), id)).collect()
    }

    /// Byte-level BPE, its merges as they are stored.
    fn byte_level(&self) -> Result<tokenizers::Tokenizer, TextError> {
        let bytes = |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            split.map(PreTokenizerWrapper::Split).map_err(|e| self.refuse("a tokenizer", e.to_string()))
        };
        let name = self.metadata.text("tokenizer.ggml.pre").map_err(|e| self.incomplete(e))?;
        // llama.cpp has several names for some.
        let name = match name {
            "llama3" | "llama-v3" => "llama-bpe",
            "deepseek-r1-qwen" => "qwen2",
            other => other,
        };
        let pre_tokenizer = match name {
            // Single digits, then GPT-2's own pattern.
            "smollm" => vec![PreTokenizerWrapper::Digits(Digits::new(true)), bytes(true)],
            "llama-bpe" => vec![split(LLAMA_3)?, bytes(false)],
            "qwen2" => vec![split(QWEN_2)?, bytes(false)],
            other => {
                return Err(self.refuse(
                    "one of the pre-tokenizers llama-bpe, qwen2, smollm",
                    format!("the pre-tokenizer {other}"),
                ));
            }
        };
        let merges = self.metadata.texts("tokenizer.ggml.merges").map_err(|e| self.incomplete(e))?;
        let merges = merges.iter().map(|merge| {
            let (left, right) =
                merge.split_once(' ').ok_or_else(|| self.refuse("merges of two tokens", format!("{merge:?}")))?;
            Ok((left.to_owned(), right.to_owned()))
        });
        let bpe = BPE::builder().vocab_and_merges(self.ids(), merges.collect::<Result<Vec<_>, TextError>>()?);
        // What the published tokenizer.json of each has; the metadata has no word for it.
        let bpe = bpe.ignore_merges(name == "llama-bpe").build().map_err(|e| self.bad_merges(e))?;
        let mut inner = self.tokenizer(bpe)?;
        if name == "qwen2" {
            inner.with_normalizer(Some(NFC));
        }
        inner.with_pre_tokenizer(Some(Sequence::new(pre_tokenizer)));
        inner.with_decoder(Some(ByteLevel::default()));
        Ok(inner)
    }

    /// SentencePiece's BPE: a text's spaces become `\u{2581}`, and of the pieces that stand side by
    /// side those are joined first whose token scores highest. Bytes stand for what has no token.
    fn sentencepiece(&self) -> Result<tokenizers::Tokenizer, TextError> {
        let scores = self.metadata.floats("tokenizer.ggml.scores").map_err(|e| self.incomplete(e))?;
        if scores.len() != self.tokens.len() {
            let found = format!("{} scores for {} tokens", scores.len(), self.tokens.len());
            return Err(self.refuse("a score for each token", found));
        }
        let ids = self.ids();
        let mut merges: Vec<(f32, u32, u32, &str, &str)> = Vec::new();
        for ((token, &score), &kind) in self.tokens.iter().zip(scores).zip(self.types) {
            if kind != NORMAL {
                continue;
            }
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                    merges.push((score, l, r, left, right));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let merges = merges.into_iter().map(|(_, _, _, left, right)| (left.to_owned(), right.to_owned())).collect();
        let mut bpe = BPE::builder().vocab_and_merges(ids, merges).byte_fallback(true).fuse_unk(true);
        let unknown = self.metadata.unsigned("tokenizer.ggml.unknown_token_id").ok();
        if let Some(unknown) = unknown.and_then(|id| self.tokens.get(id)) {
            bpe = bpe.unk_token(unknown.clone());
        }
        let mut inner = self.tokenizer(bpe.build().map_err(|e| self.bad_merges(e))?)?;
        let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
        // llama.cpp's own default.
        if self.metadata.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true) {
            normalizers.push(Prepend::new("\u{2581}".to_owned()).into());
        }
        let space = Replace::new(" ", "\u{2581}").map_err(|e| self.refuse("a tokenizer", e.to_string()))?;
        normalizers.push(space.into());
        inner.with_normalizer(Some(normalizers::Sequence::new(normalizers)));
        let decoded = Replace::new("\u{2581}", " ").map_err(|e| self.refuse("a tokenizer", e.to_string()))?;
        inner.with_decoder(Some(decoders::sequence::Sequence::new(vec![
            decoded.into(),
            ByteFallback::new().into(),
            Fuse::new().into(),
        ])));
        Ok(inner)
    }

    /// WordPiece as BERT has it. GGUF marks a word's beginning by `\u{2581}` where the vocabulary
    /// marks its continuation by `##`, and has no word for case: where no token has a capital,
    /// the tokenizer has none.
    fn wordpiece(&self) -> Result<tokenizers::Tokenizer, TextError> {
        let mut ids = ahash::AHashMap::with_capacity(self.tokens.len());
        let mut is_cased = false;
        for ((token, &kind), id) in self.tokens.iter().zip(self.types).zip(0u32..) {
            let is_bracketed = token.starts_with('[') && token.ends_with(']');
            let spelled = match token.strip_prefix('\u{2581}') {
                Some(word) => word.to_owned(),
                None if kind != NORMAL || (is_bracketed && !ids.contains_key(token)) => token.clone(),
                None => format!("##{token}"),
            };
            is_cased |= kind == NORMAL && !is_bracketed && spelled.chars().any(|c| !c.to_lowercase().eq([c]));
            ids.insert(spelled, id);
        }
        let special = |keys: &[&str]| {
            let id = keys.iter().find_map(|key| self.metadata.unsigned(&format!("tokenizer.ggml.{key}_token_id")).ok());
            let id = id.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < self.tokens.len());
            id.map(|id| (self.tokens[id as usize].clone(), id))
                .ok_or_else(|| self.refuse("a tokenizer in the metadata", format!("no {} token of its own", keys[0])))
        };
        let (unknown, _) = special(&["unknown"])?;
        // The key is spelled so.
        let (separator, begin) = (special(&["seperator", "eos"])?, special(&["cls", "bos"])?);
        let model = WordPiece::builder().vocab(ids).unk_token(unknown).build();
        let mut inner = self.tokenizer(model.map_err(|e| self.refuse("a vocabulary of WordPiece", e.to_string()))?)?;
        inner.with_normalizer(Some(BertNormalizer::new(true, true, None, !is_cased)));
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new(separator, begin)));
        inner.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
        Ok(inner)
    }

    fn bad_merges(&self, error: impl ToString) -> TextError {
        self.refuse("merges of tokens in the vocabulary", error.to_string())
    }

    /// With the tokens that are found whole before anything else is done.
    fn tokenizer(&self, model: impl Into<ModelWrapper>) -> Result<tokenizers::Tokenizer, TextError> {
        let mut inner = tokenizers::Tokenizer::new(model);
        let of_type = |kind: i64, special: bool| -> Vec<AddedToken> {
            let chosen = self.tokens.iter().zip(self.types).filter(|(_, t)| **t == kind);
            chosen.map(|(token, _)| AddedToken::from(token.clone(), special).normalized(false)).collect()
        };
        inner.add_special_tokens(&of_type(CONTROL, true));
        inner.add_tokens(&of_type(USER_DEFINED, false));
        Ok(inner)
    }
}
