//! Fuzzes the reader of adapter_config.json.

use rewardscope_weights::adapter;

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let _ = adapter::check_config(bytes);
}
