//! The readers that are known by name. Adding one is a line of [`READERS`] and its file.

use rewardscope_models::Head;

use crate::error::EngineError;
use crate::reader::spec::{Reader, ReaderChoice, ReaderSpec};

/// A reader that is known by name.
#[derive(Debug)]
pub struct NamedReader {
    /// Its name, for `--reader`.
    pub name: &'static str,
    /// Parts of the names of the models that it is for, in small letters; empty where it is chosen by hand.
    pub models: &'static [&'static str],
    /// Ends of the names of the classes that it is for.
    pub classes: &'static [&'static str],
    /// Whether it reads a language model; otherwise a model with a head of its own.
    pub is_for_language_models: bool,
    /// The fixture that shows it.
    pub proven: &'static str,
    json: &'static str,
}

/// A line for language models.
const fn tokens(
    name: &'static str,
    models: &'static [&'static str],
    proven: &'static str,
    json: &'static str,
) -> NamedReader {
    NamedReader { name, models, classes: &[], is_for_language_models: true, proven, json }
}

/// A line for models with a head of their own.
const fn head(
    name: &'static str,
    models: &'static [&'static str],
    classes: &'static [&'static str],
    proven: &'static str,
    json: &'static str,
) -> NamedReader {
    NamedReader { name, models, classes, is_for_language_models: false, proven, json }
}

/// The known readers. The first that is for a model reads it, unless another is chosen.
#[rustfmt::skip]
pub const READERS: &[NamedReader] = &[
    tokens("qwen3-reranker", &["qwen3-reranker"], "reader_difference", include_str!("named/qwen3-reranker.json")),
    head("qwen3-reranker-seq-cls", &["qwen3-reranker"], &[], "reader_difference", include_str!("named/qwen3-reranker-seq-cls.json")),
    tokens("mxbai-rerank-v2", &["mxbai-rerank-base-v2", "mxbai-rerank-large-v2"], "reader_difference", include_str!("named/mxbai-rerank-v2.json")),
    tokens("bge-reranker-v2-gemma", &["bge-reranker-v2-gemma"], "reader_logit", include_str!("named/bge-reranker-v2-gemma.json")),
    tokens("zerank-2", &["zerank-2"], "reader_logit", include_str!("named/zerank-2.json")),
    tokens("lmunit", &["lmunit"], "reader_expected", include_str!("named/lmunit.json")),
    tokens("nemotron-reward", &["nemotron-70b-reward", "nemotron-32b-reward", "nemotron-reward"], "reader_logit", include_str!("named/nemotron-reward.json")),
    tokens("math-shepherd", &["math-shepherd-mistral-7b-prm"], "reader_each", include_str!("named/math-shepherd.json")),
    tokens("rlhflow-prm", &["llama3.1-8b-prm"], "reader_before", include_str!("named/rlhflow-prm.json")),
    head("qwen-prm", &[], &["ForProcessRewardModel"], "prm_two_layer", include_str!("named/qwen-prm.json")),
    head("trl-prm", &[], &["ForTokenClassification"], "prm_token_classification", include_str!("named/trl-prm.json")),
    head("trl-prm-joined", &[], &[], "prm_token_classification", include_str!("named/trl-prm-joined.json")),
    head("skywork-prm", &[], &["ForPrmModel"], "value_head", include_str!("named/skywork-prm.json")),
    tokens("criterion", &[], "reader_difference", include_str!("named/criterion.json")),
    tokens("criterion-digit", &[], "reader_expected", include_str!("named/criterion-digit.json")),
];

impl NamedReader {
    /// The reader.
    ///
    /// # Errors
    /// Never, as a test says.
    pub fn reader(&self) -> Result<Reader, EngineError> {
        Ok(Reader { name: self.name.to_owned(), spec: ReaderSpec::from_json(self.name, self.json)? })
    }

    /// Whether it is for a model of this name and class.
    fn is_for(&self, model: &str, class: Option<&str>, head: Head) -> bool {
        let is_language_model = head == Head::LanguageModel;
        let is_named = self.models.iter().any(|part| model.contains(part));
        let is_of_class = class.is_some_and(|class| self.classes.iter().any(|end| class.ends_with(end)));
        !head.is_an_encoders() && is_language_model == self.is_for_language_models && (is_named || is_of_class)
    }
}

