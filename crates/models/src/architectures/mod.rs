//! One file for each architecture: its configuration, its defaults, and how it differs from related ones. And the
//! table of them.

mod albert;
mod bert;
mod deberta;
mod distilbert;
mod electra;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt_neox;
mod internlm2;
mod llama;
mod mistral;
mod modernbert;
mod mpnet;
mod qwen2;
mod qwen3;
mod roberta;

use crate::{Entry, Head, Parse};

/// A decoder's classifier with a `config.json`.
const fn scores(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::Score, proven, parse }
}

/// An encoder's classifier with a `config.json`.
const fn pools(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::Pooled, proven, parse }
}

/// A model that compares two completions, with a `config.json`.
const fn compares(
    name: &'static str,
    model_type: &'static str,
    proven: &'static [&'static str],
    parse: Parse,
) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::Pair, proven, parse }
}

/// A language model with a `config.json`.
const fn writes(name: &'static str, model_type: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type, gguf: false, head: Head::LanguageModel, proven, parse }
}

/// A language model in a GGUF.
const fn gguf(name: &'static str, proven: &'static [&'static str], parse: Parse) -> Entry {
    Entry { name, model_type: name, gguf: true, head: Head::LanguageModel, proven, parse }
}

/// What is supported, one line for each architecture and head.
pub const ARCHITECTURES: &[Entry] = &[
    scores(
        "LlamaForSequenceClassification",
        "llama",
        &["llama_plain", "llama_gqa_tied", "llama_rope_scaled", "lora_llama", "lora_llama_rslora"],
        llama::parse,
    ),
    writes("LlamaForCausalLM", "llama", &["dpo_llama"], llama::parse),
    gguf("llama", &["smollm2_logprobs.json"], llama::parse),
    scores("MistralForSequenceClassification", "mistral", &["mistral_sliding"], mistral::parse),
    writes("MistralForCausalLM", "mistral", &["causal_mistral"], mistral::parse),
    scores("Qwen2ForSequenceClassification", "qwen2", &["qwen2"], qwen2::parse),
    writes("Qwen2ForCausalLM", "qwen2", &["causal_qwen2"], qwen2::parse),
    scores("Qwen3ForSequenceClassification", "qwen3", &["qwen3"], qwen3::parse),
    writes("Qwen3ForCausalLM", "qwen3", &["causal_qwen3"], qwen3::parse),
    scores("GemmaForSequenceClassification", "gemma", &["gemma"], gemma::parse),
    writes("GemmaForCausalLM", "gemma", &["causal_gemma"], gemma::parse),
    scores("Gemma2ForSequenceClassification", "gemma2", &["gemma2"], gemma2::parse),
    writes("Gemma2ForCausalLM", "gemma2", &["causal_gemma2"], gemma2::parse),
    scores("Gemma3TextForSequenceClassification", "gemma3_text", &["gemma3_text"], gemma3::parse),
    writes("Gemma3ForCausalLM", "gemma3_text", &["causal_gemma3"], gemma3::parse),
    gguf("gemma3", &["real.json"], gemma3::parse),
    scores("GPTNeoXForSequenceClassification", "gpt_neox", &["gpt_neox"], gpt_neox::parse),
    writes("GPTNeoXForCausalLM", "gpt_neox", &["causal_gpt_neox"], gpt_neox::parse),
    scores("InternLM2ForRewardModel", "internlm2", &["kinds/internlm2"], internlm2::parse),
    pools("BertForSequenceClassification", "bert", &["bert"], bert::parse),
    pools("RobertaForSequenceClassification", "roberta", &["roberta"], roberta::parse),
    pools("XLMRobertaForSequenceClassification", "xlm-roberta", &["kinds/xlm_roberta"], roberta::parse_xlm),
    pools("CamembertForSequenceClassification", "camembert", &["kinds/camembert"], roberta::parse_xlm),
    pools("DistilBertForSequenceClassification", "distilbert", &["kinds/distilbert"], distilbert::parse),
    pools("ElectraForSequenceClassification", "electra", &["kinds/electra"], electra::parse),
    pools("AlbertForSequenceClassification", "albert", &["kinds/albert"], albert::parse),
    pools("MPNetForSequenceClassification", "mpnet", &["kinds/mpnet"], mpnet::parse),
    pools("DebertaV2ForSequenceClassification", "deberta-v2", &["deberta_v3"], deberta::parse),
    compares("DebertaV2PairRM", "deberta-v2", &["kinds/pairrm"], deberta::parse),
    pools(
        "ModernBertForSequenceClassification",
        "modernbert",
        &["modernbert_cls", "modernbert_mean"],
        modernbert::parse,
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn absent_keys_mean_what_transformers_classes_have() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/defaults.json")).expect("JSON");
        for (model_type, ours) in [
            ("llama", llama::DEFAULTS),
            ("mistral", mistral::DEFAULTS),
            ("qwen2", qwen2::DEFAULTS),
            ("qwen3", qwen3::DEFAULTS),
            ("gemma", gemma::DEFAULTS),
            ("gemma2", gemma2::DEFAULTS),
            ("gemma3_text", gemma3::DEFAULTS),
            ("gpt_neox", gpt_neox::DEFAULTS),
            ("bert", bert::DEFAULTS),
            ("roberta", roberta::DEFAULTS),
            ("xlm-roberta", roberta::XLM_DEFAULTS),
            ("camembert", roberta::XLM_DEFAULTS),
            ("distilbert", distilbert::DEFAULTS),
            ("electra", electra::DEFAULTS),
            ("albert", albert::DEFAULTS),
            ("mpnet", mpnet::DEFAULTS),
            ("deberta-v2", deberta::DEFAULTS),
            ("modernbert", modernbert::DEFAULTS),
        ] {
            let theirs = fixture["defaults"][model_type].as_object().expect("a model's");
            let ours: Map<String, Value> = serde_json::from_str(ours).expect("JSON");
            for (key, value) in &ours {
                let want = theirs.get(key).unwrap_or_else(|| panic!("{model_type} has no {key}"));
                let same = value == want || value.as_f64().is_some() && value.as_f64() == want.as_f64();
                assert!(same, "{model_type} {key}: {value} is not {want}");
            }
        }
    }
}
