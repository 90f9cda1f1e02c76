//! Fuzzes the reader of config.json. The bits of the first byte say which heads' tensors the checkpoint has.

use std::collections::BTreeSet;

use rewardscope_models::{Description, HEADS, describe};

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let Some((&first, json)) = bytes.split_first() else { return };
    let Ok(json) = std::str::from_utf8(json) else { return };
    let is_there = |(place, _): &(usize, &&str)| first >> place & 1 == 1;
    let tensors: BTreeSet<String> =
        HEADS.iter().enumerate().filter(is_there).map(|(_, head)| (*head).to_owned()).collect();
    let Ok(mut architecture) = describe(Description::ConfigJson { file: "config.json", json, tensors: &tensors })
    else {
        return;
    };
    // Many layers are planned in the same way as a few, and would only cost time.
    if architecture.summary().layers <= 16 {
        let _ = architecture.tensors();
        let layers = architecture.summary().layers;
        if architecture.classify(layers).is_ok() {
            let _ = architecture.classifier_config();
        }
    }
}