/// The known readers as a table, for the documentation.
///
/// # Errors
/// Never, as a test says.
pub fn readers_table() -> Result<String, EngineError> {
    let mut table = "| name | reads | found by | scores are | proven on |\n|---|---|---|---|---|\n".to_owned();
    for known in READERS {
        let spec = known.reader()?.spec;
        let names = known.models.iter().map(|name| format!("`{name}`"));
        let classes = known.classes.iter().map(|class| format!("`...{class}`"));
        let found: Vec<String> = names.chain(classes).collect();
        let found = if found.is_empty() { "its name".to_owned() } else { found.join(", ") };
        table += &format!(
            "| `{}` | {}, at {} | {found} | {} | `kinds/{}` |\n",
            known.name,
            spec.described(),
            spec.place(),
            spec.gives.scores(),
            known.proven
        );
    }
    Ok(table)
}

impl Reader {
    /// The known reader of this name.
    ///
    /// # Errors
    /// [`EngineError::NoReader`] with the names of all.
    pub fn named(name: &str) -> Result<Self, EngineError> {
        match READERS.iter().find(|reader| reader.name == name) {
            Some(reader) => reader.reader(),
            None => {
                let known = READERS.iter().map(|reader| reader.name).collect::<Vec<_>>().join(", ");
                Err(EngineError::NoReader { name: name.to_owned(), known })
            }
        }
    }
}

impl ReaderChoice {
    /// The choice of this name: `none`, or a known reader.
    ///
    /// # Errors
    /// As [`Reader::named`].
    pub fn named(name: &str) -> Result<Self, EngineError> {
        match name {
            "none" => Ok(Self::None),
            name => Ok(Self::Given(Box::new(Reader::named(name)?))),
        }
    }
}

/// Parts of the names of models whose scores cannot be read yet, in small letters, and what they do.
const WANTED: [(&str, &str); 4] = [
    ("pair-preference-model", "a model that compares two completions"),
    ("polar-1_8b", "a model that compares a text with a reference"),
    ("polar-7b", "a model that compares a text with a reference"),
    ("llama-sarm", "a model whose score is made of sparse features"),
];

/// What a model of this name does that cannot be read yet.
pub(crate) fn wanted(model: &str) -> Option<&'static str> {
    let model = model.to_ascii_lowercase();
    WANTED.iter().find(|(part, _)| model.contains(part)).map(|(_, what)| *what)
}

/// The reader that is known for a model, by its name, or by the name of its class.
pub(crate) fn found(model: &str, class: Option<&str>, head: Head) -> Result<Option<Reader>, EngineError> {
    let model = model.to_ascii_lowercase();
    READERS.iter().find(|reader| reader.is_for(&model, class, head)).map(NamedReader::reader).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_reader_is_a_reader() {
        for reader in READERS {
            let read = reader.reader().expect(reader.name);
            assert_eq!(read.spec.tokens.is_empty(), !reader.is_for_language_models, "{}", reader.name);
        }
    }

    #[test]
    fn models_find_their_readers() {
        let of = |model: &str, class: Option<&str>, head| {
            found(model, class, head).expect("readers").map(|reader| reader.name).unwrap_or_default()
        };
        assert_eq!(of("Qwen3-Reranker-0.6B", Some("Qwen3ForCausalLM"), Head::LanguageModel), "qwen3-reranker");
        let class = Some("Qwen3ForSequenceClassification");
        assert_eq!(of("Qwen3-Reranker-0.6B-seq-cls", class, Head::Score), "qwen3-reranker-seq-cls");
        assert_eq!(of("anything", Some("Qwen2ForTokenClassification"), Head::Score), "trl-prm");
        assert_eq!(of("anything", Some("Qwen2ForProcessRewardModel"), Head::Score), "qwen-prm");
        assert_eq!(of("anything", Some("LlamaForCausalLM"), Head::LanguageModel), "");
        assert_eq!(of("Llama3.1-8B-PRM-Mistral-Data", Some("LlamaForCausalLM"), Head::LanguageModel), "rlhflow-prm");
        assert!(wanted("POLAR-7B").is_some() && wanted("Polaris").is_none());
        assert!(Reader::named("nobody").expect_err("none").to_string().contains("math-shepherd"));
    }
}
