//! A hostile config.json: the first byte says which heads stand beside it.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use rewardscope_models::{Description, HEADS, describe};

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, json)) = bytes.split_first() else { return };
    let Ok(json) = std::str::from_utf8(json) else { return };
    let is_there = |(place, _): &(usize, &&str)| first >> place & 1 == 1;
    let tensors: BTreeSet<String> =
        HEADS.iter().enumerate().filter(is_there).map(|(_, head)| (*head).to_owned()).collect();
    let Ok(mut architecture) = describe(Description::ConfigJson { file: "config.json", json, tensors: &tensors }) else {
        return;
    };
    // A plan has a few tensors a layer; a thousand layers are planned as three are.
    if architecture.summary().layers <= 16 {
        let _ = architecture.tensors();
        let layers = architecture.summary().layers;
        if architecture.classify(layers).is_ok() {
            let _ = architecture.classifier_config();
        }
    }
});
