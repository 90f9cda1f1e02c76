//! Fuzzes the reader of safetensors folders: the header or the list of shards, and the tensors that they promise.

use pollster::block_on;
use rewardscope_store::{Folder, Source};
use rewardscope_weights::{Checkpoint, safetensors};

use crate::rows;

/// Reads one input; a finding is a panic.
pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let sources = if kind % 2 == 0 {
        vec![Source::memory(safetensors::SINGLE, bytes)]
    } else {
        // The input is the list of shards, a zero byte, and the content of every shard.
        let at = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let (index, shard) = bytes.split_at(at);
        let shard = shard.get(1..).unwrap_or_default();
        let named = ["a.safetensors", "b.safetensors"].map(|name| Source::memory(name, shard));
        named.into_iter().chain([Source::memory(safetensors::INDEX, index)]).collect()
    };
    let folder = Folder::new("fuzz", sources);
    let Ok(checkpoint) = block_on(Checkpoint::from_folder(&folder)) else { return };
    rows::read(&checkpoint);
}
