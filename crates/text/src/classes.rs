//! Tokenizers as transformers (5.24) builds them. For most classes it takes only vocabulary and merges from
//! `tokenizer.json`. It builds everything else anew from the class's code and `tokenizer_config.json`, which win where
//! they contradict `tokenizer.json`.
//!
//! Matches `tokenization_auto.py`, `tokenization_utils_base.py`, `tokenization_utils_tokenizers.py`
//! and the classes' own files.

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedVocabulary, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use crate::TextError;
use crate::patterns::QWEN_2;
use crate::special_tokens::SpecialTokens;

/// How a tokenizer is built: as the class of this name does, or from its file alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `tokenizer.json` as it is.
    Backend,
    Bert,
    Roberta,
    Llama,
    Qwen2,
    Gemma,
    GptNeoX,
    Gpt2,
    DebertaV2,
}

/// A tokenizer class of transformers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Its name, without `Fast`.
    name: &'static str,
    kind: Kind,
    /// Whether it gives token types (`token_type_ids`).
    types: bool,
    /// Its special tokens where the configuration names none, as pairs of name and token.
    pub tokens: &'static [(&'static str, &'static str)],
}

const BERT_TOKENS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const ROBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

const LLAMA_TOKENS: &[(&str, &str)] = &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];

const QWEN_2_TOKENS: &[(&str, &str)] =
    &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];

const GEMMA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<bos>"),
    ("eos_token", "<eos>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];

const GPT_NEOX_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
    ("pad_token", "<|padding|>"),
];

const GPT_2_TOKENS: &[(&str, &str)] =
    &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")];

const DEBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const ALBERT_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// The class for every name that is not in [`CLASSES`]: `tokenizer.json` as it is.
const BACKEND: Class = Class { name: "TokenizersBackend", kind: Kind::Backend, types: false, tokens: &[] };

const CLASSES: &[Class] = &[
    Class { name: "BertTokenizer", kind: Kind::Bert, types: true, tokens: BERT_TOKENS },
    Class { name: "DistilBertTokenizer", kind: Kind::Bert, types: false, tokens: BERT_TOKENS },
    Class { name: "ElectraTokenizer", kind: Kind::Bert, types: true, tokens: BERT_TOKENS },
    // Their files have the map of characters that the classes get from SentencePiece's file.
    Class { name: "XLMRobertaTokenizer", kind: Kind::Backend, types: false, tokens: ROBERTA_TOKENS },
    Class { name: "CamembertTokenizer", kind: Kind::Backend, types: false, tokens: ROBERTA_TOKENS },
    Class { name: "AlbertTokenizer", kind: Kind::Backend, types: true, tokens: ALBERT_TOKENS },
    Class { name: "RobertaTokenizer", kind: Kind::Roberta, types: false, tokens: ROBERTA_TOKENS },
    Class { name: "LlamaTokenizer", kind: Kind::Llama, types: false, tokens: LLAMA_TOKENS },
    Class { name: "Qwen2Tokenizer", kind: Kind::Qwen2, types: false, tokens: QWEN_2_TOKENS },
    Class { name: "GemmaTokenizer", kind: Kind::Gemma, types: false, tokens: GEMMA_TOKENS },
    Class { name: "GPTNeoXTokenizer", kind: Kind::GptNeoX, types: false, tokens: GPT_NEOX_TOKENS },
    Class { name: "GPT2Tokenizer", kind: Kind::Gpt2, types: false, tokens: GPT_2_TOKENS },
    Class { name: "DebertaV2Tokenizer", kind: Kind::DebertaV2, types: true, tokens: DEBERTA_TOKENS },
];

/// The class that transformers registers for a `model_type`; none for Llama, whose files name their class.
fn registered(model_type: &str) -> Option<&'static str> {
    Some(match model_type {
        "bert" => "BertTokenizer",
        "distilbert" | "electra" => "BertTokenizer",
        "roberta" => "RobertaTokenizer",
        "xlm-roberta" => "XLMRobertaTokenizer",
        "camembert" => "CamembertTokenizer",
        "albert" => "AlbertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        "gemma" | "gemma2" | "gemma3_text" => "GemmaTokenizer",
        "gpt_neox" => "GPTNeoXTokenizer",
        "qwen2" | "qwen3" => "Qwen2Tokenizer",
        "mistral" | "modernbert" => "TokenizersBackend",
        _ => return None,
    })
}

