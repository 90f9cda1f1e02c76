//! A safetensors file, a sharded checkpoint or an adapter over a base, as a folder has them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use rewardscope_fuzz::{read_rows, source, split};
use rewardscope_store::Folder;
use rewardscope_weights::{Checkpoint, lora, safetensors};

/// The base that adapters are merged into: `[3, 4]` and `[2, 3, 4]` in f32, `[4]` in bf16.
const BASE: &[u8] = include_bytes!("../base.safetensors");

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    match kind {
        0 => single(data),
        1 => sharded(data),
        2 => adapter(data),
        _ => {}
    }
});

fn single(data: &[u8]) {
    let file = source("model.safetensors", data);
    if let Ok(checkpoint) = block_on(Checkpoint::from_safetensors(&file)) {
        read_rows(&checkpoint);
        let with_base = block_on(Checkpoint::from_safetensors(&source("base", BASE))).expect("the base opens");
        read_rows(&with_base.with(checkpoint));
    }
    let _ = block_on(safetensors::metadata(&file, "format"));
    let _ = block_on(Checkpoint::from_folder(&Folder::new("model", [file])));
}

/// The index, then two shards.
fn sharded(data: &[u8]) {
    let Some((index, data)) = split(data) else { return };
    let Some((first, second)) = split(data) else { return };
    let files = [
        source(safetensors::INDEX, index),
        source("1.safetensors", first),
        source("2.safetensors", second),
    ];
    if let Ok(checkpoint) = block_on(Checkpoint::from_folder(&Folder::new("model", files))) {
        read_rows(&checkpoint);
    }
}

/// The adapter's configuration, then its tensors.
fn adapter(data: &[u8]) {
    let Some((config, weights)) = split(data) else { return };
    let folder = Folder::new("adapter", [source(lora::CONFIG, config), source(lora::WEIGHTS, weights)]);
    let _ = block_on(lora::base(&folder));
    let Ok(adapter) = block_on(lora::Adapter::open(&folder)) else { return };
    let _ = adapter.classifies();
    let base = block_on(Checkpoint::from_safetensors(&source("base", BASE))).expect("the base opens");
    if let Ok(merged) = adapter.merge(base) {
        read_rows(&merged);
    }
}
