//! Tokenizers rebuilt from a GGUF's metadata.

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
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, decoders, normalizers,
};

use crate::TextError;
use crate::patterns::{LLAMA_3, QWEN_2};

/// GGML's type of ordinary tokens, which merges make.
const NORMAL: i64 = 1;

/// GGML's type of special tokens, which become added tokens.
const CONTROL: i64 = 3;

/// GGML's type of tokens that users define, which become added tokens too.
const USER_DEFINED: i64 = 4;

/// The tokenizer in a GGUF's metadata.
pub(crate) struct GgufVocabulary<'a> {
    metadata: &'a gguf::Metadata,
    /// The tokens by id.
    tokens: &'a [String],
    /// Each token's type.
    types: &'a [i64],
}

impl<'a> GgufVocabulary<'a> {
    pub(crate) fn read(metadata: &'a gguf::Metadata) -> Result<Self, TextError> {
        let mut all = Self { metadata, tokens: &[], types: &[] };
        all.tokens = metadata.texts("tokenizer.ggml.tokens").map_err(|e| all.incomplete(e))?;
        all.types = metadata.integers("tokenizer.ggml.token_type").map_err(|e| all.incomplete(e))?;
        if all.types.len() != all.tokens.len() {
            let found = format!("{} types for {} tokens", all.types.len(), all.tokens.len());
            return Err(all.refuse("a type for each token", found));
        }
        Ok(all)
    }

    pub(crate) fn refuse(&self, expected: &str, found: String) -> TextError {
        TextError::Format { file: self.metadata.file().to_owned(), expected: expected.to_owned(), found }
    }

    pub(crate) fn incomplete(&self, error: WeightsError) -> TextError {
        self.refuse("a tokenizer in the metadata", error.to_string())
    }

    pub(crate) fn ids(&self) -> ahash::AHashMap<String, u32> {
        self.tokens.iter().zip(0u32..).map(|(token, id)| (token.clone(), id)).collect()
    }

    /// A byte-level BPE tokenizer with the stored merges.
    pub(crate) fn byte_level(&self) -> Result<tokenizers::Tokenizer, TextError> {
        let bytes = |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            split.map(PreTokenizerWrapper::Split).map_err(|e| self.refuse("a tokenizer", e.to_string()))
        };
        let name = self.metadata.text("tokenizer.ggml.pre").map_err(|e| self.incomplete(e))?;
        // llama.cpp has several names for some pre-tokenizers.
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
        // As in the published tokenizer.json of each; the metadata has no key for it.
        let bpe = bpe.ignore_merges(name == "llama-bpe").build().map_err(|e| self.bad_merges(e))?;
        let mut inner = self.tokenizer(bpe)?;
        if name == "qwen2" {
            inner.with_normalizer(Some(NFC));
        }
        inner.with_pre_tokenizer(Some(Sequence::new(pre_tokenizer)));
        inner.with_decoder(Some(ByteLevel::default()));
        Ok(inner)
    }

    /// A SentencePiece BPE tokenizer. Spaces become `\u{2581}`. Of all neighbouring pieces, those are joined first
    /// whose joined token has the highest score. A character without a token becomes byte tokens.
    pub(crate) fn sentencepiece(&self) -> Result<tokenizers::Tokenizer, TextError> {
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
        // The default is llama.cpp's.
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

    /// A WordPiece tokenizer like BERT's. GGUF marks a word's beginning by `\u{2581}`, where BERT's vocabulary marks
    /// its continuation by `##`. GGUF has no key for case: where no ordinary token has a capital, texts are lowercased.
    pub(crate) fn wordpiece(&self) -> Result<tokenizers::Tokenizer, TextError> {
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
        // GGUF spells this key "seperator".
        let (separator, begin) = (special(&["seperator", "eos"])?, special(&["cls", "bos"])?);
        let model = WordPiece::builder().vocab(ids).unk_token(unknown).build();
        let mut inner = self.tokenizer(model.map_err(|e| self.refuse("a vocabulary of WordPiece", e.to_string()))?)?;
        inner.with_normalizer(Some(BertNormalizer::new(true, true, None, !is_cased)));
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new(separator, begin)));
        inner.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
        Ok(inner)
    }

    pub(crate) fn bad_merges(&self, error: impl ToString) -> TextError {
        self.refuse("merges of tokens in the vocabulary", error.to_string())
    }

    /// A tokenizer of this model, with the added tokens: they are found in a text before anything else is done.
    pub(crate) fn tokenizer(&self, model: impl Into<ModelWrapper>) -> Result<tokenizers::Tokenizer, TextError> {
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