/// Each `model_type` whose files are known to name a wrong class.
const MISNAMED: [&str; 2] = ["modernbert", "qwen2"];

impl Class {
    /// The class for a `model_type` whose files name the class `named`, or none (`AutoTokenizer.from_pretrained`).
    pub fn of(model_type: &str, named: Option<&str>, is_byte_level: bool) -> &'static Self {
        let plain = |name: &'_ str| name.strip_suffix("Fast").unwrap_or(name).to_owned();
        let find = |name: &str| CLASSES.iter().find(|class| class.name == plain(name)).unwrap_or(&BACKEND);
        let registered = registered(model_type);
        let Some(named) = named else {
            return registered.map_or(&BACKEND, find);
        };
        if plain(named) == "LlamaTokenizer" && !MISNAMED.contains(&model_type) && is_byte_level {
            return &BACKEND;
        }
        match registered {
            Some(registered) if registered != plain(named) => match registered {
                "TokenizersBackend" => &BACKEND,
                _ if MISNAMED.contains(&model_type) => find(registered),
                _ => find(named),
            },
            _ => find(named),
        }
    }

    /// Whether everything but vocabulary and merges is built anew.
    pub fn is_rebuilt(&self) -> bool {
        self.kind != Kind::Backend
    }

    /// Whether a pair's tokens get token types, which tell an encoder which of the two texts they belong to.
    pub fn gives_types(&self, config: &Map<String, Value>) -> bool {
        match config.get("model_input_names").and_then(Value::as_array) {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => self.types,
        }
    }

    /// Completes a tokenizer that was read from `tokenizer.json` or from a vocabulary alone.
    pub fn assemble(
        &self,
        inner: &mut tokenizers::Tokenizer,
        config: &Map<String, Value>,
        special: &SpecialTokens,
        refuse: &dyn Fn(String) -> TextError,
    ) -> Result<(), TextError> {
        let build = Build { config, special, refuse };
        if self.kind != Kind::Backend {
            inner.with_added_vocabulary(AddedVocabulary::new());
            build.model(self.kind, inner)?;
            build.steps(self.kind, inner)?;
        }
        special.add_to(inner);
        if self.kind == Kind::Qwen2 {
            special.add_plain_to(inner);
        }
        let split = config.get("split_special_tokens").and_then(Value::as_bool).unwrap_or(false);
        inner.set_encode_special_tokens(split);
        build.post_processor(self.kind, inner)
    }
}

/// What a tokenizer is built from.
struct Build<'a> {
    config: &'a Map<String, Value>,
    special: &'a SpecialTokens,
    refuse: &'a dyn Fn(String) -> TextError,
}

