//! One file for each architecture: its configuration, its defaults, and how it differs from related ones.

pub(crate) mod bert;
pub(crate) mod deberta;
pub(crate) mod gemma;
pub(crate) mod gemma2;
pub(crate) mod gemma3;
pub(crate) mod gpt_neox;
pub(crate) mod llama;
pub(crate) mod mistral;
pub(crate) mod modernbert;
pub(crate) mod qwen2;
pub(crate) mod qwen3;
pub(crate) mod roberta;
