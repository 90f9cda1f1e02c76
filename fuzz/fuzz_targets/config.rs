//! A hostile config.json: which tensors it asks for, where it is accepted.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use rewardscope_models::{Description, describe};

/// A plan of more layers says nothing new and takes its time.
const MOST_LAYERS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, json)) = bytes.split_first() else { return };
    let Ok(json) = std::str::from_utf8(json) else { return };
    let names = ["score.weight", "classifier.weight", "model.embed_tokens.weight"];
    let tensors: BTreeSet<String> =
        names.iter().enumerate().filter(|(i, _)| first & (1 << i) != 0).map(|(_, name)| (*name).to_owned()).collect();
    let Ok(mut architecture) = describe(Description::ConfigJson { file: "config.json", json, tensors: &tensors }) else {
        return;
    };
    if architecture.summary().layers <= MOST_LAYERS {
        let _ = architecture.tensors();
        if architecture.classify(1).is_ok() {
            let _ = architecture.tensors();
            let _ = architecture.classifier_config();
        }
    }
});