impl Build<'_> {
    fn flag(&self, key: &str, default: bool) -> Result<bool, TextError> {
        match self.config.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err((self.refuse)(format!("{key}: {other}, where true or false was expected"))),
        }
    }

    /// A flag that may be absent or null.
    fn choice(&self, key: &str) -> Result<Option<bool>, TextError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.flag(key, false).map(Some),
        }
    }

    fn token(&self, name: &str) -> Result<String, TextError> {
        self.special.named(name).ok_or_else(|| (self.refuse)(format!("no {name}, which its class puts around texts")))
    }

    /// Sets the model's switches as the class has them, whatever the file says.
    fn model(&self, kind: Kind, inner: &mut tokenizers::Tokenizer) -> Result<(), TextError> {
        let wrong =
            |wanted: &str| (self.refuse)(format!("a model of another kind than its class has, which is {wanted}"));
        match (kind, inner.get_model()) {
            (Kind::Backend, _) => {}
            (Kind::Bert, ModelWrapper::WordPiece(model)) => {
                let unknown = self.token("unk_token")?;
                if model.unk_token != unknown
                    || model.continuing_subword_prefix != "##"
                    || model.max_input_chars_per_word != 100
                {
                    let mut model = model.clone();
                    model.unk_token = unknown;
                    "##".clone_into(&mut model.continuing_subword_prefix);
                    model.max_input_chars_per_word = 100;
                    inner.with_model(model);
                }
            }
            (Kind::Bert, _) => return Err(wrong("WordPiece")),
            (Kind::DebertaV2, ModelWrapper::Unigram(_)) => {}
            (Kind::DebertaV2, _) => return Err(wrong("Unigram")),
            (_, ModelWrapper::BPE(model)) => {
                let unknown = match kind {
                    Kind::Gemma => Some(self.token("unk_token")?),
                    _ => None,
                };
                let pieces = matches!(kind, Kind::Llama | Kind::Gemma);
                // An empty prefix or suffix counts as none.
                let affix = |of: &Option<String>| of.as_ref().is_some_and(|affix| !affix.is_empty());
                let is_as_built = model.unk_token == unknown
                    && model.fuse_unk == pieces
                    && model.byte_fallback == pieces
                    && !model.ignore_merges
                    && !affix(&model.continuing_subword_prefix)
                    && !affix(&model.end_of_word_suffix);
                if !is_as_built {
                    let mut model: BPE = model.clone();
                    model.unk_token = unknown;
                    (model.fuse_unk, model.byte_fallback, model.ignore_merges) = (pieces, pieces, false);
                    (model.continuing_subword_prefix, model.end_of_word_suffix) = (None, None);
                    inner.with_model(model);
                }
            }
            (..) => return Err(wrong("BPE")),
        }
        Ok(())
    }

    /// Sets what is done to a text before the model: normalizer and pre-tokenizer.
    fn steps(&self, kind: Kind, inner: &mut tokenizers::Tokenizer) -> Result<(), TextError> {
        let byte_level = |prefix: bool, trim: bool, regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex });
        let metaspace = |scheme: &str| json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false });
        let sequence = |steps: Vec<Value>| json!({ "type": "Sequence", "pretokenizers": steps });
        let (normalizer, pre_tokenizer) = match kind {
            Kind::Backend => return Ok(()),
            Kind::DebertaV2 => return self.deberta_steps(inner),
            Kind::Bert => (
                json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": self.flag("tokenize_chinese_chars", true)?,
                    "strip_accents": self.choice("strip_accents")?,
                    "lowercase": self.flag("do_lower_case", true)?,
                }),
                json!({ "type": "BertPreTokenizer" }),
            ),
            Kind::Roberta => {
                let trim = self.flag("trim_offsets", true)?;
                (Value::Null, byte_level(self.flag("add_prefix_space", false)?, trim, true))
            }
            Kind::Llama => {
                let scheme = match (self.choice("add_prefix_space")?.unwrap_or(true), self.flag("legacy", false)?) {
                    (true, true) => "always",
                    (true, false) => "first",
                    (false, _) => "never",
                };
                (Value::Null, metaspace(scheme))
            }
            Kind::Qwen2 => {
                let prefix = self.choice("add_prefix_space")?.unwrap_or(false);
                let split =
                    json!({ "type": "Split", "pattern": { "Regex": QWEN_2 }, "behavior": "Isolated", "invert": false });
                (json!({ "type": "NFC" }), sequence(vec![split, byte_level(prefix, true, false)]))
            }
            Kind::Gemma => (
                json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" }),
                json!({
                    "type": "Split",
                    "pattern": { "String": " " },
                    "behavior": "MergedWithPrevious",
                    "invert": false,
                }),
            ),
            Kind::GptNeoX => {
                let trim = self.flag("trim_offsets", true)?;
                (json!({ "type": "NFC" }), byte_level(self.flag("add_prefix_space", false)?, trim, true))
            }
            Kind::Gpt2 => (Value::Null, byte_level(self.flag("add_prefix_space", false)?, true, true)),
        };
        inner.with_normalizer(self.part::<NormalizerWrapper>(normalizer)?);
        inner.with_pre_tokenizer(self.part::<PreTokenizerWrapper>(pre_tokenizer)?);
        Ok(())
    }

    /// Keeps DeBERTa's steps of `tokenizer.json`, as transformers 4 does, because 5 leaves out their map of characters.
    /// Case and punctuation are as the configuration says.
    fn deberta_steps(&self, inner: &mut tokenizers::Tokenizer) -> Result<(), TextError> {
        let stored = serde_json::to_value(inner.get_normalizer()).unwrap_or_default();
        if self.flag("do_lower_case", false)? && !stored.to_string().contains("\"Lowercase\"") {
            let mut steps = vec![json!({ "type": "Lowercase" })];
            steps.extend((!stored.is_null()).then_some(stored));
            inner.with_normalizer(self.part::<NormalizerWrapper>(json!({ "type": "Sequence", "normalizers": steps }))?);
        }
        let stored = serde_json::to_value(inner.get_pre_tokenizer()).unwrap_or_default();
        if self.flag("split_by_punct", false)? && !stored.to_string().contains("\"Punctuation\"") {
            let mut steps = vec![json!({ "type": "Punctuation", "behavior": "Isolated" })];
            steps.extend((!stored.is_null()).then_some(stored));
            inner.with_pre_tokenizer(
                self.part::<PreTokenizerWrapper>(json!({ "type": "Sequence", "pretokenizers": steps }))?,
            );
        }
        Ok(())
    }

    /// Sets what is put around texts: the post-processor.
    fn post_processor(&self, kind: Kind, inner: &mut tokenizers::Tokenizer) -> Result<(), TextError> {
        let id = |token: &str| inner.token_to_id(token);
        let template = |begin: &[&str], end: &[&str]| {
            let piece = |token: &&str, kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
            let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
            let around = |name: &str, kind: u32, begin: &[&str]| -> Vec<Value> {
                let before = begin.iter().map(|token| piece(token, kind));
                let after = end.iter().map(|token| piece(token, kind));
                before.chain([text(name, kind)]).chain(after).collect()
            };
            let tokens: Map<String, Value> = begin
                .iter()
                .chain(end)
                .map(|token| {
                    let id = id(token).unwrap_or_default();
                    ((*token).to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }))
                })
                .collect();
            let single = around("A", 0, begin);
            let pair = [single.clone(), around("B", 1, &[])].concat();
            json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
        };
        let processor = match kind {
            Kind::Bert | Kind::DebertaV2 => {
                let (cls, sep) = (self.token("cls_token")?, self.token("sep_token")?);
                template(&[cls.as_str()], &[sep.as_str()])
            }
            Kind::Roberta => {
                let (cls, sep) = (self.token("cls_token")?, self.token("sep_token")?);
                json!({
                    "type": "RobertaProcessing",
                    "sep": [sep, id(&sep)],
                    "cls": [cls, id(&cls)],
                    "trim_offsets": self.flag("trim_offsets", true)?,
                    "add_prefix_space": self.flag("add_prefix_space", false)?,
                })
            }
            Kind::GptNeoX => template(&[], &[]),
            // The post-processor of tokenizer.json stays.
            _ if inner.get_post_processor().is_some() => return Ok(()),
            _ => template(&[], &[]),
        };
        inner.with_post_processor(self.part::<PostProcessorWrapper>(processor)?);
        Ok(())
    }

    fn part<T: serde::de::DeserializeOwned>(&self, json: Value) -> Result<Option<T>, TextError> {
        serde_json::from_value(json).map_err(|e| (self.refuse)(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_chosen_as_transformers_chooses_them() {
        let of = |model_type: &str, named: Option<&str>, bytes: bool| Class::of(model_type, named, bytes).name;
        for (model_type, named, is_byte_level, expected) in [
            ("bert", None, false, "BertTokenizer"),
            ("bert", Some("BertTokenizerFast"), false, "BertTokenizer"),
            ("bert", Some("PreTrainedTokenizerFast"), false, "TokenizersBackend"),
            ("bert", Some("DistilBertTokenizer"), false, "DistilBertTokenizer"),
            ("bert", Some("MPNetTokenizer"), false, "TokenizersBackend"),
            ("xlm-roberta", None, false, "XLMRobertaTokenizer"),
            ("albert", Some("AlbertTokenizerFast"), false, "AlbertTokenizer"),
            ("llama", None, true, "TokenizersBackend"),
            ("llama", Some("LlamaTokenizerFast"), false, "LlamaTokenizer"),
            ("llama", Some("LlamaTokenizerFast"), true, "TokenizersBackend"),
            ("llama", Some("GPT2Tokenizer"), true, "GPT2Tokenizer"),
            ("mistral", Some("LlamaTokenizer"), false, "TokenizersBackend"),
            ("modernbert", Some("PreTrainedTokenizerFast"), true, "TokenizersBackend"),
            ("modernbert", Some("RobertaTokenizer"), true, "TokenizersBackend"),
            ("qwen2", Some("LlamaTokenizer"), false, "Qwen2Tokenizer"),
            ("qwen2", Some("PreTrainedTokenizerFast"), true, "Qwen2Tokenizer"),
            ("qwen3", Some("PreTrainedTokenizerFast"), true, "TokenizersBackend"),
            ("qwen3", Some("Qwen2Tokenizer"), true, "Qwen2Tokenizer"),
        ] {
            assert_eq!(of(model_type, named, is_byte_level), expected, "{model_type} {named:?} {is_byte_level}");
        }
    }
}
